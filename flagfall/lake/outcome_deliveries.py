"""Which deliveries of outcomes count for a batch: those of a time around the batch's own.

A batch and a delivery of outcomes have the time at which their producers delivered them, however
often they were handed out again. So a replay, by another model or other rules, is joined to the
same outcomes as before, and the order of deliveries stays. What happens after the time of a batch
changes nothing for it: neither outcomes, nor a correction of outcomes that came in time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flagfall.lake.receipts import delivery_order
from flagfall.lake.records import Receipt

_Delivered = tuple[str, datetime]
"""Key of a marker, and when it was delivered: the same for all replays of a delivery."""


@dataclass(frozen=True)
class Window:
    """The time of which outcomes count for a batch (UTC), both ends included."""

    since: datetime
    until: datetime

    @classmethod
    def of(cls, batch: Receipt, within: timedelta) -> Window:
        """From ``within`` before a batch was delivered to as long after."""
        at = batch.marker.delivered_at
        return cls(at - within, at + within)


@dataclass(frozen=True)
class OutcomeDelivery:
    """An accepted delivery of outcomes.

    Attributes:
        receipt: Its receipt.
        replaced_at: When a delivery came that superseded it; ``None`` where none did.
        replaces: Ids of the earlier deliveries of its marker.
    """

    receipt: Receipt
    replaced_at: datetime | None = None
    replaces: tuple[str, ...] = ()

    def counts_in(self, window: Window) -> bool:
        """Whether its outcomes count for the batch of a window."""
        if not window.since <= self.receipt.marker.delivered_at <= window.until:
            return False
        return self.replaced_at is None or self.replaced_at > window.until


def outcome_deliveries(receipts: Iterable[Receipt]) -> list[OutcomeDelivery]:
    """Those with rows, in the order in which their producer delivered them.

    On S3 several land in one second: of these, the one that was received first comes first.
    """
    markers: defaultdict[str, list[Receipt]] = defaultdict(list)
    received: dict[_Delivered, datetime] = {}
    for receipt in receipts:
        delivered = _delivered(receipt)
        received[delivered] = min(receipt.received_at, received.get(delivered, receipt.received_at))
        if receipt.status == "accepted":
            markers[receipt.marker.key].append(receipt)
    found = [one for of_marker in markers.values() for one in _of_marker(of_marker)]
    return sorted(found, key=lambda one: _order(one.receipt, received))


def _of_marker(receipts: Sequence[Receipt]) -> list[OutcomeDelivery]:
    ordered = sorted(receipts, key=delivery_order)
    found = []
    for place, receipt in enumerate(ordered):
        later = (one.marker.delivered_at for one in ordered[place + 1 :])
        if receipt.rows:
            replaces = tuple(one.batch_id for one in ordered[:place])
            found.append(OutcomeDelivery(receipt, min(later, default=None), replaces))
    return found


def _delivered(receipt: Receipt) -> _Delivered:
    return receipt.marker.key, receipt.marker.delivered_at


def _order(receipt: Receipt, received: Mapping[_Delivered, datetime]) -> tuple[datetime, datetime]:
    """When it was delivered, and when it was received first: a replay was received again."""
    return receipt.marker.delivered_at, received[_delivered(receipt)]
