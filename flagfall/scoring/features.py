"""Features: from a dataset's typed columns to the inputs of its model.

Training and scoring both call ``feature_expressions`` with the same ``Constants``, so they cannot
differ. Constants are fitted once, at training, and kept in the model's folder. A dataset without
features gives its model the columns as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import polars as pl
from pydantic import BaseModel, ConfigDict

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.expressions import (
    TIME_WITH_NUMBER,
    compares_time_with_number,
    parse_expression,
)
from flagfall.dataset.model import Feature
from flagfall.dataset.schema import Dataset
from flagfall.dataset.trials import why_it_never_works
from flagfall.errors import InputError, ModelInvalid
from flagfall.scoring.model_folder import CONSTANTS_FILE, ModelFolder, read_model_file

UNKNOWN = -1.0
"""Code of a category that training did not have, and of a missing one."""


class FeatureInvalid(InputError):
    """A feature's expression does not work on the dataset's columns.

    Attributes:
        name: Of the feature, or ``LABEL``.
        expr: The expression; of a feature without one the column.
        reason: The expression, and why.
    """

    def __init__(self, dataset: str, name: str, expr: str, why: str) -> None:
        place = name if name == LABEL else f"features: {name}"
        self.name, self.expr = name, expr
        self.reason = f"{expr!r}: {why}"
        super().__init__(f"datasets/{dataset}.yaml: {place}: {self.reason}")


LABEL = "label"
"""Name of the outcome among expressions; a feature may have it, too."""


class Constants(BaseModel):
    """Values that training fitted.

    Attributes:
        version: Version of the model that they belong to; empty where ``card.json`` says it.
        features: Names of the inputs, in the model's order.
        fill: Value that stands in for a missing one, by numeric feature.
        codes: Code of each category's text, by categorical feature.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = ""
    features: tuple[str, ...] = ()
    fill: dict[str, float] = {}
    codes: dict[str, dict[str, int]] = {}

    @classmethod
    def read(cls, model_path: str) -> Constants:
        """The constants in a model's folder.

        Raises:
            ModelInvalid: The file is missing or is not what training writes.
        """
        return read_model_file(cls, model_path, CONSTANTS_FILE)


def inputs_of(dataset: Dataset) -> tuple[Feature, ...]:
    """The features of a dataset; where it declares none, its columns as they are."""
    if dataset.features:
        return dataset.features
    return tuple(Feature(name=column.name, encode="raw") for column in dataset.table.fields)


def constants_of(dataset: Dataset, model_path: str) -> Constants:
    """The constants that a dataset's features need: none at all where no feature is fitted.

    Raises:
        ModelInvalid: They are missing, or are not what training writes.
    """
    is_fitted = any(feature.is_fitted for feature in dataset.features)
    if is_fitted or ModelFolder(model_path).has(CONSTANTS_FILE):
        return Constants.read(model_path)
    return Constants(features=tuple(feature.name for feature in inputs_of(dataset)))


def raw_expression(feature: Feature) -> pl.Expr:
    """A feature before encoding: a finite float32, or a category's text; null where it is missing.

    A number that is infinite as float32 is no input of a model, so it is missing. A raw one is what
    it is.
    """
    if feature.encode == "raw":
        return _source(feature).alias(feature.name)
    if feature.encode == "category":
        return _source(feature).cast(pl.String()).alias(feature.name)
    number = _source(feature).cast(pl.Float32())
    return pl.when(number.is_finite()).then(number).alias(feature.name)


def infinite_expression(feature: Feature) -> pl.Expr:
    """Whether a numeric feature is infinite as float32, although its column may be finite."""
    return _source(feature).cast(pl.Float32()).is_infinite().alias(feature.name)


def _source(feature: Feature) -> pl.Expr:
    return pl.col(feature.name) if feature.expr is None else parse_expression(feature.expr)


def feature_expression(feature: Feature, constants: Constants) -> pl.Expr:
    """A feature as the model takes it: float32 and never null, but for a raw one."""
    raw = raw_expression(feature)
    if feature.encode == "raw":
        return raw if feature.missing in (None, "keep") else raw.fill_null(feature.missing)
    if feature.encode == "number":
        return raw.fill_null(_fill(feature, constants)).cast(pl.Float32()).alias(feature.name)
    codes = constants.codes[feature.name]
    coded = raw.replace_strict(codes, default=UNKNOWN, return_dtype=pl.Float32())
    return coded.fill_null(UNKNOWN).alias(feature.name)


def _fill(feature: Feature, constants: Constants) -> float:
    """What a missing number becomes."""
    if feature.is_fitted:
        return constants.fill[feature.name]
    return float("nan") if feature.missing == "keep" else float(feature.missing)  # type: ignore[arg-type]


def feature_expressions(dataset: Dataset, constants: Constants) -> list[pl.Expr]:
    """All features, in the model's order.

    Raises:
        ModelInvalid: The model was trained on other features than the dataset declares.
    """
    features = inputs_of(dataset)
    declared = tuple(feature.name for feature in features)
    if declared != constants.features or not _encoded_alike(dataset, constants):
        assert dataset.model is not None, "features are for a model"
        why = (
            f"trained on {list(constants.features)}, categories {sorted(constants.codes)};"
            f" {dataset.name} declares {list(declared)}, categories {_categories(dataset)}"
        )
        raise ModelInvalid(dataset.model.path, f"{why}; {_AGAIN}")
    return [feature_expression(feature, constants) for feature in features]


_AGAIN = "delete constants.json and run `flagfall model init`, or correct the features"


def _categories(dataset: Dataset) -> list[str]:
    return sorted(f.name for f in dataset.features if f.encode == "category")


def _encoded_alike(dataset: Dataset, constants: Constants) -> bool:
    """Whether what the dataset's features need is what was fitted."""
    medians = {f.name for f in dataset.features if f.is_fitted and f.encode == "number"}
    return _categories(dataset) == sorted(constants.codes) and medians <= set(constants.fill)


def label_expression(dataset: Dataset) -> pl.Expr:
    """The outcome as the dataset file writes it, in a column ``label`` (see ``labels``)."""
    assert dataset.label is not None, "only for datasets with a label"
    return parse_expression(dataset.label.expr).alias("label")


def fit_constants(dataset: Dataset, staged: pl.DataFrame, version: str = "") -> Constants:
    """Fit fill values (medians) and category codes (sorted texts) on training rows."""
    raw = staged.select(raw_expression(feature) for feature in dataset.features)
    numbers = [f.name for f in dataset.features if f.encode == "number" and f.is_fitted]
    categories = [f.name for f in dataset.features if f.encode == "category"]
    return Constants(
        version=version,
        features=tuple(feature.name for feature in dataset.features),
        fill={name: _median(raw[name]) for name in numbers},
        codes={name: _codes(raw[name].drop_nulls().unique().to_list()) for name in categories},
    )


def _median(values: pl.Series) -> float:
    median = values.fill_nan(None).median()
    return float(median) if isinstance(median, int | float) else 0.0


def _codes(texts: Sequence[str]) -> dict[str, int]:
    return {text: code for code, text in enumerate(sorted(texts))}


def check_expressions(dataset: Dataset) -> None:
    """Try every feature, and the label of the dataset's own columns, also on rows of values.

    Raises:
        FeatureInvalid: One fails; the message has its name and polars' own message.
    """
    check_features(dataset)
    for feature in dataset.features:
        if feature.expr is not None:
            _check_on_values(dataset, feature.name, feature.expr)
    if (label := dataset.own_label) is not None:
        _tried(dataset, LABEL, label.expr, lambda: label_expression(dataset))
        _check_on_values(dataset, LABEL, label.expr)


def _check_on_values(dataset: Dataset, name: str, expr: str) -> None:
    """See that an expression works for some row, and compares what can be. It takes milliseconds.

    Raises:
        FeatureInvalid: It does not.
    """
    expression, columns = parse_expression(expr), pl.Schema(polars_schema(dataset))
    if compares_time_with_number(expression, columns):
        raise FeatureInvalid(dataset.name, name, expr, TIME_WITH_NUMBER)
    if why := why_it_never_works(expression, columns):
        raise FeatureInvalid(dataset.name, name, expr, f"it works for no row: {why}")


def check_features(dataset: Dataset) -> None:
    """Try every feature on an empty table.

    Raises:
        FeatureInvalid: One fails, or is a time, which is no number until somebody says of what.
    """
    for feature in dataset.features:
        name, expr = feature.name, feature.expr or feature.name
        _tried(dataset, name, expr, partial(raw_expression, feature))
        kind = _tried(dataset, name, expr, partial(_source, feature))
        if feature.encode == "number" and (remedy := _no_number(kind)):
            why = f"its values are {kind}, not numbers: {remedy}"
            raise FeatureInvalid(dataset.name, name, expr, why)


def _no_number(kind: pl.DataType) -> str:
    """What to do with values that are none; empty for numbers."""
    if kind.is_temporal():
        return "say what is counted, as in EXTRACT(YEAR FROM day)"
    return "give it encode: category or encode: raw" if kind == pl.String() else ""


def _tried(
    dataset: Dataset, name: str, expr: str, expression: Callable[[], pl.Expr]
) -> pl.DataType:
    """Type of an expression's values."""
    empty = pl.DataFrame(schema=polars_schema(dataset))
    try:
        return empty.select(expression()).dtypes[0]
    except pl.exceptions.PolarsError as error:
        raise FeatureInvalid(dataset.name, name, expr, str(error).splitlines()[0]) from error
