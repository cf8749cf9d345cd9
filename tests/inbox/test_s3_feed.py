"""A feed whose landing zone and lake are on S3, over HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from flagfall.inbox import shortcuts
from flagfall.inbox.claim import Claim, claim
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.shortcuts import Scope
from flagfall.inbox.watermark import (
    COVERS_KEPT,
    Cover,
    Watermark,
    add_cover,
    read_watermark,
    write_watermark,
)
from flagfall.landing.marker import Marker
from flagfall.report.run import report_run
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import Entry, Store
from flagfall.upkeep.run import do_upkeep, plan_upkeep
from flagfall.watch.loop import Timing, Watcher, announcements, wait_for
from tests.feeds import Clock, S3Feed, make_s3_toy
from tests.patience import SOON
from tests.s3 import S3Server


@pytest.fixture
def feed(tmp_path: Path, s3: S3Server, bucket: str) -> S3Feed:
    return make_s3_toy(tmp_path, bucket)


@pytest.fixture(autouse=True)
def blocked_loop_fails() -> Iterator[BlockBuster]:
    with blockbuster_ctx("flagfall") as blocker:
        yield blocker


def claimed(feed: S3Feed, clock: Clock | None = None) -> Claim:
    """A claim; S3's clock goes by seconds, so it waits for the next one, on its own clock."""
    inbox = feed.inbox(clock)
    if clock is None:
        return claim(inbox, feed.dataset)
    return claim(inbox, feed.dataset, lambda seconds: clock.advance(timedelta(seconds=seconds)))


def take_in(feed: S3Feed, clock: Clock | None = None) -> list[Delivery]:
    inbox, taken = feed.inbox(clock), claimed(feed, clock)
    deliveries = [Delivery(marker) for shard in taken.shards for marker in shard]
    return run_stage("ingest", feed.dataset, inbox, deliveries)


async def soon(items: AsyncGenerator[Any]) -> Any:
    async with asyncio.timeout(SOON):
        return await anext(items)


def lists(s3: S3Server, prefix: str = "") -> int:
    """Listings since the last clearing."""
    return sum(
        request.method == "GET" and request.query.get("prefix", [""])[0].startswith(prefix)
        for request in s3.requests
        if "list-type" in request.query
    )


@pytest.mark.invariant(1)
def test_what_lands_is_pending_until_its_receipt(feed: S3Feed) -> None:
    markers = [feed.drop("2026-11-01"), feed.drop("2026-11-02")]
    assert feed.inbox().pending() == sorted(markers, key=lambda marker: marker.order)
    taken = take_in(feed)
    if len(taken) == 1:  # the other one's second was not over
        taken += take_in(feed)
    assert [delivery.status for delivery in taken] == ["accepted", "accepted"]
    assert feed.inbox().pending() == []


def test_a_report_is_a_page_that_a_browser_can_open_by_its_link(feed: S3Feed) -> None:
    delivery = take_in_one(feed, "2026-11-01")
    told = report_run(feed.dataset, feed.inbox(), "run 1", [delivery.marker])
    assert told["uri"].startswith(f"s3://{feed.bucket}/lake/toy/reports/")
    assert "X-Amz-Signature" in feed.inbox().lake.store.link("reports/latest.html", timedelta(1))


def take_in_one(feed: S3Feed, day: str) -> Delivery:
    feed.drop(day)
    return take_in(feed)[0]


@pytest.mark.invariant(4)
def test_upkeep_drops_what_hints_named_long_ago(feed: S3Feed) -> None:
    inbox, lake = feed.inbox(), feed.inbox().lake.store
    for number in range(COVERS_KEPT + 1):
        add_cover(lake, Cover(key="date=2026"), number)
    write_watermark(lake, Watermark(start="date=2026-11", covers=COVERS_KEPT + 1))
    do_upkeep(feed.dataset, inbox, plan_upkeep(feed.dataset, inbox))
    assert len(list(lake.names("hinted"))) == COVERS_KEPT


def test_nothing_in_the_landing_zone_is_changed(feed: S3Feed, s3: S3Server) -> None:
    feed.drop("2026-11-01")
    s3.requests.clear()
    take_in(feed)
    changed = [r for r in s3.requests if r.method in ("PUT", "POST", "DELETE")]
    assert changed
    assert all(r.path.startswith(f"/{feed.bucket}/lake/") for r in changed)


@pytest.mark.invariant(1)
def test_data_that_come_after_the_receipt_are_a_new_delivery(
    tmp_path: Path, s3: S3Server, bucket: str
) -> None:
    """A slow ``aws s3 cp --recursive`` puts ``_SUCCESS`` before ``part-0``."""
    feed = make_s3_toy(tmp_path, bucket, marker_name="_SUCCESS")
    put = partial(s3.client().put_object, Bucket=bucket)
    put(Key="landing/date=2026-11-01/_SUCCESS", Body=b"")
    put(Key="landing/date=2026-11-01/part-0.csv", Body=b"id,value\n1,1\n")
    (first,) = take_in(feed)
    assert (first.status, first.rows) == ("accepted", 1)
    time.sleep(1.1)  # S3's clock goes by seconds
    put(Key="landing/date=2026-11-01/deeper/part-1.csv", Body=b"id,value\n2,2\n")
    (late,) = take_in(feed)
    assert (late.status, late.rows) == ("accepted", 2)
    receipt = feed.inbox().receipts.current(late.marker)
    assert receipt is not None
    assert receipt.supersedes == first.marker.batch_id
    assert feed.inbox().pending() == []


@pytest.mark.invariant(1)
class TestAMultipartUpload:
    """On AWS its LastModified is when it began: also of one that was complete long after."""

    FOLDER = "landing/date=2026-11-01"

    @pytest.fixture
    def plain(self, tmp_path: Path, bucket: str) -> S3Feed:
        return make_s3_toy(tmp_path, bucket, marker_name="_SUCCESS")

    @pytest.mark.parametrize("back", [0, 60], ids=["with the marker", "before it"])
    def test_that_is_complete_after_the_receipt_is_a_new_delivery(
        self, plain: S3Feed, s3: S3Server, back: int
    ) -> None:
        """A parallel ``aws s3 cp --recursive`` begins all at once, and large files end last."""
        put = partial(s3.client().put_object, Bucket=plain.bucket)
        put(Key=f"{self.FOLDER}/part-0.csv", Body=b"id,value\n1,1\n")
        put(Key=f"{self.FOLDER}/_SUCCESS", Body=b"")
        (first,) = take_in(plain)
        began = first.marker.landed_at - timedelta(seconds=back)
        for number in (1, 2):
            text = f"id,value\n{number}0,1\n".encode()
            s3.upload_in_parts(plain.bucket, f"{self.FOLDER}/part-{number}.csv", text, began)
            (late,) = take_in(plain)
            assert (late.status, late.rows) == ("accepted", 1 + number)
            assert plain.inbox().pending() == []

    def test_before_the_marker_is_one_delivery(self, plain: S3Feed, s3: S3Server) -> None:
        began = Clock().now - timedelta(minutes=1)
        for number in (1, 2):
            text = f"id,value\n{number},1\n".encode()
            s3.upload_in_parts(plain.bucket, f"{self.FOLDER}/part-{number}.csv", text, began)
        s3.client().put_object(Bucket=plain.bucket, Key=f"{self.FOLDER}/_SUCCESS", Body=b"")
        (only,) = take_in(plain)
        assert (only.status, only.rows) == ("accepted", 2)
        assert plain.inbox().pending() == []

    def test_that_replaces_a_file_is_a_new_delivery(self, plain: S3Feed, s3: S3Server) -> None:
        key = f"{self.FOLDER}/part-0.csv"
        began = Clock().now - timedelta(minutes=1)
        s3.upload_in_parts(plain.bucket, key, b"id,value\n1,1\n", began)
        s3.client().put_object(Bucket=plain.bucket, Key=f"{self.FOLDER}/_SUCCESS", Body=b"")
        (first,) = take_in(plain)
        s3.upload_in_parts(plain.bucket, key, b"id,value\n1,1\n2,2\n", began)
        (second,) = take_in(plain)
        assert (first.rows, second.rows) == (1, 2)

    def test_that_was_removed_since_leaves_the_batch_as_it_was_taken_in(
        self, plain: S3Feed, s3: S3Server
    ) -> None:
        key, began = f"{self.FOLDER}/part-0.csv", Clock().now - timedelta(minutes=1)
        s3.upload_in_parts(plain.bucket, key, b"id,value\n1,1\n", began)
        s3.client().put_object(Bucket=plain.bucket, Key=f"{self.FOLDER}/_SUCCESS", Body=b"")
        (first,) = take_in(plain)
        s3.client().delete_object(Bucket=plain.bucket, Key=key)
        assert [delivery.status for delivery in take_in(plain)] == ["unchanged"]
        current = plain.inbox().receipts.current(first.marker)
        assert current is not None
        assert current.batch_id == first.marker.batch_id
        assert plain.inbox().pending() == []


def day(moment: Any, back: int = 0) -> str:
    return str((moment - timedelta(days=back)).date())


class TestSweepsCostWhatIsNew:
    @staticmethod
    def swept(feed: S3Feed, clock: Clock) -> None:
        """Twenty days are there and have receipts, and a full sweep has seen that."""
        for back in range(1, 21):
            feed.drop(day(clock(), back))
        clock.now = max(clock.now, Clock().now + timedelta(seconds=2))
        while take_in(feed, clock):
            pass

    def test_a_sweep_begins_where_the_last_full_one_left_off(
        self, feed: S3Feed, s3: S3Server, clock: Clock
    ) -> None:
        self.swept(feed, clock)
        clock.advance(timedelta(minutes=59))
        late, new = feed.drop(day(clock(), 15)), feed.drop(day(clock()))
        inbox = feed.inbox(clock)
        inbox.shortcuts.scope()
        s3.requests.clear()
        assert inbox.pending() == [new]
        starts = [r.query["start-after"][0] for r in s3.requests]
        assert len(starts) == 2
        assert starts[0] >= f"landing/date={day(clock(), 1)}"
        clock.advance(timedelta(minutes=2))
        assert feed.inbox(clock).pending() == sorted([late, new], key=lambda marker: marker.order)

    def test_what_came_late_for_an_old_day_is_seen_by_the_claim_that_its_announcement_starts(
        self, feed: S3Feed, clock: Clock
    ) -> None:
        self.swept(feed, clock)
        late = feed.drop(day(clock(), 15))
        assert claimed(feed, clock).batches == 0
        feed.inbox(clock).shortcuts.cover([late])
        assert [m for shard in claimed(feed, clock).shards for m in shard] == [late]

    def test_a_producer_whose_day_is_behind_utc_is_seen_by_the_next_sweep(
        self, feed: S3Feed, clock: Clock
    ) -> None:
        clock.now = clock().replace(hour=3)
        take_in(feed, clock)
        assert feed.inbox(clock).shortcuts.scope().start
        in_new_york = feed.drop(day(clock(), 1))
        assert feed.inbox(clock).pending() == [in_new_york]

    def test_a_sweep_begins_again_at_the_new_days_when_the_late_one_is_received(
        self, feed: S3Feed, clock: Clock
    ) -> None:
        self.swept(feed, clock)
        feed.inbox(clock).shortcuts.cover([feed.drop(day(clock(), 15))])
        take_in(feed, clock)
        assert feed.inbox(clock).shortcuts.scope().start < f"date={day(clock(), 14)}"
        clock.advance(timedelta(hours=1))
        take_in(feed, clock)
        assert feed.inbox(clock).shortcuts.scope().start >= f"date={day(clock(), 1)}"

    def test_a_marker_that_is_older_than_the_watermark_when_it_is_first_seen_is_pending(
        self, feed: S3Feed, clock: Clock
    ) -> None:
        """After a multipart upload, or replication, LastModified is older than the sight of it."""
        marker = feed.drop(day(clock()))
        clock.advance(timedelta(hours=6))
        inbox = feed.inbox(clock)
        inbox.shortcuts.advance([], inbox.shortcuts.scope())  # as if it had not been there yet
        assert read_watermark(inbox.lake.store).landed_before > marker.landed_at
        assert feed.inbox(clock).pending() == [marker]

    @pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(days=365)])
    def test_a_clock_that_was_ahead_once_hides_nothing(
        self, feed: S3Feed, clock: Clock, ahead: timedelta
    ) -> None:
        wrong = Clock()
        wrong.advance(ahead)
        take_in(feed, wrong)
        marker = feed.drop(day(clock()))
        assert feed.inbox(clock).pending() == [marker]
        assert [delivery.marker for delivery in take_in(feed, clock)] == [marker]

    @staticmethod
    def hinted_during_a_full_sweep(feed: S3Feed, clock: Clock, received: int = 0) -> Marker:
        """A marker of an old day that lands, and is named, when the listing has passed it."""
        inbox = feed.inbox(clock)
        scope = inbox.shortcuts.scope()
        entries = inbox.landing.entries(scope.start)
        late = feed.drop(day(clock(), 40))
        feed.inbox(clock).shortcuts.cover([late])
        inbox.shortcuts.advance(inbox.pending(scope, entries)[received:], scope)
        return late

    @pytest.mark.parametrize("before", [True, False], ids=["first sweep", "later"])
    def test_a_full_sweep_that_is_under_way_does_not_undo_what_a_hint_found(
        self, feed: S3Feed, clock: Clock, before: bool
    ) -> None:
        if not before:
            self.swept(feed, clock)
            clock.advance(timedelta(minutes=61))
        late = self.hinted_during_a_full_sweep(feed, clock)
        assert [delivery.marker for delivery in take_in(feed, clock)] == [late]

    def test_nor_does_one_that_is_about_to_write_where_it_ended(
        self, feed: S3Feed, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sweep writes what it makes of what it has just read; a hint may come in between."""
        self.swept(feed, clock)
        clock.advance(timedelta(minutes=61))
        late = feed.drop(day(clock(), 40))
        write = shortcuts.write_watermark

        def write_late(lake: Store, watermark: Watermark) -> None:
            feed.inbox(clock).shortcuts.cover([late])
            write(lake, watermark)

        inbox = feed.inbox(clock)
        scope = inbox.shortcuts.scope()
        assert scope.full
        monkeypatch.setattr(shortcuts, "write_watermark", write_late)
        inbox.shortcuts.advance([], scope)
        assert [delivery.marker for delivery in take_in(feed, clock)] == [late]

    def test_nor_does_it_undo_what_a_hint_found_where_sweeps_began_early_enough_anyway(
        self, feed: S3Feed, clock: Clock
    ) -> None:
        self.swept(feed, clock)
        feed.inbox(clock).shortcuts.cover([feed.drop(day(clock(), 50))])
        clock.advance(timedelta(minutes=61))
        late = self.hinted_during_a_full_sweep(feed, clock, received=1)
        assert late in [delivery.marker for delivery in take_in(feed, clock)]

    def test_nor_does_a_short_sweep_that_began_at_the_same_late_marker(
        self, feed: S3Feed, clock: Clock
    ) -> None:
        """It was turned away meanwhile, and has been corrected while the sweep was under way."""
        self.swept(feed, clock)
        feed.inbox(clock).shortcuts.cover([feed.drop(day(clock(), 15))])
        take_in(feed, clock)
        inbox = feed.inbox(clock)
        scope = inbox.shortcuts.scope()
        pending = inbox.pending(scope)
        corrected = feed.drop(day(clock(), 15), "id,value\n7,1\n")
        feed.inbox(clock).shortcuts.cover([corrected])
        inbox.shortcuts.advance(pending, scope)
        clock.now = max(clock.now, Clock().now) + timedelta(seconds=2)
        assert [delivery.marker for delivery in take_in(feed, clock)] == [corrected]

    async def test_nor_does_a_look_that_began_before_the_watcher_knew_of_it(
        self, feed: S3Feed, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A look may come back while the watcher is busy with the one before."""
        await asyncio.to_thread(self.swept, feed, clock)
        first = await asyncio.to_thread(feed.drop, day(clock(), 15))
        await asyncio.to_thread(feed.inbox(clock).shortcuts.cover, [first])
        inbox = await asyncio.to_thread(feed.inbox, clock)
        list_, scope, now = inbox.landing.store.list, inbox.shortcuts.scope, 0.0
        looked = threading.Event()

        def listed(*what: Any, **how: Any) -> Iterator[Entry]:
            yield from list(list_(*what, **how))
            looked.set()

        def aimed_late() -> Scope:
            nonlocal now
            if looked.is_set():
                looked.clear()
                now = 1.0  # the next look is due, and none after it
                assert looked.wait(SOON)
                take_in(feed, clock)
                corrected = feed.drop(day(clock(), 15), "id,value\n7,1\n")
                feed.inbox(clock).shortcuts.cover([corrected])
            return scope()

        monkeypatch.setattr(inbox.landing.store, "list", listed)
        monkeypatch.setattr(inbox.shortcuts, "scope", aimed_late)
        rounds = Watcher(lambda: inbox, Timing(sweep_every=0.05), lambda: now).rounds()
        async with aclosing(rounds):
            for _ in range(2):
                await soon(rounds)
        pending = await asyncio.to_thread(lambda: feed.inbox(clock).pending())
        assert [marker.key for marker in pending] == [first.key]

    def test_the_tenth_late_marker_costs_what_the_second_does(
        self, feed: S3Feed, s3: S3Server, clock: Clock
    ) -> None:
        self.swept(feed, clock)
        inbox, costs = feed.inbox(clock), []
        for number in range(10):
            late = replace(feed.drop(day(clock(), 40)), key=f"{day(clock(), 40 + number)}/x")
            s3.requests.clear()
            inbox.shortcuts.cover([late])
            inbox.shortcuts.advance([late], inbox.shortcuts.scope())
            costs.append(len(s3.requests))
        assert costs[9] == costs[1]

    def test_where_keys_do_not_sort_by_time_every_sweep_looks_at_everything(
        self, tmp_path: Path, bucket: str, clock: Clock
    ) -> None:
        feed = make_s3_toy(tmp_path, bucket, 'arrival: {partition: {date: "%d.%m.%Y"}}\n')
        first = feed.drop("01.12.2025")
        take_in(feed, clock)
        assert feed.inbox(clock).shortcuts.scope().full
        second = feed.drop("31.01.2024")
        assert feed.inbox(clock).pending() == [second]
        assert first.key < second.key


class TestWaiting:
    async def test_a_sweep_finds_what_lands(self, feed: S3Feed, clock: Clock) -> None:
        timing = Timing(sweep_every=0.3)
        async with aclosing(announcements(feed.inbox, timing)) as items:
            waiting = asyncio.create_task(soon(items))
            await asyncio.sleep(1.0)
            marker = await asyncio.to_thread(feed.drop, day(clock()))
            assert await waiting == (marker,)

    @pytest.mark.invariant(1)
    async def test_a_late_marker_that_a_hint_names_is_announced_at_once_and_claimed(
        self, tmp_path: Path, s3: S3Server, bucket: str, clock: Clock
    ) -> None:
        queue = await asyncio.to_thread(s3.make_queue, bucket)
        await asyncio.to_thread(s3.notify, bucket, queue)
        feed = await asyncio.to_thread(partial(make_s3_toy, tmp_path, bucket, sqs_queue=queue))
        await asyncio.to_thread(TestSweepsCostWhatIsNew.swept, feed, clock)
        inbox, timing = partial(feed.inbox, clock), Timing(sweep_every=3600.0)
        async with aclosing(announcements(inbox, timing)) as items:
            waiting = asyncio.create_task(soon(items))
            await asyncio.sleep(1.0)
            late = await asyncio.to_thread(feed.drop, day(clock(), 15))
            assert await waiting == (late,)
        taken = await asyncio.to_thread(claimed, feed, clock)
        assert taken.batches == 1

    async def test_sensors_and_watchers_of_one_place_share_one_look(
        self, feed: S3Feed, s3: S3Server
    ) -> None:
        timing = Timing(sweep_every=2.0)
        watchers = [announcements(feed.inbox, timing) for _ in range(3)]
        tasks = [asyncio.create_task(soon(items)) for items in watchers]
        days = [f"2027-{month:02d}-{n:02d}" for month in (8, 9, 10) for n in range(1, 29)]
        landing = (await inbox_of(feed)).landing
        sensors = [
            asyncio.create_task(wait_for(landing, {"date": one}, timing, timedelta(seconds=1)))
            for one in days
        ]
        await silence(s3)
        s3.requests.clear()
        await asyncio.sleep(2.5)
        looks = Counter(request.query.get("prefix", [""])[0] for request in s3.requests)
        assert looks["landing/"] == 1
        marker = await asyncio.to_thread(feed.drop, days[40])
        async with asyncio.timeout(SOON):
            assert await sensors[40] == marker
            assert [await task for task in tasks] == [(marker,)] * 3
        assert sum(sensor.done() for sensor in sensors) == 1
        for sensor in sensors:
            sensor.cancel()
        for items in watchers:
            await items.aclose()


async def silence(s3: S3Server) -> None:
    """Wait until nothing has been asked for a while: all have had their first look."""
    before = -1
    while len(s3.requests) != before:
        before = len(s3.requests)
        await asyncio.sleep(0.7)


async def inbox_of(feed: S3Feed) -> Inbox:
    return await asyncio.to_thread(feed.inbox)
