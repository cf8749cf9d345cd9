"""What a watch asks of the shared poll, and what a look at the storage finds for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.inbox.shortcuts import Scope
from flagfall.landing.zone import LandingZone
from flagfall.stores import EPOCH, Entry, Store
from flagfall.watch.entries import Entries

EVERYTHING = Scope(EPOCH)
"""Nothing is left out."""


@dataclass(frozen=True)
class Look:
    """What one look found for a watch.

    Attributes:
        entries: Markers.
        scope: What the watch asked for when the look began, except for those in ``hinted``. What
            is known since, such as a marker that a hint named meanwhile, the look has not seen.
        hinted: Keys that the watch asked for by name, each with the number of its last hint then.
        whole: Whether all others were looked at; else only some that a hint named.
    """

    entries: Entries
    scope: Scope = EVERYTHING
    whole: bool = False
    hinted: Mapping[str, int] = field(default_factory=dict)


class Watch:
    """Somebody who waits for all markers of a landing zone.

    Args:
        landing: The landing zone.
        every: Longest time between two looks, in seconds.
        patient: Whether to wait while the storage cannot be reached, which is logged; else
            ``next`` raises.

    Attributes:
        scope: What is of interest.
        hinted: Keys that are, wherever they are, each with the number of its last hint.
        again_at: When it wants its next look, where that is earlier, on the poll's clock.
    """

    def __init__(self, landing: LandingZone, every: float, patient: bool = True) -> None:
        self.landing = landing
        self.every = every
        self.patient = patient
        self.scope = EVERYTHING
        self.hinted: Mapping[str, int] = {}
        self.again_at = float("inf")
        self._looks: list[Look] = []
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def offer(self, look: Look) -> None:
        """Pass on what was found."""
        if look.whole:  # it takes the place of another one, not of what a hint has shown
            self._looks = [one for one in self._looks if not one.whole]
        self._looks.append(look)
        self._error = None
        self._news.set()

    def unavailable(self, error: StoreUnavailable) -> None:
        """Pass on that a look failed, after which there will be others."""
        if not self.patient:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Pass on that no more can be found."""
        self._error = error
        self._news.set()

    async def next(self) -> Look:
        """What was found since the last time, as soon as there was a look.

        Raises:
            StoreRefused: Something has to be changed; waiting cannot help.
            StoreUnavailable: The last look failed, and this watch is not patient.
        """
        await self._news.wait()
        if self._error is not None:
            raise self._error
        self._news.clear()
        looks, self._looks = self._looks, []
        if len(looks) == 1:  # the event loop is not to be held by 100,000 entries
            return looks[0]
        whole = next((look for look in looks if look.whole), looks[0])
        return replace(whole, entries=reduce(or_, (look.entries for look in looks)))


@dataclass(frozen=True)
class Plan:
    """What to look for.

    Attributes:
        keys: Single keys.
        watches: Who wants to see everything, each with the look that it will get.
        whole: Whether that is all that anybody waits for.
    """

    keys: frozenset[str]
    watches: dict[Watch, Look]
    whole: bool

    @property
    def start(self) -> str:
        """Every watch skips keys up to this one."""
        return min(look.scope.start for look in self.watches.values())


@dataclass
class Found:
    """What a look at the storage found.

    Attributes:
        entries: Markers, and what sensors wait for.
        refused: Single keys that may not be read.
        looks: By the watch that they concern.
    """

    entries: Entries = field(default_factory=Entries)
    refused: dict[str, StoreRefused] = field(default_factory=dict)
    looks: dict[Watch, Look] = field(default_factory=dict)


def looks_for(watches: Iterable[Watch]) -> dict[Watch, Look]:
    """What each watch wants to see now: that may change while a look is under way."""
    return {
        watch: Look(Entries(), watch.scope, whole=True, hinted=watch.hinted) for watch in watches
    }


def look(store: Store, plan: Plan, watches: Collection[Watch]) -> Found:
    """Look at the storage. Blocks.

    Args:
        store: The landing zone's.
        plan: What to look for.
        watches: Everybody who watches; a key that the plan names may concern each of them.

    Raises:
        StoreUnavailable: The storage cannot be reached.
        StoreRefused: It may not be listed.
    """
    found = Found()
    keys = plan.keys
    if plan.watches:
        found.entries = Entries.of(_list(store, plan))
        if store.metered:  # the listing has the others
            keys = frozenset(key for key in keys if key <= plan.start)
    _look_at(store, keys, found)
    looks = _looks(watches, plan, found.entries)
    found.looks |= {watch: seen for watch, seen in looks if seen.entries or seen.whole}
    return found


def _list(store: Store, plan: Plan) -> Iterable[Entry]:
    """All markers of the plan's watches; where a request costs money, the plan's keys, too."""
    zones = {watch.landing.pattern.text: watch.landing for watch in plan.watches}.values()
    keys = plan.keys if store.metered else frozenset()
    return store.list(
        start_after=plan.start,
        where=lambda key: any(zone.is_marker(key) for zone in zones) or key in keys,
        skip_unreadable=True,
        shapes=[zone.pattern.shape for zone in zones],
    )


def _look_at(store: Store, keys: frozenset[str], found: Found) -> None:
    """Look at single keys; one that is refused does not hide the others."""
    try:
        found.entries |= Entries.of(store.find(keys))
    except StoreRefused:
        for key in keys:
            try:
                found.entries |= Entries.of(store.find([key]))
            except StoreRefused as refused:
                found.refused[key] = refused


def _looks(watches: Iterable[Watch], plan: Plan, entries: Entries) -> Iterator[tuple[Watch, Look]]:
    """What each watch gets. Watches of one pattern share the work."""
    markers: dict[str, Entries] = {}
    for watch in watches:
        pattern = watch.landing.pattern.text
        if pattern not in markers:
            markers[pattern] = entries.where(watch.landing.is_marker)
        planned = plan.watches.get(watch, Look(Entries(), watch.scope))
        yield watch, replace(planned, entries=_of_interest(markers[pattern], planned, plan))


def _of_interest(markers: Entries, look: Look, plan: Plan) -> Entries:
    """Without what the watch leaves out and another one has listed; each may cost it a request."""
    start = look.scope.start or ("" if look.whole else look.scope.watermark.start)
    if not (start and plan.watches and start > plan.start):
        return markers
    return markers.where(lambda key: key > start or key in plan.keys)
