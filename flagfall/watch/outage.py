"""Outages: how long a watcher waits while it cannot look, and who learns of it when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flagfall.errors import StoreError
from flagfall.inbox.shortcuts import utcnow
from flagfall.logs import logger
from flagfall.stores.backoff import LONGEST_BACKOFF, backoff

log = logger(__name__)

OUTAGE_AFTER = 60.0
"""Seconds that failures go on before Airflow gets an event."""
LONGEST_WHY = 300
"""Characters of a reason in an event or a heartbeat."""


@dataclass(frozen=True)
class Unreachable:
    """The watcher cannot look, for longer than ``OUTAGE_AFTER``.

    Attributes:
        why: Where, and why.
        since: Since when (UTC).
    """

    why: str
    since: datetime


@dataclass(frozen=True)
class ReachedAgain:
    """The watcher can look again.

    Attributes:
        after: Seconds that the outage lasted.
    """

    after: float


class OutageTracker:
    """Counts the failures of a watcher.

    Args:
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._where = ""
        self._began_at = 0.0
        self._since = utcnow()
        self._is_announced = False

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try."""
        return backoff(self._failures)

    def failed(self, error: Exception) -> Unreachable | None:
        """Note that a look failed.

        Returns:
            The event for Airflow, once per outage; ``None`` where none is due.
        """
        if not self._failures:
            self._began_at, self._since = self._clock(), utcnow()
            self._where = error.uri if isinstance(error, StoreError) else "the watcher"
        self._log(error)
        self._failures += 1
        if self._is_announced or self._clock() - self._began_at < OUTAGE_AFTER:
            return None
        self._is_announced = True
        return Unreachable(reason(error), self._since)

    def _log(self, error: Exception) -> None:
        """Log a failing storage once; a mistake in the code each time, with its traceback."""
        again = f"trying again, at most every {LONGEST_BACKOFF:.0f} s"
        if not isinstance(error, StoreError):
            log.error("the watcher failed; %s", again, exc_info=error)
        elif not self._failures:
            log.warning("%s; %s", error, again)

    def over(self) -> ReachedAgain | None:
        """Note that a look succeeded.

        Returns:
            The event for Airflow; ``None`` where it got none when the outage began.
        """
        if not self._failures:
            return None
        lasted = self._clock() - self._began_at
        text = "%s: reached again after %d failures in %.0f s"
        log.warning(text, self._where, self._failures, lasted)
        was_announced, self._is_announced, self._failures = self._is_announced, False, 0
        return ReachedAgain(lasted) if was_announced else None


def reason(error: Exception) -> str:
    """An error in one short line; of an unforeseen one only its kind, for it may hold secrets."""
    if isinstance(error, StoreError):
        return " ".join(str(error).split())[:LONGEST_WHY]
    return f"{type(error).__name__}; the triggerer's log has the traceback"
