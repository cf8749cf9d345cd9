"""Where a day stops being normal."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from flagfall.dataset.model import Task
from flagfall.dataset.values import Misfit, Section, Share

Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Thresholds(Section):
    """Where a day stops being normal; ``None`` means no threshold.

    Attributes:
        rejected_share: A batch with a larger share of bad rows is rejected whole.
        psi_max: Alert when the population stability index of a feature or the score is above.
        auc_min: Alert when the area under the ROC curve is below.
        brier_max: Alert when the Brier score is above.
        calibration_max: Alert when the mean score and the share of positives differ by more.
        logloss_max: Alert when the log loss is above.
        f1_min: Alert when the F1 score, averaged over the classes, is below.
        accuracy_min: Alert when the share of rows of which the class is right is below.
        mae_max: Alert when the mean absolute error is above.
        rmse_max: Alert when the root of the mean squared error is above.
        r2_min: Alert when R² is below.
        bias_max: Alert when the mean error is further from 0, in either direction.
        flagged_min: Alert when the share of rows that are flagged is below.
        flagged_max: Alert when it is above.
        precision_min: Alert when the share of flagged rows that are really unusual is below.
        recall_min: Alert when the share of unusual rows that are flagged is below.
        rows_low: Alert when a day has less than this share of the rows that the same weekday had
            (the median of four weeks), less than each of them, and less than chance explains.
        rows_high: Alert when it has more than so many times the rows; so for the rest.
        missing_rise: Alert when the share of a feature's missing values is above training's by
            more, and by more than a clustered column's spread (see ``verdict.data``).
        unknown_rise: Alert when the share of rows whose category training hardly had is above
            training's by more.
        vanished_rows: Alert when a category of training is in no row, though it should be in so
            many.
        stale_after: Alert when nothing newer has come for so many times the longest pause of the
            last 30 days; only without an ``arrival.schedule``.
    """

    rejected_share: Share = 0.05
    psi_max: Size | None = None
    auc_min: Share | None = None
    brier_max: Share | None = None
    calibration_max: Share | None = None
    logloss_max: Size | None = None
    f1_min: Share | None = None
    accuracy_min: Share | None = None
    mae_max: Size | None = None
    rmse_max: Size | None = None
    r2_min: Annotated[float, Field(le=1, allow_inf_nan=False)] | None = None
    bias_max: Size | None = None
    flagged_min: Share | None = None
    flagged_max: Share | None = None
    precision_min: Share | None = None
    recall_min: Share | None = None
    rows_low: Share | None = 0.75
    rows_high: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = 1.33
    missing_rise: Share | None = 0.1
    unknown_rise: Share | None = 0.05
    vanished_rows: Annotated[int, Field(ge=1)] | None = 20
    stale_after: Annotated[float, Field(ge=1, le=1_000_000, allow_inf_nan=False)] | None = 2.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.flagged_min, self.flagged_max
        if low is not None and high is not None and low > high:
            why = f"expected no more than flagged_max, {high:g}, got {low:g}: each day would alert"
            raise Misfit(("flagged_min",), why)
        return self


OF_TASKS: dict[str, tuple[Task, ...]] = {
    "auc_min": ("binary", "anomaly"),
    "brier_max": ("binary",),
    "calibration_max": ("binary",),
    "logloss_max": ("multiclass",),
    "f1_min": ("multiclass",),
    "accuracy_min": ("multiclass",),
    "mae_max": ("regression",),
    "rmse_max": ("regression",),
    "r2_min": ("regression",),
    "bias_max": ("regression",),
    "flagged_min": ("anomaly",),
    "flagged_max": ("anomaly",),
    "precision_min": ("anomaly",),
    "recall_min": ("anomaly",),
}
"""Thresholds that only models of some tasks have; the others are of every task."""


_OF_MODELS = (*OF_TASKS, "psi_max", "missing_rise", "unknown_rise", "vanished_rows")


def without_model(thresholds: Thresholds) -> list[str]:
    """Thresholds that are set, and that nothing is compared with where no model is."""
    usual = Thresholds()
    given = {name: getattr(thresholds, name) for name in _OF_MODELS}
    return [name for name, at in given.items() if at not in (None, getattr(usual, name))]


def misplaced(thresholds: Thresholds, task: Task) -> dict[str, str]:
    """Thresholds that are set and that no model of this task can pass or miss.

    Returns:
        What is wrong, by the threshold's name.
    """
    return {
        name: f"expected none: it is for task: {' or '.join(tasks)}, and the model's is {task}"
        for name, tasks in OF_TASKS.items()
        if getattr(thresholds, name) is not None and task not in tasks
    }
