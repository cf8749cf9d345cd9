"""The floor: what Airflow takes for an event that costs nothing to find.

A trigger that yields at a time that it was told, and says in the event when it did. Whatever comes
after that is Airflow's own: the same for every trigger. Imported by Airflow from ``PYTHONPATH``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, StartTriggerArgs, TriggerEvent

LOOK_EVERY = 0.2
"""Seconds between two looks at what a trigger is told; it is told earlier than that."""


async def told_time(file: Path, after: float = 0.0) -> float:
    """Wait until the time that a file holds; gives that at which the wait was over.

    Args:
        file: Holds seconds since 1970; may not be there yet.
        after: What it held before.
    """
    while (at := _read(file)) <= after:  # noqa: ASYNC110  # another process tells it
        await asyncio.sleep(LOOK_EVERY)
    await asyncio.sleep(at - time.time())
    return time.time()


def _read(file: Path) -> float:
    try:
        return float(file.read_text())
    except FileNotFoundError:
        return 0.0


class FloorTrigger(BaseEventTrigger):
    """Yields at every time that a file is given: for an ``AssetWatcher``."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As every trigger does."""
        return "floor.FloorTrigger", {"file": self.file}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """For ever."""
        at = time.time()
        while True:
            at = await told_time(Path(self.file), at)
            yield TriggerEvent({"at": at})


class FloorWait(BaseTrigger):
    """Yields once, at the time that a file is given: for a sensor."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As every trigger does."""
        return "floor.FloorWait", {"file": self.file}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Once."""
        yield TriggerEvent({"at": await told_time(Path(self.file))})


class FloorSensor(BaseSensorOperator):
    """Started from its trigger, without a worker, as ``MarkerSensor`` is; returns the time."""

    def __init__(self, *, file: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.file = file
        self.start_from_trigger = True
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="floor.FloorWait",
            trigger_kwargs={"file": file},
            next_method="on_event",
            timeout=timedelta(seconds=self.timeout),
        )

    def execute(self, context: Any) -> None:
        """Never: it starts from its trigger."""
        raise NotImplementedError

    def on_event(self, context: Any, event: dict[str, Any]) -> float:
        """End."""
        return float(event["at"])


class Nothing(BaseOperator):
    """A task that does nothing: what Airflow itself takes for one."""

    def execute(self, context: Any) -> None:
        """Nothing."""


class DeferTo(BaseOperator):
    """Defers to a trigger at once, as Airflow's page on deferring shows.

    Args:
        trigger: The trigger.
    """

    def __init__(self, *, trigger: BaseTrigger, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trigger = trigger

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=self.trigger, method_name="on_event")

    def on_event(self, context: Any, event: Any) -> None:
        """End."""
