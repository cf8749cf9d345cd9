"""The first thing on a page: the day, how the feed stands on it, and what the run is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from flagfall.report.batches import Batch
from flagfall.verdict.facts import batch_date
from flagfall.verdict.verdict import Verdict
from flagfall.verdict.words import plural

_STANDS = {
    "normal": "normal",
    "attention": "needs attention",
    "failed": "failed",
    "unknown": "not known",
}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Headline:
    """What a page says first.

    Attributes:
        sentence: The day of the verdict, and how the feed stands on it.
        title: The same, short.
        tone: Colour of the band.
        why: More where there are no reasons; empty where there is no more to say.
        about: Which days the run's deliveries are of, and what became of them.
    """

    sentence: str
    title: str
    tone: Literal["normal", "attention", "quiet"]
    why: str
    about: str


def headline(verdict: Verdict, batches: Sequence[Batch]) -> Headline:
    """The headline of a run's page."""
    stands = _STANDS[verdict.word]
    is_old = bool(batches) and all(batch.receipt.status == "unchanged" for batch in batches)
    why, tone = "", "attention" if verdict.reasons else verdict.word
    if verdict.word == "unknown":
        why = verdict.sentence
    elif verdict.word == "normal" and is_old:
        why = f"Nothing new: {plural(len(batches), 'batch', 'batches')} came again unchanged."
    return Headline(
        sentence=f"{_in_words(verdict.day)}: {stands}",
        title=f"{stands.capitalize()} on {verdict.day}",
        tone="quiet" if why else ("attention" if tone == "attention" else "normal"),
        why=why,
        about=_about(batches),
    )


def _in_words(day: date) -> str:
    return f"{_WEEKDAYS[day.weekday()]}, {day.day} {_MONTHS[day.month - 1]} {day.year}"


def _about(batches: Sequence[Batch]) -> str:
    if not batches:
        return "Nothing came with this run."
    days = sorted({batch_date(batch.receipt) for batch in batches})
    span = str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]} ({len(days):,} days)"
    counts = Counter(batch.receipt.status for batch in batches)
    came = plural(len(batches), "batch", "batches")
    if len(counts) == 1:
        return f"Data of {span}: {came} {next(iter(counts))}."
    became = ", ".join(f"{counts[status]:,} {status}" for status in sorted(counts))
    return f"Data of {span}: {came}, {became}."
