"""The quality of each day as it became known: after one day, after two, after a week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation, Look
from flagfall.report.formatting import figure, number, share
from flagfall.report.trend import Period, Scored, Trend

AFTER = (1, 2, 3, 7, 14, 30, 60, 90)
"""Days after a batch landed."""
DAYS = 10
"""Days that are shown, the newest ones."""
_QUALITY = {"binary": "AUC", "multiclass": "Accuracy", "regression": "MAE", "anomaly": "AUC"}


@dataclass(frozen=True)
class Known:
    """What was known at a time.

    Attributes:
        known: Share of the rows.
        quality: By these rows, in words; empty where they do not say.
        is_news: Whether it is another share or quality than in the column before.
    """

    known: str
    quality: str
    is_news: bool


@dataclass(frozen=True)
class AsKnown:
    """The table.

    Attributes:
        quality: Name of the figure.
        heads: Names of the columns after the day's.
        lines: A day or batch, whether a delivery of this run is in it, and what was known in each
            column; ``None`` where that time has not come.
    """

    quality: str
    heads: Sequence[str]
    lines: Sequence[tuple[str, bool, Sequence[Known | None]]]


def as_known(dataset: Dataset, trend: Trend, now: datetime) -> AsKnown | None:
    """The table; ``None`` where nothing was looked at more than once, so there is no history."""
    shown = [period for period in trend.periods if _looked(period)][-DAYS:][::-1]
    evaluations = [one for period in shown for one in _looked(period)]
    if dataset.late_label is None or all(len(one.looks) < 2 for one in evaluations):
        return None
    columns = [days for days in AFTER if any(_changed(period, days) for period in shown)]
    lines = [(p.label, p.now, as_known_cells(p, columns, now)) for p in shown]
    heads = ["After 1 day" if days == 1 else f"After {days} days" for days in columns]
    return AsKnown(_QUALITY[evaluations[-1].task], heads, lines)


def _looked(period: Period) -> list[Evaluation]:
    """Of its batches with outcomes that came later."""
    return [one.evaluation for one in period.scored if one.evaluation.looks]


def _changed(period: Period, days: int) -> bool:
    """Whether a look fell between this column and the one before."""
    before = max((one for one in AFTER if one < days), default=-1)
    return any(
        timedelta(days=before) < look.at - one.delivered <= timedelta(days=days)
        for one in period.scored
        for look in one.evaluation.looks
    )


def as_known_cells(period: Period, columns: Sequence[int], now: datetime) -> list[Known | None]:
    """What was known of a day after so many days each.

    ``None`` where that time has not begun, or was over before anything was scored, as of a replay.
    """
    cells: list[Known | None] = []
    before = (share(0), "")
    for days, earlier in zip(columns, (0, *columns), strict=False):
        age = timedelta(days=days)
        there = [one for one in period.scored if one.received <= one.delivered + age]
        first = min((one.delivered for one in there), default=now)
        if not there or now - first < timedelta(days=earlier):
            cells.append(None)
            continue
        words = _at(there, age)
        cells.append(Known(*words, is_news=words != before))
        before = words
    return cells


def _at(scored: Sequence[Scored], age: timedelta) -> tuple[str, str]:
    """Share and quality by the last looks until then; a mean over batches, by known rows."""
    rows = sum(one.evaluation.rows for one in scored)
    looks = [look for one in scored if (look := _last(one, age)) is not None]
    known = sum(look.labelled for look in looks)
    judged = [(look.quality, look.labelled) for look in looks if look.quality is not None]
    weight = sum(labelled for _, labelled in judged)
    shown = number if any(one.evaluation.regression for one in scored) else figure
    quality = sum(value * labelled for value, labelled in judged) / weight if weight else None
    return share(known / rows) if rows else "", "" if quality is None else shown(quality)


def _last(one: Scored, age: timedelta) -> Look | None:
    looks = reversed(one.evaluation.looks)
    return next((look for look in looks if look.at <= one.delivered + age), None)
