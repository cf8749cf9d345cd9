"""Receipts: what has been decided, once and for all; and the watermark.

A receipt is written once, with create-if-absent, below the day on which its marker landed. For
every delivery a small entry in ``deliveries/`` is made *before* its receipt, so that all deliveries
of one marker are found without listing every day. An entry without a receipt means nothing.

::

    receipts/landed=2026-11-22/<batch-id>.json
    receipts/replays/<batch-id>.json
    receipts/unfinished/<batch-id>.json
    deliveries/<hash of the marker's URI>/2026-11-22~<batch-id>
    watermark.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from types import MappingProxyType

from flagfall.lake.output import RECORD_LIMIT
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH, Entry, Store

REPLAYS = "receipts/replays"
"""Where deliveries are kept that a person handed out again: beside the days, so that one listing
tells of both."""
UNFINISHED = "receipts/unfinished"
"""The same for deliveries that were accepted, or are about to be, and not evaluated yet."""


def _key(day: str, batch_id: str) -> str:
    return f"receipts/landed={day}/{batch_id}.json"


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


@dataclass(frozen=True)
class Filed:
    """What a listing of receipts shows.

    Attributes:
        known: Batch ids that have a receipt.
        replays: Keys of deliveries that were handed out again and wait for theirs.
        unfinished: Entries of deliveries that are not evaluated yet; each ``landed_at`` is when it
            was accepted or last handed out again. One without a receipt means nothing.
    """

    known: frozenset[str]
    replays: tuple[str, ...]
    unfinished: tuple[Entry, ...]


@dataclass(frozen=True)
class Watermark:
    """How far a landing zone has been swept.

    Attributes:
        place: Identity of the landing zone.
        landed_before: Every marker that landed before this time has a receipt (UTC).
        start: Every marker up to this key, as far as anybody has seen, has a receipt; empty: none.
        swept_at: When the last full sweep began, one that compared everything that there is with
            every receipt (UTC).
    """

    place: str = ""
    landed_before: datetime = EPOCH
    start: str = ""
    swept_at: datetime = EPOCH

    def to_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        times = {name: getattr(self, name).isoformat() for name in ("landed_before", "swept_at")}
        return {"place": self.place, "start": self.start, **times}

    @classmethod
    def from_dict(cls, plain: dict[str, str]) -> Watermark:
        """The inverse of ``to_dict``; takes what 0.1 wrote, which had only a time."""
        landed_before, swept_at = (
            datetime.fromisoformat(plain.get(name, EPOCH.isoformat())).astimezone(UTC)
            for name in ("landed_before", "swept_at")
        )
        return cls(plain["place"], landed_before, plain.get("start", ""), swept_at)


class Receipts:
    """The receipts of one dataset.

    Args:
        store: The dataset's folder in the lake.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def filed(self, since: date) -> Filed:
        """Receipts of markers that landed on ``since`` or later, and all entries, in one list."""
        start = f"receipts/landed={since.isoformat()}"
        entries = list(self._store.list("receipts", start_after=start, where=_is_json))
        keys = [entry.key for entry in entries]
        return Filed(
            known=frozenset(map(batch_id_of, filter(_is_receipt, keys))),
            replays=tuple(key for key in keys if key.startswith(f"{REPLAYS}/")),
            unfinished=tuple(one for one in entries if one.key.startswith(f"{UNFINISHED}/")),
        )

    def _read(self, key: str) -> Receipt | None:
        try:
            return Receipt.model_validate_json(self._store.read(key, RECORD_LIMIT))
        except FileNotFoundError:
            return None

    def find(self, marker: Marker) -> Receipt | None:
        """The receipt of this delivery, whatever day it was filed under, or ``None``."""
        filed = self._read(_key(_day(marker.landed_at), marker.batch_id))
        return filed or self._find_elsewhere(marker)

    def _find_elsewhere(self, marker: Marker) -> Receipt | None:
        same = (key for key in self._filed(marker) if key.endswith(f"/{marker.batch_id}.json"))
        return next((found for key in same if (found := self._read(key))), None)

    def _filed(self, marker: Marker) -> list[str]:
        """Keys of the receipts that deliveries of this marker have or were about to have."""
        entries = self._store.list(f"deliveries/{marker.uri_digest}")
        names = (entry.key.rpartition("/")[2].partition("~") for entry in entries)
        return [_key(day, batch_id) for day, tilde, batch_id in names if tilde]

    def deliveries(self, marker: Marker) -> list[Receipt]:
        """Receipts of every delivery of this marker, in the order in which they landed."""
        found = [receipt for key in self._filed(marker) if (receipt := self._read(key))]
        return sorted(found, key=_order)

    def current(self, marker: Marker) -> Receipt | None:
        """The one delivery of this marker that counts: the last accepted one."""
        accepted = [r for r in self.deliveries(marker) if r.status == "accepted"]
        return accepted[-1] if accepted else None

    def write(self, receipt: Receipt) -> Receipt:
        """File a receipt, unless there is one.

        Returns:
            The receipt that counts: an earlier one where there was one, even where it is filed
            under another day, because the marker's inode has been touched since.
        """
        if (filed := self.find(receipt.marker)) is not None:
            return filed
        day = _day(receipt.marker.landed_at)
        self._store.create(f"deliveries/{receipt.marker.uri_digest}/{day}~{receipt.batch_id}", b"")
        if self._store.create(_key(day, receipt.batch_id), receipt.to_json()):
            return receipt
        found = self._read(_key(day, receipt.batch_id))
        assert found is not None, f"receipt {receipt.batch_id} vanished"
        return found

    def since(
        self, day: date, known: Mapping[str, Receipt] = MappingProxyType({})
    ) -> list[Receipt]:
        """All receipts of markers that landed on ``day`` or later, in the order of landing.

        Args:
            day: In UTC.
            known: Receipts that were read already, by batch id: they are not read again.
        """
        start = f"receipts/landed={day.isoformat()}"
        keys = [e.key for e in self._store.list("receipts", start_after=start, where=_is_receipt)]
        with ThreadPoolExecutor(8) as pool:
            read = pool.map(lambda key: known.get(batch_id_of(key)) or self._read(key), keys)
            found = [receipt for receipt in read if receipt]
        return sorted(found, key=_order)

    def by_id(self, batch_id: str) -> Receipt | None:
        """The receipt of a batch of which only the id is known (lists all days)."""
        return self.by_ids([batch_id]).get(batch_id)

    def by_ids(self, batch_ids: Iterable[str]) -> dict[str, Receipt]:
        """The receipts of batches of which only the ids are known (lists all days, once)."""
        wanted = frozenset(batch_ids)
        found = self._store.list(
            "receipts", where=lambda key: _is_receipt(key) and batch_id_of(key) in wanted
        )
        with ThreadPoolExecutor(8) as pool:
            receipts = pool.map(self._read, [entry.key for entry in found])
            return {receipt.batch_id: receipt for receipt in receipts if receipt}

    def watermark(self, place: str = "") -> Watermark:
        """How far a landing zone has been swept.

        Args:
            place: Its identity (see ``Store.identity``). A watermark holds only for the place that
                it was found in: what is renamed into its name starts anew.
        """
        try:
            plain = json.loads(self._store.read("watermark.json", RECORD_LIMIT))
        except FileNotFoundError:
            return Watermark(place)
        return Watermark.from_dict(plain) if plain["place"] == place else Watermark(place)

    def move_watermark(self, watermark: Watermark) -> None:
        """Write a watermark; the time that it gives never goes back."""
        before = self.watermark(watermark.place)
        landed_before = max(before.landed_before, watermark.landed_before)
        moved = replace(watermark, landed_before=landed_before)
        self._store.put("watermark.json", json.dumps(moved.to_dict()).encode())


def _is_json(key: str) -> bool:
    return key.endswith(".json")


def _is_receipt(key: str) -> bool:
    return _is_json(key) and key.startswith("receipts/landed=")


def batch_id_of(key: str) -> str:
    """The batch id in the key of a receipt, a replay or an unfinished delivery."""
    return key.rpartition("/")[2].removesuffix(".json")


def _order(receipt: Receipt) -> tuple[datetime, datetime]:
    return receipt.marker.landed_at, receipt.received_at


def current_view(receipts: Iterable[Receipt]) -> list[Receipt]:
    """One delivery per marker, the last accepted one, in the order of landing."""
    last = {r.marker.uri: r for r in sorted(receipts, key=_order) if r.status == "accepted"}
    return sorted(last.values(), key=_order)
