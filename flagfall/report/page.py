"""Report: one HTML file per run that tells at a glance whether today is normal.

The page asks for nothing from outside and runs nothing: no script, a content security policy that
allows only its own styles. Everything that a producer or a dataset file wrote is escaped, and
characters that cannot be seen or that turn text around are shown by their number.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from flagfall.dataset.schema import Dataset
from flagfall.lake.output import LATEST, Lake
from flagfall.lake.records import Evaluation, Predicted, Receipt
from flagfall.report import plots
from flagfall.report.summary import (
    Batch,
    Judgement,
    Moved,
    Period,
    Pool,
    Trend,
    Verdict,
    calibration,
    cut,
    judge,
    mark_replaced,
    worst_drift,
)
from flagfall.scoring.drift import DRIFT_OF, MOVED

BATCHES_SHOWN = 40
ALERTS_SHOWN = 4
RULES_SHOWN = 12
FEATURES_SHOWN = 25
REASONS_SHOWN = 8
IDS_SHOWN = 20
TEXT_SHOWN = 300
"""Longest text of a producer that is shown, in characters."""

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_UNSAFE = re.compile(r"[^A-Za-z0-9_=-]+")


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        uri: Where it is.
        key: The same, below the dataset's folder in the lake.
        verdict: ``attention`` where there is a reason.
        sentence: The verdict as a person would say it, such as ``Today is normal.``
        reasons: Why it needs attention, the gravest first.
    """

    uri: str
    key: str
    verdict: Verdict
    sentence: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    note: str = ""
    alert: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture with its heading and a line of explanation."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class Rule:
    """Rows that broke one rule; ``share`` is of the most frequent rule's."""

    name: str
    rows: int
    share: float


def write_report(
    dataset: Dataset,
    lake: Lake,
    run: str,
    receipts: Sequence[Receipt],
    history: Sequence[Receipt],
    now: datetime,
) -> Report:
    """Write the report of a run, and the same as ``reports/latest.html``.

    Args:
        dataset: Its dataset.
        lake: Where evaluations are read and the report is written.
        run: Name of the run; any text.
        receipts: Deliveries that this run decided.
        history: Accepted deliveries of the last 30 days, one per marker, with this run's.
        now: When the report is made (UTC): the end of every batch's way.
    """
    batches = _batches(lake, receipts, history)
    trend = _trend(dataset, lake, batches, history)
    judgement = judge(dataset, batches)
    page = _render(dataset, run, batches, trend, judgement, now).encode()
    key = f"reports/{slug(run)}.html"
    lake.store.put(key, page)
    lake.store.put(LATEST, page)
    return Report(
        uri=f"{lake.store.uri}/{key}",
        key=key,
        verdict=judgement.verdict,
        sentence=judgement.sentence,
        reasons=judgement.reasons,
    )


def slug(run: str) -> str:
    """A file name for a run that is safe anywhere and differs wherever the run does."""
    readable = _UNSAFE.sub("-", run).strip("-")[:80]
    digest = hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{readable or 'run'}.{digest}"


def _batches(lake: Lake, receipts: Sequence[Receipt], history: Sequence[Receipt]) -> list[Batch]:
    accepted = [receipt.batch_id for receipt in receipts if receipt.status == "accepted"]
    evaluations = dict(zip(accepted, lake.find_all(Evaluation, accepted), strict=True))
    predictions = dict(zip(accepted, lake.find_all(Predicted, accepted), strict=True))
    found = [
        Batch(receipt, evaluations.get(receipt.batch_id), predictions.get(receipt.batch_id))
        for receipt in receipts
    ]
    return mark_replaced(found, history)


def _trend(
    dataset: Dataset, lake: Lake, batches: Sequence[Batch], history: Sequence[Receipt]
) -> Trend:
    trend = Trend(history, batches, dataset.thresholds.psi_max)
    known = {batch.receipt.batch_id: batch.evaluation for batch in batches}
    others = [receipt.batch_id for receipt in trend.receipts if receipt.batch_id not in known]
    read = lake.find_all(Evaluation, others)
    for receipt in trend.receipts:
        is_known = receipt.batch_id in known
        trend.add(receipt, known[receipt.batch_id] if is_known else next(read))
    return trend


def _render(
    dataset: Dataset,
    run: str,
    batches: Sequence[Batch],
    trend: Trend,
    judgement: Judgement,
    now: datetime,
) -> str:
    counted = [batch for batch in batches if batch.counts]
    pool = _pool(counted)
    drift = worst_drift(counted, dataset.thresholds.psi_max)
    ranked = sorted(batches, key=_rank)
    return _template().render(
        dataset=dataset,
        run=run,
        now=now,
        judgement=judgement,
        tiles=_tiles(dataset, batches, counted, pool, drift, trend, now),
        shown=[(batch, _why(dataset, batch)) for batch in ranked[:BATCHES_SHOWN]],
        batch_count=len(batches),
        hidden=_hidden(ranked[BATCHES_SHOWN:]),
        rules=_rules(batches),
        score_figures=_score_figures(dataset, pool),
        pooled=pool.batches,
        drift=drift,
        by_batch=any(moved.usual is not None for moved in drift),
        line=MOVED if dataset.thresholds.psi_max is None else dataset.thresholds.psi_max,
        trend_figures=_trend_figures(dataset, trend),
        trend=trend,
        model_versions=sorted({b.evaluation.model_version for b in counted if b.evaluation}),
        flagfall=_version(),
        limits={
            "reasons": REASONS_SHOWN,
            "rules": RULES_SHOWN,
            "features": FEATURES_SHOWN,
            "ids": IDS_SHOWN,
        },
    )


def _pool(batches: Sequence[Batch]) -> Pool:
    pool = Pool()
    for batch in batches:
        if batch.evaluation is not None:
            pool.add(batch.evaluation)
    return pool


def _rank(batch: Batch) -> int:
    """What needs a look comes first; within that, the order of the run."""
    if batch.receipt.status == "rejected":
        return 1 if batch.replaced else 0
    if batch.evaluation is not None and batch.evaluation.alerts:
        return 2
    return 4 if batch.receipt.status == "unchanged" else 3


def _why(dataset: Dataset, batch: Batch) -> list[str]:
    """What there is to say of a batch, the reason of its rejection first."""
    receipt, told = batch.receipt, []
    if receipt.message:
        told.append(cut(receipt.message, TEXT_SHOWN))
    if batch.replaced:
        told.append("A later delivery of the same marker was accepted in its place.")
    elif receipt.supersedes and receipt.status == "accepted":
        told.append("Takes the place of an earlier delivery.")
    if batch.evaluation is not None and batch.evaluation.alerts:
        told.append(_alert_line(batch.evaluation.alerts))
    if batch.evaluation is None and batch.counts and dataset.model is not None:
        told.append("Not scored.")
    return told


def _alert_line(alerts: Sequence[str]) -> str:
    more = len(alerts) - ALERTS_SHOWN
    return "; ".join((*alerts[:ALERTS_SHOWN], *((f"{count(more)} more",) if more > 0 else ())))


def _hidden(batches: Sequence[Batch]) -> str:
    """What the table leaves out, in one sentence; empty where it leaves out nothing."""
    if not batches:
        return ""
    counts = Counter(batch.receipt.status for batch in batches)
    told = ", ".join(f"{count(number)} {status}" for status, number in sorted(counts.items()))
    rows = sum(batch.receipt.rows for batch in batches if batch.counts)
    return f"Not shown: {told}, with {count(rows)} accepted rows."


def _rules(batches: Sequence[Batch]) -> list[Rule]:
    total: Counter[str] = Counter()
    for batch in batches:
        total.update(batch.receipt.reasons)
    ordered = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    most = max(total.values(), default=1)
    return [Rule(name, rows, rows / most) for name, rows in ordered]


def _score_figures(dataset: Dataset, pool: Pool) -> list[Figure]:
    if dataset.model is None or not pool.scores.any():
        return []
    outcome = f"{_outcome(dataset)}, yes or no." if pool.labelled else "All scored rows."
    found = [
        Figure("Scores", outcome, plots.scores(pool.scores, dataset.model.threshold)),
    ]
    _, negative, positive = pool.scores
    if pool.auc is not None:
        note = "Further up and to the left is better."
        found.append(Figure("ROC curve", note, plots.roc_curve(negative, positive, pool.auc)))
    if pool.labelled:
        note = "The diagonal is perfect; 95% intervals."
        bins = calibration(negative, positive)
        found.append(Figure("Calibration", note, plots.calibration(bins)))
    return found


def _outcome(dataset: Dataset) -> str:
    assert dataset.label is not None, "only for datasets with a label"
    return dataset.label.title or dataset.label.expr


def _trend_figures(dataset: Dataset, trend: Trend) -> list[Figure]:
    periods, limits = trend.periods, dataset.thresholds
    if len(periods) < 2:
        return []
    found = []
    if any(period.pool.auc is not None for period in periods):
        svg = plots.auc_trend(periods, limits.auc_min)
        found.append(Figure("AUC", "Higher is better; 0.5 is chance.", svg))
    if any(period.pool.batches for period in periods):
        svg = plots.calibration_trend(periods)
        if dataset.label is not None:
            found.append(Figure("Calibration", "Mean score beside what really happened.", svg))
        else:
            found.append(Figure("Mean score", "Over all scored rows.", svg))
    if any(period.drift is not None for period in periods):
        note = "The feature nearest to its line, and the score."
        found.append(Figure("Drift", note, plots.drift_trend(periods)))
    rejected = plots.rejected_trend(periods, limits.rejected_share)
    return [
        *found,
        Figure("Rows accepted", "Of accepted batches.", plots.rows_trend(periods)),
        Figure("Rows rejected", "Share of the rows of accepted batches.", rejected),
        Figure("Marker to receipt", "The slowest batch.", plots.seconds_trend(periods)),
    ]


def _tiles(
    dataset: Dataset,
    batches: Sequence[Batch],
    counted: Sequence[Batch],
    pool: Pool,
    drift: Sequence[Moved],
    trend: Trend,
    now: datetime,
) -> list[Tile]:
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
    """Red for the Brier score as well: it has no tile, and calibration is what it adds to AUC."""
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
    threshold = dataset.model.threshold
    positives = share(sum(predicted.positives for predicted in scored) / rows)
    usual = _usual(trend, lambda period: period.pool.share_from(threshold), share)
    note = _joined([f"score {threshold:g} or more", usual])
    return [Tile("Predicted positive", positives, note)]


def _drift_tile(drift: Sequence[Moved], alerts: Sequence[str]) -> list[Tile]:
    if not drift:
        return []
    told = [moved for moved in drift if moved.ratio is not None]
    if not told:
        return [Tile("Largest drift", "–", "too few rows to tell")]
    nearest = told[0]
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


def visible(value: Any) -> Any:
    """Text with every character that cannot be seen, or that turns text around, as its number.

    Line breaks and tabs become spaces; what is no text, or is safe markup already, stays as it is.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(map(_visible_character, re.sub(r"[\t\r\n]+", " ", value)))


def _visible_character(character: str) -> str:
    if unicodedata.category(character) in _UNSEEN:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def told(text: str, length: int = TEXT_SHOWN) -> Markup:
    """Text of others, made safe and visible, cut, with dates that do not break across lines."""
    safe = str(escape(visible(cut(text, length))))
    return Markup(_DATE.sub(r'<span class="date">\g<0></span>', safe))  # safe: escaped just before


def count(number: float) -> str:
    """A whole number with thousands separated."""
    return f"{number:,.0f}"


def figure(number: float) -> str:
    """A figure with two decimals."""
    return f"{number:.2f}"


def share(part: float) -> str:
    """A share as a percentage; what is not quite 0 or 100% does not look like it."""
    percent = 100 * part
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.5 <= percent < 100:
        return f"{min(percent, 99.9):.1f}%"
    return f"{percent:.1f}%" if 0 < percent < 9.95 else f"{percent:.0f}%"


def seconds(time: float) -> str:
    """A time span in the unit that suits it."""
    if time < 60:
        return f"{time:.1f} s"
    for unit, size, limit in (("min", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if time < limit:
            return f"{time / size:.1f} {unit}"
    return f"{time / 86400:.1f} days"


def moment(time: datetime) -> str:
    """A moment in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _version() -> str:
    try:
        return version("flagfall")
    except PackageNotFoundError:
        return "from source, not installed"


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "cut": cut,
        "figure": figure,
        "moment": moment,
        "seconds": seconds,
        "share": share,
        "told": told,
    }
    return environment.get_template("report.html.j2")
