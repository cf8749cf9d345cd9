"""Which figures of an evaluation are known, by the threshold that looks at each."""

from __future__ import annotations

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Anomaly, Evaluation, Multiclass, Regression


def known_figures(dataset: Dataset, evaluation: Evaluation) -> set[str]:
    """Names of the thresholds that had a figure to look at.

    Those of outcomes have none where too few of another feed's are known (``label.enough``).
    """
    found = _without_outcomes(evaluation)
    if _has_enough(dataset, evaluation):
        found |= _of_outcomes(evaluation)
    return {name for name, figure in found.items() if figure is not None}


def _has_enough(dataset: Dataset, evaluation: Evaluation) -> bool:
    label = dataset.late_label
    return label is None or evaluation.labelled >= label.enough * evaluation.rows


def _without_outcomes(evaluation: Evaluation) -> dict[str, object]:
    """Of drift, and of what an anomaly model flags."""
    flagged = evaluation.anomaly.flagged if evaluation.anomaly and evaluation.rows else None
    drift = evaluation.drift or None
    return {"psi_max": drift, "flagged_min": flagged, "flagged_max": flagged}


def _of_outcomes(evaluation: Evaluation) -> dict[str, object]:
    classes = evaluation.multiclass or Multiclass()
    values = evaluation.regression or Regression()
    unusual = evaluation.anomaly or Anomaly()
    return {
        "auc_min": evaluation.auc if evaluation.anomaly is None else unusual.auc,
        "brier_max": evaluation.brier,
        "calibration_max": evaluation.calibration_gap,
        "logloss_max": classes.log_loss,
        "f1_min": classes.macro_f1,
        "accuracy_min": classes.accuracy,
        "mae_max": values.mae,
        "rmse_max": values.rmse,
        "r2_min": values.r2,
        "bias_max": values.bias,
        "precision_min": unusual.precision,
        "recall_min": unusual.recall,
    }
