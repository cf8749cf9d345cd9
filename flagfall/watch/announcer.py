"""What to announce: what is new, and what is still pending after a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from flagfall.landing.marker import Marker


def due(
    pending: Sequence[Marker], announced_at: Mapping[str, float], now: float, redeliver_after: float
) -> list[Marker]:
    """Which of the pending markers to announce: those that are new, and those announced long ago.

    Args:
        pending: What the sweep found.
        announced_at: When each batch id was announced, on the clock of ``now``.
        now: Seconds on a clock that never goes back.
        redeliver_after: Seconds.
    """
    never = float("-inf")
    return [m for m in pending if now - announced_at.get(m.batch_id, never) >= redeliver_after]


class Announcer:
    """Remembers what was announced, and when.

    Args:
        redeliver_after: Seconds after which it is announced again.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, redeliver_after: float, clock: Callable[[], float]) -> None:
        self._redeliver_after = redeliver_after
        self._clock = clock
        self._announced_at: dict[str, float] = {}

    def news(self, pending: Sequence[Marker], whole: bool) -> tuple[Marker, ...]:
        """What to announce now.

        Args:
            pending: What a look found.
            whole: Whether that is everything; markers that are gone are then forgotten.
        """
        now = self._clock()
        if whole:
            still = {marker.batch_id for marker in pending}
            self._announced_at = {b: when for b, when in self._announced_at.items() if b in still}
        return tuple(due(pending, self._announced_at, now, self._redeliver_after))

    def forget(self) -> None:
        """Announce everything anew."""
        self._announced_at.clear()

    def announced(self, markers: Iterable[Marker]) -> None:
        """Remember that these were announced."""
        now = self._clock()
        self._announced_at |= {marker.batch_id: now for marker in markers}
