"""A feed with settings of upkeep, on a disk or on S3, and what lies where."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.dataset.feed import Feed
from flagfall.inbox.claim import claim
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import EPOCH, Store, open_store
from flagfall.upkeep.run import Upkeep, do_upkeep, plan_upkeep
from tests.feeds import Clock, S3Feed, ToyFeed, make_s3_toy, make_toy
from tests.scored import train_toy, with_model

AnyFeed = ToyFeed | S3Feed
Make = Callable[..., AnyFeed]


def maker(request: pytest.FixtureRequest, root: Path, where: str) -> Make:
    """Makes a feed ``toy``, given settings of ``lake.keep`` and of ``landing``."""
    bucket = ""
    if where == "S3":
        request.getfixturevalue("s3")
        bucket = request.getfixturevalue("bucket")

    def make(keep: str = "", scored: bool = False, **landing: str) -> AnyFeed:
        landing = {
            key: value.format(root=f"s3://{bucket}" if bucket else root)
            for key, value in landing.items()
        }
        more = with_model(root) if scored else ""
        if bucket:
            feed: AnyFeed = make_s3_toy(root, bucket, more, keep=keep, **landing)
        else:
            feed = make_toy(root, more=more, keep=keep, **landing)
        if scored:
            train_toy(feed.dataset)
        return feed

    return make


def run(feed: AnyFeed, clock: Clock) -> list[Receipt]:
    """A run, as Airflow does it, when all that landed has settled."""
    clock.now = max(clock.now, Clock().now + timedelta(seconds=3))
    taken = claim(feed.inbox(clock), feed.dataset, lambda s: clock.advance(timedelta(seconds=s)))
    found = []
    for shard in taken.shards:
        deliveries = [Delivery(marker) for marker in shard]
        for stage in STAGES if feed.dataset.model else STAGES[:1]:
            deliveries = run_stage(stage, feed.dataset, feed.inbox(clock), deliveries)
        found += [feed.inbox().receipts.find(delivery.marker) for delivery in deliveries]
    return [receipt for receipt in found if receipt is not None]


def maintain(feed: AnyFeed, clock: Clock) -> Upkeep:
    """A round of upkeep, as the DAG does it."""
    inbox: Inbox = Inbox(Feed.of(feed.dataset), clock)
    done = do_upkeep(feed.dataset, inbox, plan_upkeep(feed.dataset, inbox))
    done.check()
    return done


def objects(store: Store) -> dict[str, tuple[str, int]]:
    """Version and size of everything, by key."""
    return {entry.key: (entry.version, entry.size) for entry in store.list()}


def landing_of(feed: AnyFeed) -> dict[str, tuple[str, int]]:
    return objects(feed.inbox().landing.store)


def lake_of(feed: AnyFeed, kind: str) -> set[str]:
    """Batch ids below a folder of the lake, or the names there."""
    return {key.split("/")[1] for key in feed.inbox().lake.store.names(kind)}


def at(uri: str) -> dict[str, tuple[str, int]]:
    return objects(open_store(uri))


def counting(feed: AnyFeed) -> list[Receipt]:
    return [r for r in feed.inbox().receipts.since(EPOCH.date()) if r.status == "accepted"]
