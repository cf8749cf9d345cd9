from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent
from blockbuster import BlockBuster, blockbuster_ctx
from pydantic import ValidationError

from flagfall.dataset.feed import Feed
from flagfall.errors import MarkerPatternInvalid, StoreRefused, StoreUnavailable
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingZone
from flagfall.stores import aws
from flagfall.triggers import MarkerFeedTrigger, MarkerTrigger
from flagfall.watch import outage
from flagfall.watch.loop import News, Timing
from tests.feeds import ToyFeed
from tests.patience import SOON

FEED = {
    "dataset": "toy",
    "landing": {
        "uri": "/landing",
        "marker": "{d}/_SUCCESS",
        "conn_id": "aws_partner",
        "sqs_queue": "https://sqs.eu-west-1.amazonaws.com/123456789012/landed",
    },
    "lake": {"uri": "/lake", "conn_id": "aws_lake"},
    "since": "date=%Y-%m-%d",
    "behind": 90000.0,
    "sweep_every": 5.0,
    "full_sweep_every": 1800.0,
    "redeliver_after": 60.0,
    "gather": 20.0,
}
ONE = {
    "landing": "/landing",
    "marker": "{d}/_SUCCESS",
    "partition": {"d": "x"},
    "deadline": "2026-11-01T08:00:00+00:00",
    "settle": 3.0,
    "sweep_every": 5.0,
    "conn_id": "aws_partner",
    "sqs_queue": "https://sqs.eu-west-1.amazonaws.com/123456789012/landed",
}
EVERY_TRIGGER = [(MarkerFeedTrigger, {"feed": json.dumps(FEED)}), (MarkerTrigger, ONE)]


@pytest.fixture(autouse=True)
def blocked_loop_fails() -> Iterator[BlockBuster]:
    with blockbuster_ctx("flagfall.triggers") as blocker:
        yield blocker


@pytest.mark.parametrize(("kind", "arguments"), EVERY_TRIGGER)
def test_a_trigger_is_the_same_after_it_was_stored(
    kind: type[BaseTrigger], arguments: dict[str, Any]
) -> None:
    path, stored = kind(**arguments).serialize()
    assert stored == arguments
    revived = import_string(path)(**json.loads(json.dumps(stored)))
    assert type(revived) is kind
    assert revived.serialize() == (path, stored)


@pytest.mark.parametrize(("kind", "arguments"), EVERY_TRIGGER)
def test_a_misspelt_argument_is_refused(kind: type[BaseTrigger], arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="poke_intervall"):
        kind(**arguments, poke_intervall=1)


def test_a_feed_travels_whole() -> None:
    feed = Feed.model_validate(FEED)
    assert Feed.model_validate_json(MarkerFeedTrigger.of(feed).serialize()[1]["feed"]) == feed


def test_a_misspelt_key_of_a_feed_is_refused() -> None:
    with pytest.raises(ValidationError, match="sweep_evry"):
        MarkerFeedTrigger(feed=json.dumps(FEED | {"sweep_evry": 1}))


def test_a_watcher_takes_the_feed_trigger() -> None:
    assert issubclass(MarkerFeedTrigger, BaseEventTrigger)


@pytest.mark.parametrize(("settle", "again_within"), [(1.0, 10.0), (60.0, 120.0)])
async def test_a_batch_that_had_not_settled_is_told_again_when_it_has(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch, settle: float, again_within: float
) -> None:
    asked: list[Timing] = []

    async def noted(make_inbox: object, timing: Timing) -> AsyncGenerator[News]:
        asked.append(timing)
        return
        yield ()

    monkeypatch.setattr("flagfall.triggers.waiting.announcements", noted)
    assert [event async for event in feed(toy, settle=settle).run()] == []
    assert [timing.settle_within for timing in asked] == [again_within]


def feed(toy: ToyFeed, **how: float) -> MarkerFeedTrigger:
    quick = Feed.of(toy.dataset).model_copy(update={"sweep_every": 0.1, **how})
    return MarkerFeedTrigger.of(quick)


async def first_event(trigger: BaseTrigger) -> Any:
    events = trigger.run()
    async with asyncio.timeout(SOON):
        event = await anext(events)
    await events.aclose()  # type: ignore[attr-defined]  # a generator, as Airflow runs it
    return event.payload


async def test_an_event_says_how_much_is_pending_and_shows_a_few(toy: ToyFeed) -> None:
    dropped = [await asyncio.to_thread(toy.drop, f"2026-11-{d:02d}") for d in range(1, 7)]
    payload = await first_event(feed(toy))
    assert payload == {"pending": 6, "first": [marker.uri for marker in dropped[:3]]}


async def test_a_feed_that_gathers_has_one_event_for_what_comes_in_that_time(toy: ToyFeed) -> None:
    await asyncio.to_thread(toy.drop, "2026-11-01")
    trigger = feed(toy, gather=1.0)
    waiting = asyncio.create_task(first_event(trigger))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(toy.drop, "2026-11-02")
    assert (await waiting)["pending"] == 2


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is announced after a twentieth of a second, and pauses are as short."""
    monkeypatch.setattr(outage, "OUTAGE_AFTER", 0.05)
    monkeypatch.setattr(outage, "backoff", lambda failures: 0.05)


async def next_payload(events: AsyncIterator[TriggerEvent]) -> Any:
    async with asyncio.timeout(SOON):
        return (await anext(events)).payload


@pytest.mark.invariant(6)
@pytest.mark.usefixtures("in_a_hurry")
async def test_trouble_that_lasts_is_an_event_and_so_is_its_end(toy: ToyFeed) -> None:
    await asyncio.to_thread(toy.landing.touch)
    before = datetime.now(UTC).replace(microsecond=0)
    events = feed(toy).run()
    told = await next_payload(events)
    assert set(told) == {"unreachable", "since"}
    assert told["unreachable"].startswith(f"{toy.landing}: a part of the path is not a directory")
    assert before <= datetime.fromisoformat(told["since"]) <= datetime.now(UTC)
    waiting = asyncio.create_task(next_payload(events))
    await asyncio.sleep(0.5)
    assert not waiting.done(), "once for each trouble"
    await asyncio.to_thread(toy.landing.unlink)
    over = await waiting
    assert over == {"reachable": str(toy.landing), "after": over["after"]}
    marker = await asyncio.to_thread(toy.drop, "2026-11-01")
    assert await next_payload(events) == {"pending": 1, "first": [marker.uri]}
    await events.aclose()  # type: ignore[attr-defined]  # a generator, as Airflow runs it


@pytest.mark.invariant(6)
@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"landing": {"conn_id": "nobody"}}, "nobody: there is no such Airflow connection"),
        ({"lake": {"conn_id": "nobody"}}, "nobody: there is no such Airflow connection"),
        ({"landing": {"uri": "gs://bucket/landing"}}, "gs://bucket/landing: no store for gs://"),
        ({"lake": {"uri": "s3://!"}}, "s3://!"),
    ],
)
async def test_what_somebody_has_to_change_is_an_event_and_no_hot_loop(
    wrong: dict[str, dict[str, str]], says: str, bucket: str
) -> None:
    aws.forget("nobody")
    landing = {"uri": f"s3://{bucket}/landing", "marker": "{d}/_SUCCESS"} | wrong.get("landing", {})
    lake = {"uri": f"s3://{bucket}/lake"} | wrong.get("lake", {})
    feed = Feed.model_validate({"dataset": "toy", "landing": landing, "lake": lake})
    trigger = MarkerFeedTrigger.of(feed)
    assert (await first_event(trigger))["unreachable"].startswith(says)


@pytest.mark.invariant(6)
async def test_a_sensors_trigger_raises_at_once_what_cannot_heal(toy: ToyFeed) -> None:
    """Its task fails by that, and says so."""
    await asyncio.to_thread(toy.landing.touch)
    with pytest.raises(StoreRefused, match="not a directory"):
        await first_event(one(toy))


def one(toy: ToyFeed, **changed: Any) -> MarkerTrigger:
    landing = toy.dataset.landing
    arguments = {
        "landing": landing.uri,
        "marker": landing.marker,
        "partition": {"date": "2026-11-01"},
        "sweep_every": 0.1,
    }
    return MarkerTrigger(**{**arguments, **changed})


async def test_waiting_for_one_marker_ends_with_it(toy: ToyFeed) -> None:
    waiting = asyncio.create_task(first_event(one(toy)))
    marker = await asyncio.to_thread(toy.drop, "2026-11-01")
    assert await waiting == {"marker": marker.to_dict(), "batch_id": marker.batch_id}


@pytest.mark.parametrize("value", [20261101, date(2026, 11, 1)])
async def test_a_number_or_a_day_is_waited_for_as_its_text(toy: ToyFeed, value: object) -> None:
    marker = await asyncio.to_thread(toy.drop, str(value))
    assert (await first_event(one(toy, partition={"date": value})))["batch_id"] == marker.batch_id


async def test_no_value_is_refused(toy: ToyFeed) -> None:
    with pytest.raises(MarkerPatternInvalid, match="no value for date"):
        await first_event(one(toy, partition={"date": None}))


async def test_a_deadline_without_an_offset_is_in_utc(toy: ToyFeed) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    assert "late" in await first_event(one(toy, deadline=now.isoformat(" ")))
    later = (now + timedelta(hours=1)).isoformat()
    waiting = asyncio.create_task(first_event(one(toy, deadline=later)))
    marker = await asyncio.to_thread(toy.drop, "2026-11-01")
    assert (await waiting)["batch_id"] == marker.batch_id


async def test_a_deadline_that_passes_says_where_was_looked(
    toy: ToyFeed,
) -> None:
    deadline = datetime.now(UTC).isoformat()
    payload = await first_event(one(toy, deadline=deadline))
    where = f"{toy.landing}/date=2026-11-01/datapackage.json"
    assert payload == {"late": where, "deadline": deadline}


async def test_a_last_look_that_is_slow_finds_the_marker(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is for the marker, not for the storage."""
    find = LandingZone.find

    def slow(self: LandingZone, key: str) -> list[Marker]:
        time.sleep(0.5)
        return find(self, key)

    monkeypatch.setattr(LandingZone, "find", slow)
    marker = await asyncio.to_thread(toy.drop, "2026-11-01")
    payload = await first_event(one(toy, deadline=datetime.now(UTC).isoformat()))
    assert payload["batch_id"] == marker.batch_id


async def test_storage_that_does_not_answer_is_not_a_late_marker(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``soft_fail`` a late one is skipped; here nobody knows."""

    def unreachable(self: LandingZone, key: str) -> list[Marker]:
        raise StoreUnavailable(f"{self.uri}/{key}", "no answer")

    monkeypatch.setattr(LandingZone, "find", unreachable)
    monkeypatch.setattr("flagfall.watch.last_look.LONGEST", 0.1)
    waiting = one(toy, deadline=datetime.now(UTC).isoformat(), settle=0.0)
    with pytest.raises(StoreUnavailable, match="no answer"):
        await first_event(waiting)


async def test_a_last_look_that_hangs_is_given_up(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(LandingZone, "find", lambda *_: goes_on.wait(SOON))
    monkeypatch.setattr("flagfall.watch.last_look.LONGEST", 0.1)
    waiting = one(toy, deadline=datetime.now(UTC).isoformat(), settle=0.0)
    with pytest.raises(StoreUnavailable, match="whether the marker is there is not known"):
        await first_event(waiting)
    goes_on.set()


async def test_a_marker_that_no_hint_told_of_is_not_called_late(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another triggerer may have had the hint, and the next sweep be after the deadline."""

    async def ignore_progress(root: Path) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield None

    monkeypatch.setattr("flagfall.stores.local.directory_hints", ignore_progress)
    deadline = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    waiting = asyncio.create_task(first_event(one(toy, deadline=deadline, sweep_every=3600.0)))
    await asyncio.sleep(0.7)
    marker = await asyncio.to_thread(toy.drop, "2026-11-01")
    assert (await waiting)["batch_id"] == marker.batch_id


async def test_a_marker_that_is_there_counts_even_after_the_deadline(toy: ToyFeed) -> None:
    """A run that is caught up, or a triggerer that was down, must not call it late."""
    marker = await asyncio.to_thread(toy.drop, "2026-11-01")
    long_ago = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    payload = await first_event(one(toy, deadline=long_ago))
    assert payload["batch_id"] == marker.batch_id
