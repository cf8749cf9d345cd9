"""How a feed stands: what landed, is pending, was decided, is late; and whether it is watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreError
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import batch_id_of, current_view, hash_of
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH, Entry
from flagfall.verdict.facts import WINDOW
from flagfall.verdict.look import late, look
from flagfall.verdict.verdict import Verdict, judge
from flagfall.watch.heartbeat import WatcherState, last_heartbeat


@dataclass(frozen=True)
class Kept:
    """What the lake shows.

    Attributes:
        receipts: Receipts of markers that landed within ``WINDOW``, oldest first.
        unscored: Accepted deliveries that count and are not evaluated yet; 0 without a model.
        watcher: The watcher's last sign; ``None`` where it has given none.
    """

    receipts: tuple[Receipt, ...]
    unscored: int
    watcher: WatcherState | None

    @property
    def counts(self) -> Counter[str]:
        """Receipts by status."""
        return Counter(receipt.status for receipt in self.receipts)

    @property
    def left_out(self) -> tuple[Receipt, ...]:
        """Receipts that count and leave files out that look like the batch's, oldest first."""
        return tuple(r for r in current_view(self.receipts) if r.left_out.files)


@dataclass(frozen=True)
class Seen:
    """What a look at the landing zone shows.

    Attributes:
        landed: Markers in the landing zone, from ``landing.since`` on.
        pending: Those without a receipt, oldest first.
        late: URI of the marker that should be there by now; ``None`` where none is late.
        idle: Why a watcher finds nothing; empty where it does.
        returned: URIs of markers that lie there as they were before a delivery that counts. No
            sweep tells: that delivery was decided on long ago.
    """

    landed: int
    pending: tuple[Marker, ...]
    late: str | None
    idle: str = ""
    returned: tuple[str, ...] = ()

    @property
    def oldest_pending(self) -> datetime | None:
        """When the oldest pending marker landed."""
        return self.pending[0].landed_at if self.pending else None


@dataclass(frozen=True)
class Status:
    """One feed at one moment.

    Attributes:
        at: That moment (UTC).
        kept: ``None`` where the lake cannot be reached from here.
        seen: ``None`` where the landing zone, or the lake, cannot be reached from here.
        error: Why something is ``None``.
        verdict: On the feed, by what can be seen from here; ``None`` before it is judged.
    """

    dataset: str
    at: datetime
    kept: Kept | None = None
    seen: Seen | None = None
    error: StoreError | None = None
    verdict: Verdict | None = None


def status(dataset: Dataset, inbox: Inbox) -> Status:
    """Look at a feed. It changes nothing, and shows what it can where something is out of reach."""
    found = Status(dataset.name, inbox.clock())
    try:
        found = replace(found, kept=_kept(dataset, inbox, found.at))
        found = replace(found, seen=_seen(dataset, inbox, found))
    except StoreError as error:
        found = replace(found, error=error)
    receipts = found.kept.receipts if found.kept else None
    facts = look(dataset, inbox, receipts=receipts, scope=inbox.shortcuts.full_scope())
    return replace(found, verdict=judge(dataset, facts))


def _kept(dataset: Dataset, inbox: Inbox, now: datetime) -> Kept:
    receipts = inbox.receipts.since((now - WINDOW).date())
    unscored = _unscored(dataset, inbox, receipts)
    return Kept(tuple(receipts), unscored, last_heartbeat(inbox.lake.store))


def _seen(dataset: Dataset, inbox: Inbox, found: Status) -> Seen:
    entries = inbox.landing.entries()
    kept = found.kept
    known = (kept.receipts, kept.watcher) if kept else ((), None)
    overdue = late(dataset, inbox, found.at, *known)
    return Seen(
        landed=sum(map(inbox.feed.has, entries)),
        pending=tuple(inbox.pending(inbox.shortcuts.full_scope(), entries)),
        late=overdue[-1].uri if overdue else None,
        idle="" if entries else _why_idle(dataset, inbox),
        returned=tuple(_returned(inbox, entries, known[0])),
    )


def _returned(inbox: Inbox, entries: Iterable[Entry], receipts: Sequence[Receipt]) -> Iterator[str]:
    accepted = {one.batch_id: one for one in receipts if one.status == "accepted"}
    counts = {one.marker.key: one for one in current_view(receipts)}
    for marker in (inbox.landing.marker(entry) for entry in entries if entry.key in counts):
        lying, now = accepted.get(marker.batch_id), counts[marker.key]
        if lying and not inbox.landing.is_still(now.marker, lying.marker):
            yield marker.uri


def _why_idle(dataset: Dataset, inbox: Inbox) -> str:
    landing = inbox.landing
    if landing.store.is_empty():
        return f"nothing is in {landing.uri}: is that the place, and is it mounted?"
    if dataset.landing.after_receipt != "keep" and inbox.receipts.are_there():
        return ""  # all that landed has left
    return f"nothing in {landing.uri} fits the marker {landing.pattern.text!r}"


def _unscored(dataset: Dataset, inbox: Inbox, receipts: list[Receipt]) -> int:
    """Unfinished deliveries, less those that were superseded or not accepted in the end."""
    if dataset.model is None:
        return 0
    filed = inbox.receipts.filed(EPOCH.date())
    decided = {receipt.batch_id for receipt in receipts}
    counted = {receipt.batch_id for receipt in current_view(receipts)}
    unfinished = {
        batch_id_of(entry.key) for entry in filed.unfinished if hash_of(entry.key) in filed.known
    }
    return len(unfinished - (decided - counted))
