"""Checking a dataset file as far as that can be done without data."""

from __future__ import annotations

from flagfall.dataset import Dataset
from flagfall.engines import open_engine
from flagfall.features import Constants, check_expressions, feature_expressions
from flagfall.tables.rules import RowRules


def check_dataset(dataset: Dataset) -> str:
    """Try the expressions and open the model.

    Returns:
        One line that says what was found.

    Raises:
        DatasetInvalid: A date format or a pattern cannot be used.
        FeatureInvalid: An expression does not work on the columns.
        ModelInvalid: The model's folder lacks something, or was trained on other features.
    """
    RowRules(dataset)
    check_expressions(dataset)
    columns = f"fine; {len(dataset.table.fields)} columns"
    if dataset.model is None:
        return f"{columns}, no model"
    feature_expressions(dataset, Constants.read(dataset.model.path))
    engine = open_engine(dataset)
    return f"{columns}, {len(dataset.features)} features, model {engine.version}"
