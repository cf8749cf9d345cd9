"""The page of one feed: its verdict with reasons, what is open, and its deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal, get_args

from flagfall.ledger.ledger import Ledger, Row, Why, read_ledger
from flagfall.pages.feeds import OLD, FeedRef
from flagfall.pages.lakes import Known, Lakes, Place
from flagfall.stores import Store
from flagfall.watch.heartbeat import WatcherState, last_heartbeat

ROWS_SHOWN = 50
"""Deliveries on one page."""
Show = Literal["all", "accepted", "rejected", "open", "unchanged", "replaced"]
"""Which deliveries are listed."""


@dataclass(frozen=True)
class Filter:
    """Which deliveries are listed.

    Attributes:
        show: By what became of them.
        text: Part of the name.
        day: That landed on this day (UTC); ``None`` for any.
        run: That this run reported; empty for any.
        page: Counted from 1.
    """

    show: Show = "all"
    text: str = ""
    day: date | None = None
    run: str = ""
    page: int = 1

    def fits(self, row: Row) -> bool:
        """Whether a delivery is listed."""
        return (
            self._shows(row)
            and self.text.casefold() in row.label.casefold()
            and self.day in (None, row.landed_at.date())
            and self.run in ("", row.run)
        )

    def _shows(self, row: Row) -> bool:
        if self.show == "open":
            return row.is_open
        if self.show == "replaced":
            return row.is_replaced
        return self.show in ("all", row.status)

    @property
    def is_set(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.show != "all" or self.text or self.day or self.run)


EVERYTHING = Filter()


@dataclass(frozen=True)
class Seen:
    """What one read of a feed's lake gives."""

    ledger: Ledger | None
    watcher: WatcherState | None


@dataclass(frozen=True)
class FeedPage:
    """The page of a feed.

    Attributes:
        now: When it was made (UTC).
        ledger: What is known; ``None`` where nobody has judged the feed yet.
        watcher: Its last sign.
        away: Why the lake does not answer; empty where it does.
        read_at: When the lake was read.
        chosen: Which deliveries are listed.
        rows: Those, of this page.
        total: How many there are on all pages.
    """

    feed: FeedRef
    now: datetime
    ledger: Ledger | None
    watcher: WatcherState | None
    away: str
    read_at: datetime | None
    chosen: Filter
    rows: tuple[Row, ...]
    total: int

    @property
    def pages(self) -> int:
        """How many pages of deliveries there are."""
        return max(1, -(-self.total // ROWS_SHOWN))

    @property
    def is_old(self) -> bool:
        """Whether the verdict has outlived two looks of the watchman."""
        return self.ledger is not None and self.now - self.ledger.verdict.at > OLD

    @property
    def since_then(self) -> str:
        """How the watcher, which is read at once, has changed since the verdict; empty for not."""
        if self.ledger is None or self.watcher is None or self.away:
            return ""
        was_well = not any(map(_is_of_the_watcher, self.ledger.verdict.reasons))
        if self.watcher.is_overdue(self.now):
            return _SILENT if was_well else ""
        if self.watcher.state == "unreachable":
            return _AWAY if was_well else ""
        return "" if was_well else _BACK

    @property
    def open_reasons(self) -> tuple[str, ...]:
        """Why batches were rejected that are not corrected."""
        return tuple(sorted({row.reason for row in _rows(self.ledger) if row.is_open}))

    @property
    def shows(self) -> tuple[str, ...]:
        """What can be listed."""
        return get_args(Show)


_SILENT = "Since then the watcher has given no sign in time: nobody watches."
_AWAY = "Since then the watcher does not reach the storage any more."
_BACK = "Since then somebody watches again."


def _is_of_the_watcher(why: Why) -> bool:
    """Whether a reason is the watcher's; a storage that others do not reach has no ``since``."""
    return why.kind == "unwatched" or (why.kind == "unreachable" and why.since is not None)


def feed_page(lakes: Lakes, feed: FeedRef, now: datetime, chosen: Filter = EVERYTHING) -> FeedPage:
    """Read how a feed stands.

    Args:
        lakes: Reads lakes.
        feed: The feed.
        now: The time (UTC).
        chosen: Which deliveries are listed.
    """
    known = lakes.read(Place(feed.lake, feed.name, "feed", _read))
    seen = known.value or Seen(None, None)
    fitting = [row for row in _rows(seen.ledger) if chosen.fits(row)]
    last = max(1, -(-len(fitting) // ROWS_SHOWN))
    chosen = replace(chosen, page=min(max(chosen.page, 1), last))
    start = (chosen.page - 1) * ROWS_SHOWN
    return FeedPage(
        feed=feed,
        now=now,
        ledger=seen.ledger,
        watcher=seen.watcher,
        away=known.away,
        read_at=known.at,
        chosen=chosen,
        rows=tuple(fitting[start : start + ROWS_SHOWN]),
        total=len(fitting),
    )


def known_ledger(lakes: Lakes, feed: FeedRef) -> Known[Ledger | None]:
    """The ledger of a feed."""
    return lakes.read(Place(feed.lake, feed.name, "ledger", read_ledger))


def _read(store: Store) -> Seen:
    return Seen(read_ledger(store), last_heartbeat(store))


def _rows(ledger: Ledger | None) -> Iterable[Row]:
    return ledger.rows if ledger else ()
