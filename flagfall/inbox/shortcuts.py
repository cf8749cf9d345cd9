"""Shortcuts: what a sweep of a bucket may leave out, since it has receipts.

Where every look costs requests, a sweep begins at the key up to which everything has a receipt, as
far as anybody has seen. That is a cache of receipts and no more: it expires, and a full sweep
compares everything that is there with every receipt. On a disk every sweep is a full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flagfall.dataset.feed import Feed
from flagfall.inbox.watermark import (
    NOTHING,
    Cover,
    Watermark,
    add_cover,
    drop_covers,
    read_watermark,
    write_watermark,
)
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH, Store

FARTHEST_ZONE = timedelta(hours=12)
"""How far a producer's date may be behind UTC's."""
WATERMARK_AGE = timedelta(minutes=5)
"""How long a watermark that was read is good for."""
WATERMARK_MARGIN = timedelta(hours=2)
"""How far the clocks of a bucket and of this machine may be apart."""
CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of two machines may be apart; a watermark from the future is not believed."""


def utcnow() -> datetime:
    """The clock; tests give their own."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Scope:
    """What a sweep looks at.

    Attributes:
        began: When the scope was made, not later than the sweep (UTC).
        watermark: How far the landing zone had been swept.
        start: Markers up to this key are left out; empty: none, and every receipt is listed.
    """

    began: datetime
    watermark: Watermark = NOTHING
    start: str = ""

    @property
    def full(self) -> bool:
        """Whether everything that there is is compared with every receipt."""
        return not self.start


class Shortcuts:
    """The shortcuts of one feed's sweeps.

    Args:
        feed: The feed.
        landing: The landing zone's store.
        lake: The dataset's folder in the lake.
        clock: Gives the time (UTC).
    """

    def __init__(
        self, feed: Feed, landing: Store, lake: Store, clock: Callable[[], datetime]
    ) -> None:
        self._feed = feed
        self._lake = lake
        self._clock = clock
        self._is_used = landing.metered and bool(feed.since)
        self._watermark = NOTHING
        self._covers: dict[int, Cover] = {}
        self._read_at: datetime | None = None

    def scope(self) -> Scope:
        """What the next sweep has to look at.

        It begins where anybody's last full sweep left off; and every now and then it is a full one
        again.
        """
        began = self._clock()
        if not self._is_used:
            return Scope(began)
        watermark = self._current_watermark(began)
        is_due = not self._is_recent(watermark, began)
        return Scope(began, watermark, "" if is_due else watermark.start)

    def _is_recent(self, watermark: Watermark, now: datetime) -> bool:
        every = timedelta(seconds=self._feed.full_sweep_every)
        return -CLOCK_SKEW <= now - watermark.swept_at < every

    def full_scope(self) -> Scope:
        """What a sweep looks at that looks at everything."""
        began = self._clock()
        return Scope(began, self._current_watermark(began) if self._is_used else NOTHING)

    def _current_watermark(self, now: datetime) -> Watermark:
        """The watermark, which may have been read a while ago."""
        read_at = self._read_at
        if read_at is None or not timedelta() <= now - read_at < WATERMARK_AGE:
            self._watermark = read_watermark(self._lake, self._covers)
            self._read_at = now
        return self._watermark

    def receipts_since(self, scope: Scope) -> date:
        """From which day on receipts have to be listed."""
        if scope.full:
            return EPOCH.date()
        margin = timedelta(days=1, seconds=self._feed.behind)
        return max(EPOCH, scope.watermark.landed_before - margin).date()

    def advance(self, pending: Sequence[Marker], scope: Scope) -> None:
        """Have sweeps begin just before the oldest key of ``pending``, which ``scope`` found.

        What somebody found earlier meanwhile, or found while this sweep was under way, is kept.
        """
        if not self._is_used:
            return
        now = read_watermark(self._lake, self._covers)
        if scope.full and not self._is_recent(now, scope.began):
            self._move(self._swept(pending, scope))
        elif scope.start:
            start = self._start(pending, scope.watermark)
            is_as_it_was = (now.start, now.covers) == (scope.start, scope.watermark.covers)
            if start > scope.start and is_as_it_was:
                self._move(now.model_copy(update={"start": start}))

    def _swept(self, pending: Sequence[Marker], scope: Scope) -> Watermark:
        """The watermark after a full sweep, which knew of the covers that its scope has."""
        oldest = min((marker.landed_at for marker in pending), default=scope.began)
        swept = Watermark(
            landed_before=min(oldest, scope.began - WATERMARK_MARGIN),
            swept_at=scope.began,
            covers=scope.watermark.covers,
        )
        return swept.model_copy(update={"start": self._start(pending, swept)})

    def _start(self, pending: Iterable[Marker], watermark: Watermark) -> str:
        """The key up to which all that was seen has a receipt and nothing more is expected."""
        expected = watermark.landed_before - timedelta(seconds=self._feed.behind) - FARTHEST_ZONE
        return min([expected.strftime(self._feed.since), *_befores(pending)])

    def _move(self, watermark: Watermark) -> None:
        write_watermark(self._lake, watermark)
        self._read_at = None

    def cover(self, found: Iterable[Marker]) -> None:
        """See to it that a sweep by anybody else looks at these markers, too.

        It is noted also where sweeps begin before them anyway: a full sweep that is under way may
        be about to have them begin later.
        """
        lowest = min(_befores(found), default="")
        if not (self._is_used and lowest):
            return
        now = read_watermark(self._lake, self._covers)
        soon = self._start((), Watermark(landed_before=self._clock()))
        if not now.start or lowest < max(now.start, soon):
            add_cover(self._lake, Cover(key=lowest), now.covers)
            self._read_at = None

    def tidy(self) -> None:
        """Remove what hints have named and sweeps have known for long."""
        if self._is_used:
            drop_covers(self._lake)


def _befores(markers: Iterable[Marker]) -> Iterator[str]:
    """A key before each batch's; replays are found without a look at the landing zone."""
    return (_before(marker.key) for marker in markers if not marker.replay)


def _before(key: str) -> str:
    return key.rpartition("/")[0] or key[:-1]
