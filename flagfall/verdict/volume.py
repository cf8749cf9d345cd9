"""Reasons of how much comes, and when: rows against the same weekday's history, and freshness.

The defaults in ``Thresholds`` find the usual accidents without being set. On the year of flights
(``sandbox/flights.py``; 344 days with enough history) they would have alerted twice, on
Thanksgiving and on the day after. They would have found a day without Newark's flights in 99.7% of
cases, without JFK's in 98.3%, without LaGuardia's in 93.9%, half of a day in all, and a day that
came doubled in 99.7%. ``rows_low: 0.8`` would have alerted six times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import sqrt
from statistics import median

from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import Receipt
from flagfall.verdict.facts import batch_date, is_to_come
from flagfall.verdict.reason import Reason
from flagfall.verdict.words import minute, plural

WEEKS = 4
WEEKDAYS = 3
"""Weeks that are looked back, and how many of them need to have had the weekday."""
GAPS = 3
"""Gaps between days that freshness needs to know what is usual."""
CLEARLY = 4.0
"""Standard deviations of a count (its square root) from which on chance is no explanation."""


def volume_reasons(
    dataset: Dataset, current: Sequence[Receipt], judged: Sequence[Receipt], now: datetime
) -> Iterator[Reason]:
    """What is unusual about how much came, and when.

    Args:
        dataset: The dataset.
        current: The deliveries of the last 30 days that count.
        judged: Those of them that the verdict is about.
        now: When it is judged (UTC).
    """
    by_day: dict[date, list[Receipt]] = {}
    for receipt in current:
        by_day.setdefault(batch_date(receipt), []).append(receipt)
    newest = max((day for day in by_day if not is_to_come(day, now)), default=date.min)
    for day in sorted({batch_date(receipt) for receipt in judged}):
        yield from _rows(dataset.thresholds, by_day, day, day < newest)
    if dataset.arrival.schedule is None:
        yield from _stale(dataset.thresholds, current, now)


def unusual(thresholds: Thresholds, rows: int, history: Sequence[int]) -> str:
    """Whether a day has ``fewer`` or ``more`` rows than the same weekday had; else empty.

    It is outside of what the weekday ever had, beyond a share of its median, and by more than
    chance explains.
    """
    if len(history) < WEEKDAYS:
        return ""
    usual = median(history)
    if abs(rows - usual) <= CLEARLY * sqrt(usual):
        return ""
    low, high = thresholds.rows_low, thresholds.rows_high
    if low is not None and rows < min(low * usual, min(history)):
        return "fewer"
    if high is not None and rows > max(high * usual, max(history)):
        return "more"
    return ""


def _rows(
    thresholds: Thresholds, by_day: dict[date, list[Receipt]], day: date, is_over: bool
) -> Iterator[Reason]:
    before = [day - timedelta(weeks=back) for back in range(1, WEEKS + 1)]
    known = [by_day[one] for one in before if one in by_day]
    rows, history = _sum(by_day[day]), [_sum(receipts) for receipts in known]
    found = unusual(thresholds, rows, history)
    if not found:
        return
    is_whole = is_over or len(by_day[day]) >= median(map(len, known))
    if found == "fewer" and not is_whole:
        return  # more batches of the day may come
    yield Reason(
        kind="rows",
        what=(
            f"{day} has {plural(rows, 'row', 'rows')}, {found} than on the last"
            f" {len(history)} {day:%A}s (median {median(history):,.0f})"
        ),
        where=tuple(receipt.marker.label for receipt in by_day[day]),
        since=min(receipt.received_at for receipt in by_day[day]),
        remedy="ask the producer whether something was left out, or came twice",
        keys=(f"rows/{day}/{found}",),
    )


def _sum(receipts: Sequence[Receipt]) -> int:
    return sum(receipt.rows for receipt in receipts)


def _stale(thresholds: Thresholds, current: Sequence[Receipt], now: datetime) -> Iterator[Reason]:
    """Freshness: for how long no newer day has come. A batch of an older day changes nothing."""
    if thresholds.stale_after is None:
        return
    steps = _steps(current)
    if len(steps) <= GAPS:
        return
    longest = max(later - earlier for earlier, later in pairwise(steps))
    if now - steps[-1] > thresholds.stale_after * max(longest, timedelta(hours=1)):
        yield Reason(
            kind="stale",
            what=f"nothing newer has come since {minute(steps[-1])}; the longest pause was"
            f" {_span(longest)}",
            where=(),
            since=steps[-1],
            remedy="ask the producer; `arrival.schedule` says when a batch is due",
            keys=(f"stale/{steps[-1].isoformat()}",),
        )


def _steps(current: Sequence[Receipt]) -> list[datetime]:
    """When the first batch of each newer day landed."""
    newest, steps = date.min, []
    for receipt in sorted(current, key=lambda one: one.marker.delivered_at):
        day, delivered_at = batch_date(receipt), receipt.marker.delivered_at
        if day > newest and not is_to_come(day, delivered_at):
            newest = day
            steps.append(delivered_at)
    return steps


def _span(gap: timedelta) -> str:
    hours = gap.total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.1f} days"
