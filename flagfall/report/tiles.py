"""Key figures of a run, one tile each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from statistics import median

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import DRIFT_OF
from flagfall.report.batches import Batch
from flagfall.report.drift_table import line_name
from flagfall.report.formatting import count, figure, number, seconds, share
from flagfall.report.kinds.kind import Facts, Kind
from flagfall.report.known import closed_before, late_tile
from flagfall.report.parts import Tile, alerted, joined, usual
from flagfall.report.pooled import Pool
from flagfall.report.trend import Trend
from flagfall.report.worst_drift import Moved
from flagfall.verdict.verdict import Verdict
from flagfall.verdict.words import cut

LINES = {
    "auc_min": ("AUC", "below "),
    "brier_max": ("Brier score", "above "),
    "calibration_max": ("Calibration gap", "beyond ±"),
    "logloss_max": ("Log loss", "above "),
    "f1_min": ("F1", "below "),
    "accuracy_min": ("Accuracy", "below "),
    "mae_max": ("Mean absolute error", "above "),
    "rmse_max": ("RMSE", "above "),
    "r2_min": ("R²", "below "),
    "bias_max": ("Bias", "beyond ±"),
    "flagged_min": ("Flagged", "below "),
    "flagged_max": ("Flagged", "above "),
    "precision_min": ("Precision", "below "),
    "recall_min": ("Recall", "below "),
}
"""Thresholds: the tile of their figure, and on which side of them it alerts."""
NAME_SHOWN = 40
"""Longest name of a figure of the team's own, in characters."""


def tiles(
    dataset: Dataset,
    kind: Kind,
    batches: Sequence[Batch],
    counted: Sequence[Batch],
    pool: Pool,
    drift: Sequence[Moved],
    trend: Trend,
    verdict: Verdict,
) -> list[Tile]:
    """The key figures of a run.

    Args:
        dataset: Its dataset.
        kind: Of its model.
        batches: Its deliveries.
        counted: Those of them that count.
        pool: The evaluations of these.
        drift: Drift of their features, nearest to its alert line first.
        trend: The days before.
        verdict: On the feed, when the report is written.
    """
    alerts = [alert for b in counted if b.evaluation is not None for alert in b.evaluation.alerts]
    return [
        _batch_tile(batches),
        *_row_tiles(batches, counted, trend, _has_unusual_rows(batches, verdict)),
        *_with_lines(dataset, kind.tiles(Facts(dataset, counted, pool, trend, alerts))),
        *_drift_tile(dataset, drift, alerts),
        *_outcome_tile(dataset, counted, verdict.at),
        *_own_tiles(counted),
        *_time_tiles(batches, trend, verdict.at),
    ]


def _with_lines(dataset: Dataset, found: Sequence[Tile]) -> list[Tile]:
    """The same tiles; each that has a threshold names it."""
    return [replace(tile, note=joined([*_lines(dataset, tile), tile.note])) for tile in found]


def _lines(dataset: Dataset, tile: Tile) -> list[str]:
    names = [name for name, (label, _) in LINES.items() if label == tile.label]
    limits = [(LINES[name][1], getattr(dataset.thresholds, name)) for name in names]
    return [f"alert {side}{limit:g}" for side, limit in limits if limit is not None]


def _batch_tile(batches: Sequence[Batch]) -> Tile:
    counts = Counter(batch.receipt.status for batch in batches)
    rejected = any(b.receipt.status == "rejected" and not b.replaced for b in batches)
    note = f"{count(counts['rejected'])} rejected, {count(counts['unchanged'])} unchanged"
    return Tile("Batches accepted", count(counts["accepted"]), note, rejected)


def _has_unusual_rows(batches: Sequence[Batch], verdict: Verdict) -> bool:
    """Whether a reason of the verdict is that one of the batches has too few rows, or too many."""
    named = {name for r in verdict.reasons if r.kind in ("rows", "empty") for name in r.where}
    return any(batch.label in named for batch in batches)


def _row_tiles(
    batches: Sequence[Batch], counted: Sequence[Batch], trend: Trend, is_unusual: bool
) -> list[Tile]:
    accepted = sum(batch.receipt.rows for batch in counted)
    rejected = sum(batch.receipt.rejected_rows for batch in batches)
    read = rows_read(batches)
    often = usual(trend, lambda period: period.rows, count)
    often += " a day" if often and trend.by_day else ""
    part = f"{share(rejected / read)} of rows read" if read else ""
    return [
        Tile("Rows accepted", count(accepted), often, is_unusual),
        Tile("Rows rejected", count(rejected), part),
    ]


def rows_read(batches: Sequence[Batch]) -> int:
    """Rows that were read, good and bad; 0 where nobody knows how many."""
    if _is_partly_read(batches):
        return 0
    return sum(batch.receipt.rows + batch.receipt.rejected_rows for batch in batches)


def _is_partly_read(batches: Sequence[Batch]) -> bool:
    """Whether a batch was rejected for its rows: its receipt does not say how many were good."""
    return any(b.receipt.status == "rejected" and b.receipt.rejected_rows for b in batches)


def _drift_tile(dataset: Dataset, drift: Sequence[Moved], alerts: Sequence[str]) -> list[Tile]:
    if not drift:
        return []
    known = [moved for moved in drift if moved.ratio is not None]
    if not known:
        return [Tile("Largest drift", "–", "too few rows to judge")]
    nearest = known[0]
    line = line_name(dataset.thresholds.psi_max is not None)
    note = f"of its {line}: {nearest.name}, PSI {figure(nearest.psi)}"
    return [Tile("Largest drift", share(nearest.ratio or 0.0), note, alerted(alerts, DRIFT_OF))]


def _own_tiles(counted: Sequence[Batch]) -> list[Tile]:
    """Figures of the team's own function; of several batches their median and range."""
    found: dict[str, list[float | None]] = {}
    for batch in counted:
        for name, value in (batch.evaluation.own if batch.evaluation else {}).items():
            found.setdefault(name, []).append(value)
    return [_own_tile(name, values) for name, values in found.items()]


def _own_tile(name: str, values: Sequence[float | None]) -> Tile:
    known = [value for value in values if value is not None]
    if not known:
        return Tile(cut(name, NAME_SHOWN), "–", "no value")
    several = f"median; {number(min(known))} to {number(max(known))}" if len(known) > 1 else ""
    return Tile(cut(name, NAME_SHOWN), number(median(known)), several)


def _outcome_tile(dataset: Dataset, counted: Sequence[Batch], now: datetime) -> list[Tile]:
    if dataset.late_label is not None:
        return late_tile(counted, closed_before(dataset, now))
    evaluations = [batch.evaluation for batch in counted if batch.evaluation is not None]
    rows = sum(evaluation.rows for evaluation in evaluations)
    if dataset.label is None or not rows:
        return []
    labelled = sum(evaluation.labelled for evaluation in evaluations)
    note = f"{count(labelled)} of {count(rows)} scored rows"
    return [Tile("Outcome known", share(labelled / rows), note)]


def _time_tiles(batches: Sequence[Batch], trend: Trend, now: datetime) -> list[Tile]:
    if not batches:
        return []
    receipt = [batch.receipt.seconds for batch in batches]
    report = [(now - batch.receipt.marker.landed_at).total_seconds() for batch in batches]
    often = usual(trend, lambda p: median(p.seconds) if p.seconds else None, seconds)
    return [
        Tile("Marker to receipt", seconds(median(receipt)), joined([_slowest(receipt), often])),
        Tile("Marker to report", seconds(median(report)), _slowest(report)),
    ]


def _slowest(times: Sequence[float]) -> str:
    return f"median; slowest {seconds(max(times))}" if len(times) > 1 else ""
