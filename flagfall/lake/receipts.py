"""Receipts: what has been decided, once and for all.

A receipt is written once, with create-if-absent, below the day on which its marker landed. For
every delivery a small entry in ``deliveries/`` is made *before* its receipt, so that all deliveries
of one marker are found without listing every day. An entry without a receipt means nothing.

Which delivery of a marker counts follows from *turns*, not from clocks: whoever accepts one first
takes the turn after the last that it knew of when it began, with create-if-absent. So one that was
overtaken meanwhile takes none.

So a delivery may overtake one that landed on a later day, as a correction does that waited while a
replay was handed out. Then an entry says so on that day, to be found by whoever lists from there.
And one that was taken in more than a day after it landed has an entry on the day of its receipt.

::

    receipts/landed=2026-11-22/<batch-id>.json
    receipts/landed=2026-11-23/2026-11-22~<batch-id>.overtakes
    receipts/landed=2026-11-24/2026-08-20~<batch-id>.late
    receipts/replays/<batch-id>.json
    receipts/unfinished/<batch-id>.json
    deliveries/<hash of the marker's key>/2026-11-22~<batch-id>
    deliveries/<hash of the marker's key>/turn-000001
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

from pydantic import ValidationError

from flagfall.errors import Damaged, StoreRefused, StoreUnavailable, printable
from flagfall.lake.output import RECORD_LIMIT
from flagfall.lake.records import Receipt
from flagfall.lake.rollups import Rollups
from flagfall.landing.marker import LABEL_LENGTH, Marker, digest_of
from flagfall.logs import logger
from flagfall.stores import Entry, Store

log = logger(__name__)

REPLAYS = "receipts/replays"
"""Where deliveries are kept that a person handed out again: beside the days, so that one listing
tells of both."""
UNFINISHED = "receipts/unfinished"
"""The same for deliveries that were accepted, or are about to be, and not evaluated yet."""


_TURN = "turn-"
_OVERTAKES, _LATE = ".overtakes", ".late"
_SOON = timedelta(days=1)
"""What is taken in so long after it landed needs no other entry to be found."""


def _key(day: str, batch_id: str) -> str:
    return f"receipts/landed={day}/{batch_id}.json"


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


@dataclass(frozen=True)
class Filed:
    """What a listing of receipts shows.

    Attributes:
        known: Hashes (see ``delivery_hash``) of deliveries that have a receipt.
        replays: Keys of deliveries that were handed out again and wait for theirs.
        unfinished: Entries of deliveries that are not evaluated yet; each ``landed_at`` is when it
            was accepted or last handed out again. One without a receipt means nothing.
    """

    known: frozenset[str]
    replays: tuple[str, ...]
    unfinished: tuple[Entry, ...]


@dataclass(frozen=True)
class Turns:
    """What is known of the deliveries of one marker.

    Attributes:
        last: Number of the last turn that was taken; 0 for none.
        taken_by: Batch id that took the last turn; empty for none.
        current: The delivery that counts; ``None`` where none was accepted.
        listing: Hash of its files' names and versions as they were last seen (see ``Receipt``).
        is_open: Whether another delivery took a later turn than that, and has no receipt. Its
            worker may have died, or may still write one, and then it counts.
    """

    last: int = 0
    taken_by: str = ""
    current: Receipt | None = None
    listing: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class InDoubt:
    """Markers of which a receipt cannot be read, so that nobody knows which delivery counts.

    Attributes:
        failures: Why not, by the receipt's batch id.
        deliveries: Ids of all deliveries of each such marker, by the marker's digest.
    """

    failures: Mapping[str, StoreRefused] = field(default_factory=dict)
    deliveries: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def has(self, receipt: Receipt) -> bool:
        """Whether a receipt is of such a marker."""
        return receipt.marker.key_digest in self.deliveries

    def check(self) -> None:
        """See that nothing is in doubt.

        Raises:
            StoreRefused: A receipt cannot be read.
        """
        if self.failures:
            raise next(iter(self.failures.values()))


class Receipts:
    """The receipts of one dataset.

    Args:
        store: The dataset's folder in the lake.
        rollups: Its rollups; ``None`` for those of ``store``.

    Attributes:
        versions: Of the receipts that ``since`` has listed, by batch id.
        failures: Why ``since`` could not read receipts the last time, by their keys.
    """

    def __init__(self, store: Store, rollups: Rollups | None = None) -> None:
        self._store = store
        self._rollups = rollups or Rollups(store)
        self.versions: dict[str, str] = {}
        self.failures: dict[str, StoreRefused] = {}

    @property
    def damaged(self) -> tuple[str, ...]:
        """URIs of the receipts that ``since`` could not read the last time."""
        return tuple(f"{self._store.uri}/{key}" for key in sorted(self.failures))

    def filed(self, since: date) -> Filed:
        """Receipts of markers that landed on ``since`` or later, and all entries.

        On S3 this is one listing.
        """
        start = f"receipts/landed={since.isoformat()}"
        if self._store.metered:
            entries = list(self._store.list("receipts", start_after=start, where=_is_json))
            names = [entry.key for entry in entries]
        else:
            entries = [one for kind in (REPLAYS, UNFINISHED) for one in self._store.list(kind)]
            names = list(self._store.names("receipts", start))
        return Filed(
            known=frozenset(map(hash_of, filter(_is_receipt, names))),
            replays=tuple(e.key for e in entries if e.key.startswith(f"{REPLAYS}/")),
            unfinished=tuple(e for e in entries if e.key.startswith(f"{UNFINISHED}/")),
        )

    def _read(self, key: str) -> Receipt | None:
        try:
            return Receipt.model_validate_json(self._store.read(key, RECORD_LIMIT))
        except FileNotFoundError:
            return None
        except ValidationError as damaged:
            why = f"this receipt is damaged ({damaged.error_count()} mistakes); restore it, or"
            why = f"{why} remove it to have its batch taken in again"
            raise Damaged(f"{self._store.uri}/{key}", why) from damaged

    def find(self, marker: Marker) -> Receipt | None:
        """The receipt of this delivery, or ``None``."""
        return self._read(_key(_day(marker.landed_at), marker.batch_id))

    def has(self, marker: Marker) -> bool:
        """Whether this delivery has a receipt, without reading it."""
        return self._store.stat(_key(_day(marker.landed_at), marker.batch_id)) is not None

    def _names(self, marker: Marker) -> list[str]:
        folder = f"deliveries/{marker.key_digest}"
        return sorted(key.rpartition("/")[2] for key in self._store.names(folder))

    def has_any(self, key: str) -> bool:
        """Whether a delivery of the marker at this key was decided on, or is about to be."""
        return next(self._store.names(f"deliveries/{digest_of(key)}"), None) is not None

    def are_there(self) -> bool:
        """Whether any delivery was decided on, or is about to be."""
        return next(self._store.names("deliveries"), None) is not None

    def days(self, marker: Marker) -> set[date]:
        """Days on which deliveries of this marker landed (UTC), also of those without a receipt."""
        entries = (name.partition("~") for name in self._names(marker))
        return {date.fromisoformat(day) for day, tilde, _ in entries if tilde}

    def deliveries(self, marker: Marker) -> list[Receipt]:
        """Receipts of every delivery of this marker, in the order of their turns and landings."""
        entries = (name.partition("~") for name in self._names(marker))
        keys = [_key(day, batch_id) for day, tilde, batch_id in entries if tilde]
        return sorted(filter(None, map(self._read, keys)), key=delivery_order)

    def turns(self, marker: Marker) -> Turns:
        """Which delivery of this marker counts, and whose turn was the last."""
        names = self._names(marker)
        entries = (name.partition("~") for name in names)
        days = {batch_id: day for day, tilde, batch_id in entries if tilde}
        turns = Turns()
        for name in reversed([name for name in names if name.startswith(_TURN)]):
            taker = self._taker(marker, name)
            if not turns.last:
                turns = Turns(int(name.removeprefix(_TURN)), taker)
            receipt = self._read(_key(days[taker], taker)) if taker in days else None
            if receipt is None:
                turns = replace(turns, is_open=turns.is_open or taker != marker.batch_id)
                continue
            turns = replace(turns, listing=turns.listing or receipt.listing)
            if (counts := self._what_counts_by(receipt, days)) is not None:
                return replace(turns, current=counts)
        return turns

    def _what_counts_by(self, last: Receipt, days: Mapping[str, str]) -> Receipt | None:
        """The delivery that counts, by the last turn that has a receipt; ``None`` if others decide.

        One of the same files names it, and was written when no turn between the two was open. So a
        marker that is touched every day is looked at no slower for it.
        """
        if last.status == "accepted":
            return last
        same = last.supersedes or ""
        if same not in days or last.message != same_as(same):
            return None
        found = self._read(_key(days[same], same))
        return found if found and found.status == "accepted" else None

    def _taker(self, marker: Marker, name: str) -> str:
        key = f"deliveries/{marker.key_digest}/{name}"
        return self._store.read(key, RECORD_LIMIT).decode()

    def current(self, marker: Marker) -> Receipt | None:
        """The one delivery of this marker that counts: the accepted one whose turn is the last."""
        return self.turns(marker).current

    def take_turn(self, marker: Marker, turns: Turns) -> int:
        """Have this delivery follow what was known when it was begun.

        Args:
            marker: The delivery.
            turns: What was known before it was seen to be the one that lies there.

        Returns:
            The number of its turn.

        Raises:
            StoreUnavailable: Another delivery of this marker was decided on meanwhile.
        """
        if turns.taken_by == marker.batch_id:
            return turns.last
        self._note_delivery(marker)
        number = turns.last + 1
        if number > 1:
            self._note_overtaken(marker)
        name = f"{_TURN}{number:06d}"
        key = f"deliveries/{marker.key_digest}/{name}"
        if self._store.create(key, marker.batch_id.encode()):
            return number
        if self._taker(marker, name) == marker.batch_id:
            return number
        why = "another delivery of this marker was taken in meanwhile; this one is looked at anew"
        raise StoreUnavailable(marker.uri, why)

    def _note_delivery(self, marker: Marker) -> None:
        name = f"{_day(marker.landed_at)}~{marker.batch_id}"
        self._store.create(f"deliveries/{marker.key_digest}/{name}", b"")

    def _note_overtaken(self, marker: Marker) -> None:
        """Have a look at later days of its marker find this delivery."""
        day = marker.landed_at.astimezone(UTC).date()
        for later in sorted(one for one in self.days(marker) if one > day):
            name = f"{day}~{marker.batch_id}{_OVERTAKES}"
            self._store.create(f"receipts/landed={later}/{name}", b"")

    def write(self, receipt: Receipt) -> Receipt:
        """File a receipt, unless there is one; any but a rejection has taken a turn before.

        Returns:
            The receipt that counts: an earlier one where there was one.
        """
        key = _key(_day(receipt.marker.landed_at), receipt.batch_id)
        if receipt.status == "rejected":
            self._note_delivery(receipt.marker)
        elif receipt.received_at - receipt.marker.landed_at > _SOON:
            name = f"{_day(receipt.marker.landed_at)}~{receipt.batch_id}{_LATE}"
            self._store.create(f"receipts/landed={_day(receipt.received_at)}/{name}", b"")
        if self._store.create(key, receipt.to_json()):
            return receipt
        found = self._read(key)
        assert found is not None, f"receipt {receipt.batch_id} vanished"
        return found

    def since(
        self,
        day: date,
        known: Mapping[str, Receipt] = MappingProxyType({}),
        received: date | None = None,
    ) -> list[Receipt]:
        """All receipts of markers that landed on ``day`` or later, in the order of landing.

        With them come earlier ones that overtook one of these: ``current_view`` needs them. One
        that is damaged is named in the log and left out.

        Args:
            day: In UTC.
            known: Receipts that were read already, by batch id: they are not read again.
            received: Also what was accepted on this day or later, after ``day``, more than a day
                after it landed; ``None`` for no other.
        """
        self.failures.clear()
        listed = list(self._listed(day, received))
        self.versions |= {batch_id_of(entry.key): entry.version for entry in listed}
        rolled = {receipt.batch_id: receipt for receipt in self._rollups.receipts(listed)}
        found = self._read_all([entry.key for entry in listed], {**rolled, **known})
        return sorted(found, key=_landing)

    def in_doubt(self) -> InDoubt:
        """Of which markers ``since`` could not read a receipt the last time."""
        failures = {batch_id_of(key): error for key, error in self.failures.items()}
        if not failures:
            return InDoubt()
        markers: defaultdict[str, set[str]] = defaultdict(set)
        for key in self._store.names("deliveries"):
            _, digest, name = key.split("/")
            markers[digest].add(name.partition("~")[2])
        found = {digest: names for digest, names in markers.items() if names & failures.keys()}
        return InDoubt(failures, {digest: frozenset(names) for digest, names in found.items()})

    def _listed(self, since: date, received: date | None) -> Iterator[Entry]:
        earlier = set[str]()
        for entry in self._filed_since(since):
            if _is_receipt(entry.key):
                yield entry
                continue
            filed, day, batch_id = _noted(entry.key)
            is_wanted = entry.key.endswith(_OVERTAKES) or (received and filed >= f"{received}")
            if is_wanted and day < since.isoformat():
                earlier.add(_key(day, batch_id))
        yield from self._store.find(sorted(earlier))

    def _filed_since(self, since: date) -> Iterator[Entry]:
        """On S3 this is one listing; on a disk, only the folders of these days are looked into."""
        start = f"receipts/landed={since.isoformat()}"
        if self._store.metered:
            yield from self._store.list("receipts", start_after=start, where=_is_filed)
            return
        names = filter(_is_filed, self._store.names("receipts", start))
        for folder in sorted({name.rpartition("/")[0] for name in names}):
            yield from self._store.list(folder, where=_is_filed)

    def _read_all(self, keys: Iterable[str], known: Mapping[str, Receipt]) -> list[Receipt]:
        with ThreadPoolExecutor(8) as pool:
            read = pool.map(lambda key: known.get(batch_id_of(key)) or self._legible(key), keys)
            return [receipt for receipt in read if receipt]

    def _legible(self, key: str) -> Receipt | None:
        try:
            return self._read(key)
        except StoreRefused as damaged:
            log.warning("%s", printable(str(damaged)))
            self.failures[key] = damaged
            return None

    def by_id(self, batch_id: str) -> Receipt | None:
        """The receipt of a batch of which only the id is known (lists all days)."""
        return self.by_ids([batch_id]).get(batch_id)

    def by_ids(self, batch_ids: Iterable[str]) -> dict[str, Receipt]:
        """The receipts of batches of which only the ids are known (lists all days, once)."""
        wanted = frozenset(batch_ids)
        names = self._store.names("receipts")
        keys = [key for key in names if _is_receipt(key) and batch_id_of(key) in wanted]
        return {receipt.batch_id: receipt for receipt in self._read_all(keys, {})}

    def called(self, names: Iterable[str]) -> list[Receipt]:
        """The receipts with one of these batch ids or labels (lists all days, once)."""
        wanted = frozenset(names)
        starts = {name[:LABEL_LENGTH] for name in wanted}
        ids = {key: batch_id_of(key) for key in filter(_is_receipt, self._store.names("receipts"))}
        keys = [key for key, of in ids.items() if of in wanted or label_of(of) in starts]
        found = self._read_all(keys, {})
        return [r for r in found if r.batch_id in wanted or r.marker.label in wanted]


def _is_json(key: str) -> bool:
    return key.endswith(".json")


def _is_receipt(key: str) -> bool:
    return _is_json(key) and key.startswith("receipts/landed=")


def _is_filed(key: str) -> bool:
    return key.startswith("receipts/landed=") and key.endswith((".json", _OVERTAKES, _LATE))


def _noted(key: str) -> tuple[str, str, str]:
    """The day of an entry, and the day and batch id of the delivery that it names."""
    folder, _, name = key.rpartition("/")
    day, _, batch_id = name.partition("~")
    return folder.rpartition("=")[2], day, batch_id.removesuffix(_OVERTAKES).removesuffix(_LATE)


def batch_id_of(key: str) -> str:
    """The batch id in the key of a receipt, a replay or an unfinished delivery."""
    return key.rpartition("/")[2].removesuffix(".json")


def label_of(batch_id: str) -> str:
    """The readable part of a batch id, which is cut after ``LABEL_LENGTH`` characters."""
    return batch_id.rpartition(".")[0]


def delivery_hash_of(batch_id: str) -> str:
    """The hash (see ``delivery_hash``) that a batch id ends with."""
    return batch_id.rpartition(".")[2]


def hash_of(key: str) -> str:
    """The hash (see ``delivery_hash``) in the key of a receipt."""
    return key.rpartition(".")[0].rpartition(".")[2]


def same_as(batch_id: str) -> str:
    """Said of a delivery of the same files as one that was taken in before, and counts."""
    return f"the same files were accepted as {batch_id}"


def _landing(receipt: Receipt) -> tuple[datetime, datetime]:
    return receipt.marker.landed_at, receipt.received_at


def delivery_order(receipt: Receipt) -> tuple[int, datetime, datetime]:
    """What the deliveries of one marker are sorted by."""
    return receipt.turn, *_landing(receipt)


def current_view(receipts: Iterable[Receipt]) -> list[Receipt]:
    """One delivery per marker, the accepted one whose turn was the last, in the order of landing.

    A delivery that another one of these supersedes does not count, whatever their clocks said. Of
    those ``since`` a day some of the result may have landed before.
    """
    last = {r.marker.key: r for r in sorted(receipts, key=delivery_order) if r.status == "accepted"}
    return sorted(last.values(), key=_landing)
