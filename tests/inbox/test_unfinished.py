"""What was accepted is evaluated in the end, once, whatever dies on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flagfall.cli.feed_status import status
from flagfall.dataset.schema import Dataset
from flagfall.errors import Damaged, ModelInvalid, StoreUnavailable
from flagfall.inbox.claim import APART, Claim, claim
from flagfall.inbox.inbox import Inbox
from flagfall.lake.output import Lake
from flagfall.lake.receipts import Receipts
from flagfall.lake.records import Evaluation, Featured, Predicted, Receipt, Staged
from flagfall.landing.limits import Limits
from flagfall.landing.marker import Marker
from flagfall.stages import STAGES
from flagfall.stages.ingest import ingest
from flagfall.stages.shard import Delivery, run_stage
from flagfall.watch.loop import Timing, announcements
from tests.feeds import Clock, S3Feed, ToyFeed
from tests.patience import SOON
from tests.s3 import S3Server
from tests.scored import GOOD, POISON, make_scored_s3_toy, make_scored_toy

LATER = timedelta(minutes=16)
"""More than ``redeliver_after``, though the batches land while the clock stands still."""
DAYS = [f"2026-11-{day:02d}" for day in range(1, 31)]


class Killed(BaseException):
    """What no code can catch by mistake."""


@pytest.fixture
def toy(tmp_path: Path) -> ToyFeed:
    return make_scored_toy(tmp_path)


def never(seconds: float) -> None:
    raise AssertionError("claim waited")


def take(feed: ToyFeed | S3Feed, clock: Clock) -> Claim:
    """A claim; on S3, whose clock goes by seconds, it waits for the next one."""
    if isinstance(feed, ToyFeed):
        return claim(feed.inbox(clock), feed.dataset, sleep=never)
    return claim(feed.inbox(clock), feed.dataset, lambda s: clock.advance(timedelta(seconds=s)))


def through_all_stages(feed: ToyFeed, clock: Clock, shard: Sequence[Marker]) -> None:
    deliveries = [Delivery(marker) for marker in shard]
    for stage in STAGES:
        deliveries = run_stage(stage, feed.dataset, feed.inbox(clock), deliveries)


def run(feed: ToyFeed | S3Feed, clock: Clock) -> list[str]:
    """A run, as Airflow does it: a shard ends where a stage fails. Gives what failed."""
    failed = []
    for shard in take(feed, clock).shards:
        deliveries = [Delivery(marker) for marker in shard]
        try:
            for stage in STAGES:
                deliveries = run_stage(stage, feed.dataset, feed.inbox(clock), deliveries)
        except ModelInvalid:
            failed += [delivery.marker.fields["date"] for delivery in deliveries]
    return failed


def evaluated(feed: ToyFeed | S3Feed, *markers: Marker) -> list[bool]:
    lake = feed.inbox().lake
    return [lake.find(Evaluation, marker.batch_id) is not None for marker in markers]


def unfinished(feed: ToyFeed | S3Feed) -> int:
    return len(feed.inbox().sweep().unfinished)


def dies(*_: object, **__: object) -> None:
    raise Killed


def in_stage(stage: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Dies when a stage begins."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(f"flagfall.stages.{stage}.{stage}", dies)

    return prepare


def before(record: type) -> Callable[[pytest.MonkeyPatch], None]:
    """Dies when a stage is about to write its record."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        finish = Lake.finish

        def some(self: Lake, one: Evaluation, *rest: Iterator[Path]) -> Evaluation:
            if isinstance(one, record):
                raise Killed
            return finish(self, one, *rest)

        patch.setattr(Lake, "finish", some)

    return prepare


def at(where: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(where, dies)


def with_the_receipt(patch: pytest.MonkeyPatch) -> None:
    """Dies as soon as the receipt is there."""
    write = Receipts.write

    def last(self: Receipts, receipt: Receipt) -> Receipt:
        write(self, receipt)
        raise Killed

    patch.setattr(Receipts, "write", last)


DEATHS = {
    "before staged": before(Staged),
    "before the entry": at("flagfall.inbox.inbox.Inbox.receive"),
    "between entry and receipt": at("flagfall.lake.receipts.Receipts.write"),
    "with the receipt": with_the_receipt,
    "after ingest": in_stage("preprocess"),
    "before features": before(Featured),
    "after features": in_stage("infer"),
    "before predictions": before(Predicted),
    "after predictions": in_stage("evaluate"),
    "before the evaluation": before(Evaluation),
    "after the evaluation": at("flagfall.inbox.inbox.Inbox.finish"),
}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each record was really written."""
    counts: Counter[str] = Counter()
    finish = Lake.finish

    def counting(self: Lake, record: Evaluation, *rest: Iterator[Path]) -> Evaluation:
        done = finish(self, record, *rest)
        counts[type(record).__name__] += 1
        return done

    monkeypatch.setattr(Lake, "finish", counting)
    return counts


ONCE = {"Staged": 1, "Featured": 1, "Predicted": 1, "Evaluation": 1}


def dies_and_is_finished(feed: ToyFeed | S3Feed, clock: Clock, death: str) -> None:
    marker = feed.drop(DAYS[0], GOOD)
    with pytest.MonkeyPatch.context() as patch:
        DEATHS[death](patch)
        with pytest.raises(Killed):
            run(feed, clock)
    clock.advance(LATER)
    assert run(feed, clock) == []
    assert evaluated(feed, marker) == [True]
    clock.advance(LATER)
    assert take(feed, clock) == Claim((), 0)
    assert unfinished(feed) == 0


@pytest.mark.invariant(1)
@pytest.mark.parametrize("death", DEATHS)
def test_wherever_a_run_dies_the_next_ones_finish_its_batch_and_repeat_nothing(
    toy: ToyFeed, clock: Clock, written: Counter[str], death: str
) -> None:
    dies_and_is_finished(toy, clock, death)
    assert written == ONCE


@pytest.mark.invariant(5)
@pytest.mark.parametrize(
    ("record", "remedy"),
    [
        ("evaluations/{}/record.json", "replay {}"),
        ("receipts/landed=*/{}.json", "{}.json: this receipt is damaged"),
    ],
)
def test_a_damaged_record_of_an_unfinished_batch_stops_no_other(
    toy: ToyFeed, clock: Clock, record: str, remedy: str
) -> None:
    damaged, other = toy.drop(DAYS[0], GOOD), toy.drop(DAYS[1], GOOD)
    with pytest.MonkeyPatch.context() as patch:
        DEATHS["after the evaluation"](patch)
        with pytest.raises(Killed):
            run(toy, clock)
    (file,) = (toy.root / "lake/toy").glob(record.format(damaged.batch_id))
    file.write_text("{")
    clock.advance(LATER)
    assert take(toy, clock).shards == ((damaged,), (other,))
    with pytest.raises(Damaged, match=remedy.format(damaged.batch_id)):
        through_all_stages(toy, clock, (damaged,))
    through_all_stages(toy, clock, (other,))
    assert evaluated(toy, other) == [True]
    assert unfinished(toy) == 1


@pytest.mark.invariant(1)
@pytest.mark.parametrize("death", ["between entry and receipt", "after features"])
def test_on_s3_too(
    tmp_path: Path, s3: S3Server, bucket: str, clock: Clock, written: Counter[str], death: str
) -> None:
    dies_and_is_finished(make_scored_s3_toy(tmp_path, bucket), clock, death)
    assert written == ONCE


def test_an_unfinished_batch_costs_no_request_a_sweep(
    tmp_path: Path, s3: S3Server, bucket: str, clock: Clock
) -> None:
    feed = make_scored_s3_toy(tmp_path, bucket)
    ingest(feed.dataset, feed.inbox(clock), feed.drop(DAYS[0], GOOD))
    inbox = feed.inbox(clock)

    def sweep() -> int:
        s3.requests.clear()
        inbox.overdue(inbox.sweep().unfinished, timedelta(minutes=15))
        return len(s3.requests)

    sweep()
    young = sweep()
    clock.advance(LATER)
    sweep()
    assert young == sweep() == 2


def received(toy: ToyFeed, clock: Clock, *days: str, text: str = GOOD) -> list[Marker]:
    """Batches whose run died after their receipts."""
    markers = [toy.drop(day, text) for day in days]
    for marker in markers:
        ingest(toy.dataset, toy.inbox(clock), marker)
    return markers


def test_a_batch_whose_run_is_normally_under_way_is_not_handed_out_again(
    toy: ToyFeed, clock: Clock
) -> None:
    received(toy, clock, DAYS[0])
    clock.advance(timedelta(minutes=14))
    assert take(toy, clock) == Claim((), 0)


def test_a_batch_that_fails_again_is_tried_once_in_redeliver_after_and_stays_red(
    toy: ToyFeed, clock: Clock
) -> None:
    toy.drop(DAYS[0], POISON)
    assert run(toy, clock) == [DAYS[0]]
    for _ in range(3):
        clock.now = datetime.now(UTC)
        assert run(toy, clock) == []
        clock.advance(LATER)
        assert run(toy, clock) == [DAYS[0]]
    assert status(toy.dataset, toy.inbox(clock)).kept.unscored == 1


@pytest.mark.invariant(5)
def test_a_batch_whose_shard_was_killed_holds_up_nobody_the_next_time(
    toy: ToyFeed, clock: Clock
) -> None:
    markers = [toy.drop(day, POISON if day == DAYS[1] else GOOD) for day in DAYS[:4]]
    assert run(toy, clock) == DAYS[:4]
    clock.advance(LATER)
    new = toy.drop(DAYS[5], GOOD)
    assert run(toy, clock) == [DAYS[1]]
    assert evaluated(toy, *markers, new) == [True, False, True, True, True]


@pytest.mark.invariant(5)
def test_a_batch_that_cannot_be_helped_does_not_keep_another_from_a_second_try(
    toy: ToyFeed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow fails a task at once for a broken model, and runs it again for a broken storage."""
    markers = received(toy, clock, *DAYS[:2], text=POISON)
    inbox = toy.inbox(clock)
    find = inbox.lake.find

    def flaky(kind: type[Predicted], batch_id: str) -> Predicted | None:
        if batch_id == markers[1].batch_id:
            raise StoreUnavailable(batch_id, "Input/output error")
        return find(kind, batch_id)

    deliveries = [Delivery(marker, "accepted") for marker in markers]
    run_stage("preprocess", toy.dataset, inbox, deliveries)
    monkeypatch.setattr(inbox.lake, "find", flaky)
    with pytest.raises(StoreUnavailable):
        run_stage("infer", toy.dataset, inbox, deliveries)


def test_pending_batches_come_first_and_unfinished_ones_apart(toy: ToyFeed, clock: Clock) -> None:
    first, second = received(toy, clock, *DAYS[:2])
    new = [toy.drop(day, GOOD) for day in DAYS[2:4]]
    clock.advance(LATER)
    assert take(toy, clock).shards == (tuple(new), (first,), (second,))


def test_a_run_takes_on_no_more_than_its_limit_and_the_rest_later(
    tmp_path: Path, clock: Clock
) -> None:
    toy = make_scored_toy(tmp_path, "limits: {batches_per_run: 3}")
    waiting = received(toy, clock, *DAYS[:4])
    new = toy.drop(DAYS[4], GOOD)
    clock.advance(LATER)
    assert take(toy, clock) == Claim(((new,), (waiting[0],), (waiting[1],)), 0)
    ingest(toy.dataset, toy.inbox(clock), new)
    assert take(toy, clock).shards[:2] == ((waiting[2],), (waiting[3],))


def test_a_model_that_fails_on_everything_makes_few_failures_a_run(
    toy: ToyFeed, clock: Clock
) -> None:
    waiting = received(toy, clock, *DAYS[:20])
    clock.advance(LATER)
    shards = take(toy, clock).shards
    assert len(shards) == APART
    assert sorted(len(shard) for shard in shards) == [1] * 12 + [2] * 4
    taken = [marker for shard in shards for marker in shard]
    assert sorted(taken, key=lambda marker: marker.order) == waiting


def test_large_unfinished_batches_do_not_share_a_shard(toy: ToyFeed, clock: Clock) -> None:
    received(toy, clock, *DAYS[: APART + 1])
    clock.advance(LATER)
    small = replace_limits(toy.dataset, shard_bytes=1)
    assert len(claim(toy.inbox(clock), small, sleep=never).shards) == APART + 1


def replace_limits(dataset: Dataset, **limits: int) -> Dataset:
    return dataset.model_copy(update={"limits": Limits(**limits)})


class TestWhatNeedsNoFinishing:
    def test_a_batch_that_was_corrected_meanwhile(self, toy: ToyFeed, clock: Clock) -> None:
        toy.drop(DAYS[0], POISON)
        assert run(toy, clock) == [DAYS[0]]
        clock.advance(LATER)
        corrected = toy.drop(DAYS[0], GOOD)
        assert run(toy, clock) == []
        assert evaluated(toy, corrected) == [True]
        assert status(toy.dataset, toy.inbox(clock)).kept.unscored == 0
        assert run(toy, clock) == []
        assert unfinished(toy) == 0

    def test_a_batch_whose_correction_is_turned_away_does(self, toy: ToyFeed, clock: Clock) -> None:
        (first,) = received(toy, clock, DAYS[0])
        toy.drop(DAYS[0], "nonsense\n")
        clock.advance(LATER)
        assert run(toy, clock) == []
        assert evaluated(toy, first) == [False]
        assert run(toy, clock) == []
        assert evaluated(toy, first) == [True]

    def test_a_batch_whose_run_died_when_it_was_evaluated(self, toy: ToyFeed, clock: Clock) -> None:
        toy.drop(DAYS[0], GOOD)
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            DEATHS["after the evaluation"](patch)
            run(toy, clock)
        clock.advance(LATER)
        assert unfinished(toy) == 1
        assert take(toy, clock) == Claim((), 0)
        assert unfinished(toy) == 0

    def test_a_batch_that_was_turned_away_after_all(self, toy: ToyFeed, clock: Clock) -> None:
        marker = toy.drop(DAYS[0], GOOD)
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            DEATHS["between entry and receipt"](patch)
            ingest(toy.dataset, toy.inbox(clock), marker)
        toy.inbox(clock).reject(marker, "no-data", "why")
        clock.advance(LATER)
        assert status(toy.dataset, toy.inbox(clock)).kept.unscored == 0
        assert take(toy, clock) == Claim((), 0)
        assert unfinished(toy) == 0

    def test_a_batch_of_a_feed_that_has_no_model_any_more(self, toy: ToyFeed, clock: Clock) -> None:
        received(toy, clock, DAYS[0])
        clock.advance(LATER)
        plain = toy.dataset.model_copy(update={"model": None})
        assert claim(toy.inbox(clock), plain, sleep=never) == Claim((), 0)
        assert unfinished(toy) == 0

    def test_a_batch_of_a_feed_without_a_model(self, tmp_path: Path, clock: Clock) -> None:
        from tests.feeds import make_toy

        toy = make_toy(tmp_path)
        received(toy, clock, DAYS[0])
        assert unfinished(toy) == 0


def test_a_replayed_batch_is_finished_as_any_other(
    toy: ToyFeed, clock: Clock, written: Counter[str]
) -> None:
    (marker,) = received(toy, clock, DAYS[0])
    clock.advance(LATER)
    again = toy.inbox(clock).replay(marker.batch_id)
    with pytest.MonkeyPatch.context() as patch:
        DEATHS["after features"](patch)
        with pytest.raises(Killed):
            run(toy, clock)
    clock.advance(LATER)
    assert run(toy, clock) == []
    assert evaluated(toy, marker, again) == [False, True]
    assert unfinished(toy) == 0
    assert written == {**ONCE, "Staged": 2}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_run_again_for_a_finished_batch_does_nothing(
    toy: ToyFeed, clock: Clock, written: Counter[str], stage: str
) -> None:
    marker = toy.drop(DAYS[0], GOOD)
    run(toy, clock)
    receipt = toy.inbox(clock).receipts.find(marker)
    assert isinstance(receipt, Receipt)
    run_stage(stage, toy.dataset, toy.inbox(clock), [Delivery(marker).received(receipt)])
    assert written == ONCE
    assert unfinished(toy) == 0


def test_a_stage_run_by_hand_finishes_a_batch(toy: ToyFeed, clock: Clock) -> None:
    (marker,) = received(toy, clock, DAYS[0])
    (delivery,) = run_stage("ingest", toy.dataset, toy.inbox(clock), [Delivery(marker)])
    for stage in STAGES[1:]:
        run_stage(stage, toy.dataset, toy.inbox(clock), [delivery])
    assert unfinished(toy) == 0


class TestTheWatch:
    @staticmethod
    async def announced(inbox: Inbox, redeliver_after: float, within: float) -> list[Marker]:
        """What is announced of a feed in so many seconds."""
        told: list[Marker] = []
        timing = Timing(sweep_every=0.05, redeliver_after=redeliver_after)
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(within),
                aclosing(announcements(lambda: inbox, timing)) as items,
            ):
                async for markers in items:
                    told += markers
        return told

    async def test_a_batch_whose_run_is_under_way_is_not_announced(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        await asyncio.to_thread(received, toy, clock, DAYS[0])
        assert await self.announced(toy.inbox(), 900.0, within=0.5) == []

    @pytest.mark.invariant(1)
    async def test_an_unfinished_batch_is_announced_when_it_is_due_and_again(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        (marker,) = await asyncio.to_thread(received, toy, clock, DAYS[0])
        timing = Timing(sweep_every=0.05, redeliver_after=0.2)
        async with asyncio.timeout(SOON), aclosing(announcements(toy.inbox, timing)) as items:
            assert await anext(items) == (marker,)
            assert await anext(items) == (marker,)

    async def test_an_old_one_does_not_make_sweeps_begin_earlier(
        self, tmp_path: Path, s3: S3Server, bucket: str, clock: Clock
    ) -> None:
        feed = make_scored_s3_toy(tmp_path, bucket)

        def start() -> str:
            return feed.inbox(clock).shortcuts.scope().start

        def prepare() -> Marker:
            marker = feed.drop(f"{clock.now - timedelta(days=20):%Y-%m-%d}", GOOD)
            ingest(feed.dataset, feed.inbox(clock), marker)
            take(feed, clock)
            return marker

        marker = await asyncio.to_thread(prepare)
        before = await asyncio.to_thread(start)
        clock.advance(timedelta(seconds=10))
        timing = Timing(sweep_every=1.0, redeliver_after=5.0)
        async with asyncio.timeout(SOON):
            async with aclosing(announcements(lambda: feed.inbox(clock), timing)) as items:
                assert await anext(items) == (marker,)
        assert marker.key < before == await asyncio.to_thread(start)

    async def test_it_is_not_once_it_is_finished(self, toy: ToyFeed, clock: Clock) -> None:
        await asyncio.to_thread(toy.drop, DAYS[0], GOOD)
        await asyncio.to_thread(run, toy, clock)
        assert await self.announced(toy.inbox(), 0.1, within=0.6) == []


def test_a_claim_notes_that_it_tries_a_batch_again_so_that_the_next_one_does_not(
    toy: ToyFeed, clock: Clock
) -> None:
    received(toy, clock, DAYS[0])
    (before,) = toy.inbox(clock).sweep().unfinished
    clock.now = before.landed_at + timedelta(minutes=15)
    assert take(toy, clock).batches == 1
    (after,) = toy.inbox(clock).sweep().unfinished
    assert after.landed_at > before.landed_at
    assert take(toy, clock) == Claim((), 0)
