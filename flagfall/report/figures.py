"""Pictures of the last 30 days, each with its heading, and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flagfall.dataset.schema import Dataset
from flagfall.report import trend_plots
from flagfall.report.drift_table import line_name
from flagfall.report.formatting import count, seconds, share
from flagfall.report.kinds.kind import Kind
from flagfall.report.known import KNOWN
from flagfall.report.parts import Picture, Series
from flagfall.report.trend import Period, Trend


def trend_pictures(dataset: Dataset, kind: Kind, trend: Trend) -> list[Picture]:
    """Pictures of the last 30 days; none of a single day."""
    periods, limits = trend.periods, dataset.thresholds
    if len(periods) < 2:
        return []
    found = kind.trends(dataset, periods)
    if any(period.drift is not None for period in periods):
        line = line_name(limits.psi_max is not None)
        note = f"The feature nearest to its {line}, and what the model says."
        found.append(Picture("Drift", note, trend_plots.drift_trend(periods, line)))
    rejected = trend_plots.rejected_trend(periods, limits.rejected_share)
    return [
        *found,
        Picture("Rows accepted", "Of accepted batches.", trend_plots.rows_trend(periods)),
        Picture("Rows rejected", "Share of the rows of accepted batches.", rejected),
        Picture("Marker to receipt", "The slowest batch.", trend_plots.seconds_trend(periods)),
    ]


@dataclass(frozen=True)
class Values:
    """The figures of the pictures, as a table.

    Attributes:
        heads: Names of the columns.
        lines: A day or batch, whether a delivery of this run is in it, and its figures in words.
    """

    heads: Sequence[str]
    lines: Sequence[tuple[str, bool, Sequence[str]]]


def trend_values(dataset: Dataset, kind: Kind, trend: Trend) -> Values:
    """What the pictures of the last 30 days show, the newest first."""
    known = (KNOWN,) if dataset.late_label else ()
    series = [*(kind.values(dataset) if dataset.model else ()), *known, *_DRIFT, *_OF_ALL]
    used = [one for one in series if any(one(period) for period in trend.periods)]
    lines = [(p.label, p.now, [one(p) for one in used]) for p in reversed(trend.periods)]
    return Values([one.name for one in used], lines)


def _rejected(period: Period) -> float | None:
    read = period.rows + period.rejected_rows
    return period.rejected_rows / read if read else None


_DRIFT = (Series("Largest drift", share, lambda period: period.drift),)
_OF_ALL = (
    Series("Rows", count, lambda period: period.rows),
    Series("Rejected", share, _rejected),
    Series("To receipt", seconds, lambda period: max(period.seconds, default=None)),
)
