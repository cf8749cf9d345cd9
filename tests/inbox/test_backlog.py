"""History and replays do not hold up what is new, on a disk and on S3."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from flagfall.errors import DatasetInvalid
from flagfall.inbox.backlog import with_any_other
from flagfall.inbox.claim import Claim, claim
from flagfall.inbox.replays import Wish, hand_out_again, plan_replay
from flagfall.landing.marker import Marker
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import EPOCH
from tests.feeds import BY_DAY, Clock, S3Feed, ToyFeed, make_s3_toy, make_toy
from tests.s3 import S3Server

Make = Callable[..., ToyFeed | S3Feed]


@pytest.fixture(params=["disk", "S3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a feed whose keys sort by day; with settings of ``landing`` and of ``limits``."""
    if request.param == "S3":
        request.getfixturevalue("s3")
        bucket = request.getfixturevalue("bucket")
        return lambda more="", **landing: make_s3_toy(tmp_path, bucket, BY_DAY + more, **landing)
    return lambda more="", **landing: make_toy(tmp_path, more=BY_DAY + more, **landing)


def claimed(feed: ToyFeed | S3Feed, clock: Clock) -> Claim:
    """A claim when all that landed has settled; S3's clock goes by seconds."""
    clock.now = max(clock.now, Clock().now + timedelta(seconds=3))
    return claim(feed.inbox(clock), feed.dataset, lambda s: clock.advance(timedelta(seconds=s)))


def days_of(taken: Claim) -> list[str]:
    return [marker.label for shard in taken.shards for marker in shard]


def days_ago(*numbers: int) -> list[str]:
    return [str(date.today() - timedelta(days=number)) for number in numbers]


def marker(key: str) -> Marker:
    return Marker(f"/landing/{key}", key, "1", EPOCH, 0, {})


def take_in(feed: ToyFeed | S3Feed, taken: Claim, clock: Clock) -> None:
    deliveries = [Delivery(marker) for shard in taken.shards for marker in shard]
    run_stage("ingest", feed.dataset, feed.inbox(clock), deliveries)


def test_todays_batch_goes_before_history_that_landed_earlier(make: Make, clock: Clock) -> None:
    feed = make("limits: {backlog_per_run: 2}\n")
    old, today = days_ago(900, 899, 898, 897), days_ago(0)
    for day in (*old, *today):
        feed.drop(day)
    first = claimed(feed, clock)
    day, oldest, other = days_of(first)
    assert ([day], oldest, first.left) == (today, old[0], 2)
    take_in(feed, first, clock)
    rest = [one for one in old[1:] if one != other]
    second = claimed(feed, clock)
    assert (days_of(second), second.left) == (rest, 0)
    take_in(feed, second, clock)
    assert claimed(feed, clock).batches == 0


@pytest.mark.invariant(5)
def test_what_can_never_be_taken_in_holds_up_nothing_behind_it(make: Make, clock: Clock) -> None:
    feed = make("limits: {backlog_per_run: 2}\n")
    bad, good = days_ago(905, 904, 903), days_ago(900, 899)
    for day in (*bad, *good):
        feed.drop(day)
    seen: set[str] = set()
    for _ in range(30):  # nothing is ever taken in of what comes first, and something is always new
        seen |= set(days_of(claimed(feed, clock)))
        clock.advance(timedelta(seconds=7))
    assert seen == {*bad, *good}


def test_any_other_is_the_last_that_is_taken() -> None:
    days = [marker(day) for day in "abcde"]
    found = [with_any_other(days, 2, EPOCH + timedelta(seconds=n)) for n in range(4)]
    assert ["".join(one.key for one in order) for order in found] == [
        "abcde",
        "acbde",
        "adbce",
        "aebcd",
    ]
    assert list(with_any_other(days, 5, EPOCH)) == days
    assert list(with_any_other(days, 1, EPOCH)) == days


@pytest.mark.parametrize(("history", "step"), [("oldest", 1), ("newest", -1)])
def test_history_comes_in_the_order_that_the_dataset_file_names(
    make: Make, clock: Clock, history: str, step: int
) -> None:
    feed = make(history=history)
    old = days_ago(897, 900, 898)
    for day in old:
        feed.drop(day)
    assert days_of(claimed(feed, clock)) == sorted(old)[::step]


def test_a_batch_a_day_late_is_new_still(make: Make, clock: Clock) -> None:
    feed = make()
    late, older = days_ago(1, 4)
    for day in (older, late):
        feed.drop(day)
    assert days_of(claimed(feed, clock)) == [late, older]


def test_a_thousand_replays_let_what_is_new_pass(make: Make, clock: Clock) -> None:
    feed = make("limits: {backlog_per_run: 2}\n")
    old = days_ago(3, 2, 1)
    for day in old:
        feed.drop(day)
    take_in(feed, claimed(feed, clock), clock)
    take_in(feed, claimed(feed, clock), clock)
    inbox = feed.inbox(clock)
    hand_out_again(inbox, plan_replay(feed.dataset, inbox, Wish(source="staged")))
    today = days_ago(0)
    feed.drop(*today)
    clock.advance(timedelta(minutes=1))
    first = claimed(feed, clock)
    day, oldest, other = days_of(first)
    assert ([day], oldest, first.left) == (today, old[0], 1)
    take_in(feed, first, clock)
    assert days_of(claimed(feed, clock)) == [one for one in old[1:] if one != other]


def test_replays_go_before_history_since_a_person_waits(make: Make, clock: Clock) -> None:
    feed = make()
    (yesterday,) = days_ago(1)
    feed.drop(yesterday)
    take_in(feed, claimed(feed, clock), clock)
    (old,) = days_ago(900)
    feed.drop(old)
    feed.inbox(clock).replay(yesterday)
    clock.advance(timedelta(hours=2))  # on S3 a full sweep finds old keys
    assert days_of(claimed(feed, clock)) == [yesterday, old]


def test_a_run_of_history_has_no_more_shards_than_work_at_a_time(make: Make, clock: Clock) -> None:
    feed = make("limits: {shard_bytes: 1}\n")
    for day in days_ago(903, 902, 901, 900, 899, 898):
        feed.drop(day)
    taken = claimed(feed, clock)
    assert ([len(shard) for shard in taken.shards], taken.left) == ([1, 1, 1, 1], 2)


@pytest.mark.invariant(1)
def test_what_is_before_the_feed_begins_is_left_alone_until_it_begins_earlier(
    make: Make, clock: Clock
) -> None:
    old = days_ago(900, 800, 700)
    feed = make(since=old[1])
    for day in old:
        feed.drop(day)
    assert [marker.label for marker in feed.inbox().pending()] == old[1:]
    take_in(feed, claimed(feed, clock), clock)
    assert feed.inbox(clock).pending() == []
    earlier = make(since="all")
    clock.advance(timedelta(hours=2))  # a full sweep is due
    assert days_of(claimed(earlier, clock)) == old[:1]


def test_on_s3_it_is_not_even_listed(tmp_path: Path, s3: S3Server, bucket: str) -> None:
    s3.fill(bucket, *(f"landing/date=2020-01-01/{number:04d}.csv" for number in range(2100)))
    feed = make_s3_toy(tmp_path, bucket, since="2024-01-01")
    marker = feed.drop("2024-01-01")
    s3.requests.clear()
    assert feed.inbox().pending() == [marker]
    listed = [r for r in s3.requests if r.query.get("prefix") == ["landing/"]]
    assert len(listed) == 1


def test_without_keys_that_sort_by_time_it_goes_by_the_landing(tmp_path: Path) -> None:
    tomorrow = date.today() + timedelta(days=2)
    toy = make_toy(tmp_path, since=str(tomorrow))
    toy.drop("a")
    assert toy.inbox().pending() == []
    toy = make_toy(tmp_path, since=str(date.today() - timedelta(days=2)))
    assert [marker.label for marker in toy.inbox().pending()] == ["a"]


@pytest.mark.parametrize(
    ("landing", "says"),
    [
        ({"since": "20240101"}, "landing.since: expected all, or a day such as 2024-01-01"),
        ({"since": "2024-01-01 00:00:00"}, "landing.since: expected all, or a day"),
        ({"since": "some"}, "landing.since: expected all, or a day"),
        ({"history": "random"}, "landing.history: "),
    ],
)
def test_what_is_no_day_and_no_order_is_refused(
    tmp_path: Path, landing: dict[str, str], says: str
) -> None:
    with pytest.raises(DatasetInvalid, match=says):
        make_toy(tmp_path, **landing)
