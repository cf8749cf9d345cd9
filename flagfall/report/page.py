"""The page: one HTML file per run, which shows at a glance whether today is normal.

The page loads nothing and runs nothing: it has no script, and its content security policy allows
only its own styles. All text of producers and dataset files is escaped. Characters that are
invisible, or change the text's direction, are shown as numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Template

from flagfall.dataset.schema import Dataset
from flagfall.lake.outcomes import with_outcomes
from flagfall.lake.output import LATEST, Lake
from flagfall.lake.records import Evaluation, Predicted, Receipt
from flagfall.report.as_known import as_known
from flagfall.report.batches import Batch, mark_replaced
from flagfall.report.challenger import beside
from flagfall.report.drift_table import DriftTable
from flagfall.report.due import slug
from flagfall.report.figures import trend_pictures, trend_values
from flagfall.report.formatting import (
    TEXT_SHOWN,
    count,
    environment_of,
    figure,
    moment,
    safe_text,
    seconds,
    share,
)
from flagfall.report.headline import headline
from flagfall.report.kinds import kind_of
from flagfall.report.known import closed_before, known_of
from flagfall.report.pooled import Pool
from flagfall.report.tiles import rows_read, tiles
from flagfall.report.trend import Trend
from flagfall.report.where import model_versions, places
from flagfall.report.worst_drift import worst_drift
from flagfall.verdict.reason import Reason
from flagfall.verdict.verdict import Verdict
from flagfall.verdict.words import cut, minute, percent

BATCHES_SHOWN = 40
ALERTS_SHOWN = 4
RULES_SHOWN = 12
REASONS_SHOWN = 8
DETAILS_SHOWN = 3
IDS_SHOWN = 20

_LIMITS = {
    "reasons": REASONS_SHOWN,
    "rules": RULES_SHOWN,
    "ids": IDS_SHOWN,
}


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        uri: Where it is.
        key: The same, below the dataset's folder in the lake.
        verdict: Of the feed, when the report was written.
        batches: Deliveries of the run by status.
    """

    uri: str
    key: str
    verdict: Verdict
    batches: Mapping[str, int]


@dataclass(frozen=True)
class Rule:
    """Rows that broke one rule.

    Attributes:
        share: Of all rows that were read; ``None`` where nobody knows how many these are.
    """

    name: str
    rows: int
    share: float | None


def write_report(
    dataset: Dataset,
    lake: Lake,
    run: str,
    receipts: Sequence[Receipt],
    history: Sequence[Receipt],
    verdict: Verdict,
    is_latest: bool = True,
    run_link: str = "",
    known: Mapping[str, Evaluation] = MappingProxyType({}),
) -> Report:
    """Write the report of a run, and the same as ``reports/latest.html``.

    Args:
        dataset: Its dataset.
        lake: Where evaluations are read and the report is written.
        run: Name of the run; any text.
        receipts: Deliveries that this run decided.
        history: Accepted deliveries of the last 30 days, one per marker, with this run's.
        verdict: Of the feed, now. The time from marker to report ends then.
        is_latest: Whether the report replaces ``latest.html``.
        run_link: Where the run itself can be seen; empty where nobody knows.
        known: Evaluations that were read already, by batch id.
    """
    batches = _batches(dataset, lake, receipts, history, known)
    trend = _trend(dataset, lake, batches, history, verdict.at)
    page = _render(dataset, lake, run, batches, trend, verdict, run_link).encode()
    key = f"reports/{slug(run)}.html"
    lake.store.put(key, page)
    if is_latest:
        lake.store.put(LATEST, page)
    return Report(uri=f"{lake.store.uri}/{key}", key=key, verdict=verdict, batches=_counts(batches))


def _counts(batches: Sequence[Batch]) -> Mapping[str, int]:
    return Counter(batch.receipt.status for batch in batches)


def _batches(
    dataset: Dataset,
    lake: Lake,
    receipts: Sequence[Receipt],
    history: Sequence[Receipt],
    known: Mapping[str, Evaluation],
) -> list[Batch]:
    has_model = dataset.model is not None
    accepted = [one.batch_id for one in receipts if has_model and one.status == "accepted"]
    unread = [batch_id for batch_id in accepted if batch_id not in known]
    read = dict(zip(unread, lake.find_all(Evaluation, unread), strict=True))
    scored = {name: one for name, one in {**read, **known}.items() if one is not None}
    evaluations = with_outcomes(dataset, lake, receipts, scored)
    predictions = dict(zip(accepted, lake.find_all(Predicted, accepted), strict=True))
    found = [
        Batch(receipt, evaluations.get(receipt.batch_id), predictions.get(receipt.batch_id))
        for receipt in receipts
    ]
    return mark_replaced(found, history)


def _trend(
    dataset: Dataset,
    lake: Lake,
    batches: Sequence[Batch],
    history: Sequence[Receipt],
    now: datetime,
) -> Trend:
    trend = Trend(history, batches, dataset.thresholds.psi_max, closed_before(dataset, now))
    known = {batch.receipt.batch_id: batch.evaluation for batch in batches}
    others = [receipt for receipt in trend.receipts if receipt.batch_id not in known]
    nothing: Iterator[Evaluation | None] = iter([None] * len(others))
    read = lake.evaluations(others, skip_damaged=True) if dataset.model is not None else nothing
    if dataset.late_label is not None:  # else evaluations are not all in memory at once
        found = zip(others, read, strict=True)
        scored = {receipt.batch_id: one for receipt, one in found if one is not None}
        known |= {**scored, **with_outcomes(dataset, lake, others, scored)}
        read = nothing
    for receipt in trend.receipts:
        is_known = receipt.batch_id in known
        trend.add(receipt, known[receipt.batch_id] if is_known else next(read))
    return trend


def _render(
    dataset: Dataset,
    lake: Lake,
    run: str,
    batches: Sequence[Batch],
    trend: Trend,
    verdict: Verdict,
    run_link: str,
) -> str:
    counted = [batch for batch in batches if batch.counts]
    pool = Pool.of(batch.evaluation for batch in counted)
    kind = kind_of(dataset, counted)
    drift = worst_drift(counted, dataset.thresholds)
    return _template().render(
        dataset=dataset,
        run=run,
        now=verdict.at,
        verdict=verdict,
        headline=headline(verdict, batches),
        run_link=run_link if run_link.startswith(("http://", "https://")) else "",
        tiles=tiles(dataset, kind, batches, counted, pool, drift, trend, verdict),
        rules=_rules(batches),
        places=places(dataset, lake, batches),
        versions=model_versions(batches),
        kind=kind,
        column=kind.column(dataset) if dataset.model else None,
        words=kind.words(dataset),
        score_figures=kind.pictures(dataset, pool),
        pooled=pool.batches,
        challenger=beside(dataset, lake, kind, counted, trend),
        trend_figures=trend_pictures(dataset, kind, trend),
        trend_values=trend_values(dataset, kind, trend),
        trend=trend,
        as_known=as_known(dataset, trend, verdict.at),
        flagfall=_version(),
        limits=_LIMITS,
        **_batch_table(dataset, batches),
        drift=DriftTable.of(dataset.thresholds, drift),
    )


def _batch_table(dataset: Dataset, batches: Sequence[Batch]) -> dict[str, Any]:
    ranked = sorted(batches, key=_rank)
    return {
        "shown": [(batch, _why(dataset, batch)) for batch in ranked[:BATCHES_SHOWN]],
        "batch_count": len(batches),
        "hidden": _hidden(ranked[BATCHES_SHOWN:]),
    }


def _rank(batch: Batch) -> int:
    """Sort key: batches that need a look come first."""
    if batch.receipt.status == "rejected":
        return 1 if batch.replaced else 0
    if batch.receipt.left_out.files or (batch.evaluation and batch.evaluation.alerts):
        return 2
    return 4 if batch.receipt.status == "unchanged" else 3


def _why(dataset: Dataset, batch: Batch) -> list[str]:
    """Notes on a batch; the reason of its rejection comes first."""
    receipt, found = batch.receipt, []
    if receipt.message:
        found.append(cut(receipt.message, TEXT_SHOWN))
    for more in (receipt.left_out.sentence(), receipt.remarks):
        if more:
            found.append(cut(more, TEXT_SHOWN))
    if batch.replaced:
        found.append("A later delivery of the same marker was accepted in its place.")
    elif receipt.supersedes and receipt.status == "accepted":
        found.append("Takes the place of an earlier delivery.")
    if batch.evaluation is not None and batch.evaluation.alerts:
        found.append(_alert_line(batch.evaluation.alerts))
    if dataset.late_label is not None and batch.evaluation is not None and batch.counts:
        found.append(f"Outcomes known of {known_of(batch.evaluation)} rows.")
    if batch.evaluation is None and batch.counts and dataset.model is not None:
        found.append("Scored, and not evaluated." if batch.predicted else "Not scored.")
    return found


def _alert_line(alerts: Sequence[str]) -> str:
    more = len(alerts) - ALERTS_SHOWN
    return "; ".join((*alerts[:ALERTS_SHOWN], *((f"{count(more)} more",) if more > 0 else ())))


def _hidden(batches: Sequence[Batch]) -> str:
    """A sentence on the batches that the table leaves out; empty if there are none."""
    if not batches:
        return ""
    counts = Counter(batch.receipt.status for batch in batches)
    found = ", ".join(f"{count(number)} {status}" for status, number in sorted(counts.items()))
    rows = sum(batch.receipt.rows for batch in batches if batch.counts)
    return f"Not shown: {found}, with {count(rows)} accepted rows."


def _rules(batches: Sequence[Batch]) -> list[Rule]:
    total: Counter[str] = Counter()
    for batch in batches:
        total.update(batch.receipt.reasons)
    ordered = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    read = rows_read(batches)
    return [Rule(name, rows, rows / read if read else None) for name, rows in ordered]


def _details(reason: Reason) -> tuple[str, ...]:
    """What a reason does not say already: each batch with its message, or its figures."""
    is_more = reason.kind in ("rejected", "task") or len(reason.details) > 1
    return reason.details[:DETAILS_SHOWN] if is_more else ()


def _version() -> str:
    try:
        return version("flagfall")
    except PackageNotFoundError:
        return "from source, not installed"


@cache
def _template() -> Template:
    environment = environment_of(Path(__file__).parent)
    environment.filters |= {
        "count": count,
        "cut": cut,
        "details": _details,
        "figure": figure,
        "minute": minute,
        "moment": moment,
        "percent": percent,
        "seconds": seconds,
        "share": share,
        "safe_text": safe_text,
    }
    return environment.get_template("report.html.j2")
