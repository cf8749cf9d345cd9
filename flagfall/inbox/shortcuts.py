"""Shortcuts: what a sweep may leave out, since it has receipts. A cache of receipts, no more.

A watermark object says how far everything has a receipt. On a disk it hides what moved to its place
before; on S3 it says at which key a sweep begins, until the next full sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from flagfall.dataset.feed import Feed
from flagfall.lake.receipts import Receipts, Watermark
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH, Store

FARTHEST_ZONE = timedelta(hours=12)
"""How far a producer's date may be behind UTC's."""
WATERMARK_AGE = timedelta(minutes=5)
"""How long a watermark that was read is good for."""
WATERMARK_STEP = timedelta(minutes=1)
"""By how much it must move for that to be written."""
WATERMARK_MARGIN = timedelta(hours=2)
"""How far the clocks of a producer's file system and of this machine may be apart."""


def utcnow() -> datetime:
    """The clock; tests give their own."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Scope:
    """What a sweep looks at.

    Attributes:
        watermark: How far the landing zone had been swept.
        began: When the scope was made, not later than the sweep (UTC).
        start: Markers up to this key are left out.
        full: Whether everything that there is is compared with every receipt.
    """

    watermark: Watermark
    began: datetime
    start: str = ""
    full: bool = False


class Shortcuts:
    """The shortcuts of one feed's sweeps.

    Args:
        feed: The feed.
        store: The landing zone's.
        receipts: The feed's receipts.
        clock: Gives the time (UTC).
    """

    def __init__(
        self, feed: Feed, store: Store, receipts: Receipts, clock: Callable[[], datetime]
    ) -> None:
        self._feed = feed
        self._store = store
        self._receipts = receipts
        self._clock = clock
        self._watermark = Watermark()
        self._watermark_read_at: datetime | None = None

    def scope(self) -> Scope:
        """What the next sweep has to look at.

        Where every look costs requests, and keys sort by time, it begins where anybody's last
        full sweep left off; and every now and then it is a full one again.
        """
        began = self._clock()
        watermark = self._current_watermark(began)
        is_due = (began - watermark.swept_at).total_seconds() >= self._feed.full_sweep_every
        if not self._metered or is_due or not watermark.start:
            return self.full_scope()
        return Scope(watermark, began, watermark.start)

    def full_scope(self) -> Scope:
        """What a sweep looks at that looks at everything.

        On S3 it compares with every receipt, too; on a disk the watermark shows which have one.
        """
        began = self._clock()
        return Scope(self._current_watermark(began), began, full=self._metered)

    @property
    def _metered(self) -> bool:
        return self._store.metered

    def _current_watermark(self, now: datetime) -> Watermark:
        """The watermark, which may have been read a while ago: it only gets better."""
        place = self._store.identity()
        read_at = self._watermark_read_at
        if read_at is None or now - read_at >= WATERMARK_AGE or place != self._watermark.place:
            self._watermark = self._receipts.watermark(place)
            self._watermark_read_at = now
        return self._watermark

    def hidden_before(self, scope: Scope) -> datetime:
        """Markers that moved here before this time have receipts (UTC)."""
        return EPOCH if self._metered else scope.watermark.landed_before

    def receipts_since(self, scope: Scope) -> date:
        """From which day on receipts have to be listed."""
        if scope.full:
            return EPOCH.date()
        margin = timedelta(days=1, seconds=self._feed.behind) if self._metered else timedelta()
        return max(EPOCH, scope.watermark.landed_before - margin).date()

    def advance(self, pending: Sequence[Marker], scope: Scope) -> None:
        """Move the watermark up to the oldest of ``pending``, which a sweep of ``scope`` found.

        A sweep that left keys out moves no time, only the key at which the next one begins.
        """
        if scope.start:
            self._narrow(pending, scope)
            return
        oldest = min((marker.landed_at for marker in pending), default=scope.began)
        moved = replace(
            scope.watermark,
            landed_before=min(oldest, scope.began - WATERMARK_MARGIN),
            swept_at=scope.began,
        )
        if self._is_worth_writing(moved, scope.watermark):
            self._move(replace(moved, start=self._start(pending, moved)))

    def _narrow(self, pending: Sequence[Marker], scope: Scope) -> None:
        """Have sweeps begin later, unless somebody found something earlier meanwhile."""
        start = self._start(pending, scope.watermark)
        if start > scope.start:
            now = self._receipts.watermark(scope.watermark.place)
            if now.start == scope.start:
                self._move(replace(now, start=start))

    def _is_worth_writing(self, moved: Watermark, before: Watermark) -> bool:
        if self._metered:
            step = timedelta(seconds=self._feed.full_sweep_every)
            return moved.swept_at - before.swept_at >= step
        return moved.landed_before - before.landed_before > WATERMARK_STEP

    def _start(self, pending: Iterable[Marker], watermark: Watermark) -> str:
        """The key up to which all that was seen has a receipt and nothing more is expected."""
        if not self._feed.since:
            return ""
        expected = watermark.landed_before - timedelta(seconds=self._feed.behind) - FARTHEST_ZONE
        return min([expected.strftime(self._feed.since), *_befores(pending)])

    def cover(self, found: Iterable[Marker]) -> None:
        """See to it that a sweep by anybody else looks at these markers, too."""
        lowest = min(_befores(found), default="")
        if not (self._feed.since and self._metered and lowest):
            return
        self._watermark_read_at = None
        watermark = self._current_watermark(self._clock())
        if lowest < watermark.start:
            self._move(replace(watermark, start=lowest))

    def _move(self, watermark: Watermark) -> None:
        self._receipts.move_watermark(watermark)
        self._watermark_read_at = None


def _befores(markers: Iterable[Marker]) -> Iterator[str]:
    """A key just before each marker's; replays are found without a look at the landing zone."""
    return (marker.key[:-1] for marker in markers if not marker.replay)
