"""Two triggers that wait for markers on the triggerer, where waiting costs no worker slot.

Neither decides what is processed: an event only says "look now", and the first task of a run asks
the inbox. So an event may be lost, late or doubled, and nothing is lost or done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.observability.stats import Stats
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingAddress, LandingZone, landing_zone
from flagfall.triggers import connections
from flagfall.triggers.metrics import Meter, Metric, is_on
from flagfall.watch.last_look import last_look
from flagfall.watch.loop import News, Timing, announcements, gathered, wait_for
from flagfall.watch.outage import ReachedAgain, Unreachable
from flagfall.watch.threads import in_thread

connections.use()

SETTLED_AT_LEAST = 10.0
"""Seconds after which a marker is announced a second time, at the soonest."""
SHOWN = 3
"""Markers that an event carries, for display only."""
COUNTED = 100_000
"""Markers that are remembered so that a metric counts each once."""


class _Fields(BaseTrigger):
    """Arguments declared once, as the fields of a dataclass; ``serialize`` follows from them."""

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no annotations

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's own path, and every field."""
        kind = type(self)
        declared = fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
        return f"{kind.__module__}.{kind.__qualname__}", {
            f.name: getattr(self, f.name) for f in declared
        }


@dataclass(kw_only=True, repr=False, eq=False)
class MarkerFeedTrigger(_Fields, BaseEventTrigger):
    """Announces pending markers of a feed, for ever: for an ``AssetWatcher``.

    One event for everything that is pending, not one per marker; and again while it still is. And
    one when the storage could not be reached for a while, and when it can be again: the run that it
    starts asks the same storage, and so fails where a watcher, which has no task, cannot.

    Attributes:
        feed: The ``Feed``, as JSON.

    Raises:
        ValidationError: ``feed`` is none.
    """

    feed: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self._feed = Feed.model_validate_json(self.feed)
        self._counted: set[str] = set()

    @classmethod
    def of(cls, feed: Feed) -> MarkerFeedTrigger:
        """The trigger of a feed."""
        return cls(feed=feed.model_dump_json())

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield whenever something becomes pending, when it is due again, and of an outage.

        It never ends, and never raises for storage: Airflow would start it again at once, for ever.
        """
        feed = self._feed
        settle_within = max(2 * feed.settle, SETTLED_AT_LEAST)
        timing = Timing(feed.sweep_every, feed.redeliver_after, settle_within)
        news = announcements(partial(Inbox, feed), timing)
        async with aclosing(gathered(news, feed.gather) if feed.gather else news) as items:
            async for one in items:
                await self._count(one)
                yield TriggerEvent(self._payload(one))

    async def _count(self, news: News) -> None:
        """Send how many markers are new; off the event loop, since StatsD looks up its host."""
        if not isinstance(news, tuple) or not is_on():
            return
        new = {marker.batch_id for marker in news} - self._counted
        self._counted = (self._counted if len(self._counted) < COUNTED else set()) | new
        await in_thread(Meter(self._feed.dataset, Stats).count, Metric.LANDED, len(new))

    def _payload(self, news: News) -> dict[str, Any]:
        """What an event says: small, and for display only."""
        if isinstance(news, Unreachable):
            return {"unreachable": news.why, "since": news.since.isoformat(timespec="seconds")}
        if isinstance(news, ReachedAgain):
            return {"reachable": self._feed.landing.uri, "after": round(news.after)}
        return {"pending": len(news), "first": [marker.uri for marker in news[:SHOWN]]}


@dataclass(kw_only=True, repr=False, eq=False)
class MarkerTrigger(_Fields, BaseTrigger):
    """Waits for one marker, then ends: for a task that defers.

    Attributes:
        landing: URI of the landing zone.
        marker: Pattern of the markers below it.
        partition: Values of the pattern's fields: which marker to wait for.
        deadline: When to give up, ISO 8601 with offset; empty to wait for ever.
        settle: A marker that cannot be read as one is waited for while it is younger, in seconds.
        sweep_every: Longest time between two looks, in seconds.
        conn_id: Airflow connection; empty for what the environment gives.
        sqs_queue: URL of an SQS queue that hears of new objects; empty for none.
    """

    landing: str
    marker: str
    partition: dict[str, str] = field(default_factory=dict)
    deadline: str = ""
    settle: float = 10.0
    sweep_every: float = 30.0
    conn_id: str = ""
    sqs_queue: str = ""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield once: ``{"marker": {…}}``, or ``{"late": <where>, "deadline": …}``."""
        address = LandingAddress(
            uri=self.landing, marker=self.marker, conn_id=self.conn_id, sqs_queue=self.sqs_queue
        )
        landing = landing_zone(address)
        yield TriggerEvent(await self._wait(landing))

    async def _wait(self, landing: LandingZone) -> dict[str, Any]:
        """Wait until the deadline, then look once more: the last sweep may be long ago."""
        settle = timedelta(seconds=self.settle)
        marker: Marker | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds_left()):
                marker = await wait_for(landing, self.partition, Timing(self.sweep_every), settle)
        marker = marker or await last_look(landing, self.partition, settle)
        if marker is not None:
            return {"marker": marker.to_dict(), "batch_id": marker.batch_id}
        where = f"{landing.uri}/{landing.pattern.fill(self.partition)}"
        return {"late": where, "deadline": self.deadline}

    def _seconds_left(self) -> float | None:
        """Until the deadline; ``None`` for ever."""
        if not self.deadline:
            return None
        return (datetime.fromisoformat(self.deadline) - datetime.now(UTC)).total_seconds()
