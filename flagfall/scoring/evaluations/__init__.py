"""Evaluations, one for each task of a model.

A new task is a module here with an ``Evaluator``, its line in ``open_evaluator``, its record in
``flagfall.lake.records``, its labels in ``flagfall.scoring.labels`` and its page in
``flagfall.report.kinds``.
"""

from __future__ import annotations

from flagfall.lake.records import Predicted
from flagfall.scoring.evaluations.anomaly import AnomalyEvaluator
from flagfall.scoring.evaluations.binary import Binary
from flagfall.scoring.evaluations.evaluator import Evaluator
from flagfall.scoring.evaluations.multiclass import MulticlassEvaluator
from flagfall.scoring.evaluations.regression import RegressionEvaluator
from flagfall.scoring.reference import Reference


def open_evaluator(predicted: Predicted, reference: Reference | None) -> Evaluator:
    """The evaluator of a batch's predictions.

    Args:
        predicted: Their record.
        reference: Of the model; ``None`` without one.
    """
    over = None if reference is None else reference.score_range
    if predicted.task == "multiclass":
        return MulticlassEvaluator(predicted.classes)
    if predicted.task == "regression":
        return RegressionEvaluator(over)
    if predicted.task == "anomaly":
        return AnomalyEvaluator(over)
    return Binary()
