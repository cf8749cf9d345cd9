"""What to announce: what is new, and what is still pending after a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from flagfall.landing.marker import Marker


def due(pending: Sequence[Marker], next_at: Mapping[str, float], now: float) -> list[Marker]:
    """Which of the pending markers to announce: those that are new, and those announced long ago.

    Args:
        pending: What the sweep found.
        next_at: When to announce a batch id again, on the clock of ``now``.
        now: Seconds on a clock that never goes back.
    """
    never = float("-inf")
    return [marker for marker in pending if now >= next_at.get(marker.batch_id, never)]


class Announcer:
    """Remembers what was announced, and when.

    Args:
        redeliver_after: The longest pause, in seconds, after which it is announced again.
        clock: Seconds on a clock that never goes back.
        settle_within: The first pause, in seconds: by then a batch that a claim left alone, since
            it had not settled, has. Each pause is twice the one before: one batch still grows.
    """

    def __init__(
        self,
        redeliver_after: float,
        clock: Callable[[], float],
        settle_within: float = float("inf"),
    ) -> None:
        self._redeliver_after = redeliver_after
        self._settle_within = settle_within
        self._clock = clock
        self._next_at: dict[str, float] = {}
        self._pauses: dict[str, float] = {}

    def news(self, pending: Sequence[Marker], whole: bool) -> tuple[Marker, ...]:
        """What to announce now.

        Args:
            pending: What a look found.
            whole: Whether that is everything; markers that are gone are then forgotten.
        """
        now = self._clock()
        if whole:
            still = {marker.batch_id for marker in pending}
            self._next_at = {b: when for b, when in self._next_at.items() if b in still}
            self._pauses = {b: pause for b, pause in self._pauses.items() if b in still}
        return tuple(due(pending, self._next_at, now))

    @property
    def next_at(self) -> float:
        """When something that was announced is due again, on its clock; infinity for nothing."""
        return min(self._next_at.values(), default=float("inf"))

    def forget(self) -> None:
        """Announce everything anew."""
        self._next_at.clear()
        self._pauses.clear()

    def announced(self, markers: Iterable[Marker]) -> None:
        """Remember that these were announced."""
        now = self._clock()
        for marker in markers:
            pause = 2 * self._pauses.get(marker.batch_id, self._settle_within / 2)
            self._pauses[marker.batch_id] = min(pause, self._redeliver_after)
            self._next_at[marker.batch_id] = now + self._pauses[marker.batch_id]
