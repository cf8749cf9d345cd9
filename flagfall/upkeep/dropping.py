"""Output in the lake that is older than ``lake.keep`` says, and that nothing needs any more.

Needed is the output of a delivery without a receipt, of one that is not evaluated yet, and staged
rows that a replay is about to take. Age is the storage's own: when the youngest object of a batch
was written. Of a batch's folder the record goes first, so that none names parts that are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Keep
from flagfall.inbox.inbox import Inbox
from flagfall.lake.output import LATEST, RECORD_LIMIT
from flagfall.lake.receipts import batch_id_of, delivery_hash_of
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH, Entry, Store

OF_BATCHES = ("staged", "features", "rejected")
"""Folders in which each batch has one of its own."""


@dataclass(frozen=True)
class Old:
    """What may be dropped, of one kind.

    Attributes:
        kind: ``staged``, ``features``, ``rejected`` or ``reports``; or ``known`` or ``matched``
            (see ``upkeep.outcomes``).
        keep: How long it is kept.
        groups: Objects, those of a batch together; of these, a record comes first.
    """

    kind: str
    keep: timedelta
    groups: tuple[tuple[Entry, ...], ...]

    @property
    def objects(self) -> int:
        """How many."""
        return sum(map(len, self.groups))

    @property
    def bytes(self) -> int:
        """How large, together."""
        return sum(entry.size for group in self.groups for entry in group)


def find_old(keep: Keep, inbox: Inbox) -> list[Old]:
    """What is older than it is kept, and not needed; by kind. Changes nothing."""
    kinds = [kind for kind in OF_BATCHES if getattr(keep, kind) is not None]
    decided = _Decided.look(inbox) if kinds else None
    found = []
    for kind in kinds:
        assert decided is not None
        age: timedelta = getattr(keep, kind)
        groups = _old_groups(inbox.lake.store, kind, inbox.clock() - age)
        free = tuple(group for group in groups if decided.is_free(kind, _batch_id(group)))
        found.append(Old(kind, age, free))
    if keep.reports is not None:
        reports = _old_reports(inbox.lake.store, inbox.clock() - keep.reports)
        found.append(Old("reports", keep.reports, tuple(reports)))
    return found


def drop(store: Store, old: Old) -> None:
    """Drop what was found; what is gone already is no error, so it can be done again."""
    for _ in in_parallel(lambda group: _drop_group(store, old.kind, group), old.groups):
        pass


def _drop_group(store: Store, kind: str, group: tuple[Entry, ...]) -> None:
    for entry in group:
        store.delete(entry.key)
    if kind in OF_BATCHES:
        store.remove_empty(f"{kind}/{_batch_id(group)}")


@dataclass(frozen=True)
class _Decided:
    """What is known of deliveries, as far as their output may be needed.

    Attributes:
        known: Hashes of those that have a receipt.
        unfinished: Ids of those that are not evaluated yet.
        wanted: Ids of those whose staged rows a replay is about to take.
    """

    known: frozenset[str]
    unfinished: frozenset[str]
    wanted: frozenset[str]

    @classmethod
    def look(cls, inbox: Inbox) -> _Decided:
        """Receipts first: the entry that a delivery is unfinished is older than its receipt."""
        known = inbox.receipts.filed(EPOCH.date()).known
        filed = inbox.receipts.filed(EPOCH.date())
        unfinished = frozenset(batch_id_of(entry.key) for entry in filed.unfinished)
        return cls(known, unfinished, frozenset(_wanted(inbox.lake.store, filed.replays)))

    def is_free(self, kind: str, batch_id: str) -> bool:
        is_wanted = kind == "staged" and batch_id in self.wanted
        is_decided = delivery_hash_of(batch_id) in self.known and batch_id not in self.unfinished
        return is_decided and not is_wanted


def _wanted(store: Store, replays: Iterable[str]) -> Iterator[str]:
    """Whose staged rows replays are about to take; one that is damaged is never handed out."""
    for key in replays:
        try:
            yield Marker.from_json(store.read(key, RECORD_LIMIT)).staged_from
        except (FileNotFoundError, ValueError):
            continue


def _old_groups(store: Store, kind: str, limit: datetime) -> Iterator[tuple[Entry, ...]]:
    """Objects of batches of which none was written after ``limit``."""
    groups: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in store.list(kind):
        groups[entry.key.split("/")[1]].append(entry)
    for group in groups.values():
        if max(entry.landed_at for entry in group) < limit:
            yield tuple(sorted(group, key=lambda entry: not entry.key.endswith("/record.json")))


def _batch_id(group: tuple[Entry, ...]) -> str:
    return group[0].key.split("/")[1]


def _old_reports(store: Store, limit: datetime) -> Iterator[tuple[Entry, ...]]:
    """Reports of runs; neither the latest one nor a note that one is due."""
    for entry in store.list("reports"):
        is_report = entry.key.count("/") == 1 and entry.key != LATEST
        if is_report and entry.landed_at < limit:
            yield (entry,)
