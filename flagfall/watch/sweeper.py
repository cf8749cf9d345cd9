"""Runs sweeps off the event loop; waits longer after each failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from flagfall.errors import StoreUnavailable
from flagfall.logs import logger
from flagfall.stores.backoff import LONGEST_BACKOFF, backoff
from flagfall.watch.threads import in_thread

log = logger(__name__)

SWEEP_SHARE = 0.2
"""Largest share of the time that sweeps take, however many hints come; one that hung for hours is
followed by no pause of hours."""

_A = ParamSpec("_A")
_T = TypeVar("_T")


class Sweeper(Generic[_A, _T]):
    """Runs sweeps off the event loop; waits longer after each failure.

    Args:
        sweep: Blocking function that looks at the storage.
        where: What is swept, for messages.
        logs: Whether to log that the storage cannot be reached; else the caller does.

    Attributes:
        pause: Seconds to wait before the next sweep.
        error: Why the last sweep failed; ``None`` where it did not.
    """

    def __init__(
        self, sweep: Callable[_A, _T], where: str, logs: Callable[[], bool] = lambda: True
    ) -> None:
        self._sweep = sweep
        self._where = where
        self._logs = logs
        self._failures = 0
        self._has_logged = False
        self.pause = 0.0
        self.error: StoreUnavailable | None = None

    async def __call__(self, *args: _A.args, **kwargs: _A.kwargs) -> _T | None:
        """What the sweep found; ``None`` where the storage could not be reached.

        Raises:
            StoreRefused: Something has to be changed; waiting cannot help.
        """
        started = time.monotonic()
        try:
            found = await in_thread(self._sweep, *args, **kwargs)
        except StoreUnavailable as error:
            self._failed(error)
            return None
        self._succeeded()
        took = time.monotonic() - started
        self.pause = min(took * (1 / SWEEP_SHARE - 1), LONGEST_BACKOFF)
        return found

    def _failed(self, error: StoreUnavailable) -> None:
        self.error = error
        if not self._has_logged and self._logs():
            log.warning("%s; trying again, at most every %.0f s", error, LONGEST_BACKOFF)
            self._has_logged = True
        self._failures += 1
        self.pause = backoff(self._failures)

    def _succeeded(self) -> None:
        if self._has_logged:
            log.warning("%s: reached again after %d failures", self._where, self._failures)
        self._failures, self._has_logged, self.error = 0, False, None
