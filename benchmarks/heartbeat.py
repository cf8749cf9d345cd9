"""How long an event loop was held: the time by which a timer in it came late."""

from __future__ import annotations

import asyncio
import time


class Heartbeat:
    """A timer in the running event loop that notes by how much it was late.

    Args:
        every: Seconds between two beats.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._longest = 0.0
        self._due = time.monotonic()
        self._beat()

    def _beat(self) -> None:
        self._note()
        self._due = time.monotonic() + self._every
        asyncio.get_running_loop().call_at(self._due, self._beat)

    def _note(self) -> None:
        self._longest = max(self._longest, time.monotonic() - self._due)

    def take(self) -> float:
        """The longest time that the loop was held since this was asked last, in seconds."""
        self._note()
        longest, self._longest = self._longest, 0.0
        return longest
