from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.cli.cost import Cost, Sizes, cost_of_waiting
from flagfall.cli.status import status
from flagfall.dataset.schema import Dataset
from tests.feeds import BY_DAY, Clock, ToyFeed, make_s3_toy
from tests.s3 import S3Server

WATCH = "watch: {sweep_every: 60s, full_sweep_every: 1h, request_price: 0.01}\n"


def dataset(root: Path, more: str = BY_DAY + WATCH) -> Dataset:
    return make_s3_toy(root, "bucket", more).dataset


def test_sweeps_of_what_is_new_and_one_of_everything_an_hour(tmp_path: Path) -> None:
    """59 sweeps of 1 + 1 pages, one of 100 + 11; watermark and sign every 5 minutes."""
    cost = cost_of_waiting(dataset(tmp_path), Sizes(100_000, 1_000, 10_001, 20))
    assert cost == Cost(253, 253 / 1_000 * 0.01)


def test_where_keys_do_not_sort_by_time_every_sweep_is_one_of_everything(tmp_path: Path) -> None:
    cost = cost_of_waiting(dataset(tmp_path, WATCH), Sizes(100_000, 1_000, 10_001, 20))
    assert cost is not None
    assert cost.requests_an_hour == 60 * 111 + 24


def test_a_lake_on_disk_costs_nothing(tmp_path: Path) -> None:
    cost = cost_of_waiting(dataset(tmp_path), Sizes(500, 500, None, None))
    assert cost is not None
    assert cost.requests_an_hour == 60


def test_a_feed_on_disk_costs_nothing(toy: ToyFeed) -> None:
    seen = status(toy.dataset, toy.inbox()).seen
    assert seen is not None
    assert seen.cost is None


def test_status_does_not_look_at_every_old_receipt(
    tmp_path: Path, s3: S3Server, bucket: str, clock: Clock
) -> None:
    feed = make_s3_toy(tmp_path, bucket)
    markers = [feed.drop(f"2026-11-0{n}") for n in range(1, 6)]
    for marker in markers:
        feed.inbox().reject(marker, "no-data", "why")
    clock.advance(timedelta(days=40))
    inbox = feed.inbox(clock)
    scope = inbox.scope()
    inbox.advance(inbox.pending(scope), scope)
    s3.requests.clear()
    seen = status(feed.dataset, feed.inbox(clock)).seen
    assert seen is not None
    assert seen.pending == ()
    assert [r.path for r in s3.requests if "/receipts/landed=" in r.path] == []


@pytest.mark.parametrize("more", [BY_DAY, ""])
def test_what_status_says_is_what_the_sweeps_of_a_new_feed_ask(
    tmp_path: Path, s3: S3Server, bucket: str, more: str
) -> None:
    feed = make_s3_toy(tmp_path, bucket, f"{more}watch: {{sweep_every: 1h}}\n")
    feed.drop("2026-11-01")
    seen = status(feed.dataset, feed.inbox()).seen
    s3.requests.clear()
    feed.inbox().pending()
    assert seen is not None
    assert seen.cost is not None
    watermarks, signs = 12, 1
    assert seen.cost.requests_an_hour == len(s3.requests) - 1 + watermarks + signs
