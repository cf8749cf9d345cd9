"""How much is known of outcomes that another feed brings, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation
from flagfall.report.batches import Batch
from flagfall.report.formatting import count, share
from flagfall.report.parts import Series, Tile, joined
from flagfall.report.trend import Period


def closed_before(dataset: Dataset, now: datetime) -> datetime | None:
    """Batches that were delivered until then wait for no outcomes any more.

    Returns:
        ``None`` where batches have their outcomes, so none is waited for.
    """
    return None if dataset.late_label is None else now - dataset.late_label.within


def known_of(evaluation: Evaluation) -> str:
    """Rows with a known outcome, of all that were scored."""
    return f"{count(evaluation.labelled)} of {count(evaluation.rows)}"


def late_tile(counted: Sequence[Batch], closed: datetime | None) -> list[Tile]:
    """How much is known of the batches of a run.

    Args:
        counted: Those that count.
        closed: See ``closed_before``.
    """
    tally = _Tally()
    for batch in counted:
        if batch.evaluation is not None:
            at = batch.receipt.marker.delivered_at
            tally.add(batch.evaluation, is_over=closed is not None and at <= closed)
    if not tally.rows:
        return []
    return [Tile("Outcomes known", share(tally.known / tally.rows), tally.note)]


@dataclass
class _Tally:
    rows: int = 0
    known: int = 0
    never: int = 0

    def add(self, evaluation: Evaluation, is_over: bool) -> None:
        self.rows += evaluation.rows
        self.known += evaluation.labelled
        self.never += evaluation.rows - evaluation.labelled if is_over else 0

    @property
    def note(self) -> str:
        waiting = self.rows - self.known - self.never
        parts = [
            f"{count(self.known)} of {count(self.rows)} rows",
            f"{count(waiting)} may still come" if waiting else "",
            f"{count(self.never)} never came" if self.never else "",
        ]
        return joined(parts)


class _Known(Series):
    """Rows whose outcome is known, of a day or batch."""

    def __call__(self, period: Period) -> str:
        """In words; empty where nothing was scored."""
        if not period.pool.batches:
            return ""
        never = f"; {count(period.never)} never came" if period.never else ""
        return f"{count(period.pool.labelled)} of {count(period.rows)}{never}"


def _share(period: Period) -> float | None:
    return period.pool.labelled / period.rows if period.rows else None


KNOWN = _Known("Outcomes known", share, _share)
"""The column of the table of days."""
