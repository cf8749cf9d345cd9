"""Who waits at one landing zone: for single keys, and for everything that lands."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from flagfall.errors import StoreUnavailable
from flagfall.stores import Entry
from flagfall.watch.looks import Found, Plan, Watch, looks_for

RESUMED_AT_ONCE = 20
"""Most sensors that go on in one turn of the event loop when their markers are there."""


class Waiters:
    """Sensors, each for one key, and watches for everything.

    Attributes:
        keys: The sensors that wait for each key.
        watches: The watches.
    """

    def __init__(self) -> None:
        self.keys: dict[str, set[asyncio.Future[Entry]]] = {}
        self.watches: set[Watch] = set()
        self._intervals: Counter[float] = Counter()
        self._new_keys: set[str] = set()
        self._new_watches: set[Watch] = set()

    @contextmanager
    def waiting_for(self, key: str, every: float) -> Iterator[asyncio.Future[Entry]]:
        """Add a sensor for a while; its future gets the entry."""
        found: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._intervals[every] += 1
        self.keys.setdefault(key, set()).add(found)
        self._new_keys.add(key)
        try:
            yield found
        finally:
            self._intervals[every] -= 1
            self.keys[key].discard(found)
            if not self.keys[key]:
                del self.keys[key]
                self._new_keys.discard(key)

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[None]:
        """Add a watch for a while."""
        self._intervals[watch.every] += 1
        self.watches.add(watch)
        self._new_watches.add(watch)
        try:
            yield
        finally:
            self._intervals[watch.every] -= 1
            self.watches.discard(watch)
            self._new_watches.discard(watch)

    @property
    def interval(self) -> float | None:
        """Seconds between two looks that satisfy everybody; ``None`` where nobody waits."""
        return min(+self._intervals) if +self._intervals else None

    @property
    def again_at(self) -> float:
        """When the first of the watches wants its next look, whatever the interval."""
        return min((watch.again_at for watch in self.watches), default=float("inf"))

    @property
    def has_new(self) -> bool:
        """Whether somebody has come for whom nobody has looked yet."""
        return bool(self._new_keys or self._new_watches)

    def plan_for_all(self, hinted: Iterable[str] = ()) -> Plan:
        """Look for everybody, and for what hints named."""
        looks = looks_for(self.watches)
        keys = frozenset(self.keys).union(hinted, *(look.hinted for look in looks.values()))
        return Plan(keys, looks, whole=True)

    def plan_for(self, hinted: Iterable[str], newcomers: bool) -> Plan | None:
        """Look for what a hint named, and for newcomers; ``None`` where there is nothing to do."""
        keys = {key for key in hinted if self.concerns(key)}
        keys |= self._new_keys if newcomers else set()
        watches = looks_for(self._new_watches) if newcomers else {}
        keys = keys.union(*(look.hinted for look in watches.values()))
        return Plan(frozenset(keys), watches, whole=False) if keys or watches else None

    def done(self, plan: Plan) -> None:
        """Note that a plan was carried out: those whom it was for are not new any more."""
        self._new_keys -= plan.keys
        self._new_watches -= set(plan.watches)
        for watch in plan.watches:  # it has its look, and says anew when it wants another one
            watch.again_at = float("inf")

    def concerns(self, key: str) -> bool:
        """Whether somebody waits for this key."""
        return key in self.keys or any(watch.landing.is_marker(key) for watch in self.watches)

    def owns(self, key: str) -> bool:
        """See ``Store.hints``: a key that is no marker for a watch is a data file, and nobody's."""
        return key in self.keys or bool(self.watches)

    def log_failures(self) -> bool:
        """Whether the poll logs failed looks: sensors and patient watches do not do it."""
        return bool(self.keys) or any(watch.patient for watch in self.watches)

    async def deliver(self, found: Found) -> None:
        """Pass on what was found, to a few sensors at a time: each of them then has work to do."""
        resumed = [
            (sensor, found.entries[key])
            for key, sensors in self.keys.items()
            if key in found.entries.rows
            for sensor in sensors
        ]
        for number, (sensor, entry) in enumerate(resumed, start=1):
            if not sensor.done():
                sensor.set_result(entry)
            if number % RESUMED_AT_ONCE == 0:
                await asyncio.sleep(0)
        for key, refused in found.refused.items():
            _fail(self.keys.get(key, ()), refused)
        for watch, look in found.looks.items():
            watch.offer(look)

    def unavailable(self, error: StoreUnavailable) -> None:
        """Pass on that a look failed; there will be others."""
        for watch in self.watches:
            watch.unavailable(error)

    def fail(self, error: Exception) -> None:
        """Pass on that there will be no more looks."""
        for sensors in self.keys.values():
            _fail(sensors, error)
        for watch in self.watches:
            watch.fail(error)


def _fail(sensors: Iterable[asyncio.Future[Entry]], error: Exception) -> None:
    for sensor in sensors:
        if not sensor.done():
            sensor.set_exception(error)
