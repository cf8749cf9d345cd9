"""Makes the features of some rows: by a dataset's expressions, or by a function of the team's."""

from __future__ import annotations

from typing import Any, Protocol

import polars as pl

from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid
from flagfall.scoring.features import (
    FeatureInvalid,
    check_features,
    constants_of,
    feature_expressions,
    inputs_of,
    raw_expression,
)
from flagfall.scoring.model import scorer_of
from flagfall.scoring.own_code import CodeInvalid, own_function

FUNCTION = "features"
"""Name of the function that makes the features, in the team's file."""


class FeatureMaker(Protocol):
    """Makes features."""

    def make(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The model's inputs, a column for each, in its order; as many rows as came.

        Raises:
            FeatureInvalid: An expression fails on these rows.
            CodeInvalid: The team's function fails on them.
        """

    def raw(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The same before encoding, for drift: numbers and texts, null where missing."""


def feature_maker(dataset: Dataset, model_path: str = "") -> FeatureMaker:
    """What makes a dataset's features.

    Args:
        dataset: The dataset, with a model.
        model_path: The model's folder; empty for the one that the dataset names.

    Raises:
        ModelInvalid: The model was trained on other features, or its folder lacks constants.
        CodeInvalid: The team's file cannot be used.
    """
    if dataset.features_python:
        return _Own(dataset)
    return _Declared(dataset, model_path or scorer_of(dataset).path)


class _Declared:
    def __init__(self, dataset: Dataset, model_path: str) -> None:
        self._dataset = dataset
        check_features(dataset)
        try:
            self._expressions = feature_expressions(dataset, constants_of(dataset, model_path))
        except KeyError as error:
            raise ModelInvalid(model_path, f"constants.json has no value for {error}") from error
        self._raw = [raw_expression(feature) for feature in inputs_of(dataset)]

    def make(self, rows: pl.DataFrame) -> pl.DataFrame:
        return self._select(rows, self._expressions)

    def raw(self, rows: pl.DataFrame) -> pl.DataFrame:
        return self._select(rows, self._raw)

    def _select(self, rows: pl.DataFrame, expressions: list[pl.Expr]) -> pl.DataFrame:
        try:
            return rows.select(expressions)
        except pl.exceptions.PolarsError as error:
            raise self._culprit(rows, error) from error

    def _culprit(
        self, rows: pl.DataFrame, error: pl.exceptions.PolarsError
    ) -> pl.exceptions.PolarsError | FeatureInvalid:
        """The feature that fails on these rows; ``error`` itself where none does."""
        for feature in self._dataset.features:
            try:
                rows.select(raw_expression(feature))
            except pl.exceptions.PolarsError as why:
                expr = feature.expr or feature.name
                first = str(why).splitlines()[0]
                return FeatureInvalid(self._dataset.name, feature.name, expr, first)
        return error


class _Own:
    def __init__(self, dataset: Dataset) -> None:
        self._path = dataset.features_python
        self._columns = [column.name for column in dataset.table.fields]
        self._function = own_function(self._path, FUNCTION)

    def make(self, rows: pl.DataFrame) -> pl.DataFrame:
        given = rows.select(self._columns)
        made: Any = self._function(given)
        if not isinstance(made, pl.DataFrame):
            what = type(made).__name__
            raise CodeInvalid(self._path, f"{FUNCTION}() returned {what}, not a polars DataFrame")
        if made.height != given.height:
            why = f"{FUNCTION}() returned {made.height} rows for {given.height}"
            raise CodeInvalid(self._path, f"{why}; it has to keep each row, in its order")
        return made

    def raw(self, rows: pl.DataFrame) -> pl.DataFrame:
        return self.make(rows)
