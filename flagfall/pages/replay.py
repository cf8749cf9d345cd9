"""The page that shows what a replay of many batches would do, before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flagfall.dataset.feed import Feed
from flagfall.errors import NotThere
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.replays import Plan, Wish, plan_replay
from flagfall.lake.records import Receipt
from flagfall.pages.feeds import FeedRef
from flagfall.pages.lakes import Lakes, Place

PATIENCE = 30.0
"""Seconds that the page waits: receipts of years are read, and the landing zone is listed."""
LEFT = (
    "Its files left the landing zone, so no run was started. Replay its day on the feed's page,"
    " from the rows in the lake."
)
NEWER = "A new delivery of it is pending, so no run was started."
NOTHING_GIVEN = "Give a first day, a last day or a reason. Nothing was started."


@dataclass(frozen=True)
class DryRun:
    """What a replay would do.

    Attributes:
        batches: How many would be handed out again.
        rows: That they had when they were accepted.
        first, last: Their labels, in the order in which they landed; empty where there is none.
        left_out: How many would not be, by the reason.
    """

    batches: int
    rows: int
    first: str
    last: str
    left_out: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, plan: Plan) -> DryRun:
        """What a plan says."""
        found = [one.receipt for one in plan.batches]
        labels = [receipt.marker.label for receipt in found] or [""]
        rows = sum(receipt.rows for receipt in found)
        why = tuple(plan.why_left_out.most_common())
        return cls(len(found), rows, labels[0], labels[-1], why)


@dataclass(frozen=True)
class ReplayPage:
    """The page before a replay of many batches.

    Attributes:
        feed: The feed.
        now: When the page was made (UTC).
        given: What a person asked for, as it was written.
        wish: The same, understood; ``None`` where it is not.
        wrong: What is wrong with it; empty where nothing is.
        away: Why the lake or the landing zone does not answer; empty where both do.
        dry_run: What would be done; ``None`` where it is wrong, or nothing answers.
    """

    feed: FeedRef
    now: datetime
    given: Mapping[str, str]
    wish: Wish | None = None
    wrong: str = ""
    away: str = ""
    dry_run: DryRun | None = None

    @property
    def can_start(self) -> bool:
        """Whether there is anything to be replayed."""
        return self.dry_run is not None and self.dry_run.batches > 0


def replay_page(lakes: Lakes, feed: FeedRef, given: Mapping[str, str], now: datetime) -> ReplayPage:
    """Find out what a replay would do. Changes nothing.

    Args:
        lakes: Reads lakes.
        feed: The feed.
        given: What a person asks for (see ``Wish.read``).
        now: The time (UTC).
    """
    try:
        wish = Wish.read(given)
    except NotThere as error:
        return ReplayPage(feed, now, given, wrong=str(error))
    if wish.is_empty:
        return ReplayPage(feed, now, given, wrong=NOTHING_GIVEN)
    name = f"replay {sorted(given.items())}"
    known = lakes.read(Place(feed.lake, feed.name, name, lambda _: _dry_run(feed.feed, wish)))
    if known.away:  # what was planned earlier is no plan
        return ReplayPage(feed, now, given, wish, away=known.away)
    if isinstance(known.value, NotThere):
        return ReplayPage(feed, now, given, wish, wrong=str(known.value))
    return ReplayPage(feed, now, given, wish, dry_run=known.value)


def _dry_run(feed: Feed, wish: Wish) -> DryRun | NotThere:
    inbox = Inbox(feed)
    if wish.source == "landing":
        inbox.check_place()
    try:
        return DryRun.of(plan_replay(None, inbox, wish))
    except NotThere as error:
        return error


def why_not_again(lakes: Lakes, feed: FeedRef, receipt: Receipt) -> str:
    """Why a batch cannot be taken from the landing zone again: a run for it would fail.

    Returns:
        It in words; empty where it can be, or where only the workers see the landing zone.
    """
    name = f"why not {receipt.batch_id}"
    known = lakes.read(Place(feed.lake, feed.name, name, lambda _: _why_not(feed.feed, receipt)))
    return "" if known.away else known.value or ""


def _why_not(feed: Feed, receipt: Receipt) -> str:
    inbox = Inbox(feed)
    inbox.check_place()
    there = inbox.landing.find(receipt.marker.key)
    if not there:
        return LEFT
    deliveries = inbox.receipts.deliveries(receipt.marker)
    return "" if inbox.lying_there(there[0], receipt, deliveries) else NEWER
