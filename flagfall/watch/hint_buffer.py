"""Hints, collected until the poll looks again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from flagfall.stores import Hint

FOLLOW_UPS = (0.25, 1.0)
"""Seconds after a hint at which to look again: inotify misses files in new directories."""


class HintBuffer:
    """Wakes a waiting loop on hints, and again a moment after a hint that names no keys.

    Args:
        hints: A store's hints.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, hints: AsyncIterator[Hint], clock: Callable[[], float]) -> None:
        self._hints = hints
        self._clock = clock
        self._woken = asyncio.Event()
        self._keys: set[str] = set()
        self._anything = False
        self._follow_ups: list[float] = []
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for keys in self._hints:
            if keys is None:
                self._anything = True
            else:
                self._keys.update(keys)
            self._woken.set()

    def wake(self) -> None:
        """Wake the loop: there is something new to wait for."""
        self._woken.set()

    async def wait(self, seconds: float) -> Hint:
        """Return after ``seconds``, or earlier.

        Returns:
            Which keys may have changed, ``None`` for any; empty where no hint came.
        """
        if self._follow_ups:
            seconds = min(seconds, max(0.0, self._follow_ups[0] - self._clock()))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
        return self._take()

    def _take(self) -> Hint:
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
        self._listener.cancel()
        with suppress(asyncio.CancelledError):
            await self._listener
