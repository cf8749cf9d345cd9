"""One verdict per feed and day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import Thresholds
from flagfall.verdict.data import data_reasons
from flagfall.verdict.facts import Facts, judged
from flagfall.verdict.open import open_reasons
from flagfall.verdict.reason import Reason, Word
from flagfall.verdict.volume import volume_reasons
from flagfall.verdict.words import plural

NORMAL = "Today is normal."
_STARTS = {"failed": "Failed", "attention": "Needs attention", "unknown": "Not known"}
_OF_THE_DATA = frozenset(
    {"rejected_share", "rows_low", "rows_high", "missing_rise", "unknown_rise"}
    | {"vanished_rows", "stale_after"}
)
"""Thresholds that say nothing of how good a model is."""


@dataclass(frozen=True)
class Verdict:
    """How a feed stands on a day.

    Attributes:
        dataset: Name of the feed.
        at: When it was judged (UTC).
        word: ``failed`` where the pipeline does not do its work, ``attention`` where the data are
            not as they should be, ``unknown`` where there is nothing to judge by.
        sentence: The verdict as a person would say it.
        reasons: Why it is not normal, the one with most weight first.
    """

    dataset: str
    at: datetime
    word: Word
    sentence: str
    reasons: tuple[Reason, ...] = ()

    @property
    def day(self) -> date:
        """The day that it is of (UTC)."""
        return self.at.astimezone(UTC).date()

    @property
    def lines(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(reason.what for reason in self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "dataset": self.dataset,
            "day": self.day.isoformat(),
            "at": self.at.isoformat(),
            "verdict": self.word,
            "sentence": self.sentence,
            "reasons": [reason.to_dict() for reason in self.reasons],
        }


def judge(dataset: Dataset, facts: Facts) -> Verdict:
    """Judge a feed by what is known of it (see ``look``)."""
    found = sorted(_reasons(dataset, facts), key=lambda reason: reason.weight)
    word: Word
    if found:
        word = "failed" if found[0].grade == "failed" else "attention"
        sentence = f"{_STARTS[word]}: {_enumerate([reason.what for reason in found])}."
    elif why := _not_known(dataset, facts):
        word, sentence = "unknown", f"{_STARTS['unknown']}: {why}."
    else:
        word, sentence = "normal", NORMAL
    return Verdict(dataset.name, facts.at, word, sentence, tuple(found))


def _reasons(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    current = facts.current
    today = judged(current, facts.at)
    yield from open_reasons(dataset, facts)
    yield from data_reasons(dataset, today, facts.evaluations)
    yield from volume_reasons(dataset, current, today, facts.at)


def _not_known(dataset: Dataset, facts: Facts) -> str:
    """Why nobody can say whether today is normal; empty where one can."""
    if not facts.receipts:
        return "nothing has come in the last 30 days"
    if dataset.model is not None and not _judges_models(dataset.thresholds):
        return "the model has no thresholds, so nothing says whether it is good today"
    return ""


def _judges_models(thresholds: Thresholds) -> bool:
    values = thresholds.model_dump(exclude=set(_OF_THE_DATA))
    return any(value is not None for value in values.values())


def _enumerate(reasons: Sequence[str], shown: int = 2) -> str:
    more = len(reasons) - shown
    tail = (f"{plural(more, 'more reason', 'more reasons')} below",) if more > 0 else ()
    return "; ".join((*reasons[:shown], *tail))
