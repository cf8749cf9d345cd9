"""One verdict per feed and day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from flagfall.dataset.schema import Dataset
from flagfall.verdict.data import data_reasons, outcome_reasons
from flagfall.verdict.facts import Facts, judged
from flagfall.verdict.figures import known_figures
from flagfall.verdict.open import open_reasons
from flagfall.verdict.reason import Reason, Word
from flagfall.verdict.volume import volume_reasons
from flagfall.verdict.words import listed, plural

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
        unscored: Names of the judged deliveries that are not evaluated yet.
    """

    dataset: str
    at: datetime
    word: Word
    sentence: str
    reasons: tuple[Reason, ...] = ()
    unscored: tuple[str, ...] = ()

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
    return Verdict(dataset.name, facts.at, word, sentence, tuple(found), facts.unscored)


def _reasons(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    current = facts.current
    today = judged(current, facts.at)
    yield from open_reasons(dataset, facts)
    yield from data_reasons(dataset, today, facts.evaluations)
    learned = [receipt for receipt in current if receipt.batch_id in facts.learned]
    yield from outcome_reasons(dataset, learned, facts.learned)
    yield from volume_reasons(dataset, current, today, facts.at)


def _not_known(dataset: Dataset, facts: Facts) -> str:
    """Why nobody can say whether today is normal; empty where one can."""
    if not facts.receipts:
        return "nothing has come in the last 30 days"
    if all(receipt.status == "rejected" for receipt in facts.receipts):
        return "nothing that came in the last 30 days was accepted"
    if facts.unscored:
        return f"no scores yet of {listed(facts.unscored)}"
    return "" if dataset.model is None else _not_judged(dataset, facts)


def _not_judged(dataset: Dataset, facts: Facts) -> str:
    """Why nothing says whether a model is good today; empty where a threshold does."""
    values = dataset.thresholds.model_dump(exclude=set(_OF_THE_DATA))
    limits = {name for name, value in values.items() if value is not None}
    if not limits:
        return "the model has no thresholds, so nothing says whether it is good today"
    found = [*facts.evaluations.values(), *facts.learned.values()]
    if not found or any(limits & known_figures(dataset, one) for one in found):
        return ""
    names = ", ".join(sorted(limits))
    return f"no figure is known for {names}, so nothing says whether the model is good today"


def _enumerate(reasons: Sequence[str], shown: int = 2) -> str:
    more = len(reasons) - shown
    tail = (f"{plural(more, 'more reason', 'more reasons')} below",) if more > 0 else ()
    return "; ".join((*reasons[:shown], *tail))
