"""One look at a place serves all who wait there.

However many sensors and watchers wait for markers of one landing zone in a process, and for
whatever markers: their sweeps are one sweep, and a hint makes one look. What costs nothing is not
looked for either: single keys are asked for as such, and a hint that names keys points to them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic, ParamSpec, TypeVar

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.landing.zone import LandingZone
from flagfall.stores import EPOCH, Entry, Hint, Store

log = logging.getLogger(__name__)

FOLLOW_UPS = (0.25, 1.0)
"""Seconds after a hint at which to look again: inotify misses files in directories just made."""
JOIN_DELAY = 0.2
"""Seconds in which newcomers gather for their first look."""
LONGEST_BACKOFF = 60.0
"""Seconds between two tries, at most, while the storage cannot be reached."""
TOLD_AT_ONCE = 20
"""Sensors that go on in one turn of the event loop, at most, when their markers are there."""
SWEEP_SHARE = 0.2
"""Most of the time that may go into sweeps, however many hints come."""

_A = ParamSpec("_A")
_T = TypeVar("_T")


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter, up to a maximum."""
    return min(LONGEST_BACKOFF, 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)


class Sweeper(Generic[_A, _T]):
    """Runs sweeps off the event loop, and keeps calm while the storage cannot be reached.

    Args:
        sweep: Blocking function that looks at the storage.
        where: What is swept, for messages.
        says: Whether the log is to tell that it cannot be reached; else whoever asked does.

    Attributes:
        pause: Seconds to wait before the next sweep.
        error: Why the last sweep failed; ``None`` where it did not.
    """

    def __init__(
        self, sweep: Callable[_A, _T], where: str, says: Callable[[], bool] = lambda: True
    ) -> None:
        self._sweep = sweep
        self._where = where
        self._says = says
        self._failures = 0
        self._is_said = False
        self.pause = 0.0
        self.error: StoreUnavailable | None = None

    async def __call__(self, *args: _A.args, **kwargs: _A.kwargs) -> _T | None:
        """What the sweep found; ``None`` where the storage could not be reached.

        Raises:
            StoreRefused: Something has to be changed; waiting cannot help.
        """
        started = time.monotonic()
        try:
            found = await asyncio.to_thread(self._sweep, *args, **kwargs)
        except StoreUnavailable as error:
            self._failed(error)
            return None
        self._succeeded()
        self.pause = (time.monotonic() - started) * (1 / SWEEP_SHARE - 1)
        return found

    def _failed(self, error: StoreUnavailable) -> None:
        self.error = error
        if not self._is_said and self._says():
            log.warning("%s; trying again, at most every %.0f s", error, LONGEST_BACKOFF)
            self._is_said = True
        self._failures += 1
        self.pause = backoff(self._failures)

    def _succeeded(self) -> None:
        if self._is_said:
            log.warning("%s: reached again after %d failures", self._where, self._failures)
        self._failures, self._is_said, self.error = 0, False, None


class Alarm:
    """Wakes a waiting loop on hints, and again a moment after one that names no keys.

    Args:
        hints: A store's hints.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, hints: AsyncIterator[Hint], clock: Callable[[], float]) -> None:
        self._hints = hints
        self._clock = clock
        self._rung = asyncio.Event()
        self._keys: set[str] = set()
        self._anything = False
        self._follow_ups: list[float] = []
        self._pump = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for keys in self._hints:
            if keys is None:
                self._anything = True
            else:
                self._keys.update(keys)
            self._rung.set()

    def ring(self) -> None:
        """Wake the loop: there is something new to wait for."""
        self._rung.set()

    async def wait(self, seconds: float) -> Hint:
        """Return after ``seconds``, or earlier.

        Returns:
            What may have changed; empty where nothing was heard.
        """
        if self._follow_ups:
            seconds = min(seconds, max(0.0, self._follow_ups[0] - self._clock()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()
        return self._heard()

    def _heard(self) -> Hint:
        now = self._clock()
        again = bool(self._follow_ups) and self._follow_ups[0] <= now
        self._follow_ups = [when for when in self._follow_ups if when > now]
        keys, self._keys = frozenset(self._keys), set()
        if self._anything:
            self._follow_ups = [now + later for later in FOLLOW_UPS]
            self._anything = False
            return None
        return None if again else keys

    async def close(self) -> None:
        """Stop listening."""
        self._pump.cancel()
        with suppress(asyncio.CancelledError):
            await self._pump


@dataclass(frozen=True)
class Look:
    """What one look found for a watch.

    Attributes:
        entries: Markers.
        start: Keys up to this one were left out.
        moved_since: What moved here before may have been left out (UTC).
        whole: Whether all others were looked at; else only some that a hint named.
    """

    entries: tuple[Entry, ...]
    start: str = ""
    moved_since: datetime = EPOCH
    whole: bool = False


class Watch:
    """Somebody who waits for all markers of a landing zone.

    Args:
        landing: The landing zone.
        every: Longest time between two looks, in seconds.
        patient: Whether to wait while the storage cannot be reached, of which the log tells; else
            ``next`` raises.

    Attributes:
        start: Keys up to this one are of no interest.
        moved_since: Nor is what moved here before this time (UTC).
    """

    def __init__(self, landing: LandingZone, every: float, patient: bool = True) -> None:
        self.landing = landing
        self.every = every
        self.patient = patient
        self.start = ""
        self.moved_since = EPOCH
        self._looks: list[Look] = []
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def offer(self, look: Look) -> None:
        """Pass on what was found."""
        if look.whole:
            self._looks.clear()
        self._looks.append(look)
        self._error = None
        self._news.set()

    def stumble(self, error: StoreUnavailable) -> None:
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
        entries = {entry.key: entry for look in looks for entry in look.entries}
        return replace(looks[0], entries=tuple(entries.values()))


@dataclass(frozen=True)
class _Plan:
    """What to look for.

    Attributes:
        keys: Single keys.
        watches: For whom everything is looked at, each with what it is to be told.
        whole: Whether that is all that anybody waits for.
    """

    keys: frozenset[str]
    watches: dict[Watch, Look]
    whole: bool

    @property
    def start(self) -> str:
        """Keys up to this one are left out, for whomever."""
        return min(look.start for look in self.watches.values())

    @property
    def moved_since(self) -> datetime:
        """What moved here before is left out, for whomever (UTC)."""
        return min(look.moved_since for look in self.watches.values())


@dataclass
class _Found:
    """What there was, by whom it concerns."""

    entries: dict[str, Entry]
    refused: dict[str, StoreRefused] = field(default_factory=dict)
    looks: dict[Watch, Look] = field(default_factory=dict)


class Lookout:
    """Looks at one landing zone, for all who wait there.

    Args:
        store: The landing zone's.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._sought: dict[str, set[asyncio.Future[Entry]]] = {}
        self._watches: set[Watch] = set()
        self._every: Counter[float] = Counter()
        self._new_keys: set[str] = set()
        self._new_watches: set[Watch] = set()
        self._joined_at = 0.0
        self._looked_at = self._not_before = self._retry_at = clock()
        self._is_due = True
        self._alarm = Alarm(store.hints(self._is_ours), clock)
        self._sweeper = Sweeper(self._look, store.uri, self._has_patient)
        self._task = asyncio.create_task(self._run())
        self.users = 0

    async def find(self, key: str, every: float) -> Entry:
        """Wait for one key.

        Args:
            key: Below the landing zone.
            every: Longest time between two looks, in seconds.

        Raises:
            StoreRefused: Something has to be changed; waiting cannot help.
        """
        self._join(every)
        found: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._sought.setdefault(key, set()).add(found)
        self._new_keys.add(key)
        try:
            return await found
        finally:
            self._every[every] -= 1
            self._sought[key].discard(found)
            if not self._sought[key]:
                del self._sought[key]
                self._new_keys.discard(key)

    @asynccontextmanager
    async def watching(self, watch: Watch) -> AsyncIterator[Watch]:
        """Have looks offered to a watch for a while."""
        self._join(watch.every)
        self._watches.add(watch)
        self._new_watches.add(watch)
        try:
            yield watch
        finally:
            self._every[watch.every] -= 1
            self._watches.discard(watch)
            self._new_watches.discard(watch)

    def _join(self, every: float) -> None:
        """Have the loop look for somebody new, together with who else comes at about that time."""
        if self._task.done():
            raise self._task.exception() or RuntimeError("the lookout is closed")
        self._every[every] += 1
        if not (self._new_keys or self._new_watches):
            self._joined_at = self._clock()
        self._alarm.ring()

    async def _run(self) -> None:
        try:
            while True:
                heard = await self._alarm.wait(self._until_next())
                self._is_due = self._is_due or heard is None
                if plan := self._plan(heard or frozenset()):
                    await self._follow(plan)
        except Exception as error:
            self._fail(error)
            raise

    def _until_next(self) -> float:
        """Seconds until there is something to do when nothing is heard."""
        if not +self._every:
            return float("inf")
        due = max(self._due_at, self._not_before)
        if self._new_keys or self._new_watches:
            due = min(due, self._joined_at + JOIN_DELAY)
        return max(0.0, max(due, self._retry_at) - self._clock())

    @property
    def _due_at(self) -> float:
        """When all that anybody waits for is to be looked at; only while somebody does."""
        return self._looked_at + (0.0 if self._is_due else min(+self._every))

    def _plan(self, hinted: frozenset[str]) -> _Plan | None:
        """What to look for now; ``None`` for nothing."""
        now = self._clock()
        if not +self._every or now < self._retry_at:
            return None
        if now >= max(self._due_at, self._not_before):
            return _Plan(frozenset(self._sought), _looks(self._watches), whole=True)
        keys = {key for key in hinted if self._concerns(key)}
        watches: dict[Watch, Look] = {}
        if now >= self._joined_at + JOIN_DELAY:
            keys |= self._new_keys
            watches = _looks(self._new_watches)
        if not keys and not watches:
            return None
        return _Plan(frozenset(keys), watches, whole=False)

    def _concerns(self, key: str) -> bool:
        return key in self._sought or any(w.landing.is_marker(key) for w in self._watches)

    def _is_ours(self, key: str) -> bool:
        """See ``Store.hints``: what is no marker for a watch is a data file, and nobody's."""
        return key in self._sought or bool(self._watches)

    async def _follow(self, plan: _Plan) -> None:
        started = self._clock()
        found = await self._sweeper(plan, tuple(self._watches))
        ended = self._clock()
        if error := self._sweeper.error:
            self._is_due, self._retry_at = True, ended + self._sweeper.pause
            for watch in self._watches:
                watch.stumble(error)
        if found is None:
            return
        if plan.whole:
            self._looked_at, self._is_due = started, False
            self._not_before = ended + self._sweeper.pause
        self._new_keys -= plan.keys
        self._new_watches -= set(plan.watches)
        await self._deliver(found)

    def _has_patient(self) -> bool:
        """Whether somebody waits who says nothing of a failed look himself."""
        return bool(self._sought) or any(watch.patient for watch in self._watches)

    def _look(self, plan: _Plan, watches: tuple[Watch, ...]) -> _Found:
        """Look, off the event loop."""
        found = _Found({})
        keys = plan.keys
        if plan.watches:
            found.entries |= {entry.key: entry for entry in self._listed(plan)}
            if self._store.metered:  # a listing tells of them, too
                keys = frozenset(key for key in keys if key <= plan.start)
        self._look_at(keys, found)
        looks = _looks_of(watches, plan, found.entries.values())
        found.looks |= {watch: look for watch, look in looks if look.entries or look.whole}
        return found

    def _listed(self, plan: _Plan) -> Iterable[Entry]:
        """All markers of the plan's watches; where every look costs requests, its keys, too."""
        zones = {watch.landing.pattern.text: watch.landing for watch in plan.watches}.values()
        keys = plan.keys if self._store.metered else frozenset()
        return self._store.list(
            start_after=plan.start,
            where=lambda key: any(zone.is_marker(key) for zone in zones) or key in keys,
            skip_unreadable=True,
            shapes=[zone.pattern.shape for zone in zones],
            moved_since=plan.moved_since,
        )

    def _look_at(self, keys: frozenset[str], found: _Found) -> None:
        """Look at single keys; one that is refused does not hide the others."""
        try:
            found.entries |= {entry.key: entry for entry in self._store.find(keys)}
        except StoreRefused:
            for key in keys:
                try:
                    found.entries |= {entry.key: entry for entry in self._store.find([key])}
                except StoreRefused as refused:
                    found.refused[key] = refused

    async def _deliver(self, found: _Found) -> None:
        """Tell those whom it concerns, some at a time: each of them has something to do then."""
        sought = self._sought
        told = [(one, e) for key, e in found.entries.items() for one in sought.get(key, ())]
        for number, (waiting, entry) in enumerate(told, start=1):
            if not waiting.done():
                waiting.set_result(entry)
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
        for key, refused in found.refused.items():
            _refuse(self._sought.get(key, ()), refused)
        for watch, look in found.looks.items():
            watch.offer(look)

    def _fail(self, error: Exception) -> None:
        """Tell all who wait that no more can be found."""
        for waiting in self._sought.values():
            _refuse(waiting, error)
        for watch in self._watches:
            watch.fail(error)

    @property
    def has_failed(self) -> bool:
        """Whether it has ended; who comes now needs a new one."""
        return self._task.done()

    async def close(self) -> None:
        """Stop looking."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # told to all who waited
            await self._task
        await self._alarm.close()


def _looks(watches: Iterable[Watch]) -> dict[Watch, Look]:
    """What each wants to see now, nothing found yet: while a look is under way it may change."""
    return {watch: Look((), watch.start, watch.moved_since, whole=True) for watch in watches}


def _looks_of(
    watches: Iterable[Watch], plan: _Plan, entries: Collection[Entry]
) -> Iterator[tuple[Watch, Look]]:
    """What there is for each."""
    markers: dict[str, tuple[Entry, ...]] = {}
    for watch in watches:
        pattern = watch.landing.pattern.text
        if pattern not in markers:
            markers[pattern] = tuple(e for e in entries if watch.landing.is_marker(e.key))
        yield watch, replace(plan.watches.get(watch, Look(())), entries=markers[pattern])


def _refuse(waiting: Iterable[asyncio.Future[Entry]], error: Exception) -> None:
    for one in waiting:
        if not one.done():
            one.set_exception(error)


_lookouts: dict[tuple[asyncio.AbstractEventLoop, Sequence[str]], Lookout] = {}


@asynccontextmanager
async def lookout(
    landing: LandingZone, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Lookout]:
    """The lookout of a landing zone in this event loop; made for the first, ended by the last."""
    place = (asyncio.get_running_loop(), landing.place)
    shared = _lookouts.get(place)
    if shared is None or shared.has_failed:
        shared = _lookouts[place] = Lookout(landing.store, clock)
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if not shared.users:
            if _lookouts.get(place) is shared:
                del _lookouts[place]
            await shared.close()
