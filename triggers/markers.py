"""Two triggers that wait for markers on the triggerer, where waiting costs no worker slot.

Neither decides what is processed: an event only says "look now", and the first task of a run asks
the inbox. So an event may be lost, late or doubled, and nothing is lost or done twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from flagfall.dataset.feed import Feed
from flagfall.watch.threads import in_thread

WORK = "flagfall.triggers.waiting"
"""What they do: imported when one runs, not wherever a DAG file is read."""


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

    @classmethod
    def of(cls, feed: Feed) -> MarkerFeedTrigger:
        """The trigger of a feed."""
        return cls(feed=feed.model_dump_json())

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield whenever something becomes pending, when it is due again, and of an outage.

        It never ends, and never raises for storage: Airflow would start it again at once, for ever.
        """
        waiting = await in_thread(import_module, WORK)
        async with aclosing(waiting.pending(self._feed)) as payloads:
            async for payload in payloads:
                yield TriggerEvent(payload)


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
        waiting = await in_thread(import_module, WORK)
        yield TriggerEvent(await waiting.one_marker(self))
