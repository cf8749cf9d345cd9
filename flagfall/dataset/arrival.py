"""When batches are due."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from croniter import CroniterError, croniter
from pydantic import (
    Field,
    field_validator,
)

from flagfall.dataset.values import (
    Duration,
    Misfit,
    Section,
    Wait,
)

SAMPLE_TIME = datetime(2026, 11, 22, 6, tzinfo=UTC)
"""Any time, to try patterns of times on."""


KNOWN_DIRECTIVES = frozenset("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%")
"""What may follow a ``%`` in a strftime pattern."""


def _has_times(schedule: str) -> bool:
    """Whether it is a cron expression with a time in it: 30 February is none.

    A sixth field is seconds to some and a year to others; ``R`` is another time in each process.
    """
    if len(schedule.split()) > 5 or re.search(r"\bR\b", schedule):
        return False
    try:
        croniter(schedule, SAMPLE_TIME).get_next()
    except (CroniterError, ValueError):
        return False
    return True


_DIRECTIVE = re.compile(r"%[-_0^#]?(.|$)")
_OTHER_LANGUAGES = re.compile(r"(?i)yyyy|\{|\$|<\w+>")


def _not_strftime(text: str) -> str:
    """Why a text gives no time, though it means one; empty where it is a strftime pattern."""
    if other := _OTHER_LANGUAGES.search(text):
        return f"which have no {other[0]!r}, got {text!r}"
    unknown = [m[0] for m in _DIRECTIVE.finditer(text) if m[1] not in KNOWN_DIRECTIVES]
    return f"which have no {unknown[0]!r}, got {text!r}" if unknown else ""


def _no_moment(partition: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Fields that do not say what time a batch is of, and why."""
    used = {name: set(_DIRECTIVE.findall(text)) - {"%"} for name, text in partition.items()}
    every = set().union(*used.values())
    for name, text in partition.items():
        if not every and text:
            yield name, f"and none has a '%' and a letter: it is the same at any time, got {text!r}"
        if "M" in used[name] and not every & _HOURS:
            yield name, f"and %M is the minute, %m is the month, got {text!r}"


_HOURS = frozenset("HIklcrRsTX")
"""Directives that have an hour in them."""


class Arrival(Section):
    """When batches are due. Without a ``schedule`` they may come at any time.

    Attributes:
        schedule: Cron expression (UTC): when the wait for a batch begins.
        lag: The batch that is due belongs to the schedule's time less this: ``1d`` for yesterday's.
        partition: Values of the marker pattern's fields for that time, as strftime patterns.
        deadline: How long after the schedule the marker may come before the wait fails.
    """

    schedule: str | None = None
    lag: Duration = timedelta(0)
    partition: dict[str, str] = Field(default_factory=dict)
    deadline: Wait = timedelta(hours=1)

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is not None and not _has_times(value):
            raise ValueError(f"expected a cron expression such as '0 6 * * *', got {value!r}")
        return value

    @field_validator("partition")
    @classmethod
    def _strftime(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if why := _not_strftime(text):
                raise Misfit((name,), f"expected strftime patterns such as '%Y-%m-%d', {why}")
        for name, why in _no_moment(value):
            raise Misfit((name,), f"expected strftime patterns such as '%Y-%m-%d', {why}")
        return value

    def due_before(self, now: datetime) -> datetime:
        """The last time at which a batch was due. Only with a ``schedule``."""
        return next(self.dues_before(now))

    def dues_before(self, now: datetime) -> Iterator[datetime]:
        """The times at which a batch was due, the last one first. Only with a ``schedule``."""
        assert self.schedule is not None, "asked for a feed without a schedule"
        found: Iterator[datetime] = croniter(self.schedule, now).all_prev(datetime)
        return found

    def fields_at(self, due: datetime) -> dict[str, str]:
        """The fields of the marker that was due at that time."""
        return {name: (due - self.lag).strftime(text) for name, text in self.partition.items()}
