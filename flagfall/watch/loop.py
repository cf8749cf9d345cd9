"""The watch loop: wait for the next look, then announce what is new.

Hints make it fast, sweeps make it certain. Hints may be late, lost, duplicate or forged; the
next sweep, at the latest ``sweep_every`` later, finds what they missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from flagfall.errors import BatchInvalid, StoreRefused, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import parse_marker
from flagfall.landing.marker import Marker, in_order
from flagfall.landing.zone import LandingZone
from flagfall.logs import logger
from flagfall.stores import why_no_hints
from flagfall.watch.announcer import Announcer
from flagfall.watch.heartbeat import Heartbeat
from flagfall.watch.kept_hints import KeptHints
from flagfall.watch.looks import Look, Watch
from flagfall.watch.outage import OutageTracker, ReachedAgain, Unreachable, reason
from flagfall.watch.shared_poll import shared_poll
from flagfall.watch.threads import in_thread

log = logger(__name__)

HUNG_AFTER = 900.0
"""Seconds after which a look that does not return counts as failed, beyond the longest interval."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Timing:
    """How often to look and to say it again, in seconds.

    Attributes:
        sweep_every: Longest time between two sweeps.
        redeliver_after: A marker that is still pending is announced again after this time.
        settle_within: The first time, already after this time: its batch may not have settled
            before. There is a sweep then, however long ``sweep_every`` is.
    """

    sweep_every: float = 30.0
    redeliver_after: float = 900.0
    settle_within: float = float("inf")


News = tuple[Marker, ...] | Unreachable | ReachedAgain
"""What becomes pending; that the storage cannot be reached; that it can again."""


async def announcements(
    make_inbox: Callable[[], Inbox],
    timing: Timing,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[News]:
    """Everything that becomes pending, and again what still is, for ever.

    What is not finished ``redeliver_after`` its receipt is announced, too, and again. Each item of
    markers holds all that is to be announced at that moment: what is pending, in the order of
    landing, then what is unfinished.

    It never raises. After an error it tries again, after pauses that grow up to
    ``LONGEST_BACKOFF``. The log and the heartbeat say so at once, an item when the outage lasts.

    Args:
        make_inbox: Gives the inbox; called until it does.
        timing: How often to look.
        clock: Seconds on a clock that never goes back.
        sleep: Waits for so many seconds.
    """
    outage = OutageTracker(clock)
    async with aclosing(Watcher(make_inbox, timing, clock)) as watcher:
        while True:
            try:
                async with aclosing(_until_failure(watcher, outage)) as news:
                    async for one in news:
                        yield one
            except Exception as error:
                if event := outage.failed(error):
                    yield event
                watcher.forget()
                await watcher.beat(reason(error))
                await sleep(outage.pause)


async def gathered(
    news: AsyncGenerator[News], seconds: float, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[News]:
    """Announcements that come close after each other, as one; an outage is passed on at once.

    Nothing is lost with what is held back: the next watcher announces everything that is pending.

    Args:
        news: Of ``announcements``; closed at the end.
        seconds: How long one is held back for others; where they keep coming, up to twice as long.
        clock: Seconds on a clock that never goes back.
    """
    held: tuple[Marker, ...] = ()
    since = clock()
    async with aclosing(_or_none(news, seconds)) as items:
        async for one in items:
            if isinstance(one, Unreachable | ReachedAgain):
                yield one
                continue
            since = since if held else clock()
            held += one or ()
            if held and (one is None or clock() - since >= seconds):
                yield held
                held = ()


async def _until_failure(watcher: Watcher, outage: OutageTracker) -> AsyncGenerator[News]:
    async with aclosing(_or_none(watcher.rounds(), watcher.hangs_after)) as rounds:
        async for one in rounds:
            if one is None:
                if event := outage.failed(watcher.hangs):
                    yield event
                continue
            if one.whole and (over := outage.over()):
                yield over
            if one.found:
                yield one.found


async def _or_none(items: AsyncGenerator[_T], patience: float) -> AsyncGenerator[_T | None]:
    """The items, and ``None`` whenever none has come for ``patience`` seconds; the wait goes on."""
    async with aclosing(items):
        while True:
            waiting = asyncio.ensure_future(anext(items))
            try:
                while not (await asyncio.wait({waiting}, timeout=patience))[0]:
                    yield None
                yield await waiting
            finally:
                await _end(waiting)


async def _end(task: asyncio.Future[_T]) -> None:
    """Cancel a task and wait until it has ended, however often this is cancelled meanwhile.

    A generator that is closed before its ``anext`` has ended raises ``RuntimeError`` instead, which
    would hide the cancellation.
    """
    task.cancel()
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})


@dataclass(frozen=True)
class _Round:
    """What came of one look.

    Attributes:
        whole: Whether everything was looked at; else only some keys that a hint named.
        found: What is to be announced.
    """

    whole: bool
    found: tuple[Marker, ...]


class Watcher:
    """Looks, compares with the inbox, and remembers what was announced, also after errors."""

    def __init__(
        self, make_inbox: Callable[[], Inbox], timing: Timing, clock: Callable[[], float]
    ) -> None:
        self._make_inbox = make_inbox
        self._every = min(timing.sweep_every, timing.redeliver_after)
        self._finish_within = timedelta(seconds=timing.redeliver_after)
        self._clock = clock
        self._announcer = Announcer(timing.redeliver_after, clock, timing.settle_within)
        self._inbox: Inbox | None = None
        self._heartbeat: Heartbeat | None = None
        self._listening: asyncio.Task[None] | None = None
        self._hints = KeptHints()
        self.hangs_after = self._every + HUNG_AFTER
        self.hangs = StoreUnavailable(
            "landing zone or lake", f"no look has come back for {self.hangs_after:.0f} s; it hangs"
        )

    async def rounds(self) -> AsyncGenerator[_Round]:
        """Look, as often as there is something to look for.

        Raises:
            StoreError: Something that it takes cannot be reached.
        """
        inbox = await self._opened()
        watch = Watch(inbox.landing, self._every, patient=False)
        await self._aim(watch, inbox)
        async with shared_poll(inbox.landing, self._clock) as shared, shared.watching(watch):
            while True:
                look = await watch.next()
                found = await in_thread(self._news_of, inbox, look)
                self._hints.followed(look.hinted)
                if look.whole:
                    await self.beat()
                yield _Round(look.whole, found)
                await self._aim(watch, inbox)
                shared.wake()

    def _news_of(self, inbox: Inbox, look: Look) -> tuple[Marker, ...]:
        """What a look has to announce; off the event loop, which 100,000 markers would hold."""
        pending, overdue = _compare(inbox, look, self._finish_within)
        found = self._announcer.news([*pending, *overdue], look.whole)
        known = {marker.batch_id for marker in overdue}
        if new := [marker for marker in found if marker.batch_id not in known]:
            inbox.shortcuts.cover(new)
        self._announcer.announced(found)
        return found

    async def _aim(self, watch: Watch, inbox: Inbox) -> None:
        """Tell the watch what the next look has to see."""
        watch.scope = await in_thread(inbox.shortcuts.scope)
        watch.hinted = self._hints.asked()
        watch.again_at = self._announcer.next_at

    async def _opened(self) -> Inbox:
        if self._inbox is None:
            self._inbox = await in_thread(self._make_inbox)
            self._heartbeat = Heartbeat(self._inbox.lake.store, self._every, self._clock)
            self._listening = asyncio.create_task(self._keep_hints(self._inbox.landing))
        return self._inbox

    async def _keep_hints(self, landing: LandingZone) -> None:
        """Keep the hint source open between two polls, and what it names until a look succeeds."""
        async for keys in landing.store.hints():
            self._hints.add(filter(landing.is_marker, keys or ()))

    def forget(self) -> None:
        """Announce what is pending anew: runs may have failed on the same storage."""
        self._announcer.forget()

    async def beat(self, why: str = "") -> None:
        """See ``Heartbeat.beat``; does nothing before the lake has been opened."""
        if self._heartbeat is not None and self._inbox is not None:
            await self._heartbeat.beat(why, why_no_hints(self._inbox.landing.store.uri))

    async def aclose(self) -> None:
        """Stop listening for hints."""
        if self._listening is not None:
            await _end(self._listening)


def _compare(
    inbox: Inbox, look: Look, finish_within: timedelta
) -> tuple[list[Marker], list[Marker]]:
    """Which of the markers that a look found are pending; and what should be finished by now."""
    scope = look.scope
    if not look.whole:  # a few keys are not worth a list of all receipts
        scope = replace(scope, start=scope.start or scope.watermark.start)
    swept = inbox.sweep(scope, look.entries)
    if look.whole:
        inbox.shortcuts.advance(swept.pending, scope)
    return swept.pending, inbox.overdue(swept.unfinished, finish_within)


async def arrivals(
    landing: LandingZone, sweep_every: float, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[tuple[Marker, ...]]:
    """Every marker once, as it lands or is written anew; those that are there already first."""
    announcer = Announcer(float("inf"), clock)
    watch = Watch(landing, sweep_every)
    async with shared_poll(landing, clock) as shared, shared.watching(watch):
        while True:
            look = await watch.next()
            markers = in_order([landing.marker(entry) for entry in look.entries])
            if found := announcer.news(markers, look.whole):
                announcer.announced(found)
                yield found


async def wait_for(
    landing: LandingZone,
    fields: dict[str, str],
    timing: Timing,
    settle: timedelta,
    clock: Callable[[], float] = time.monotonic,
) -> Marker:
    """Wait for the marker whose pattern has these fields, readable or older than ``settle``.

    A receipt does not matter here: the marker only has to be there.

    Raises:
        MarkerPatternInvalid: The pattern and the fields do not name one marker.
        StoreRefused: Something has to be changed; waiting cannot help.
    """
    key = landing.pattern.fill(fields)
    async with shared_poll(landing, clock) as shared:
        while True:
            marker = landing.marker(await shared.find(key, timing.sweep_every))
            if await is_written(marker, landing, settle):
                return marker
            await asyncio.sleep(max(settle.total_seconds() / 4, 0.05))


async def is_written(marker: Marker, landing: LandingZone, settle: timedelta) -> bool:
    """Whether a marker can be read as one, or is too old to become one."""
    limits = Limits()
    try:
        if not marker.size:
            return True  # an empty one is complete
        content = await landing.store.read_async(marker.key, limits.marker_bytes)
        await in_thread(parse_marker, marker, content, limits.files)
    except (BatchInvalid, ValueError):
        return not marker.is_young(datetime.now(UTC), settle)
    except StoreRefused:
        if marker.is_young(datetime.now(UTC), settle):
            return False  # its producer may be about to make it readable
        raise
    except StoreUnavailable as error:
        log.warning("%s; trying again", error)
        return False
    except FileNotFoundError:
        return False
    return True
