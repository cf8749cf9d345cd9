from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from datetime import timedelta

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.inbox import Inbox
from flagfall.lookout import LONGEST_BACKOFF, Sweeper, backoff
from flagfall.marker import Marker
from flagfall.stores import Hint
from flagfall.watch import Timing, announcements, arrivals, due, wait_for
from tests.feeds import Clock, ToyFeed
from tests.test_inbox import accept

SOON = 5.0
"""Seconds within which what is expected must have come."""


@pytest.fixture(autouse=True)
def blocked_loop_fails() -> Iterator[BlockBuster]:
    with blockbuster_ctx("flagfall") as blocker:
        yield blocker


async def no_hints() -> AsyncIterator[Hint]:
    """Hints that are all lost."""
    await asyncio.Event().wait()
    yield None


def deaf(inbox: Inbox) -> Inbox:
    """The same inbox, to which no hint ever comes."""
    inbox.landing.store.hints = no_hints  # type: ignore[method-assign]
    return inbox


async def soon(items: AsyncGenerator[tuple[Marker, ...]]) -> tuple[Marker, ...]:
    async with asyncio.timeout(SOON):
        return await anext(items)


async def drop(toy: ToyFeed, day: str) -> Marker:
    return await asyncio.to_thread(toy.drop, day)


class TestWhatIsDue:
    def test_new_markers_are_due_at_once(self, toy: ToyFeed) -> None:
        marker = toy.drop("2026-11-01")
        assert due([marker], {}, now=0.0, redeliver_after=900.0) == [marker]

    @pytest.mark.invariant(1)
    @pytest.mark.parametrize(("now", "again"), [(999.999, False), (1000.0, True)])
    def test_a_told_marker_is_due_again_after_redeliver_after(
        self, toy: ToyFeed, now: float, again: bool
    ) -> None:
        marker = toy.drop("2026-11-01")
        found = due([marker], {marker.batch_id: 100.0}, now=now, redeliver_after=900.0)
        assert bool(found) == again


async def test_everything_that_is_pending_is_one_announcement(toy: ToyFeed) -> None:
    dropped = [await drop(toy, f"2026-11-{day:02d}") for day in range(1, 6)]
    async with aclosing(announcements(toy.inbox(), Timing())) as items:
        assert await soon(items) == tuple(dropped)


async def test_a_hint_finds_a_marker_long_before_the_next_sweep(toy: ToyFeed) -> None:
    toy.landing.mkdir()
    async with aclosing(announcements(toy.inbox(), Timing(sweep_every=3600.0))) as items:
        waiting = asyncio.create_task(soon(items))
        await asyncio.sleep(0)
        marker = await drop(toy, "2026-11-01")
        assert await waiting == (marker,)


@pytest.mark.invariant(1)
async def test_without_any_hint_the_next_sweep_finds_it(toy: ToyFeed) -> None:
    async with aclosing(announcements(deaf(toy.inbox()), Timing(sweep_every=0.05))) as items:
        waiting = asyncio.create_task(soon(items))
        await asyncio.sleep(0)
        marker = await drop(toy, "2026-11-01")
        assert await waiting == (marker,)


@pytest.mark.invariant(1)
async def test_what_stays_pending_is_announced_again(toy: ToyFeed) -> None:
    marker = await drop(toy, "2026-11-01")
    timing = Timing(sweep_every=0.02, redeliver_after=0.1)
    async with aclosing(announcements(deaf(toy.inbox()), timing)) as items:
        began = time.monotonic()
        assert await soon(items) == (marker,)
        assert await soon(items) == (marker,)
        assert time.monotonic() - began >= 0.1


async def test_what_has_a_receipt_is_not_announced_again(toy: ToyFeed) -> None:
    first = await drop(toy, "2026-11-01")
    timing = Timing(sweep_every=0.02, redeliver_after=0.05)
    async with aclosing(announcements(deaf(toy.inbox()), timing)) as items:
        await soon(items)
        await asyncio.to_thread(accept, toy.inbox(), first)
        second = await drop(toy, "2026-11-02")
        seen = [await soon(items) for _ in range(3)]
    assert seen[-1] == (second,)


@pytest.mark.invariant(1)
async def test_a_second_triggerer_announces_the_same_and_it_is_taken_in_once(toy: ToyFeed) -> None:
    marker = await drop(toy, "2026-11-01")
    async with (
        aclosing(announcements(toy.inbox(), Timing())) as one,
        aclosing(announcements(toy.inbox(), Timing())) as other,
    ):
        told = [*(await soon(one)), *(await soon(other))]
    receipts = [await asyncio.to_thread(accept, toy.inbox(), m) for m in told]
    assert told == [marker, marker]
    assert receipts[0] == receipts[1]


async def test_arrivals_tell_of_each_writing_of_a_marker_once(toy: ToyFeed) -> None:
    first = await drop(toy, "2026-11-01")
    async with aclosing(arrivals(toy.inbox().landing, sweep_every=0.05)) as items:
        assert await soon(items) == (first,)
        second = await drop(toy, "2026-11-01")
        assert await soon(items) == (second,)


class TestStorageThatCannotBeReached:
    @pytest.mark.invariant(6)
    async def test_it_is_said_once_and_again_when_it_is_over(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        answers: list[Exception | list[Marker]] = [
            StoreUnavailable("/nfs", "stale file handle"),
            StoreUnavailable("/nfs", "stale file handle"),
            [],
        ]

        def sweep() -> list[Marker]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        caplog.set_level(logging.INFO)
        sweeper = Sweeper(sweep, "/nfs")
        found = [await sweeper() for _ in range(3)]
        assert found == [None, None, []]
        messages = [record.getMessage() for record in caplog.records]
        assert messages == [
            "/nfs: stale file handle; trying again, at most every 60 s",
            "/nfs: reached again after 2 failures",
        ]

    @pytest.mark.invariant(6)
    async def test_what_cannot_heal_is_raised_at_once(self) -> None:
        def sweep() -> list[Marker]:
            raise StoreRefused("/data", "permission denied")

        with pytest.raises(StoreRefused):
            await Sweeper(sweep, "/data")()

    def test_the_pause_doubles_with_jitter_up_to_a_maximum(self) -> None:
        for failures, most in [(1, 2.0), (2, 4.0), (5, 32.0), (6, LONGEST_BACKOFF), (99, 60.0)]:
            pauses = {backoff(failures) for _ in range(50)}
            assert len(pauses) > 1
            assert most / 2 <= min(pauses) <= max(pauses) <= most


class TestWaitingForOneMarker:
    @staticmethod
    async def wait(toy: ToyFeed, day: str = "2026-11-01") -> Marker:
        landing = toy.inbox().landing
        async with asyncio.timeout(SOON):
            return await wait_for(
                landing, {"date": day}, Timing(sweep_every=0.1), timedelta(seconds=0.5)
            )

    async def test_it_ends_when_the_marker_lands(self, toy: ToyFeed) -> None:
        waiting = asyncio.create_task(self.wait(toy))
        await drop(toy, "2026-10-31")
        marker = await drop(toy, "2026-11-01")
        assert await waiting == marker

    async def test_a_marker_that_is_there_already_ends_it(self, toy: ToyFeed) -> None:
        marker = await drop(toy, "2026-11-01")
        assert await self.wait(toy) == marker

    async def test_a_half_written_marker_is_waited_for_until_it_settles(self, toy: ToyFeed) -> None:
        await drop(toy, "2026-11-01")
        path = toy.folder("2026-11-01") / "datapackage.json"
        await asyncio.to_thread(path.write_text, '{"resour')
        marker = await self.wait(toy)
        waited = Clock().now - marker.landed_at
        assert waited >= timedelta(seconds=0.5)


async def longest_hold(toy: ToyFeed, count: int) -> float:
    """Seconds for which a sweep of ``count`` markers held the event loop at most."""
    gaps: list[float] = []

    async def feel() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)

    pulse = asyncio.create_task(feel())
    async with aclosing(announcements(toy.inbox(), Timing())) as items:
        found = await soon(items)
    pulse.cancel()
    assert len(found) == count
    return max(gaps)


@pytest.mark.invariant(6)
async def test_a_sweep_of_many_markers_never_holds_the_event_loop_for_50_ms(toy: ToyFeed) -> None:
    """A busy machine can hold a loop now and then; code that blocks does it every time."""
    await asyncio.to_thread(make_many, toy, 5_000)
    assert min([await longest_hold(toy, 5_000) for _ in range(5)]) < 0.05


def make_many(toy: ToyFeed, count: int) -> None:
    for number in range(count):
        folder = toy.landing / f"date={number:06d}"
        folder.mkdir(parents=True)
        (folder / "datapackage.json").touch()
