"""Faults that once were in the code, to be put back: the simulation has to find each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flagfall.inbox import settling, shortcuts, watermark
from flagfall.inbox.inbox import Inbox, Swept
from flagfall.inbox.shortcuts import Scope, Shortcuts
from flagfall.lake import output, receipts
from flagfall.lake.output import Lake
from flagfall.lake.receipts import Receipts, Turns
from flagfall.lake.records import Receipt, listing_of
from flagfall.landing.manifest import Expected
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingZone
from flagfall.stages import ingest
from flagfall.stores import EPOCH, Entry, local_walk
from flagfall.watch import announcer, loop, sweeper
from flagfall.watch.announcer import Announcer
from flagfall.watch.looks import Plan
from flagfall.watch.shared_poll import JOIN_DELAY, SharedPoll

Mutant = Callable[[], AbstractContextManager[Any]]
_sweep, _finish = Inbox.sweep, Lake.finish
_swept, _advance = Shortcuts._swept, Shortcuts.advance


def _instead(target: Any, name: str, value: Any) -> Mutant:
    return partial(patch.object, target, name, value)


def _sweep_after_watermark(
    self: Inbox, scope: Scope | None = None, entries: Iterable[Entry] | None = None
) -> Swept:
    """What landed before the oldest pending marker, or two hours ago, is hidden from then on."""
    scope = self.shortcuts.scope() if scope is None else scope
    seen = list(self.landing.entries(scope.start) if entries is None else entries)
    try:
        mark = datetime.fromisoformat(self.lake.store.read("ctimes", 100).decode())
    except FileNotFoundError:
        mark = EPOCH
    swept = _sweep(self, scope, [entry for entry in seen if entry.landed_at >= mark])
    oldest = min((m.landed_at for m in swept.pending), default=scope.began)
    moved = min(oldest, scope.began - timedelta(hours=2))
    if entries is None and moved > mark:
        self.lake.store.put("ctimes", moved.isoformat().encode())
    return swept


def _version_by_inode(status: Any) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def _version_with_inode(status: Any) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def _finish_in_place(self: Lake, record: Any, files: Iterable[Path] = ()) -> Any:
    """Parts have the same names at every attempt."""
    folder = f"{output._FOLDERS[type(record)]}/{record.batch_id}"
    for file in files:
        self.store.put_file(file, f"{folder}/{file.name}")
    if self.store.create(f"{folder}/record.json", record.to_json()):
        return record
    return self.find(type(record), record.batch_id)


def _finish_record_first(self: Lake, record: Any, files: Iterable[Path] = ()) -> Any:
    """The record says that the parts are there before they are."""
    folder = f"{output._FOLDERS[type(record)]}/{record.batch_id}"
    self.store.create(f"{folder}/record.json", record.to_json())
    for file in files:
        self.store.put_file(file, f"{folder}/{file.name}")
    return self.find(type(record), record.batch_id)


def _take_next_turn(self: Receipts, marker: Marker, turns: Turns) -> int:
    """Whoever comes last counts, whatever it looked at."""
    self._note_delivery(marker)
    number = turns.last + 1
    key = f"deliveries/{marker.key_digest}/turn-"
    while not self._store.create(f"{key}{number:06d}", marker.batch_id.encode()):
        number += 1
    return number


def _today() -> str:
    return receipts._day(shortcuts.utcnow())


def _note_today(self: Receipts, marker: Marker) -> None:
    self._store.create(f"deliveries/{marker.key_digest}/{_today()}~{marker.batch_id}", b"")


def _find_on_any_day(self: Receipts, marker: Marker) -> Receipt | None:
    days = [name.partition("~") for name in self._names(marker)]
    keys = [receipts._key(day, name) for day, _, name in days if name == marker.batch_id]
    return next(filter(None, map(self._read, keys)), None)


def _write_today(self: Receipts, receipt: Receipt) -> Receipt:
    if (found := _find_on_any_day(self, receipt.marker)) is not None:
        return found
    _note_today(self, receipt.marker)
    self._store.create(receipts._key(_today(), receipt.batch_id), receipt.to_json())
    return receipt


@contextmanager
def _filed_by_today() -> Iterator[None]:
    """A receipt is looked for first, and then filed under the day on which it is written."""
    with (
        patch.object(Receipts, "_note_delivery", _note_today),
        patch.object(Receipts, "find", _find_on_any_day),
        patch.object(Receipts, "has", lambda self, marker: self.find(marker) is not None),
        patch.object(Receipts, "write", _write_today),
    ):
        yield


def _only_once(pending: Any, next_at: Any, now: float) -> list[Marker]:
    return [marker for marker in pending if marker.batch_id not in next_at]


def _plan_once(self: SharedPoll, hinted: frozenset[str]) -> Plan | None:
    """A hint that comes when a sweep is due, or in a pause, is not kept."""
    self._hinted = set()
    now, interval = self._clock(), self._waiters.interval
    if interval is None or now < self._retry_at:
        return None
    if now >= self._sweep_at(interval):
        return self._waiters.plan_for_all()
    return self._waiters.plan_for(hinted, newcomers=now >= self._joined_at + JOIN_DELAY)


async def _hear_nothing(self: Any, landing: LandingZone) -> None:
    async for _ in landing.store.hints():
        pass


@contextmanager
def _hints_dropped() -> Iterator[None]:
    with (
        patch.object(SharedPoll, "_plan", _plan_once),
        patch.object(loop.Watcher, "_keep_hints", _hear_nothing),
    ):
        yield


class _NoError(Exception):
    """Raised by nobody, so that an ``except`` of it lets all others pass."""


def _same_listing(inbox: Inbox, marker: Marker, expected: Iterable[Expected], turns: Turns) -> bool:
    if marker.replay or not turns.listing:
        return False
    found = inbox.landing.store.find([file.key for file in expected])
    return listing_of({entry.key: entry.version for entry in found}) == turns.listing


def _forget_cover(self: Shortcuts, pending: Any, scope: Scope) -> Any:
    now = watermark.read_watermark(self._lake)
    return _swept(self, pending, replace(scope, watermark=now))


def _advance_anyway(self: Shortcuts, pending: Any, scope: Scope) -> None:
    """A sweep that began at a late marker goes past it, also where a hint named it once more."""
    if scope.start:
        scope = replace(scope, watermark=watermark.read_watermark(self._lake))
    _advance(self, pending, scope)


def _announced_for_long(self: Announcer, markers: Iterable[Marker]) -> None:
    """What was announced is not looked for again soon."""
    self._next_at |= {marker.batch_id: self._clock() + self._redeliver_after for marker in markers}


def _never_made_good(name: str, value: Any) -> Mutant:
    """A shortcut's fault, without the second announcement that came later and hides it."""

    @contextmanager
    def put_back() -> Iterator[None]:
        with (
            patch.object(Shortcuts, name, value),
            patch.object(Announcer, "announced", _announced_for_long),
        ):
            yield

    return put_back


MUTANTS: dict[str, Mutant] = {
    "a watermark of ctimes hides markers": _instead(Inbox, "sweep", _sweep_after_watermark),
    "identity is size, mtime and inode": _instead(local_walk, "version_of", _version_by_inode),
    "identity has the client's inode": _instead(local_walk, "version_of", _version_with_inode),
    "identity has no folder": _instead(local_walk, "folder_version_of", lambda status: ""),
    "no check after the copy": _instead(ingest, "why_changed", lambda *_: None),
    "a zombie's parts replace those that count": _instead(Lake, "finish", _finish_in_place),
    "the record before its parts": _instead(Lake, "finish", _finish_record_first),
    "what is current follows clocks": _instead(receipts, "delivery_order", receipts._landing),
    "a zombie takes the next turn": _instead(Receipts, "take_turn", _take_next_turn),
    "a receipt twice over midnight": _filed_by_today,
    "a full sweep undoes cover": _never_made_good("_swept", _forget_cover),
    "a short sweep undoes cover": _never_made_good("advance", _advance_anyway),
    "one look decides, at a distance": _instead(ingest, "look_twice", lambda *_: None),
    "a hint is dropped in a pause, or where a look fails": _hints_dropped,
    "a marker that cannot be read stops claim": _instead(settling, "StoreError", _NoError),
    "a young batch is taken at once": _instead(settling, "_is_moving", lambda *_: False),
    "data younger than the marker": _instead(settling, "_newest", lambda *_: EPOCH),
    "a step of the storage's clock": _instead(settling, "STEP", timedelta()),
    "a listing without ctimes is believed": _instead(ingest, "is_same_listing", _same_listing),
    "nothing is announced again": _instead(announcer, "due", _only_once),
    "a look that hung is followed by a pause as long": _instead(
        sweeper, "LONGEST_BACKOFF", float("inf")
    ),
}
"""By what is wrong. Each is a context in which the code is as it was."""
