"""The label of a row as a model's task needs it. Nothing is cast: what does not fit is an error."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from flagfall.dataset.columns import OUTCOME_TYPES, polars_schema
from flagfall.dataset.model import Task
from flagfall.dataset.schema import Dataset
from flagfall.scoring.features import FeatureInvalid, label_expression

LABEL = "label"
_SHOWN = 5
"""Values that an error names."""


@dataclass(frozen=True)
class Says:
    """What a model says of a row, as far as a label is compared with it.

    Attributes:
        task: Its task.
        classes: Of a classifier, the names of its classes.
        positive: Of a binary one, the class whose probability is the score.
        named: Whether somebody named the classes; else their names are only numbers of columns.
    """

    task: Task
    classes: tuple[str, ...] = ()
    positive: str = ""
    named: bool = False


class LabelInvalid(FeatureInvalid):
    """The label's expression fails, or cannot be what this model predicts."""

    def __init__(self, dataset: Dataset, why: str) -> None:
        assert dataset.label is not None, "only for datasets with a label"
        super().__init__(dataset.name, LABEL, dataset.label.expr, why)


def check_label(dataset: Dataset, says: Says) -> None:
    """See on an empty table whether the label can be what the model predicts.

    Outcomes of another feed are checked beside that feed's file (``scoring.late_labels``).

    Raises:
        FeatureInvalid: It cannot, or its expression fails.
    """
    if dataset.own_label is not None:
        read_labels(dataset, says, pl.DataFrame(schema=polars_schema(dataset)))


def read_labels(dataset: Dataset, says: Says, rows: pl.DataFrame) -> pl.Series:
    """The labels of some rows, null where not known.

    Returns:
        ``binary`` and ``anomaly``: Boolean. ``multiclass``: String. ``regression``: Float64.

    Raises:
        FeatureInvalid: The expression fails on these rows, or its values cannot be what the model
            predicts.
    """
    assert dataset.label is not None, "only for datasets with a label"
    try:
        # Not selected alone: an expression without a column has one value, not one for each row.
        values = rows.with_columns(label_expression(dataset)).get_column(LABEL)
    except pl.exceptions.PolarsError as error:
        raise LabelInvalid(dataset, str(error).splitlines()[0]) from error
    return as_labels(dataset, says, values)


def as_labels(dataset: Dataset, says: Says, values: pl.Series) -> pl.Series:
    """Values of the label's expression as ``read_labels`` returns them.

    Raises:
        FeatureInvalid: They cannot be what the model predicts.
    """
    try:
        return _READERS[says.task](values, says)
    except _Unfit as unfit:
        raise LabelInvalid(dataset, str(unfit)) from unfit


def no_labels(says: Says, rows: int) -> pl.Series:
    """Labels of rows of which no outcome is known."""
    return pl.repeat(None, rows, dtype=OUTCOME_TYPES[says.task], eager=True).alias(LABEL)


class _Unfit(Exception):
    """Why values cannot be labels, with the remedy."""


def _binary(values: pl.Series, says: Says) -> pl.Series:
    """A Boolean says whether a row is positive, unless the classes are called true and false."""
    if _is_empty(values):
        return values.cast(pl.Boolean())
    if values.dtype == pl.Boolean() and not _has_boolean_classes(says):
        return values
    if not _is_class(values):
        why = f"its values are {values.dtype}, and a binary model's label is true or false"
        raise _Unfit(f"{why}; write a comparison, such as `COLUMN > 0`")
    if not says.named:
        why = f"its values are {values.dtype}, and nobody named the model's classes"
        raise _Unfit(f"{why}; write a comparison, such as `COLUMN = 1`, or set model.classes")
    return _class_names(values, says) == says.positive


def _has_boolean_classes(says: Says) -> bool:
    return says.named and set(says.classes) == {"true", "false"}


def _multiclass(values: pl.Series, says: Says) -> pl.Series:
    if _is_empty(values):
        return values.cast(pl.String())
    if not _is_class(values):
        why = f"its values are {values.dtype}, and the model's classes are {list(says.classes)}"
        raise _Unfit(f"{why}; write an expression that gives one of them")
    if values.dtype == pl.String() and not says.named:
        raise _Unfit(
            "its values are texts, and nobody named the model's classes: set model.classes"
        )
    return _class_names(values, says)


def _class_names(values: pl.Series, says: Says) -> pl.Series:
    """The values as texts, each one of the classes."""
    texts = values.cast(pl.String())
    strange = sorted(set(texts.drop_nulls().unique().to_list()) - set(says.classes))
    if strange:
        more = " …" if len(strange) > _SHOWN else ""
        why = f"it has the values {strange[:_SHOWN]}{more}, and the model's classes are"
        raise _Unfit(f"{why} {list(says.classes)}; correct the label or model.classes")
    return texts


def _regression(values: pl.Series, _: Says) -> pl.Series:
    """Numbers; what is not finite is not known."""
    if not _is_empty(values) and not values.dtype.is_numeric():
        why = f"its values are {values.dtype}, and a regression model predicts numbers"
        raise _Unfit(f"{why}; write an expression that gives the number, or correct model.task")
    numbers = pl.DataFrame({LABEL: values.cast(pl.Float64())})
    known = pl.when(pl.col(LABEL).is_finite()).then(pl.col(LABEL))
    return numbers.select(known.alias(LABEL)).get_column(LABEL)


def _anomaly(values: pl.Series, _: Says) -> pl.Series:
    if _is_empty(values) or values.dtype == pl.Boolean():
        return values.cast(pl.Boolean())
    remedy = "true (or 1) means unusual, false (or 0) usual; write a comparison"
    if not values.dtype.is_integer():
        raise _Unfit(f"its values are {values.dtype}; {remedy}, such as `COLUMN = 'fraud'`")
    if strange := sorted(set(values.drop_nulls().unique().to_list()) - {0, 1}):
        raise _Unfit(f"it has the values {strange[:_SHOWN]}; {remedy}, such as `COLUMN > 0`")
    return values == 1


_READERS = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
    "anomaly": _anomaly,
}


def _is_empty(values: pl.Series) -> bool:
    """Whether the expression is null for every row, whatever the row."""
    return values.dtype == pl.Null()


def _is_class(values: pl.Series) -> bool:
    return values.dtype in (pl.String(), pl.Boolean()) or values.dtype.is_integer()
