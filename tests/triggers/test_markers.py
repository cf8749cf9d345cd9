from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseEventTrigger, BaseTrigger
from blockbuster import BlockBuster, blockbuster_ctx

from tests.feeds import ToyFeed
from triggers import MarkerFeedTrigger, MarkerTrigger

SOON = 5.0
FEED = {
    "dataset": "toy",
    "landing": "/landing",
    "marker": "{d}/_SUCCESS",
    "lake": "/lake",
    "sweep_every": 5.0,
    "redeliver_after": 60.0,
    "landing_conn_id": "aws_partner",
    "lake_conn_id": "aws_lake",
    "sqs_queue": "https://sqs.eu-west-1.amazonaws.com/123456789012/landed",
    "since": "date=%Y-%m-%d",
    "behind": 90000.0,
    "full_sweep_every": 1800.0,
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
EVERY_TRIGGER = [(MarkerFeedTrigger, FEED), (MarkerTrigger, ONE)]


@pytest.fixture(autouse=True)
def blocked_loop_fails() -> Iterator[BlockBuster]:
    with blockbuster_ctx("triggers") as blocker:
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


def test_a_watcher_takes_the_feed_trigger() -> None:
    assert issubclass(MarkerFeedTrigger, BaseEventTrigger)


def feed(toy: ToyFeed) -> MarkerFeedTrigger:
    landing, lake = toy.dataset.landing, toy.dataset.lake
    return MarkerFeedTrigger(
        dataset="toy", landing=landing.uri, marker=landing.marker, lake=lake.uri, sweep_every=0.1
    )


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


async def test_a_deadline_that_passes_says_where_was_looked(
    toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers.markers.ONE_LOOK", 0.1)
    deadline = datetime.now(UTC).isoformat()
    payload = await first_event(one(toy, deadline=deadline))
    where = f"{toy.landing}/date=2026-11-01/datapackage.json"
    assert payload == {"late": where, "deadline": deadline}


async def test_a_marker_that_is_there_counts_even_after_the_deadline(toy: ToyFeed) -> None:
    """A run that is caught up, or a triggerer that was down, must not call it late."""
    marker = await asyncio.to_thread(toy.drop, "2026-11-01")
    long_ago = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    payload = await first_event(one(toy, deadline=long_ago))
    assert payload["batch_id"] == marker.batch_id
