"""The backlog: what is pending and not new, which is not to hold up what is.

It is replays, and batches of a time for which nobody waits any more: history that landed before the
feed existed, or all at once. A pipeline has one run at a time, so what is new waits for the run
that is under way. Therefore a run with something new takes only two of the backlog beside it, and
one without takes no more than ``limits.backlog_per_run``, in as many shards as work at a time.

Where a run cannot take all, the last that it takes is any of the others. So what can never be taken
in holds up nothing behind it for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.shortcuts import FARTHEST_ZONE
from flagfall.landing.marker import Marker

GRACE = timedelta(days=1)
"""A batch that comes this long after it was expected is new still."""
BESIDE = 2
"""Batches of the backlog in a run that has something new: so even a feed in which something is
always new gets through it. The first, and any other."""


def set_apart(
    pending: Sequence[Marker], inbox: Inbox, first: Literal["oldest", "newest"]
) -> tuple[list[Marker], list[Marker]]:
    """Split what is pending.

    Args:
        pending: In the order in which it landed.
        inbox: The inbox that it is pending in.
        first: Which batches of an earlier time are to come first.

    Returns:
        What is new, in the order in which it landed. And the backlog: replays, for which a person
        waits, in the order in which they were asked for; then batches of an earlier time in theirs.
    """
    feed = inbox.feed
    cut = inbox.clock() - timedelta(seconds=feed.behind) - FARTHEST_ZONE - GRACE
    replays: list[Marker] = []
    new: list[Marker] = []
    old: list[Marker] = []
    for marker in pending:
        kind = replays if marker.replay else old if feed.is_before(marker, cut) else new
        kind.append(marker)
    return new, replays + _sorted(old, feed, first)


def with_any_other(pending: Sequence[Marker], most: int, now: datetime) -> Sequence[Marker]:
    """The same, in the order in which it is taken: the last of the first ``most`` is any other.

    Args:
        pending: In order.
        most: How many are taken.
        now: Decides which other one.
    """
    others = len(pending) - most
    if others <= 0 or most < 2:
        return pending
    place = most - 1 + int(now.timestamp()) % (others + 1)
    return [*pending[: most - 1], pending[place], *pending[most - 1 : place], *pending[place + 1 :]]


def _sorted(old: list[Marker], feed: Feed, first: Literal["oldest", "newest"]) -> list[Marker]:
    """By their keys where these sort by time, else as they landed."""
    by_time = sorted(old, key=lambda marker: marker.key) if feed.since else old
    return by_time[::-1] if first == "newest" else by_time
