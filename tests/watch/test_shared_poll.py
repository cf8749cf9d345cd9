"""The shared poll over a scripted store: who looks for what, and how often."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.inbox.shortcuts import Scope
from flagfall.landing.zone import LandingAddress, LandingZone
from flagfall.stores import EPOCH, Entry, Hint, IsOurs, nothing_is_ours
from flagfall.watch import shared_poll as module
from flagfall.watch import sweeper, waiters
from flagfall.watch.entries import Entries
from flagfall.watch.looks import Look, Watch
from flagfall.watch.shared_poll import SharedPoll, shared_poll
from tests.patience import SOON

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class ScriptedStore:
    """A store that holds what it is given and notes what it is asked."""

    uri = "scripted://store"
    metered = True
    is_remote = True

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.lists: list[str] = []
        self.finds: list[frozenset[str]] = []
        self.refuses: set[str] = set()
        self.fails: list[Exception] = []
        self.heard: asyncio.Queue[Hint] = asyncio.Queue()
        self.is_ours: IsOurs = nothing_is_ours

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Any = None,
        skip_unreadable: bool = True,
        shapes: Any = (),
    ) -> Iterator[Entry]:
        self._maybe_fail()
        self.lists.append(start_after)
        return (entry(k) for k in sorted(self.keys) if k > start_after and where(k))

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        self._maybe_fail()
        if keys:
            self.finds.append(frozenset(keys))
        if refused := self.refuses & set(keys):
            raise StoreRefused(min(refused), "no")
        return (entry(key) for key in sorted(self.keys & set(keys)))

    def _maybe_fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def hints(self, is_ours: IsOurs = nothing_is_ours) -> AsyncIterator[Hint]:
        self.is_ours = is_ours
        while True:
            yield await self.heard.get()


def entry(key: str) -> Entry:
    return Entry(key, 0, "v", NOW)


def found(*keys: str) -> Entries:
    return Entries.of(map(entry, keys))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ScriptedStore:
    scripted = ScriptedStore()
    monkeypatch.setattr("flagfall.landing.zone.open_store", lambda *_: scripted)
    monkeypatch.setattr(sweeper, "backoff", lambda failures: 0.01)
    monkeypatch.setattr(module, "JOIN_DELAY", 0.05)
    return scripted


def after(key: str) -> Scope:
    """All keys after this one."""
    return Scope(EPOCH, start=key)


def zone(pattern: str = "{day}/_SUCCESS") -> LandingZone:
    return LandingZone(LandingAddress(uri="scripted://store", marker=pattern))


async def soon(waiting: Any) -> Any:
    async with asyncio.timeout(SOON):
        return await waiting


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not true():  # noqa: ASYNC110  what is waited for is in a scripted store
            await asyncio.sleep(0.01)


async def test_those_who_come_together_share_their_first_look(store: ScriptedStore) -> None:
    async with shared_poll(zone()) as shared:
        await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(shared.find(f"{n}/_SUCCESS", 3600.0)) for n in range(100)]
        await until(lambda: bool(store.finds))
        await asyncio.sleep(0.1)
        assert store.finds == [frozenset(f"{n}/_SUCCESS" for n in range(100))]
        assert store.lists == []
        for task in waiting:
            task.cancel()


async def test_who_comes_later_has_only_his_own_key_looked_for(store: ScriptedStore) -> None:
    async with shared_poll(zone()) as shared:
        await asyncio.sleep(0.1)
        first = asyncio.create_task(shared.find("a/_SUCCESS", 3600.0))
        await until(lambda: len(store.finds) == 1)
        store.keys.add("b/_SUCCESS")
        assert (await soon(shared.find("b/_SUCCESS", 3600.0))).key == "b/_SUCCESS"
        assert store.finds == [frozenset({"a/_SUCCESS"}), frozenset({"b/_SUCCESS"})]
        first.cancel()


async def test_a_listing_for_a_watch_serves_sensors_and_other_watches(store: ScriptedStore) -> None:
    watches = [Watch(zone(), 3600.0), Watch(zone("{day}/{part}.ready"), 3600.0)]
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(shared_poll(zone()))
        for watch in watches:
            await stack.enter_async_context(shared.watching(watch))
        sensor = asyncio.create_task(shared.find("a/_SUCCESS", 3600.0))
        for watch in watches:
            await soon(watch.next())
        await asyncio.sleep(0.2)
        store.lists.clear()
        store.finds.clear()
        store.keys |= {"a/_SUCCESS", "a/1.ready", "a/rows.csv"}
        await store.heard.put(None)
        looks = [await soon(watch.next()) for watch in watches]
        assert store.lists == [""]
        assert [[e.key for e in look.entries] for look in looks] == [["a/_SUCCESS"], ["a/1.ready"]]
        assert (await soon(sensor)).key == "a/_SUCCESS"
    assert store.finds == []


async def test_a_listing_leaves_out_only_what_no_watch_wants(store: ScriptedStore) -> None:
    old, new = Watch(zone(), 3600.0), Watch(zone(), 3600.0)
    old.scope, new.scope = after("a"), after("b")
    async with shared_poll(zone()) as shared, shared.watching(old), shared.watching(new):
        assert [(await soon(watch.next())).scope.start for watch in (old, new)] == ["a", "b"]
        assert store.lists == ["a"]


async def test_a_thousand_whose_markers_come_at_once_go_on_some_at_a_time(
    store: ScriptedStore,
) -> None:
    turn = 0
    went_on: list[int] = []

    async def wait(shared: SharedPoll, key: str) -> None:
        await shared.find(key, 3600.0)
        went_on.append(turn)

    async with shared_poll(zone()) as shared, asyncio.TaskGroup() as group:
        store.keys |= {f"{n}/_SUCCESS" for n in range(1000)}
        for key in store.keys:
            group.create_task(wait(shared, key))
        while len(went_on) < 1000:
            turn += 1
            await asyncio.sleep(0)
    assert max(Counter(went_on).values()) <= waiters.RESUMED_AT_ONCE


async def test_a_hint_points_to_its_key_and_nothing_else_is_looked_at(store: ScriptedStore) -> None:
    watch = Watch(zone(), 3600.0)
    async with shared_poll(zone()) as shared, shared.watching(watch):
        assert (await soon(watch.next())).whole
        store.lists.clear()
        store.keys |= {"late/_SUCCESS", "other/_SUCCESS"}
        await store.heard.put(frozenset({"late/rows.csv", "late/_SUCCESS"}))
        assert await soon(watch.next()) == Look(found("late/_SUCCESS"), whole=False)
        assert (store.lists, store.finds) == ([], [frozenset({"late/_SUCCESS"})])


async def test_a_forged_hint_finds_nothing_and_harms_nothing(store: ScriptedStore) -> None:
    watch = Watch(zone(), 3600.0)
    async with shared_poll(zone()) as shared, shared.watching(watch):
        await soon(watch.next())
        await store.heard.put(frozenset({"forged/_SUCCESS"}))
        await until(lambda: bool(store.finds))
        store.keys.add("real/_SUCCESS")
        await store.heard.put(frozenset({"real/_SUCCESS"}))
        assert (await soon(watch.next())).entries == found("real/_SUCCESS")


async def test_a_hint_that_names_nothing_looks_at_everything_and_again_a_moment_later(
    store: ScriptedStore,
) -> None:
    watch = Watch(zone(), 3600.0)
    async with shared_poll(zone()) as shared, shared.watching(watch):
        await soon(watch.next())
        store.lists.clear()
        await store.heard.put(None)
        await until(lambda: len(store.lists) == 3)
    assert len(store.lists) == 3


async def test_a_hint_whose_look_fails_is_looked_at_again(store: ScriptedStore) -> None:
    watch = Watch(zone(), 3600.0)
    watch.scope = after("5")
    async with shared_poll(zone()) as shared, shared.watching(watch):
        await soon(watch.next())
        store.keys.add("1/_SUCCESS")
        store.fails.append(StoreUnavailable("scripted://store", "away"))
        store.heard.put_nowait({"1/_SUCCESS": 1})
        look = await soon(watch.next())
    assert [found.key for found in look.entries] == ["1/_SUCCESS"]


async def test_a_watch_that_comes_back_may_name_what_it_has_heard_of(store: ScriptedStore) -> None:
    store.keys |= {"1/_SUCCESS", "2/_SUCCESS"}
    watch = Watch(zone(), 3600.0)
    watch.scope, watch.hinted = after("5"), {"1/_SUCCESS": 1}
    async with shared_poll(zone()) as shared, shared.watching(watch):
        look = await soon(watch.next())
    assert [found.key for found in look.entries] == ["1/_SUCCESS"]
    assert look.hinted == watch.hinted


async def test_a_look_at_everything_does_not_hide_what_a_hint_has_shown(
    store: ScriptedStore,
) -> None:
    watch = Watch(zone(), 3600.0)
    watch.offer(Look(found("1/_SUCCESS")))
    watch.offer(Look(found(), after("5"), whole=True))
    look = await soon(watch.next())
    assert (look.whole, [found.key for found in look.entries]) == (True, ["1/_SUCCESS"])


async def test_a_watch_gets_only_what_it_asks_for_though_another_one_looks_at_all(
    store: ScriptedStore,
) -> None:
    """The inbox would ask for the receipt of each old marker."""
    store.keys |= {"1/_SUCCESS", "2/_SUCCESS", "7/_SUCCESS"}
    every, some = Watch(zone(), 3600.0), Watch(zone(), 3600.0)
    some.scope, some.hinted = after("5"), {"2/_SUCCESS": 1}
    async with shared_poll(zone()) as shared, shared.watching(every), shared.watching(some):
        assert len((await soon(every.next())).entries) == 3
        assert (await soon(some.next())).entries == found("2/_SUCCESS", "7/_SUCCESS")
        async with shared.watching(Watch(zone(), 3600.0)):
            look = await soon(some.next())
    assert (look.whole, look.entries) == (False, found("7/_SUCCESS"))


async def test_a_look_begins_after_the_key_that_the_watch_had_when_it_began(
    store: ScriptedStore,
) -> None:
    """What is said to be whole must be what was listed."""
    watch = Watch(zone(), 0.05)
    watch.scope = after("m")
    listed = store.list

    def slow(**arguments: Any) -> Iterator[Entry]:
        watch.scope = after("")
        return listed(**arguments)

    store.list = slow  # type: ignore[method-assign]
    async with shared_poll(zone()) as shared, shared.watching(watch):
        assert (await soon(watch.next())).scope.start == "m"
        store.keys.add("a/_SUCCESS")
        look = await soon(watch.next())
        assert (look.scope.start, [e.key for e in look.entries]) == ("", ["a/_SUCCESS"])


@pytest.mark.invariant(6)
async def test_a_store_that_fails_for_a_while_is_tried_again_and_nobody_is_forgotten(
    store: ScriptedStore,
) -> None:
    store.fails = [StoreUnavailable("scripted://store", "away")] * 3
    store.keys.add("a/_SUCCESS")
    watch = Watch(zone(), 3600.0)
    async with shared_poll(zone()) as shared, shared.watching(watch):
        assert (await soon(shared.find("a/_SUCCESS", 3600.0))).key == "a/_SUCCESS"
        assert (await soon(watch.next())).entries == found("a/_SUCCESS")


@pytest.mark.invariant(6)
async def test_a_store_that_stays_away_is_left_in_peace_between_two_tries(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "backoff", lambda failures: 0.1)
    store.fails = [StoreUnavailable("scripted://store", "away")] * 1000
    async with shared_poll(zone()) as shared, shared.watching(Watch(zone(), 0.01)):
        sensor = asyncio.create_task(shared.find("a/_SUCCESS", 0.01))
        for _ in range(50):
            await store.heard.put(frozenset({"a/_SUCCESS"}))
            await asyncio.sleep(0.01)
        assert 2 <= 1000 - len(store.fails) <= 7
        sensor.cancel()


@pytest.mark.invariant(6)
async def test_a_watch_that_is_not_patient_is_told_at_once_and_the_log_left_to_it(
    store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fails = [StoreUnavailable("scripted://store", "away")]
    watch = Watch(zone(), 3600.0, patient=False)
    async with shared_poll(zone()) as shared, shared.watching(watch):
        with pytest.raises(StoreUnavailable, match="away"):
            await soon(watch.next())
        await until(lambda: bool(store.lists))
        assert (await soon(watch.next())).whole
    assert caplog.messages == []


async def test_while_a_sensor_waits_too_the_log_tells_of_trouble(
    store: ScriptedStore, caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(zone(), 3600.0, patient=False)
    async with shared_poll(zone()) as shared, shared.watching(watch):
        sensor = asyncio.create_task(shared.find("a/_SUCCESS", 3600.0))
        await until(lambda: bool(store.lists))
        store.fails = [StoreUnavailable("scripted://store", "away")] * 3
        await store.heard.put(None)
        await until(lambda: not store.fails)
        await until(lambda: len(caplog.messages) > 1)
        sensor.cancel()
    assert caplog.messages == [
        "scripted://store: away; trying again, at most every 60 s",
        "scripted://store: reached again after 3 failures",
    ]


@pytest.mark.invariant(6)
async def test_a_store_that_refuses_is_told_to_all_and_the_next_one_begins_anew(
    store: ScriptedStore,
) -> None:
    watch = Watch(zone(), 3600.0)
    async with shared_poll(zone()) as shared:
        store.fails = [StoreRefused("scripted://store", "denied")]
        async with shared.watching(watch):
            sensor = asyncio.create_task(shared.find("a/_SUCCESS", 3600.0))
            with pytest.raises(StoreRefused, match="denied"):
                await soon(watch.next())
            with pytest.raises(StoreRefused, match="denied"):
                await soon(sensor)
        with pytest.raises(StoreRefused, match="denied"):
            await soon(shared.find("b/_SUCCESS", 3600.0))
        async with shared_poll(zone()) as fresh:
            store.keys.add("b/_SUCCESS")
            assert (await soon(fresh.find("b/_SUCCESS", 3600.0))).key == "b/_SUCCESS"


async def test_a_key_that_is_refused_does_not_stop_those_who_wait_for_others(
    store: ScriptedStore,
) -> None:
    store.refuses.add("bad/_SUCCESS")
    store.keys.add("good/_SUCCESS")
    async with shared_poll(zone()) as shared:
        bad = asyncio.create_task(shared.find("bad/_SUCCESS", 3600.0))
        good = asyncio.create_task(shared.find("good/_SUCCESS", 3600.0))
        assert (await soon(good)).key == "good/_SUCCESS"
        with pytest.raises(StoreRefused):
            await soon(bad)


async def test_it_is_the_same_for_the_same_place_and_ends_with_the_last(
    store: ScriptedStore,
) -> None:
    async with shared_poll(zone()) as one:
        async with shared_poll(zone("*.ready")) as other:
            assert other is one
        assert not one.has_failed
    assert one.has_failed
    assert not module._polls


async def test_it_sleeps_while_nobody_waits(store: ScriptedStore) -> None:
    async with shared_poll(zone()) as shared:
        watch = Watch(zone(), 0.05)
        async with shared.watching(watch):
            await soon(watch.next())
        store.lists.clear()
        began = time.process_time()
        await asyncio.sleep(0.3)
        assert store.lists == []
        assert time.process_time() - began < 0.15


async def test_one_who_gives_up_before_the_first_look_causes_none(
    store: ScriptedStore,
) -> None:
    async with shared_poll(zone()) as shared:
        patient = asyncio.create_task(shared.find("b/_SUCCESS", 3600.0))
        await until(lambda: bool(store.finds))
        impatient = asyncio.create_task(shared.find("a/_SUCCESS", 3600.0))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0.1)
        began = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - began < 0.2
        assert store.finds == [frozenset({"b/_SUCCESS"})]
        patient.cancel()


async def test_those_who_come_one_after_the_other_for_one_key_do_not_put_its_look_off(
    store: ScriptedStore,
) -> None:
    async with shared_poll(zone()) as shared:
        first = asyncio.create_task(shared.find("other/_SUCCESS", 3600.0))
        await until(lambda: bool(store.finds))
        store.finds.clear()
        coming = []
        for _ in range(20):
            coming.append(asyncio.create_task(shared.find("a/_SUCCESS", 3600.0)))
            await asyncio.sleep(0.02)
        assert store.finds
        for task in (first, *coming):
            task.cancel()


async def test_one_who_gives_up_is_looked_for_no_more(store: ScriptedStore) -> None:
    async with shared_poll(zone()) as shared:
        impatient = asyncio.create_task(shared.find("a/_SUCCESS", 0.1))
        patient = asyncio.create_task(shared.find("b/_SUCCESS", 0.1))
        await until(lambda: bool(store.finds))
        impatient.cancel()
        await asyncio.sleep(0.05)
        store.finds.clear()
        await until(lambda: len(store.finds) >= 2)
        assert set(store.finds) == {frozenset({"b/_SUCCESS"})}
        patient.cancel()


async def test_hints_are_told_what_no_other_process_needs_to_hear_of(store: ScriptedStore) -> None:
    async with shared_poll(zone()) as shared:
        waiting = asyncio.create_task(shared.find("mon/_SUCCESS", 3600.0))
        await until(lambda: bool(store.finds))
        assert store.is_ours("mon/_SUCCESS")
        assert not store.is_ours("tue/_SUCCESS")
        async with shared.watching(Watch(zone(), 3600.0)):
            assert store.is_ours("tue/_SUCCESS")
            assert store.is_ours("tue/data.csv")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not store.is_ours("mon/_SUCCESS")
