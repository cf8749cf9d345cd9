"""Whether a batch of a dataset could be evaluated, as far as that can be said without rows."""

from __future__ import annotations

from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import misplaced
from flagfall.scoring.labels import Says, check_label
from flagfall.scoring.own_code import own_function
from flagfall.scoring.own_figures import FUNCTION


def check_evaluation(dataset: Dataset, says: Says) -> dict[str, str]:
    """Try the label, the thresholds and the team's own function.

    Args:
        dataset: The dataset.
        says: What its model says of a row.

    Returns:
        Thresholds that are not of the model's task: why, by name.

    Raises:
        FeatureInvalid: The label cannot be what the model predicts.
        CodeInvalid: The file of the team's own function cannot be used.
    """
    check_label(dataset, says)
    if dataset.evaluate is not None:
        own_function(dataset.evaluate.python, FUNCTION)
    return misplaced(dataset.thresholds, says.task)
