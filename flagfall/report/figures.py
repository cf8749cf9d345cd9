"""Pictures of a run, each with its heading."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from flagfall.dataset.schema import Dataset
from flagfall.report import score_plots, trend_plots
from flagfall.report.pooled import Pool, calibration
from flagfall.report.trend import Trend


@dataclass(frozen=True)
class Picture:
    """A picture with its heading and a line of explanation."""

    title: str
    note: str
    svg: Markup


def score_pictures(dataset: Dataset, pool: Pool) -> list[Picture]:
    """Pictures of the scores of a run; none where nothing was scored."""
    if dataset.model is None or not pool.scores.any():
        return []
    outcome = f"{_outcome(dataset)}, yes or no." if pool.labelled else "All scored rows."
    found = [
        Picture("Scores", outcome, score_plots.scores(pool.scores, dataset.model.cut)),
    ]
    _, negative, positive = pool.scores
    if pool.auc is not None:
        note = "Further up and to the left is better."
        found.append(
            Picture("ROC curve", note, score_plots.roc_curve(negative, positive, pool.auc))
        )
    if pool.labelled:
        note = "The diagonal is perfect; 95% intervals."
        bins = calibration(negative, positive)
        found.append(Picture("Calibration", note, score_plots.calibration(bins)))
    return found


def _outcome(dataset: Dataset) -> str:
    assert dataset.label is not None, "only for datasets with a label"
    return dataset.label.title or dataset.label.expr


def trend_pictures(dataset: Dataset, trend: Trend) -> list[Picture]:
    """Pictures of the last 30 days; none of a single day."""
    periods, limits = trend.periods, dataset.thresholds
    if len(periods) < 2:
        return []
    found = []
    if any(period.pool.auc is not None for period in periods):
        svg = trend_plots.auc_trend(periods, limits.auc_min)
        found.append(Picture("AUC", "Higher is better; 0.5 is chance.", svg))
    if any(period.pool.batches for period in periods):
        svg = trend_plots.calibration_trend(periods)
        if dataset.label is not None:
            found.append(Picture("Calibration", "Mean score beside what really happened.", svg))
        else:
            found.append(Picture("Mean score", "Over all scored rows.", svg))
    if any(period.drift is not None for period in periods):
        note = "The feature nearest to its line, and the score."
        found.append(Picture("Drift", note, trend_plots.drift_trend(periods)))
    rejected = trend_plots.rejected_trend(periods, limits.rejected_share)
    return [
        *found,
        Picture("Rows accepted", "Of accepted batches.", trend_plots.rows_trend(periods)),
        Picture("Rows rejected", "Share of the rows of accepted batches.", rejected),
        Picture("Marker to receipt", "The slowest batch.", trend_plots.seconds_trend(periods)),
    ]
