"""What the triggers do on the triggerer: wait, and say what has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.observability.stats import Stats

from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingAddress, landing_zone
from flagfall.triggers import connections
from flagfall.triggers.metrics import Meter, Metric, is_on
from flagfall.watch.last_look import last_look
from flagfall.watch.loop import News, Timing, announcements, gathered, wait_for
from flagfall.watch.outage import ReachedAgain, Unreachable
from flagfall.watch.threads import in_thread

if TYPE_CHECKING:
    from flagfall.triggers.markers import MarkerTrigger

connections.use()

SETTLED_AT_LEAST = 10.0
"""Seconds after which a marker is announced a second time, at the soonest."""
SHOWN = 3
"""Markers that an event carries, for display only."""
COUNTED = 100_000
"""Markers that are remembered so that a metric counts each once."""


async def pending(feed: Feed) -> AsyncGenerator[dict[str, Any]]:
    """What the events of a feed say, for ever (see ``MarkerFeedTrigger``)."""
    settle_within = max(2 * feed.settle, SETTLED_AT_LEAST)
    timing = Timing(feed.sweep_every, feed.redeliver_after, settle_within)
    news = announcements(partial(Inbox, feed), timing)
    counted: set[str] = set()
    async with aclosing(gathered(news, feed.gather) if feed.gather else news) as items:
        async for one in items:
            counted = await _count(feed, one, counted)
            yield payload(feed, one)


async def _count(feed: Feed, news: News, counted: set[str]) -> set[str]:
    """Send how many markers are new; off the event loop, since StatsD looks up its host.

    Returns:
        The markers that are counted now.
    """
    if not isinstance(news, tuple) or not is_on():
        return counted
    new = {marker.batch_id for marker in news} - counted
    await in_thread(Meter(feed.dataset, Stats).count, Metric.LANDED, len(new))
    return (counted if len(counted) < COUNTED else set()) | new


def payload(feed: Feed, news: News) -> dict[str, Any]:
    """What an event says: small, and for display only."""
    if isinstance(news, Unreachable):
        return {"unreachable": news.why, "since": news.since.isoformat(timespec="seconds")}
    if isinstance(news, ReachedAgain):
        return {"reachable": feed.landing.uri, "after": round(news.after)}
    return {"pending": len(news), "first": [marker.uri for marker in news[:SHOWN]]}


async def one_marker(asked: MarkerTrigger) -> dict[str, Any]:
    """Wait until the deadline, then look once more: the last sweep may be long ago.

    Returns:
        ``{"marker": {…}, "batch_id": …}``, or ``{"late": <where>, "deadline": …}``.
    """
    address = LandingAddress(
        uri=asked.landing, marker=asked.marker, conn_id=asked.conn_id, sqs_queue=asked.sqs_queue
    )
    landing, settle = landing_zone(address), timedelta(seconds=asked.settle)
    marker: Marker | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(_seconds_until(asked.deadline)):
            marker = await wait_for(landing, asked.partition, Timing(asked.sweep_every), settle)
    marker = marker or await last_look(landing, asked.partition, settle)
    if marker is not None:
        return {"marker": marker.to_dict(), "batch_id": marker.batch_id}
    where = f"{landing.uri}/{landing.pattern.fill(asked.partition)}"
    return {"late": where, "deadline": asked.deadline}


def _seconds_until(deadline: str) -> float | None:
    """Until the deadline, in UTC where it has no offset; ``None`` for ever."""
    if not deadline:
        return None
    time = datetime.fromisoformat(deadline)
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (time - datetime.now(UTC)).total_seconds()
