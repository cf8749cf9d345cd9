"""The verdict of a run, in words. Needs no page, no plot and no storage."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from flagfall.dataset.schema import Dataset
from flagfall.report.batches import Batch
from flagfall.report.formatting import cut, plural
from flagfall.scoring.drift import DRIFT_OF

NAME_SHOWN = 40
"""Longest name in a reason, in characters."""

Verdict = Literal["normal", "attention"]


@dataclass(frozen=True)
class Judgement:
    """Whether today is normal.

    Attributes:
        verdict: ``attention`` where there is a reason.
        sentence: The verdict as a person would say it.
        reasons: One short sentence each, the gravest first.
    """

    verdict: Verdict
    sentence: str
    reasons: tuple[str, ...]


def judge(dataset: Dataset, batches: Sequence[Batch]) -> Judgement:
    """Decide whether a run's deliveries are normal."""
    reasons = (
        *_rejections(batches),
        *_not_scored(dataset, batches),
        *_empty(batches),
        *_alerts(batches),
    )
    if reasons:
        return Judgement("attention", f"Needs attention: {_enumerate(reasons)}.", reasons)
    return Judgement("normal", _calm(batches), ())


def _calm(batches: Sequence[Batch]) -> str:
    if not batches:
        return "Nothing came in this run."
    if all(batch.receipt.status == "unchanged" for batch in batches):
        return f"Nothing new: {plural(len(batches), 'batch', 'batches')} came again unchanged."
    return "Today is normal."


def _enumerate(reasons: Sequence[str], shown: int = 2) -> str:
    more = len(reasons) - shown
    tail = (f"{plural(more, 'more reason', 'more reasons')} below",) if more > 0 else ()
    return "; ".join((*reasons[:shown], *tail))


def _rejections(batches: Sequence[Batch]) -> Iterable[str]:
    new = [b for b in batches if b.receipt.status != "unchanged" and not b.replaced]
    count = sum(batch.receipt.status == "rejected" for batch in new)
    if count and len(new) == 1:
        yield "the batch was rejected"
    elif count:
        yield f"{count:,} of {len(new):,} batches {'was' if count == 1 else 'were'} rejected"


def _not_scored(dataset: Dataset, batches: Sequence[Batch]) -> Iterable[str]:
    if dataset.model is None:
        return
    count = sum(batch.counts and batch.evaluation is None for batch in batches)
    if count:
        yield f"{plural(count, 'accepted batch was', 'accepted batches were')} not scored"


def _empty(batches: Sequence[Batch]) -> Iterable[str]:
    empty = [batch for batch in batches if batch.counts and not batch.receipt.rows]
    if len(empty) == 1:
        yield f"{cut(empty[0].label, NAME_SHOWN)} has no rows"
    elif empty:
        yield f"{len(empty):,} batches have no rows"


def _alerts(batches: Sequence[Batch]) -> list[str]:
    """Alerts; several of one kind become one, with a number of batches instead of a figure."""
    counted = [batch for batch in batches if batch.counts]
    found = [
        (batch.label, alert)
        for batch in counted
        if batch.evaluation is not None
        for alert in batch.evaluation.alerts
    ]
    drifted = list(dict.fromkeys(_kind(alert) for _, alert in found if _is_drift(alert)))
    if len(drifted) > 1:
        found = [(label, alert) for label, alert in found if not _is_drift(alert)]
    times = Counter(_kind(alert) for _, alert in found)
    alerts = {
        _kind(alert): _with_count(label, alert, times, len(counted)) for label, alert in found
    }
    return [*alerts.values(), *_drifted(drifted)]


def _with_count(label: str, alert: str, times: Counter[str], batches: int) -> str:
    kind = _kind(alert)
    if times[kind] > 1:
        return f"{kind} in {times[kind]:,} of {batches:,} batches"
    return alert if batches == 1 else f"{alert} ({cut(label, NAME_SHOWN)})"


def _drifted(kinds: Sequence[str], shown: int = 3) -> Iterable[str]:
    """One sentence for all drifted features, if there are two or more."""
    if len(kinds) < 2:
        return
    features = [kind.removeprefix(DRIFT_OF).rpartition(" is above ")[0] for kind in kinds]
    names = [cut(feature, NAME_SHOWN) for feature in features]
    more = len(names) - shown
    tail = f" and {more:,} more" if more > 0 else ""
    yield f"{len(names):,} features have drifted: {', '.join(names[:shown])}{tail}"


def _is_drift(alert: str) -> bool:
    return alert.startswith(DRIFT_OF)


def _kind(alert: str) -> str:
    return re.sub(r" -?[\d.]+ (is (?:(?:above|below) -?[\d.]+|worse than .*))$", r" \1", alert)
