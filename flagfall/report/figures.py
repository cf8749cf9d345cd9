"""Pictures of a run, each with its heading."""

from __future__ import annotations

from flagfall.dataset.schema import Dataset
from flagfall.report import trend_plots
from flagfall.report.kinds.kind import Kind
from flagfall.report.parts import Picture
from flagfall.report.trend import Trend


def trend_pictures(dataset: Dataset, kind: Kind, trend: Trend) -> list[Picture]:
    """Pictures of the last 30 days; none of a single day."""
    periods, limits = trend.periods, dataset.thresholds
    if len(periods) < 2:
        return []
    found = kind.trends(dataset, periods)
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
