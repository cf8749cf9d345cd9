"""How a feed stands: what has landed, what is pending, what was decided, what is late."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from flagfall.dataset import Dataset
from flagfall.inbox import Inbox
from flagfall.marker import Marker
from flagfall.receipts import current_view
from flagfall.records import Evaluation, Receipt

WINDOW = timedelta(days=30)
"""How far back receipts are counted."""


@dataclass(frozen=True)
class Status:
    """One feed at one moment.

    Attributes:
        landed: Markers in the landing zone.
        pending: Those without a receipt, oldest first.
        receipts: Receipts of markers that landed within ``WINDOW``, oldest first.
        unscored: Accepted deliveries that count and have no evaluation yet; 0 without a model.
        late: URI of the marker that should be there by now; ``None`` where none is late.
    """

    dataset: str
    landed: int
    pending: tuple[Marker, ...]
    receipts: tuple[Receipt, ...]
    unscored: int
    late: str | None

    @property
    def counts(self) -> Counter[str]:
        """Receipts by status."""
        return Counter(receipt.status for receipt in self.receipts)

    @property
    def oldest_pending(self) -> datetime | None:
        """When the oldest pending marker landed."""
        return self.pending[0].landed_at if self.pending else None


def status(dataset: Dataset, inbox: Inbox) -> Status:
    """Look at a feed. It changes nothing."""
    now = inbox.clock()
    receipts = inbox.receipts.since((now - WINDOW).date())
    return Status(
        dataset=dataset.name,
        landed=len(inbox.landing.entries()),
        pending=tuple(inbox.pending()),
        receipts=tuple(receipts),
        unscored=_unscored(dataset, inbox, receipts),
        late=late(dataset, inbox, now),
    )


def _unscored(dataset: Dataset, inbox: Inbox, receipts: list[Receipt]) -> int:
    if dataset.model is None:
        return 0
    evaluated = (inbox.lake.find(Evaluation, r.batch_id) for r in current_view(receipts))
    return sum(evaluation is None for evaluation in evaluated)


def late(dataset: Dataset, inbox: Inbox, now: datetime) -> str | None:
    """The marker that was due, and whose deadline has passed, if it is not there."""
    arrival = dataset.arrival
    if arrival.schedule is None:
        return None
    due = arrival.due_before(now - arrival.deadline)
    key = inbox.landing.pattern.fill(arrival.fields_at(due))
    return None if inbox.landing.find(key) else f"{inbox.landing.uri}/{key}"
