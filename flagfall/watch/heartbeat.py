"""The heartbeat of a watcher: ``watch.json`` in the lake says that somebody watches a feed.

A watcher on the triggerer has no task that could fail. So it reports its own state: in the log, in
Airflow by an event (see ``announcements``), and by this file. It writes the file when its state
changes, and otherwise every ``HEARTBEAT_EVERY``. An old file means that nobody watches.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ValidationError

from flagfall.errors import StoreError
from flagfall.inbox.shortcuts import utcnow
from flagfall.lake.output import RECORD_LIMIT
from flagfall.logs import logger
from flagfall.stores import Store
from flagfall.stores.backoff import LONGEST_BACKOFF
from flagfall.watch.threads import in_thread

log = logger(__name__)

KEY = "watch.json"
"""Key in the dataset's folder of the lake."""
HEARTBEAT_EVERY = timedelta(minutes=5)
"""Time between two heartbeats while the state stays; longer where the watcher looks more rarely."""


class WatcherState(BaseModel, frozen=True):
    """The last heartbeat of a watcher.

    Attributes:
        state: Whether it reaches the landing zone and the lake.
        since: Since when (UTC).
        why: Why it does not reach them; empty where it does.
        looked_at: When it last looked, or tried to (UTC).
        every: Seconds until the next heartbeat.
        no_hints: Why there are no hints, so that only sweeps find markers; empty where there are.
        host: Where it runs.
        pid: Its process there.
        first: When anybody first watched the feed (UTC); ``None`` in those of older releases.
    """

    state: Literal["watching", "unreachable"]
    since: AwareDatetime
    why: str = ""
    looked_at: AwareDatetime
    every: float
    host: str
    pid: int
    no_hints: str = ""
    first: AwareDatetime | None = None

    def is_overdue(self, now: datetime) -> bool:
        """Whether the next heartbeat should have come by now, even if one was missed."""
        patience = timedelta(seconds=2 * self.every + LONGEST_BACKOFF)
        return now - self.looked_at > patience


def last_heartbeat(store: Store) -> WatcherState | None:
    """The last heartbeat in a dataset's folder of the lake; ``None`` where there never was one.

    Raises:
        StoreError: The lake cannot be reached.
    """
    try:
        return WatcherState.model_validate_json(store.read(KEY, RECORD_LIMIT))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("%s/%s is damaged; the next heartbeat replaces it: %s", store.uri, KEY, error)
        return None


class Heartbeat:
    """The heartbeats of one watcher. Where several watch, the last heartbeat stays.

    Args:
        store: The dataset's folder in the lake.
        looks_every: Longest time between two looks, in seconds.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, store: Store, looks_every: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._every = max(HEARTBEAT_EVERY.total_seconds(), looks_every)
        self._clock = clock
        self._due_at = clock()
        self._state = ""
        self._no_hints = ""
        self._since = utcnow()
        self._first: datetime | None = None
        self._last_failed = False
        self._has_logged = False

    async def beat(self, why: str = "", no_hints: str = "") -> None:
        """Write a heartbeat, if one is due. A lake that takes none does not stop the watcher.

        Args:
            why: Why the watcher cannot look; empty when it can.
            no_hints: Why it gets no hints; empty when it does.
        """
        state: Literal["watching", "unreachable"] = "unreachable" if why else "watching"
        if state != self._state:
            self._since = utcnow()
        changes = (state, no_hints) != (self._state, self._no_hints)
        self._state, self._no_hints = state, no_hints
        if self._clock() < self._due_at and (self._last_failed or not changes):
            return
        heartbeat = WatcherState(
            state=state,
            since=self._since,
            why=why,
            looked_at=utcnow(),
            every=self._every,
            host=socket.gethostname(),
            pid=os.getpid(),
            no_hints=no_hints,
        )
        await self._write(heartbeat)

    async def _write(self, heartbeat: WatcherState) -> None:
        try:
            await in_thread(self._put, heartbeat)
        except StoreError as error:
            self._last_failed, self._due_at = True, self._clock() + LONGEST_BACKOFF
            if self._state == "watching" and not self._has_logged:  # else the outage is logged
                log.warning("%s; until then `flagfall status` cannot show who watches", error)
                self._has_logged = True
            return
        self._last_failed, self._due_at = False, self._clock() + self._every
        self._has_logged = False

    def _put(self, heartbeat: WatcherState) -> None:
        if self._first is None:
            before = last_heartbeat(self._store)
            self._first = (before.first or before.since) if before else heartbeat.since
        dated = heartbeat.model_copy(update={"first": self._first})
        self._store.put(KEY, dated.model_dump_json(indent=1).encode())
