"""Parts of a page, and how their notes are worded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flagfall.lake.records import Evaluation
from flagfall.report.trend import Period, Trend


@dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    note: str = ""
    alert: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture with its heading and a line of explanation."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class Column:
    """The column of the table of batches that says how good one was.

    Attributes:
        name: Its heading.
        of: The figure of a batch in words; empty where it has none.
    """

    name: str
    of: Callable[[Evaluation], str]


@dataclass(frozen=True)
class Series:
    """A figure of each day, or batch.

    Attributes:
        shown: Writes it in words.
        of: The figure of one; ``None`` where it has none.
    """

    name: str
    shown: Callable[[float], str]
    of: Callable[[Period], float | None]

    def __call__(self, period: Period) -> str:
        """The figure of a day in words; empty where it has none."""
        value = self.of(period)
        return "" if value is None else self.shown(value)


@dataclass(frozen=True)
class Word:
    """A word of the page, and what it means."""

    name: str
    meaning: str


def usual(trend: Trend, of: Callable[[Period], float | None], shown: Callable[[float], str]) -> str:
    """The median of the days before, in words; empty where there are too few of them."""
    found = trend.median(of)
    if found is None:
        return ""
    return f"{'30-day median' if trend.by_day else 'median before'} {shown(found)}"


def joined(notes: Sequence[str]) -> str:
    """Notes in one line."""
    return "; ".join(note for note in notes if note)


def alerted(alerts: Sequence[str], start: str) -> bool:
    """Whether one of the alerts begins so."""
    return any(alert.startswith(start) for alert in alerts)


def pooled_over(batches: int) -> str:
    """That a figure is of several batches; empty for one."""
    return f"pooled over {batches:,} batches" if batches > 1 else ""
