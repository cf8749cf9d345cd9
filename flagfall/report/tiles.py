"""Key figures of a run, one tile each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from flagfall.dataset.schema import Dataset
from flagfall.report.batches import Batch
from flagfall.report.formatting import (
    count,
    figure,
    seconds,
    share,
)
from flagfall.report.pooled import Pool
from flagfall.report.trend import Period, Trend
from flagfall.report.worst_drift import Moved
from flagfall.scoring.drift import DRIFT_OF


@dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    note: str = ""
    alert: bool = False


def tiles(
    dataset: Dataset,
    batches: Sequence[Batch],
    counted: Sequence[Batch],
    pool: Pool,
    drift: Sequence[Moved],
    trend: Trend,
    now: datetime,
) -> list[Tile]:
    """The key figures of a run.

    Args:
        dataset: Its dataset.
        batches: Its deliveries.
        counted: Those of them that count.
        pool: The evaluations of these.
        drift: Drift of their features, nearest to its alert line first.
        trend: The days before.
        now: When the report is written (UTC).
    """
    alerts = [alert for b in counted if b.evaluation is not None for alert in b.evaluation.alerts]
    return [
        _batch_tile(batches),
        *_row_tiles(batches, counted, trend),
        *_time_tiles(batches, trend, now),
        *_auc_tile(pool, trend, alerts),
        *_calibration_tile(pool, alerts),
        *_positive_tile(dataset, counted, trend),
        *_drift_tile(drift, alerts),
        *_outcome_tile(dataset, counted),
    ]


def _batch_tile(batches: Sequence[Batch]) -> Tile:
    counts = Counter(batch.receipt.status for batch in batches)
    rejected = any(b.receipt.status == "rejected" and not b.replaced for b in batches)
    note = f"{count(counts['rejected'])} rejected, {count(counts['unchanged'])} unchanged"
    return Tile("Batches accepted", count(counts["accepted"]), note, rejected)


def _row_tiles(batches: Sequence[Batch], counted: Sequence[Batch], trend: Trend) -> list[Tile]:
    accepted = sum(batch.receipt.rows for batch in counted)
    rejected = sum(batch.receipt.rejected_rows for batch in batches)
    read = rejected + sum(batch.receipt.rows for batch in batches)
    usual = _usual(trend, lambda period: period.rows, count)
    usual += " a day" if usual and trend.by_day else ""
    part = f"{share(rejected / read)} of rows read" if read else ""
    return [
        Tile("Rows accepted", count(accepted), usual),
        Tile("Rows rejected", count(rejected), part),
    ]


def _auc_tile(pool: Pool, trend: Trend, alerts: Sequence[str]) -> list[Tile]:
    if pool.auc is None:
        return []
    notes = [f"pooled over {count(pool.batches)} batches"] if pool.batches > 1 else []
    notes.append(_usual(trend, lambda period: period.pool.auc, figure))
    return [Tile("AUC", figure(pool.auc), _joined(notes), _any(alerts, "AUC "))]


def _calibration_tile(pool: Pool, alerts: Sequence[str]) -> list[Tile]:
    """Also red if the Brier score alerts: it has no tile, and it adds calibration to AUC."""
    if pool.positive_share is None or pool.mean_score is None:
        return []
    gap = pool.mean_score - pool.positive_share
    note = f"mean score {share(pool.mean_score)}, really {share(pool.positive_share)}"
    alert = _any(alerts, "calibration gap ") or _any(alerts, "Brier score ")
    return [Tile("Calibration gap", f"{gap:+.2f}".replace("-", "−"), note, alert)]


def _positive_tile(dataset: Dataset, counted: Sequence[Batch], trend: Trend) -> list[Tile]:
    scored = [batch.predicted for batch in counted if batch.predicted is not None]
    rows = sum(predicted.rows for predicted in scored)
    if dataset.model is None or not rows:
        return []
    threshold = dataset.model.cut
    positives = share(sum(predicted.positives for predicted in scored) / rows)
    usual = _usual(trend, lambda period: period.pool.share_from(threshold), share)
    note = _joined([f"score {threshold:g} or more", usual])
    return [Tile("Predicted positive", positives, note)]


def _drift_tile(drift: Sequence[Moved], alerts: Sequence[str]) -> list[Tile]:
    if not drift:
        return []
    known = [moved for moved in drift if moved.ratio is not None]
    if not known:
        return [Tile("Largest drift", "–", "too few rows to judge")]
    nearest = known[0]
    note = f"of its alert line: {nearest.feature}, PSI {figure(nearest.psi)}"
    return [Tile("Largest drift", share(nearest.ratio or 0.0), note, _any(alerts, DRIFT_OF))]


def _outcome_tile(dataset: Dataset, counted: Sequence[Batch]) -> list[Tile]:
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
    usual = _usual(trend, lambda p: median(p.seconds) if p.seconds else None, seconds)
    return [
        Tile("Marker to receipt", seconds(median(receipt)), _joined([_slowest(receipt), usual])),
        Tile("Marker to report", seconds(median(report)), _slowest(report)),
    ]


def _slowest(times: Sequence[float]) -> str:
    return f"median; slowest {seconds(max(times))}" if len(times) > 1 else ""


def _usual(
    trend: Trend, of: Callable[[Period], float | None], shown: Callable[[float], str]
) -> str:
    found = trend.median(of)
    if found is None:
        return ""
    return f"{'30-day median' if trend.by_day else 'median before'} {shown(found)}"


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(note for note in notes if note)


def _any(alerts: Sequence[str], start: str) -> bool:
    return any(alert.startswith(start) for alert in alerts)
