"""The page of all feeds: how each stands, the one that needs a look first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flagfall.dataset.feed import Feed, LakeAddress
from flagfall.ledger.board import NOTHING, Board, Standing, read_board
from flagfall.ledger.ledger import Day
from flagfall.pages.lakes import Known, Lakes, Place
from flagfall.verdict.reason import Word

MOST_READS = 10
"""Lakes that one page reads. Of more, those that were read longest ago; the others stand as they
were."""
OLD = timedelta(minutes=30)
"""A verdict that is older has outlived two looks of the watchman."""
_ORDER = {"failed": 0, "attention": 1, None: 2, "unknown": 3, "normal": 4}


@dataclass(frozen=True)
class FeedRef:
    """A feed as Airflow knows it.

    Attributes:
        dag_id: Of its pipeline.
        feed: As its trigger carries it.
        title: Of its dataset.
        is_paused: Whether the pipeline is paused.
    """

    dag_id: str
    feed: Feed
    title: str = ""
    is_paused: bool = False

    @property
    def name(self) -> str:
        """Of its dataset."""
        return self.feed.dataset

    @property
    def lake(self) -> LakeAddress:
        """Where it is remembered."""
        return self.feed.lake

    @property
    def landing(self) -> str:
        """URI of its landing zone."""
        return self.feed.landing.uri

    @property
    def marker(self) -> str:
        """Pattern of its markers."""
        return self.feed.landing.marker


@dataclass(frozen=True)
class FeedLine:
    """One feed on the page.

    Attributes:
        standing: ``None`` where nobody has judged it yet, or its lake never answered.
        away: Why its lake does not answer; empty where it does.
        is_old: Whether its verdict is older than ``OLD``.
    """

    feed: FeedRef
    standing: Standing | None
    away: str
    is_old: bool

    @property
    def word(self) -> Word | None:
        """Its verdict in one word; ``None`` where there is none."""
        return self.standing.verdict.word if self.standing else None


@dataclass(frozen=True)
class FeedsPage:
    """The page of all feeds.

    Attributes:
        now: When it was made (UTC).
        lines: The feeds, those that need a look first.
        away: Lakes that do not answer: URI, why, and when they last did.
        unreadable: Feeds whose dataset file cannot be used, and why.
    """

    now: datetime
    lines: tuple[FeedLine, ...]
    away: tuple[tuple[str, str, datetime | None], ...]
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def oldest(self) -> datetime | None:
        """When the oldest verdict was made."""
        return min((one.standing.verdict.at for one in self.lines if one.standing), default=None)

    @property
    def newest(self) -> datetime | None:
        """When the newest verdict was made."""
        return max((one.standing.verdict.at for one in self.lines if one.standing), default=None)

    def count(self, word: Word) -> int:
        """Feeds with this verdict."""
        return sum(line.word == word for line in self.lines)


def _nothing(dag_id: str) -> bool:
    return False


def feeds_page(
    lakes: Lakes,
    feeds: Sequence[FeedRef],
    now: datetime,
    may_read: Callable[[str], bool] = _nothing,
) -> FeedsPage:
    """Read how feeds stand.

    Args:
        lakes: Reads lakes.
        feeds: Those that the reader may see.
        now: The time (UTC).
        may_read: Whether the reader may read a DAG.
    """
    boards = _boards(lakes, feeds)
    lines = [_line(feed, boards[feed.lake], now) for feed in feeds]
    lines.sort(key=lambda line: (_ORDER[line.word], line.feed.name))
    away = [(lake.uri, known.away, known.at) for lake, known in boards.items() if known.away]
    return FeedsPage(now, tuple(lines), tuple(away), tuple(_unreadable(boards.values(), may_read)))


def _unreadable(
    boards: Iterable[Known[Board]], may_read: Callable[[str], bool]
) -> list[tuple[str, str]]:
    """Dataset files that cannot be used, of the feeds that the reader may see."""
    noted = [board.value.unreadable for board in boards if board.value]
    found = {
        name: why
        for board in noted
        for watchman, files in board.items()
        for name, why in files.items()
        if may_read(watchman) and may_read(f"{name}_pipeline")
    }
    return sorted(found.items())


def _boards(lakes: Lakes, feeds: Iterable[FeedRef]) -> dict[LakeAddress, Known[Board]]:
    places = {lake: _place(lake) for lake in dict.fromkeys(feed.lake for feed in feeds)}
    by_age = sorted(places, key=lambda lake: str(lakes.last(places[lake]).at or ""))
    read = by_age[:MOST_READS]
    found = dict(zip(read, lakes.read_all([places[lake] for lake in read]), strict=True))
    return {lake: found.get(lake) or lakes.last(place) for lake, place in places.items()}


def _place(lake: LakeAddress) -> Place[Board]:
    return Place(lake, "", "board", read_board)


def _line(feed: FeedRef, board: Known[Board], now: datetime) -> FeedLine:
    standing = (board.value or NOTHING).feeds.get(feed.name)
    is_old = standing is not None and now - standing.verdict.at > OLD
    return FeedLine(feed, standing, board.away, is_old)


def strip_label(days: Sequence[Day]) -> str:
    """The strip of days in words, for those who do not see it."""
    words = ("normal", "attention", "failed", "unknown")
    counts = {word: sum(day.word == word for day in days) for word in words}
    some = [f"{count} {word}" for word, count in counts.items() if count]
    without = sum(day.word is None for day in days)
    some += [f"{without} without a verdict"] if without else []
    return f"The last {len(days)} days: {', '.join(some)}" if days else "No days are known"
