"""The quality of each day as it became known: after one day, after two, after a week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation, Look
from flagfall.report.formatting import figure, number, share
from flagfall.report.trend import Period, Trend

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
    shown = [period for period in trend.periods if period.looked][-DAYS:][::-1]
    evaluations = [one for period in shown for _, one in period.looked]
    if dataset.late_label is None or all(len(one.looks) < 2 for one in evaluations):
        return None
    columns = [days for days in AFTER if any(_changed(period, days) for period in shown)]
    lines = [(p.label, p.now, as_known_cells(p, columns, now)) for p in shown]
    heads = ["After 1 day" if days == 1 else f"After {days} days" for days in columns]
    return AsKnown(_QUALITY[evaluations[-1].task], heads, lines)


def _changed(period: Period, days: int) -> bool:
    """Whether a look fell between this column and the one before."""
    before = max((one for one in AFTER if one < days), default=-1)
    return any(
        timedelta(days=before) < look.at - landed <= timedelta(days=days)
        for landed, evaluation in period.looked
        for look in evaluation.looks
    )


def as_known_cells(period: Period, columns: Sequence[int], now: datetime) -> list[Known | None]:
    """What was known of a day after so many days each; ``None`` where that time has not begun."""
    cells: list[Known | None] = []
    before = (share(0), "")
    for days, earlier in zip(columns, (0, *columns), strict=False):
        if now - min(landed for landed, _ in period.looked) < timedelta(days=earlier):
            cells.append(None)
            continue
        words = _at(period, timedelta(days=days))
        cells.append(Known(*words, is_news=words != before))
        before = words
    return cells


def _at(period: Period, age: timedelta) -> tuple[str, str]:
    """Share and quality by the last looks until then; a mean over batches, by known rows."""
    rows = sum(evaluation.rows for _, evaluation in period.looked)
    found = [(_last(evaluation, landed + age), evaluation) for landed, evaluation in period.looked]
    looks = [(look, evaluation) for look, evaluation in found if look is not None]
    known = sum(look.labelled for look, _ in looks)
    judged = [(look.quality, look.labelled) for look, _ in looks if look.quality is not None]
    weight = sum(labelled for _, labelled in judged)
    shown = number if any(one.regression for _, one in period.looked) else figure
    quality = sum(value * labelled for value, labelled in judged) / weight if weight else None
    return share(known / rows) if rows else "", "" if quality is None else shown(quality)


def _last(evaluation: Evaluation, until: datetime) -> Look | None:
    return next((look for look in reversed(evaluation.looks) if look.at <= until), None)
