from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from flagfall.errors import AccessDenied, StoreRefused, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.shortcuts import Scope, Shortcuts
from flagfall.landing.marker import Marker, in_order
from flagfall.stores import Entry, Hint, IsOurs, nothing_is_ours
from flagfall.stores.backoff import LONGEST_BACKOFF, backoff
from flagfall.stores.local import LocalStore
from flagfall.watch import announcer, outage
from flagfall.watch import loop as watch
from flagfall.watch.announcer import Announcer, due
from flagfall.watch.heartbeat import WatcherState, last_heartbeat
from flagfall.watch.looks import Watch
from flagfall.watch.loop import News, Timing, announcements, arrivals, gathered, wait_for
from flagfall.watch.outage import ReachedAgain, Unreachable
from flagfall.watch.sweeper import Sweeper
from flagfall.watch.threads import in_thread
from tests.feeds import Clock, ToyFeed, make_toy
from tests.inbox.test_inbox import accept
from tests.patience import SOON
from tests.watch.test_shared_poll import ScriptedStore

"""Seconds within which what is expected must have come."""
NOT_A_DIRECTORY = "a part of the path is not a directory; check the URI in the dataset file"


@pytest.fixture(autouse=True)
def blocked_loop_fails() -> Iterator[BlockBuster]:
    with blockbuster_ctx("flagfall") as blocker:
        yield blocker


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ScriptedStore:
    """A landing zone that fails as it is told to."""
    scripted = ScriptedStore()
    monkeypatch.setattr("flagfall.landing.zone.open_store", lambda *_: scripted)
    return scripted


async def no_hints(is_ours: IsOurs = nothing_is_ours) -> AsyncIterator[Hint]:
    """Hints that are all lost."""
    await asyncio.Event().wait()
    yield None


def deaf(inbox: Inbox) -> Inbox:
    """The same inbox, to which no hint ever comes."""
    inbox.landing.store.hints = no_hints  # type: ignore[method-assign]
    return inbox


async def soon(items: AsyncGenerator[Any]) -> Any:
    async with asyncio.timeout(SOON):
        return await anext(items)


async def drop(toy: ToyFeed, day: str) -> Marker:
    return await asyncio.to_thread(toy.drop, day)


class TestWhatIsDue:
    def test_new_markers_are_due_at_once(self, toy: ToyFeed) -> None:
        marker = toy.drop("2026-11-01")
        assert due([marker], {}, now=0.0) == [marker]

    @pytest.mark.invariant(1)
    @pytest.mark.parametrize(("now", "again"), [(999.999, False), (1000.0, True)])
    def test_a_told_marker_is_due_again_after_redeliver_after(
        self, toy: ToyFeed, now: float, again: bool
    ) -> None:
        marker = toy.drop("2026-11-01")
        found = due([marker], {marker.batch_id: 1000.0}, now=now)
        assert bool(found) == again

    @pytest.mark.invariant(1)
    def test_again_when_its_batch_has_settled_and_ever_later_up_to_redeliver_after(
        self, toy: ToyFeed
    ) -> None:
        """A batch that grows for an hour is taken in soon after its last file."""
        marker, now = toy.drop("2026-11-01"), 0.0
        announcer = Announcer(900.0, lambda: now, settle_within=20.0)
        told = []
        for now in range(0, 2160, 10):
            if announcer.news([marker], whole=True):
                told.append(now)
                announcer.announced([marker])
        assert told == [0, 20, 60, 140, 300, 620, 1260]


async def test_everything_that_is_pending_is_one_announcement(toy: ToyFeed) -> None:
    dropped = [await drop(toy, f"2026-11-{day:02d}") for day in range(1, 6)]
    async with aclosing(announcements(toy.inbox, Timing())) as items:
        assert await soon(items) == tuple(dropped)


async def test_what_is_announced_is_found_off_the_event_loop(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 100,000 markers each of these takes longer than the loop may be held."""
    threads: set[int] = set()

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any) -> Any:
            threads.add(threading.get_ident())
            return function(*args)

        return called

    for name in ("news", "announced"):
        monkeypatch.setattr(announcer.Announcer, name, noting(getattr(announcer.Announcer, name)))
    monkeypatch.setattr("flagfall.inbox.inbox.in_order", noting(in_order))
    marker = await drop(toy, "2026-11-01")
    async with aclosing(announcements(toy.inbox, Timing())) as items:
        assert await soon(items) == (marker,)
    assert threads
    assert threading.get_ident() not in threads


class TestGathered:
    """Markers that come one by one and share an event."""

    @staticmethod
    async def news(*said: News | float) -> AsyncGenerator[News]:
        """Announcements, and the seconds between them; then nothing more, for ever."""
        for one in said:
            if isinstance(one, float):
                await asyncio.sleep(one)
            else:
                yield one
        await asyncio.Event().wait()

    @staticmethod
    def markers(toy: ToyFeed, days: int) -> list[tuple[Marker]]:
        return [(toy.drop(f"2026-11-{day:02d}"),) for day in range(1, days + 1)]

    async def test_what_follows_soon_is_announced_with_it(self, toy: ToyFeed) -> None:
        one, two, three = await asyncio.to_thread(self.markers, toy, 3)
        async with aclosing(gathered(self.news(one, 0.05, two, 0.6, three), 0.3)) as items:
            began = time.monotonic()
            assert await soon(items) == (*one, *two)
            assert time.monotonic() - began >= 0.3
            assert await soon(items) == three

    async def test_nothing_is_held_back_for_ever(self, toy: ToyFeed) -> None:
        found = await asyncio.to_thread(self.markers, toy, 20)
        stream = [part for marker in found for part in (marker, 0.1)]
        async with aclosing(gathered(self.news(*stream), 0.3)) as items:
            assert len(await soon(items)) < 10

    async def test_trouble_is_said_at_once(self, toy: ToyFeed) -> None:
        (one,) = await asyncio.to_thread(self.markers, toy, 1)
        trouble = ReachedAgain(after=61.0)
        async with aclosing(gathered(self.news(one, trouble), 0.3)) as items:
            assert await soon(items) == trouble
            assert await soon(items) == one

    @pytest.mark.invariant(1)
    async def test_what_is_held_back_as_it_ends_is_announced_by_the_next(
        self, toy: ToyFeed
    ) -> None:
        marker = await drop(toy, "2026-11-01")
        for seconds in (60.0, 0.05):
            async with aclosing(gathered(announcements(toy.inbox, Timing()), seconds)) as items:
                waiting = asyncio.create_task(anext(items))
                if not (await asyncio.wait({waiting}, timeout=1.0))[0]:
                    waiting.cancel()
                    await asyncio.wait({waiting})
                    assert waiting.cancelled()
        assert await waiting == (marker,)


async def test_a_hint_finds_a_marker_long_before_the_next_sweep(toy: ToyFeed) -> None:
    toy.landing.mkdir()
    async with aclosing(announcements(toy.inbox, Timing(sweep_every=3600.0))) as items:
        waiting = asyncio.create_task(soon(items))
        await asyncio.sleep(0)
        marker = await drop(toy, "2026-11-01")
        assert await waiting == (marker,)


@pytest.mark.invariant(1)
async def test_without_any_hint_the_next_sweep_finds_it(toy: ToyFeed) -> None:
    async with aclosing(
        announcements(lambda: deaf(toy.inbox()), Timing(sweep_every=0.05))
    ) as items:
        waiting = asyncio.create_task(soon(items))
        await asyncio.sleep(0)
        marker = await drop(toy, "2026-11-01")
        assert await waiting == (marker,)


@pytest.mark.invariant(1)
async def test_what_stays_pending_is_announced_again(toy: ToyFeed) -> None:
    marker = await drop(toy, "2026-11-01")
    timing = Timing(sweep_every=0.02, redeliver_after=0.1)
    async with aclosing(announcements(lambda: deaf(toy.inbox()), timing)) as items:
        began = time.monotonic()
        assert await soon(items) == (marker,)
        assert await soon(items) == (marker,)
        assert time.monotonic() - began >= 0.1


@pytest.mark.invariant(1)
async def test_what_had_not_settled_is_announced_again_soon(toy: ToyFeed) -> None:
    marker = await drop(toy, "2026-11-01")
    timing = Timing(sweep_every=0.02, redeliver_after=3600, settle_within=0.1)
    async with aclosing(announcements(lambda: deaf(toy.inbox()), timing)) as items:
        began = time.monotonic()
        assert [await soon(items) for _ in range(2)] == [(marker,)] * 2
        assert time.monotonic() - began >= 0.1


@pytest.mark.invariant(1)
@pytest.mark.parametrize("hinted", [False, True])
async def test_so_it_is_where_sweeps_are_far_apart(toy: ToyFeed, hinted: bool) -> None:
    """With a queue people sweep every 10 minutes: a batch that grows for 20 s is not to wait."""
    timing = Timing(sweep_every=3600, redeliver_after=3600, settle_within=0.1)
    toy.landing.mkdir()
    marker = None if hinted else await drop(toy, "2026-11-01")
    async with aclosing(announcements(toy.inbox, timing)) as items:
        first = asyncio.ensure_future(soon(items))
        await asyncio.sleep(0.5)
        marker = marker or await drop(toy, "2026-11-01")
        assert [await first, await soon(items), await soon(items)] == [(marker,)] * 3


async def test_what_has_its_receipt_needs_no_more_sweeps(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    offer = Watch.offer
    monkeypatch.setattr(
        Watch, "offer", lambda watch, look: (looks.append(look.whole), offer(watch, look))
    )
    marker = await drop(toy, "2026-11-01")
    timing = Timing(sweep_every=3600, redeliver_after=3600, settle_within=0.1)
    async with aclosing(announcements(lambda: deaf(toy.inbox()), timing)) as items:
        assert await soon(items) == (marker,)
        await asyncio.to_thread(accept, toy.inbox(), marker)
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert looks == [True, True], "the one that found it, and one that finds its receipt"


async def test_what_has_a_receipt_is_not_announced_again(toy: ToyFeed) -> None:
    first = await drop(toy, "2026-11-01")
    timing = Timing(sweep_every=0.02, redeliver_after=0.05)
    async with aclosing(announcements(lambda: deaf(toy.inbox()), timing)) as items:
        await soon(items)
        await asyncio.to_thread(accept, toy.inbox(), first)
        second = await drop(toy, "2026-11-02")
        seen = [await soon(items) for _ in range(3)]
    assert seen[-1] == (second,)


@pytest.mark.invariant(1)
async def test_a_second_triggerer_announces_the_same_and_it_is_taken_in_once(toy: ToyFeed) -> None:
    marker = await drop(toy, "2026-11-01")
    async with (
        aclosing(announcements(toy.inbox, Timing())) as one,
        aclosing(announcements(toy.inbox, Timing())) as other,
    ):
        told = [*(await soon(one)), *(await soon(other))]
    receipts = [await asyncio.to_thread(accept, toy.inbox(), m) for m in told]
    assert told == [marker, marker]
    assert receipts[0] == receipts[1]


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_it_ends_however_often_it_is_cancelled(toy: ToyFeed, times: int) -> None:
    """Airflow's triggerer cancels once when it stops, and its event loop again when it closes."""
    toy.landing.mkdir()
    items = announcements(toy.inbox, Timing())
    waiting = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0.5)
    for _ in range(times):
        waiting.cancel()
        await asyncio.sleep(0)
    await asyncio.wait({waiting}, timeout=SOON)
    assert waiting.cancelled()
    await items.aclose()


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

    async def test_a_sweep_that_hung_for_hours_is_followed_by_no_pause_of_hours(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = SimpleNamespace(monotonic=iter([0.0, 4 * 3600.0]).__next__)
        monkeypatch.setattr("flagfall.watch.sweeper.time", clock)
        sweeper = Sweeper(list, "/nfs")
        await sweeper()
        assert sweeper.pause == LONGEST_BACKOFF

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


class Naps:
    """Sleep that takes no time, on a clock that goes on by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.taken: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.taken.append(seconds)
        await asyncio.sleep(0)


async def doze(seconds: float) -> None:
    """Sleep, for less time than was asked for."""
    await asyncio.sleep(min(seconds, 0.02))


class TestAFeedThatCannotBeLookedAt:
    @pytest.mark.invariant(6)
    async def test_a_thousand_failures_are_tried_ever_more_rarely_said_once_and_told_once(
        self,
        toy: ToyFeed,
        store: ScriptedStore,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        kinds = (StoreUnavailable, StoreRefused, AccessDenied)
        store.fails = [kinds[n % 3]("scripted://store", f"no {n}") for n in range(1000)]
        store.keys.add("date=2026-11-01/datapackage.json")
        naps = Naps()
        signs: list[str] = []
        monkeypatch.setattr(LocalStore, "put", lambda _, key, data: signs.append(key))
        feed = announcements(toy.inbox, Timing(), naps.clock, naps.sleep)
        async with aclosing(feed) as items, asyncio.timeout(SOON):
            told = [await anext(items) for _ in range(3)]
        assert not store.fails
        assert len(naps.taken) == 1000, "one look for every pause"
        for failures, pause in enumerate(naps.taken, 1):
            most = min(LONGEST_BACKOFF, 2.0 ** min(failures, 10))
            assert most / 2 <= pause <= most
        assert len(set(naps.taken)) > 900, "jitter"
        assert isinstance(told[0], Unreachable)
        assert told[0].why.startswith("scripted://store: no ")
        assert told[1] == ReachedAgain(sum(naps.taken))
        assert [marker.key for marker in told[2]] == ["date=2026-11-01/datapackage.json"]
        assert caplog.messages == [
            "scripted://store: no 0; trying again, at most every 60 s",
            f"scripted://store: reached again after 1000 failures in {naps.now:.0f} s",
        ]
        assert naps.now / 360 <= signs.count("watch.json") <= naps.now / 300 + 2

    @pytest.mark.invariant(6)
    @pytest.mark.parametrize("where", ["landing", "lake"])
    async def test_a_folder_without_permission_is_waited_for_until_it_has_it(
        self, plain_user: Path, where: str
    ) -> None:
        toy = await asyncio.to_thread(make_toy, plain_user)
        marker = await drop(toy, "2026-11-01")
        folder = toy.root / where
        folder.mkdir(exist_ok=True)
        folder.chmod(0)
        tries = asyncio.Semaphore(0)

        async def sleep(seconds: float) -> None:
            tries.release()
            await doze(seconds)

        feed = announcements(lambda: deaf(toy.inbox()), Timing(sweep_every=0.05), sleep=sleep)
        async with aclosing(feed) as items:
            waiting = asyncio.create_task(soon(items))
            async with asyncio.timeout(SOON):
                for _ in range(3):
                    await tries.acquire()
            folder.chmod(0o755)
            assert await waiting == (marker,)

    @pytest.mark.invariant(6)
    async def test_an_address_that_cannot_be_right_is_waited_for_too(self, toy: ToyFeed) -> None:
        marker = await drop(toy, "2026-11-01")
        answers = [StoreRefused("gs://bucket", "no store for gs://")] * 3

        def make() -> Inbox:
            if answers:
                raise answers.pop()
            return toy.inbox()

        async with aclosing(announcements(make, Timing(), sleep=doze)) as items:
            assert await soon(items) == (marker,)

    async def test_a_lake_that_takes_no_watermark_does_not_keep_a_marker_back_for_long(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What could not be covered has not been said, and so is said at the next try."""
        marker = await drop(toy, "2026-11-01")
        refusals = [StoreUnavailable("/lake", "away")] * 2

        def cover(shortcuts: Shortcuts, found: object) -> None:
            if refusals:
                raise refusals.pop()

        monkeypatch.setattr(Shortcuts, "cover", cover)
        async with aclosing(announcements(toy.inbox, Timing(), sleep=doze)) as items:
            assert await soon(items) == (marker,)

    @pytest.mark.invariant(1)
    async def test_what_was_announced_before_the_trouble_is_announced_again_after_it(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its run may have failed on the same storage, and would wait for ``redeliver_after``."""
        marker = await drop(toy, "2026-11-01")
        timing = Timing(sweep_every=0.05, redeliver_after=3600)
        async with aclosing(announcements(toy.inbox, timing, sleep=doze)) as items:
            assert await soon(items) == (marker,)
            outage = [StoreUnavailable("/lake", "away")] * 2
            scope = Shortcuts.scope

            def away(shortcuts: Shortcuts) -> Scope:
                if outage:
                    raise outage.pop()
                return scope(shortcuts)

            monkeypatch.setattr(Shortcuts, "scope", away)
            assert await soon(items) == (marker,)

    async def test_a_mistake_in_the_code_is_no_hot_loop_either(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def mistaken(_: Shortcuts) -> Scope:
            raise LookupError("secret")

        monkeypatch.setattr(Shortcuts, "scope", mistaken)
        naps = Naps()
        async with aclosing(announcements(toy.inbox, Timing(), naps.clock, naps.sleep)) as items:
            told = await soon(items)
        assert isinstance(told, Unreachable)
        assert told.why == "LookupError; the triggerer's log has the traceback"
        assert len(naps.taken) <= 10, "a minute of doubling pauses"
        assert "LookupError: secret" in caplog.text

    @pytest.mark.invariant(6)
    async def test_a_look_that_hangs_is_told_and_not_begun_again(
        self, toy: ToyFeed, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on NFS whose server is gone: each new look would take one more thread for ever."""
        monkeypatch.setattr(watch, "HUNG_AFTER", 0.1)
        monkeypatch.setattr(outage, "OUTAGE_AFTER", 0.05)
        server, looks = threading.Event(), []
        look = store.list

        def hang(*args: Any, **kwargs: Any) -> Iterator[Entry]:
            looks.append(args)
            server.wait(SOON)
            return look(*args, **kwargs)

        store.list = hang  # type: ignore[method-assign]
        timing = Timing(sweep_every=0.1)
        async with aclosing(announcements(toy.inbox, timing, sleep=doze)) as items:
            told = await soon(items)
            assert isinstance(told, Unreachable)
            assert told.why.startswith("landing zone or lake: no look has come back for ")
            waiting = asyncio.create_task(soon(items))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            assert len(looks) == 1
            server.set()
            assert isinstance(await waiting, ReachedAgain)

    async def test_what_gives_hints_is_not_started_anew_at_every_try(
        self, toy: ToyFeed, store: ScriptedStore
    ) -> None:
        """A queue or a folder that cannot be heard would be said each time."""
        store.fails = [StoreRefused("scripted://store", "no")] * 5
        store.keys.add("date=2026-11-01/datapackage.json")
        steps: list[int] = []

        async def hints(is_ours: IsOurs = nothing_is_ours) -> AsyncIterator[Hint]:
            steps.append(1)
            try:
                async for hint in no_hints():
                    yield hint
            finally:
                steps.append(-1)

        store.hints = hints  # type: ignore[method-assign]
        async with aclosing(announcements(toy.inbox, Timing(), sleep=doze)) as items:
            await soon(items)
            assert len(steps) > 5
            assert min(accumulate(steps)) > 0
        assert sum(steps) == 0

    async def test_the_sign_in_the_lake_follows(self, toy: ToyFeed) -> None:
        await asyncio.to_thread(toy.landing.touch)
        lake = toy.inbox().lake.store

        async def sign(state: str) -> WatcherState:
            async with asyncio.timeout(SOON):
                while True:
                    found = await asyncio.to_thread(last_heartbeat, lake)
                    if found and found.state == state:
                        return found
                    await asyncio.sleep(0.02)

        timing = Timing(sweep_every=0.05)
        async with aclosing(announcements(toy.inbox, timing, sleep=doze)) as items:
            waiting = asyncio.create_task(soon(items))
            refused = await sign("unreachable")
            assert refused.why == f"{toy.landing}: {NOT_A_DIRECTORY}"
            await asyncio.to_thread(toy.landing.unlink)
            found = await sign("watching")
            assert (found.why, found.since >= refused.since) == ("", True)
            marker = await drop(toy, "2026-11-01")
            assert await waiting == (marker,)


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
    async with aclosing(announcements(toy.inbox, Timing())) as items:
        found = await soon(items)
    pulse.cancel()
    assert len(found) == count
    return max(gaps)


@pytest.mark.invariant(6)
async def test_a_sweep_of_many_markers_never_holds_the_event_loop_for_50_ms(toy: ToyFeed) -> None:
    """A busy machine can hold a loop now and then; code that blocks does it every time."""
    await asyncio.to_thread(make_many, toy, 5_000)
    for _ in range(20):
        if (hold := await longest_hold(toy, 5_000)) < 0.05:
            break
    assert hold < 0.05


def make_many(toy: ToyFeed, count: int) -> None:
    for number in range(count):
        folder = toy.landing / f"date={number:06d}"
        folder.mkdir(parents=True)
        (folder / "datapackage.json").touch()


@pytest.mark.invariant(6)
async def test_feeds_whose_storage_hangs_starve_no_other(
    toy: ToyFeed,
) -> None:
    """As on NFS whose server is gone: a look does not come back."""
    server_is_back = threading.Event()

    def hung() -> Inbox:
        server_is_back.wait(30)
        return toy.inbox()

    hanging = [announcements(hung, Timing()) for _ in range(40)]
    waiting = [asyncio.ensure_future(anext(items)) for items in hanging]
    try:
        await asyncio.sleep(0.2)
        marker = await in_thread(toy.drop, "2026-11-01")
        async with aclosing(announcements(toy.inbox, Timing())) as items:
            assert await soon(items) == (marker,)
    finally:
        server_is_back.set()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
