"""The watch loop: wait for a hint or the next sweep, then say what is new.

Hints make it fast, sweeps make it certain. A hint may be late, lost, doubled or forged; what it
missed the next sweep finds, at the latest ``sweep_every`` later.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flagfall.dataset import Limits
from flagfall.errors import BatchInvalid, StoreRefused, StoreUnavailable
from flagfall.inbox import Inbox
from flagfall.landing import LandingZone
from flagfall.manifest import parse_marker
from flagfall.marker import Marker
from flagfall.stores import Hint

log = logging.getLogger(__name__)

FOLLOW_UPS = (0.25, 1.0)
"""Seconds after a hint at which to look again: inotify misses files in directories just made."""
LONGEST_BACKOFF = 60.0
"""Seconds between two tries, at most, while the storage cannot be reached."""
SWEEP_SHARE = 0.2
"""Most of the time that may go into sweeps, however many hints come."""


@dataclass(frozen=True)
class Timing:
    """How often to look and to say it again, in seconds.

    Attributes:
        sweep_every: Longest time between two sweeps.
        redeliver_after: A marker that is still pending is announced again after this time.
    """

    sweep_every: float = 30.0
    redeliver_after: float = 900.0


def due(
    pending: Sequence[Marker], told: Mapping[str, float], now: float, redeliver_after: float
) -> list[Marker]:
    """Which of the pending markers are to be announced: new ones, and ones told long ago.

    Args:
        pending: What the sweep found.
        told: When each batch id was announced, on the clock of ``now``.
        now: Seconds on a clock that never goes back.
        redeliver_after: Seconds.
    """
    return [
        marker
        for marker in pending
        if marker.batch_id not in told or now - told[marker.batch_id] >= redeliver_after
    ]


class Alarm:
    """Wakes a waiting loop on hints, and again a moment after each.

    Args:
        hints: A store's hints.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, hints: AsyncIterator[Hint], clock: Callable[[], float]) -> None:
        self._hints = hints
        self._clock = clock
        self._hinted = asyncio.Event()
        self._follow_ups: list[float] = []
        self._pump = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for _ in self._hints:
            self._hinted.set()

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or earlier on a hint."""
        if self._follow_ups:
            seconds = min(seconds, max(0.0, self._follow_ups[0] - self._clock()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hinted.wait()
        now = self._clock()
        if self._hinted.is_set():
            self._hinted.clear()
            self._follow_ups = [now + later for later in FOLLOW_UPS]
        else:
            self._follow_ups = [when for when in self._follow_ups if when > now]

    async def close(self) -> None:
        """Stop listening."""
        self._pump.cancel()
        with suppress(asyncio.CancelledError):
            await self._pump


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter, up to a maximum."""
    return min(LONGEST_BACKOFF, 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)


class Sweeper:
    """Runs sweeps off the event loop, and keeps calm while the storage cannot be reached.

    Args:
        sweep: Blocking function that looks at the storage.
        where: What is swept, for messages.
    """

    def __init__(self, sweep: Callable[[], list[Marker]], where: str) -> None:
        self._sweep = sweep
        self._where = where
        self._failures = 0
        self.pause = 0.0
        """Seconds to wait before the next sweep."""

    async def __call__(self) -> list[Marker] | None:
        """What the sweep found; ``None`` where the storage could not be reached.

        Raises:
            StoreRefused: Something has to be changed; waiting cannot help.
        """
        started = time.monotonic()
        try:
            found = await asyncio.to_thread(self._sweep)
        except StoreUnavailable as error:
            self._failed(error)
            return None
        if self._failures:
            log.warning("%s: reached again after %d failures", self._where, self._failures)
            self._failures = 0
        self.pause = (time.monotonic() - started) * (1 / SWEEP_SHARE - 1)
        return found

    def _failed(self, error: StoreUnavailable) -> None:
        if not self._failures:
            log.warning("%s; trying again, at most every %.0f s", error, LONGEST_BACKOFF)
        self._failures += 1
        self.pause = backoff(self._failures)


async def announcements(
    inbox: Inbox, timing: Timing, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[tuple[Marker, ...]]:
    """Everything that becomes pending, and again what still is, for ever.

    Each item holds all that is to be announced at that moment, in the order of landing.
    """
    async with aclosing(_due_forever(inbox.pending, inbox.landing, timing, clock)) as items:
        async for found in items:
            yield found


async def arrivals(
    landing: LandingZone, sweep_every: float, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[tuple[Marker, ...]]:
    """Every marker once, as it lands or is written anew; those that are there already first."""
    timing = Timing(sweep_every, float("inf"))
    async with aclosing(_due_forever(landing.markers, landing, timing, clock)) as items:
        async for found in items:
            yield found


async def _due_forever(
    sweep: Callable[[], list[Marker]],
    landing: LandingZone,
    timing: Timing,
    clock: Callable[[], float],
) -> AsyncGenerator[tuple[Marker, ...]]:
    told: dict[str, float] = {}
    sweeper = Sweeper(sweep, landing.uri)
    alarm = Alarm(landing.store.hints(), clock)
    try:
        while True:
            pending = await sweeper()
            if pending is not None:
                now = clock()
                still = {marker.batch_id for marker in pending}
                told = {batch_id: when for batch_id, when in told.items() if batch_id in still}
                found = due(pending, told, now, timing.redeliver_after)
                told |= {marker.batch_id: now for marker in found}
                if found:
                    yield tuple(found)
            await asyncio.sleep(sweeper.pause)
            await alarm.wait(_until_next(told, clock(), timing))
    finally:
        await alarm.close()


def _until_next(told: Mapping[str, float], now: float, timing: Timing) -> float:
    """Seconds until the next sweep is needed when no hint comes."""
    redelivery = min(told.values(), default=now) + timing.redeliver_after - now
    return max(0.0, min(timing.sweep_every, redelivery))


async def wait_for(
    landing: LandingZone,
    fields: dict[str, str],
    timing: Timing,
    settle: timedelta,
    clock: Callable[[], float] = time.monotonic,
) -> Marker:
    """Wait for the marker whose pattern has these fields, readable or older than ``settle``.

    Whether it has a receipt does not matter: what is waited for is that it is there.

    Raises:
        MarkerPatternInvalid: The pattern and the fields do not name one marker.
        StoreRefused: Something has to be changed; waiting cannot help.
    """
    key = landing.pattern.fill(fields)
    sweeper = Sweeper(lambda: landing.find(key), f"{landing.uri}/{key}")
    alarm = Alarm(landing.store.hints(), clock)
    try:
        while True:
            found = await sweeper() or []
            if found and await is_written(found[0], landing, settle):
                return found[0]
            await asyncio.sleep(sweeper.pause)
            await alarm.wait(settle.total_seconds() / 4 if found else timing.sweep_every)
    finally:
        await alarm.close()


async def is_written(marker: Marker, landing: LandingZone, settle: timedelta) -> bool:
    """Whether a marker can be read as one, or is too old to become one."""
    limits = Limits()
    try:
        content = await landing.store.read_async(marker.key, limits.marker_bytes)
        await asyncio.to_thread(parse_marker, marker, content, limits.files)
    except (BatchInvalid, ValueError):
        return not marker.is_young(datetime.now(UTC), settle)
    except StoreRefused:
        if marker.is_young(datetime.now(UTC), settle):
            return False  # its producer may be about to make it readable
        raise
    except FileNotFoundError:
        return False
    return True
