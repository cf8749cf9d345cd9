"""Whether a feed is watched, and whether its watcher reaches what it looks at.

A watcher on the triggerer has no task that could fail, so it says itself how it fares: in the log,
in Airflow by an event (see ``watch.announcements``), and by a sign in the lake, ``watch.json``. It
gives one when its state changes, and otherwise every ``SIGN_EVERY``; an old sign means that nobody
watches.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ValidationError

from flagfall.errors import StoreError
from flagfall.inbox.inbox import utcnow
from flagfall.lake.output import RECORD_LIMIT
from flagfall.stores import Store
from flagfall.watch.shared_poll import LONGEST_BACKOFF, backoff

log = logging.getLogger(__name__)

SIGN = "watch.json"
"""Key in the dataset's folder of the lake."""
SIGN_EVERY = timedelta(minutes=5)
"""How often a watcher gives a sign when nothing changes; more rarely where it looks more rarely."""
TROUBLE_AFTER = 60.0
"""Seconds that trouble lasts before Airflow is told of it."""
LONGEST_WHY = 300
"""Characters of a reason in an event or a sign."""


class Health(BaseModel, frozen=True):
    """The last sign of a watcher.

    Attributes:
        state: Whether it reaches what it looks at.
        since: Since when (UTC).
        why: Why it does not; empty where it does.
        looked_at: When it last looked, or tried to (UTC).
        every: Seconds after which the next sign is due.
        host: Where it runs.
        pid: Its process there.
    """

    state: Literal["watching", "unreachable"]
    since: AwareDatetime
    why: str = ""
    looked_at: AwareDatetime
    every: float
    host: str
    pid: int

    def is_overdue(self, now: datetime) -> bool:
        """Whether the next sign should have come by now, even had one been missed."""
        patience = timedelta(seconds=2 * self.every + LONGEST_BACKOFF)
        return now - self.looked_at > patience


def last_sign(store: Store) -> Health | None:
    """The last sign in a dataset's folder of the lake; ``None`` where there never was one.

    Raises:
        StoreError: The lake cannot be reached.
    """
    try:
        return Health.model_validate_json(store.read(SIGN, RECORD_LIMIT))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("%s/%s is damaged, the next sign mends it: %s", store.uri, SIGN, error)
        return None


class Signs:
    """The signs that one watcher gives. Where several watch, the last one's is there.

    Args:
        store: The dataset's folder in the lake.
        looks_every: Longest time between two looks, in seconds.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, store: Store, looks_every: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._every = max(SIGN_EVERY.total_seconds(), looks_every)
        self._clock = clock
        self._due_at = clock()
        self._state = ""
        self._since = utcnow()
        self._is_mute = False
        self._is_said = False

    async def give(self, why: str = "") -> None:
        """Give a sign, if one is due. What becomes of it never stops the watcher.

        Args:
            why: Why the watcher cannot look; empty when it can.
        """
        state: Literal["watching", "unreachable"] = "unreachable" if why else "watching"
        changes = state != self._state
        if changes:
            self._state, self._since = state, utcnow()
        if self._clock() < self._due_at and (self._is_mute or not changes):
            return
        sign = Health(
            state=state,
            since=self._since,
            why=why,
            looked_at=utcnow(),
            every=self._every,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        await self._write(sign.model_dump_json(indent=1).encode())

    async def _write(self, sign: bytes) -> None:
        try:
            await asyncio.to_thread(self._store.put, SIGN, sign)
        except StoreError as error:
            self._is_mute, self._due_at = True, self._clock() + LONGEST_BACKOFF
            if self._state == "watching" and not self._is_said:  # else it is part of the trouble
                log.warning("%s; until then `flagfall status` cannot show who watches", error)
                self._is_said = True
            return
        self._is_mute, self._due_at = False, self._clock() + self._every
        self._is_said = False


@dataclass(frozen=True)
class Unreachable:
    """The watcher cannot look, for longer than ``TROUBLE_AFTER``.

    Attributes:
        why: Where, and why.
        since: Since when (UTC).
    """

    why: str
    since: datetime


@dataclass(frozen=True)
class ReachedAgain:
    """That is over.

    Attributes:
        after: Seconds that it lasted.
    """

    after: float


class Trouble:
    """What goes wrong for a watcher: how long to wait, and what to say when.

    Args:
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._where = ""
        self._began_at = 0.0
        self._since = utcnow()
        self._is_told = False

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try."""
        return backoff(self._failures)

    def failed(self, error: Exception) -> Unreachable | None:
        """Note that a look failed.

        Returns:
            What Airflow is to be told, once; ``None`` where that is nothing.
        """
        if not self._failures:
            self._began_at, self._since = self._clock(), utcnow()
            self._where = error.uri if isinstance(error, StoreError) else "the watcher"
        self._log(error)
        self._failures += 1
        if self._is_told or self._clock() - self._began_at < TROUBLE_AFTER:
            return None
        self._is_told = True
        return Unreachable(reason(error), self._since)

    def _log(self, error: Exception) -> None:
        """Storage is said once; what is wrong in the code, each time and with its traceback."""
        again = f"trying again, at most every {LONGEST_BACKOFF:.0f} s"
        if not isinstance(error, StoreError):
            log.error("the watcher failed; %s", again, exc_info=error)
        elif not self._failures:
            log.warning("%s; %s", error, again)

    def over(self) -> ReachedAgain | None:
        """Note that a look succeeded.

        Returns:
            What Airflow is to be told; ``None`` where it was told of no trouble.
        """
        if not self._failures:
            return None
        lasted = self._clock() - self._began_at
        text = "%s: reached again after %d failures in %.0f s"
        log.warning(text, self._where, self._failures, lasted)
        was_told, self._is_told, self._failures = self._is_told, False, 0
        return ReachedAgain(lasted) if was_told else None


def reason(error: Exception) -> str:
    """An error in one short line; of one that was not foreseen only the kind, whatever it holds."""
    if isinstance(error, StoreError):
        return " ".join(str(error).split())[:LONGEST_WHY]
    return f"{type(error).__name__}; the triggerer's log has the traceback"
