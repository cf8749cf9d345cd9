"""What a verdict is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from flagfall.errors import StoreError
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Evaluation, Receipt
from flagfall.landing.marker import Marker
from flagfall.verdict.failures import Failure
from flagfall.watch.heartbeat import WatcherState

WINDOW = timedelta(days=30)
"""How far back receipts count, by the time at which a marker landed."""
JUDGED = 200
"""Most deliveries of a day whose evaluations are read, the newest ones."""

_DATE = re.compile(r"(\d{4}-\d{2}-\d{2}|\d{8})(?!\d)")
_FIRST_YEAR = 1900
"""A number that reads as a day before it is a number."""


@dataclass(frozen=True)
class Overdue:
    """A marker that should be there by now.

    Attributes:
        key: Below the landing zone.
        uri: Where it should be.
        deadline: Since when it is late (UTC).
    """

    key: str
    uri: str
    deadline: datetime


@dataclass(frozen=True)
class Unfinished:
    """A delivery that was accepted and is not evaluated, though it should be.

    Attributes:
        since: When it was accepted (UTC).
    """

    batch_id: str
    label: str
    since: datetime


@dataclass(frozen=True)
class Facts:
    """What is known of a feed at one moment.

    Attributes:
        at: That moment (UTC).
        receipts: Of the last 30 days, in the order of landing.
        evaluations: Of the deliveries that ``judged`` names, as far as they are there.
        unscored: Names of those of them that a run is about to score.
        learned: Of other deliveries whose outcomes came today by another feed, the evaluations by
            these outcomes.
        landed: Markers that are pending, however long.
        pending: Those that have been pending for longer than ``redeliver_after``.
        unfinished: Deliveries that nobody has finished for so long, or that a run left behind.
        late: Markers that are late, the oldest first.
        watcher: The watcher's last sign; ``None`` where there never was one.
        failures: Tasks that failed since a run succeeded.
        damaged: URIs of receipts that cannot be read.
        dismissed: Rejected batches that people have decided to leave so.
        error: Why the rest is not known.
    """

    at: datetime
    receipts: tuple[Receipt, ...] = ()
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    unscored: tuple[str, ...] = ()
    learned: Mapping[str, Evaluation] = field(default_factory=dict)
    landed: tuple[Marker, ...] = ()
    pending: tuple[Marker, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    late: tuple[Overdue, ...] = ()
    watcher: WatcherState | None = None
    failures: tuple[Failure, ...] = ()
    damaged: tuple[str, ...] = ()
    dismissed: frozenset[str] = frozenset()
    error: StoreError | None = None

    @property
    def current(self) -> list[Receipt]:
        """The deliveries that count, in the order of landing."""
        return current_view(self.receipts)


def batch_date(receipt: Receipt) -> date:
    """Return a batch's day: the first field that begins with a date, else when it was delivered."""
    for value in receipt.marker.fields.values():
        if (day := _day_in(value)) is not None:
            return day
    return receipt.marker.delivered_at.astimezone(UTC).date()


def _day_in(value: str) -> date | None:
    match = _DATE.match(value)
    try:
        day = date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None
    return day if day is not None and day.year >= _FIRST_YEAR else None


def is_to_come(day: date, at: datetime) -> bool:
    """Whether a day is after tomorrow (UTC): then it is a slip, or of a plan, and not the newest.

    Tomorrow has begun somewhere.
    """
    return day > at.astimezone(UTC).date() + timedelta(days=1)


def judged(current: list[Receipt], at: datetime) -> list[Receipt]:
    """The deliveries that today's verdict is about.

    Those of the newest day that there is, and all that were taken in today. So a batch of last
    month that comes today is judged, and does not hide what is wrong with yesterday's. Nor does one
    of a day that is still to come: from the day after tomorrow on, days are not the newest.

    Args:
        current: The deliveries that count.
        at: Now (UTC).
    """
    if not current:
        return []
    today = at.astimezone(UTC).date()
    days = set(map(batch_date, current))
    newest = max({day for day in days if not is_to_come(day, at)} or days)
    return [
        receipt
        for receipt in current
        if batch_date(receipt) == newest or receipt.received_at.astimezone(UTC).date() == today
    ]
