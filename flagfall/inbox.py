"""The inbox: what is pending, and what becomes of it.

**pending = sweep(landing) − receipts.** Nothing else decides what has to be done. A marker is
pending from the moment at which it lands until a receipt for its identity exists; no event, run or
restart changes that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain

from flagfall.dataset import Dataset, Limits
from flagfall.errors import BatchInvalid, NotThere
from flagfall.lake import RECORD_LIMIT, Lake
from flagfall.landing import LandingZone
from flagfall.manifest import Manifest, missing, read_manifest
from flagfall.marker import Marker
from flagfall.receipts import Receipts
from flagfall.records import Receipt

WATERMARK_MARGIN = timedelta(hours=1)
"""How far the clocks of a producer's file system and of this machine may be apart."""


def utcnow() -> datetime:
    """The clock; tests give their own."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Feed:
    """Where a feed lands and where it is remembered: all that the inbox needs to know.

    Attributes:
        dataset: Name of the dataset.
        landing: URI of the landing zone.
        marker: Pattern of the markers below it.
        lake: URI of the lake.
    """

    dataset: str
    landing: str
    marker: str
    lake: str

    @classmethod
    def of(cls, dataset: Dataset) -> Feed:
        """The feed of a dataset."""
        return cls(dataset.name, dataset.landing.uri, dataset.landing.marker, dataset.lake.uri)


class Inbox:
    """The inbox of one feed.

    Args:
        feed: Where to look.
        clock: Gives the time (UTC).
    """

    def __init__(self, feed: Feed, clock: Callable[[], datetime] = utcnow) -> None:
        self.feed = feed
        self.clock = clock
        self.landing = LandingZone(feed.landing, feed.marker)
        self.lake = Lake(feed.lake, feed.dataset)
        self.receipts = Receipts(self.lake.store)
        self._received: set[str] = set()
        self._unfiled: dict[str, datetime] = {}

    def pending(self) -> list[Marker]:
        """What has landed and has no receipt, in the order in which it landed.

        Markers that moved here before the watermark are left out: they have receipts.
        """
        watermark = self.receipts.watermark(self.landing.store.identity())
        known = self.receipts.known(watermark.date())
        landed = [e for e in self.landing.entries() if e.moved_at >= watermark]
        candidates = chain(map(self.landing.marker, landed), self._replays())
        found = [
            marker
            for marker in candidates
            if marker.batch_id not in known and not self._has_receipt(marker, watermark)
        ]
        self._unfiled = {
            m.batch_id: m.landed_at for m in found if m.landed_at.date() >= watermark.date()
        }
        return sorted(found, key=lambda marker: (marker.landed_at, marker.key))

    def _has_receipt(self, marker: Marker, watermark: datetime) -> bool:
        """Whether a receipt is filed under a day that the sweep of receipts did not list.

        It is, when the marker was received long ago and its inode or a directory above was touched
        since. Each answer is remembered for as long as it cannot change unseen.
        """
        if marker.batch_id in self._received:
            return True
        if self._unfiled.get(marker.batch_id) == marker.landed_at:
            return False
        if self.receipts.find(marker) is None:
            return False
        self._received.add(marker.batch_id)
        return True

    def _replays(self) -> list[Marker]:
        keys = [entry.key for entry in self.lake.store.list("replays", where=_is_json)]
        return [Marker.from_dict(json.loads(self.lake.store.read(k, RECORD_LIMIT))) for k in keys]

    def advance(self, pending: Iterable[Marker], swept_at: datetime, place: str) -> None:
        """Move the watermark up to the oldest of ``pending``, found by a sweep at ``swept_at``.

        Args:
            pending: What the sweep found.
            swept_at: Not later than its beginning.
            place: Identity of the landing zone before the sweep: had it been replaced since, the
                watermark would hide what came with the new one.
        """
        oldest = min((marker.landed_at for marker in pending), default=swept_at)
        self.receipts.advance(min(oldest, swept_at - WATERMARK_MARGIN), place)

    def manifest(self, marker: Marker, limits: Limits) -> Manifest:
        """What the marker vouches for (see ``read_manifest``)."""
        return read_manifest(marker, self.landing.pattern, self.landing.store, limits)

    def problem(self, marker: Marker, limits: Limits) -> str | None:
        """Why a batch is not complete, in words; ``None`` where nothing is missing."""
        try:
            return missing(self.manifest(marker, limits), marker, self.landing.store)
        except BatchInvalid as invalid:
            return str(invalid)
        except FileNotFoundError:
            return f"{marker.uri}: the marker is gone"

    def receive(self, receipt: Receipt) -> Receipt:
        """File a receipt: from here on its delivery is not pending any more."""
        filed = self.receipts.write(receipt)
        if receipt.marker.replay:
            self.lake.store.delete(_replay_key(receipt.marker))
        return filed

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

    def replay(self, batch_id: str) -> Marker:
        """Hand a delivery that has a receipt out again, as a delivery of its own.

        Raises:
            NotThere: No receipt has this batch id.
        """
        receipt = self.receipts.by_id(batch_id)
        if receipt is None:
            hint = "`flagfall status` lists the last ones"
            raise NotThere(f"receipt in {self.lake.store.uri} for batch", batch_id, hint)
        again = replace(receipt.marker, replay=self._replays_so_far(receipt.marker) + 1)
        again = replace(again, landed_at=self.clock())
        self.lake.store.create(_replay_key(again), json.dumps(again.to_dict()).encode())
        return again

    def _replays_so_far(self, marker: Marker) -> int:
        same = [r for r in self.receipts.deliveries(marker) if r.marker.version == marker.version]
        return max((r.marker.replay for r in same), default=0)


def _replay_key(marker: Marker) -> str:
    return f"replays/{marker.batch_id}.json"


def _is_json(key: str) -> bool:
    return key.endswith(".json")
