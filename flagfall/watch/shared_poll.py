"""One look at a landing zone serves everybody who waits there.

However many sensors and watchers wait for markers of one landing zone in a process: their sweeps
are one sweep, and a hint causes one look. A look is as small as it can be: single keys are asked
for by name, and a hint that names keys causes a look at those keys only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from flagfall.landing.zone import LandingZone
from flagfall.stores import Entry, Store
from flagfall.watch.hint_buffer import HintBuffer
from flagfall.watch.looks import Plan, Watch, look
from flagfall.watch.sweeper import Sweeper
from flagfall.watch.waiters import Waiters

JOIN_DELAY = 0.2
"""Seconds in which newcomers gather for their first look."""


class SharedPoll:
    """Looks at one landing zone for everybody who waits there.

    Args:
        store: The landing zone's.
        clock: Seconds on a clock that never goes back.

    Attributes:
        users: How many use it; see ``shared_poll``.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiters = Waiters()
        self._joined_at = 0.0
        self._looked_at = self._not_before = self._retry_at = clock()
        self._is_due = True
        self._hinted: set[str] = set()
        self._hints = HintBuffer(store.hints(self._waiters.owns), clock)
        self._sweeper = Sweeper(partial(look, store), store.uri, self._waiters.log_failures)
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
        self._expect_newcomer()
        with self._waiters.waiting_for(key, every) as found:
            return await found

    @asynccontextmanager
    async def watching(self, watch: Watch) -> AsyncIterator[Watch]:
        """Offer looks to a watch for a while."""
        self._expect_newcomer()
        with self._waiters.watching(watch):
            yield watch

    def wake(self) -> None:
        """Have the loop plan anew: a watch wants its next look earlier."""
        self._hints.wake()

    def _expect_newcomer(self) -> None:
        """Have the loop look for a newcomer, together with others who come at about that time."""
        if self._task.done():
            raise self._task.exception() or RuntimeError("the shared poll is closed")
        if not self._waiters.has_new:
            self._joined_at = self._clock()
        self.wake()

    async def _run(self) -> None:
        try:
            while True:
                hint = await self._hints.wait(self._until_next())
                self._is_due = self._is_due or hint is None
                if plan := self._plan(hint or frozenset()):
                    await self._follow(plan)
        except Exception as error:
            self._waiters.fail(error)
            raise

    def _until_next(self) -> float:
        """Seconds until there is something to do if no hint comes."""
        if self._waiters.interval is None:
            return float("inf")
        due = self._sweep_at(self._waiters.interval)
        if self._waiters.has_new:
            due = min(due, self._joined_at + JOIN_DELAY)
        return max(0.0, max(due, self._retry_at) - self._clock())

    def _sweep_at(self, interval: float) -> float:
        """When to look for everybody."""
        due = self._looked_at + (0.0 if self._is_due else interval)
        return max(min(due, self._waiters.again_at), self._not_before)

    def _plan(self, hinted: frozenset[str]) -> Plan | None:
        """What to look for now; ``None`` for nothing. A hint is kept until a look has followed."""
        self._hinted.update(filter(self._waiters.concerns, hinted))
        now, interval = self._clock(), self._waiters.interval
        if interval is None or now < self._retry_at:
            return None
        if now >= self._sweep_at(interval):
            return self._waiters.plan_for_all(self._hinted)
        return self._waiters.plan_for(self._hinted, newcomers=now >= self._joined_at + JOIN_DELAY)

    async def _follow(self, plan: Plan) -> None:
        started = self._clock()
        found = await self._sweeper(plan, tuple(self._waiters.watches))
        ended = self._clock()
        if error := self._sweeper.error:
            self._is_due, self._retry_at = True, ended + self._sweeper.pause
            self._waiters.unavailable(error)
        if found is None:
            return
        if plan.whole:
            self._looked_at, self._is_due = started, False
            self._not_before = ended + self._sweeper.pause
        self._hinted -= plan.keys
        self._waiters.done(plan)
        await self._waiters.deliver(found)

    @property
    def has_failed(self) -> bool:
        """Whether it has ended; newcomers need a new one."""
        return self._task.done()

    async def close(self) -> None:
        """Stop looking."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # everybody who waited has got it
            await self._task
        await self._hints.close()


_polls: dict[tuple[asyncio.AbstractEventLoop, Sequence[str]], SharedPoll] = {}


@asynccontextmanager
async def shared_poll(
    landing: LandingZone, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[SharedPoll]:
    """The poll of a landing zone in this event loop. The first user starts it, the last ends it."""
    place = (asyncio.get_running_loop(), landing.place)
    poll = _polls.get(place)
    if poll is None or poll.has_failed:
        poll = _polls[place] = SharedPoll(landing.store, clock)
    poll.users += 1
    try:
        yield poll
    finally:
        poll.users -= 1
        if not poll.users:
            if _polls.get(place) is poll:
                del _polls[place]
            await poll.close()
