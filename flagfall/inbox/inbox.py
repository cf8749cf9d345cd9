"""The inbox: what is pending, and what becomes of it.

**pending = sweep(landing) − receipts.** Nothing else decides what has to be done. A marker is
pending from the moment at which it lands until a receipt for its identity exists; no event, run or
restart changes that.

A delivery that was accepted and has to be scored is *unfinished* until its evaluation is in the
lake. An entry says so from just before its receipt on, so that it is found again whatever dies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Literal

from flagfall.concurrency import in_parallel
from flagfall.dataset.feed import Feed
from flagfall.errors import NotThere, StoreUnavailable
from flagfall.inbox.shortcuts import Scope, Shortcuts, utcnow
from flagfall.lake.batch_names import batch_named
from flagfall.lake.output import RECORD_LIMIT, Lake
from flagfall.lake.receipts import REPLAYS, UNFINISHED, Receipts, hash_of
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import Manifest, read_manifest
from flagfall.landing.marker import Marker, in_order
from flagfall.landing.zone import LandingZone
from flagfall.logs import warnings_about
from flagfall.stores import Entry

ReplaySource = Literal["landing", "staged"]
"""Where a replay takes its rows from: the producer's files, or the lake."""
LEFT = "it left the landing zone: use --from staged"
NEWER = "a new delivery of it is pending"
"""Why a batch is not replayed from the producer's files."""


@dataclass(frozen=True)
class Swept:
    """What a sweep found.

    Attributes:
        pending: What has landed and has no receipt, in the order in which it landed.
        unfinished: Entries of deliveries that are not evaluated yet (see ``Filed``).
    """

    pending: list[Marker]
    unfinished: tuple[Entry, ...]


class Inbox:
    """The inbox of one feed.

    Args:
        feed: Where to look.
        clock: Gives the time (UTC).

    Attributes:
        first_looks: What was seen of batches that this process has to look at once more.
    """

    def __init__(self, feed: Feed, clock: Callable[[], datetime] = utcnow) -> None:
        self.feed = feed
        self.clock = clock
        self.landing = LandingZone(feed.landing)
        self.lake = Lake(feed.lake.uri, feed.dataset, feed.lake.conn_id)
        self.receipts = Receipts(self.lake.store, self.lake.rollups)
        self.shortcuts = Shortcuts(feed, self.landing.store, self.lake.store, clock)
        self.first_looks: dict[str, dict[str, str]] = {}
        self._warnings = warnings_about(self.lake.store.uri, __name__)
        self._received: set[str] = set()
        self._overdue: dict[str, Marker | None] = {}

    def pending(
        self, scope: Scope | None = None, entries: Iterable[Entry] | None = None
    ) -> list[Marker]:
        """What has landed and has no receipt, in the order in which it landed (see ``sweep``)."""
        return self.sweep(scope, entries).pending

    def sweep(self, scope: Scope | None = None, entries: Iterable[Entry] | None = None) -> Swept:
        """What is pending, and what was received and is not finished.

        Args:
            scope: What to look at; ``None`` for what is due now.
            entries: What a look has found; ``None`` to look now.
        """
        scope = self.shortcuts.scope() if scope is None else scope
        start = max(scope.start, self.feed.first_key)
        landed = self.landing.entries(start) if entries is None else entries
        since = self.shortcuts.receipts_since(scope)
        filed = self.receipts.filed(since)
        seen = self.landing.without(filed.known, filter(self.feed.has, landed))
        replayed = filter(None, map(self._handed_out, filed.replays))
        again = [marker for marker in replayed if hash_of(_replay_key(marker)) not in filed.known]
        found = [marker for marker in chain(seen, again) if not self._has_receipt(marker, since)]
        return Swept(in_order(found), filed.unfinished)

    def _has_receipt(self, marker: Marker, since: date) -> bool:
        """Whether a receipt is filed under a day that the sweep of receipts did not list."""
        if marker.landed_at.date() >= since:
            return False
        if marker.batch_id not in self._received and self.receipts.has(marker):
            self._received.add(marker.batch_id)
        return marker.batch_id in self._received

    def _handed_out(self, key: str) -> Marker | None:
        """The delivery of an entry; ``None`` where that was removed meanwhile, or is damaged."""
        try:
            return Marker.from_json(self.lake.store.read(key, RECORD_LIMIT))
        except FileNotFoundError:
            return None
        except ValueError:
            place = f"{self.lake.store.uri}/{key}"
            self._warnings.warn(key, "%s: damaged, so it is left alone; remove it", place)
            return None

    def overdue(self, unfinished: Iterable[Entry], after: timedelta) -> list[Marker]:
        """Deliveries that nobody has finished for so long, the longest first.

        Args:
            unfinished: Entries that a sweep found; each is read once, and only when it is due.
            after: Time since the delivery was accepted or last handed out again.
        """
        limit = self.clock() - after
        waiting = sorted(unfinished, key=attrgetter("landed_at"))
        keys = [entry.key for entry in waiting if entry.landed_at <= limit]
        known = self._overdue
        found = in_parallel(lambda key: known.get(key) or self._handed_out(key), keys)
        self._overdue = dict(zip(keys, found, strict=True))
        return [marker for marker in self._overdue.values() if marker is not None]

    def gone(self, marker: Marker) -> str | None:
        """Why a claimed marker is no longer in the landing zone; ``None`` where it is.

        Raises:
            StoreUnavailable: The marker is not there, and the landing zone is not either.
        """
        now = self.landing.find(marker.key)
        if not now:
            if not marker.replay:
                self.check_place()
            why = "the marker was removed before its batch was taken in"
            return f"{marker.uri}: {why}; drop it again"
        if not self.landing.is_still(now[0], marker):
            why = f"{marker.uri}: the marker was written again before its batch was taken in"
            return f"{why}; the new delivery counts"
        return None

    def was_rewritten(self, marker: Marker) -> bool:
        """Whether another delivery lies where a claimed one lay."""
        return any(not self.landing.is_still(now, marker) for now in self.landing.find(marker.key))

    def check_place(self) -> None:
        """See to it that what is missing is not missing because the landing zone is.

        Raises:
            StoreUnavailable: There is nothing at all in it, as when a share is not mounted.
        """
        if self.landing.store.is_empty():
            why = "there is nothing in it; is it mounted? If it was made anew, the next run goes on"
            raise StoreUnavailable(self.landing.uri, why)

    def manifest(self, marker: Marker, limits: Limits) -> Manifest:
        """What the marker vouches for (see ``read_manifest``)."""
        landing = self.landing
        return read_manifest(marker, landing.pattern, landing.store, limits, landing.folders)

    def receive(self, receipt: Receipt, unfinished: bool = False) -> Receipt:
        """File a receipt: from here on its delivery is not pending any more.

        Args:
            receipt: The receipt.
            unfinished: Whether the delivery has to be evaluated; it is handed out again until then.
        """
        if unfinished:
            self.lake.store.create(_unfinished_key(receipt.marker), _note(receipt.marker))
        filed = self.receipts.write(receipt)
        if receipt.marker.replay:
            self.lake.store.delete(_replay_key(receipt.marker))
        return filed

    def hand_out_again(self, marker: Marker) -> None:
        """Note that an unfinished delivery is tried now: it is overdue again only later."""
        self.lake.store.put(_unfinished_key(marker), _note(marker))

    def finish(self, marker: Marker) -> None:
        """Note that nothing is left to be done for a delivery."""
        self.lake.store.delete(_unfinished_key(marker))

    def reject(self, marker: Marker, reason: str, message: str, **details: object) -> Receipt:
        """Turn a delivery away, with a reason that its producer can act on."""
        return self.receive(
            Receipt.model_validate(
                {
                    "batch_id": marker.batch_id,
                    "marker": marker,
                    "status": "rejected",
                    "reason": reason,
                    "message": message,
                    "received_at": self.clock(),
                    **details,
                }
            )
        )

    def replay(self, batch: str, source: ReplaySource = "landing") -> Marker:
        """Hand a delivery that has a receipt out again, as a delivery of its own.

        Args:
            batch: Its id, or its label.
            source: From the producer's files, or from the rows in the lake.

        Raises:
            NotThere: No receipt is of such a batch, or its rows are not where they are to be taken
                from, or a new delivery of it is pending there.
            Ambiguous: Several batches have this label.
        """
        receipt = batch_named(batch, self.receipts)
        if receipt is None:
            hint = "`flagfall status` lists the last ones"
            raise NotThere(f"receipt in {self.lake.store.uri} for batch", batch, hint)
        if source == "staged" and not self.lake.has(Staged, receipt.batch_id):
            hint = "--from landing takes it from the landing zone"
            raise NotThere("staged rows of batch", receipt.batch_id, hint)
        same = self.receipts.deliveries(receipt.marker)
        if source == "landing":
            there = self.landing.find(receipt.marker.key)
            lying = self.lying_there(there[0], receipt, same) if there else None
            if lying is None:
                raise NotThere("marker of batch", receipt.batch_id, NEWER if there else LEFT)
            receipt = lying
        rows = receipt.batch_id if source == "staged" else ""
        return self.hand_out(receipt.marker, same, rows)

    def lying_there(
        self, now: Marker, receipt: Receipt, deliveries: Iterable[Receipt]
    ) -> Receipt | None:
        """The delivery that a replay from the producer's files is of.

        Args:
            now: What lies in the landing zone.
            receipt: The delivery that is meant.
            deliveries: Receipts of its marker.

        Returns:
            The one that is meant, if it lies there; else the last that does: it may have brought
            nothing new. ``None`` where what lies there has no receipt.
        """
        same = [one for one in deliveries if self.landing.is_still(now, one.marker)]
        return receipt if receipt in same else next(reversed(same), None)

    def next_replay(self, marker: Marker, deliveries: Iterable[Receipt]) -> Marker:
        """A delivery as the next one of its replays.

        Args:
            marker: Any delivery of a version of its marker.
            deliveries: Receipts of that marker.
        """
        same = (r.marker.replay for r in deliveries if r.marker.version == marker.version)
        return replace(marker, replay=max(same, default=0) + 1, staged_from="")

    def hand_out(
        self, marker: Marker, deliveries: Collection[Receipt], staged_from: str = ""
    ) -> Marker:
        """Ask for the next replay of a delivery; see ``in_the_way``.

        Args:
            marker: Any delivery of a version of its marker.
            deliveries: Receipts of that marker.
            staged_from: Batch id whose staged rows are taken in again; empty for the files in the
                landing zone.

        Returns:
            The replay that is pending now.
        """
        again = self.next_replay(marker, deliveries)
        now, first = self.clock(), _delivered_at(marker, deliveries)
        again = replace(again, landed_at=now, first_landed_at=first, staged_from=staged_from)
        if not self.lake.store.create(_replay_key(again), _note(again)):
            if (there := self.in_the_way(again)) is not None:
                return there
            self.lake.store.put(_replay_key(again), _note(again))
        return again

    def in_the_way(self, again: Marker) -> Marker | None:
        """The same replay, if it was asked for before and stays as it is.

        One from another source is replaced, until its rows are staged: then a worker is about to
        write its receipt.
        """
        there = self._handed_out(_replay_key(again))
        if there is None or there.staged_from == again.staged_from:
            return there
        return there if self.lake.has(Staged, again.batch_id) else None


def _delivered_at(marker: Marker, deliveries: Collection[Receipt]) -> datetime:
    """When the rows of a marker were delivered: a marker that was only touched brought none."""
    known = {one.batch_id: one for one in deliveries}
    here = (one for one in deliveries if one.marker.version == marker.version)
    same = (known.get(one.supersedes or "") for one in here if one.status == "unchanged")
    return min((one.marker.delivered_at for one in same if one), default=marker.delivered_at)


def _replay_key(marker: Marker) -> str:
    return f"{REPLAYS}/{marker.batch_id}.json"


def _unfinished_key(marker: Marker) -> str:
    return f"{UNFINISHED}/{marker.batch_id}.json"


def _note(marker: Marker) -> bytes:
    return json.dumps(marker.to_dict()).encode()
