"""Checking a dataset file as far as that can be done without data."""

from __future__ import annotations

import numpy as np

from flagfall.dataset.schema import Dataset
from flagfall.rows.rules import RowRules
from flagfall.scoring.engines import open_engine
from flagfall.scoring.features import Constants, check_expressions, feature_expressions


def check_dataset(dataset: Dataset) -> str:
    """Try the expressions and open the model.

    Returns:
        One line that says what was found.

    Raises:
        DatasetInvalid: A date format, a pattern or a rule cannot be used.
        FeatureInvalid: An expression does not work on the columns.
        ModelInvalid: The model's folder lacks something, was trained on other features, or does
            not score several rows at once.
    """
    RowRules(dataset)
    check_expressions(dataset)
    columns = f"fine; {len(dataset.table.fields)} columns"
    if dataset.model is None:
        return f"{columns}, no model"
    constants = Constants.read(dataset.model.path)
    feature_expressions(dataset, constants)
    engine = open_engine(dataset)
    # Some models are exported for one row, which their shapes do not always say.
    engine.score(np.zeros((2, len(constants.features)), np.float32))
    return f"{columns}, {len(dataset.features)} features, model {engine.version}"
