from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.errors import StoreUnavailable
from flagfall.inbox.claim import Claim, claim, shards
from flagfall.inbox.inbox import Swept
from flagfall.landing.limits import Limits
from flagfall.landing.marker import Marker
from tests.feeds import Clock, ToyFeed, make_toy


def sleeper(clock: Clock) -> Callable[[float], None]:
    return lambda seconds: clock.advance(timedelta(seconds=seconds))


def never(seconds: float) -> None:
    raise AssertionError("claim waited")


def test_nothing_pending_gives_no_shards_at_once(toy: ToyFeed) -> None:
    taken = claim(toy.inbox(), toy.dataset, sleep=never)
    assert (taken.shards, taken.left) == ((), 0)


def test_many_small_batches_share_a_shard(toy: ToyFeed) -> None:
    dropped = [toy.drop(f"2026-11-{day:02d}") for day in range(1, 8)]
    assert claim(toy.inbox(), toy.dataset, sleep=never).shards == (tuple(dropped),)


def test_a_claim_is_capped_and_says_how_many_are_left(tmp_path: Path) -> None:
    toy = make_toy(tmp_path, more="limits: {batches_per_run: 3}")
    dropped = [toy.drop(f"2026-11-{day:02d}") for day in range(1, 6)]
    taken = claim(toy.inbox(), toy.dataset, sleep=never)
    (shard,) = taken.shards
    assert (shard[:2], taken.left) == (tuple(dropped[:2]), 2)
    assert shard[2] in dropped[2:]  # the last is any other: tests/inbox/test_backlog.py


def test_shards_close_when_they_are_full_or_heavy(toy: ToyFeed) -> None:
    a, b, c, d = (toy.drop(f"2026-11-{day:02d}") for day in range(1, 5))
    full = shards([(a, 1), (b, 1), (c, 1)], Limits(shard_batches=2, shard_bytes=100))
    heavy = shards([(a, 60), (b, 40), (c, 1), (d, 500)], Limits(shard_batches=9, shard_bytes=100))
    assert list(full) == [(a, b), (c,)]
    assert list(heavy) == [(a, b), (c,), (d,)]


@pytest.mark.parametrize(
    ("batches", "sizes"),
    [(2, [2]), (3, [2, 1]), (4, [2, 2]), (12, [3, 3, 3, 3]), (25, [4, 4, 4, 4, 4, 4, 1])],
)
def test_what_works_at_the_same_time_gets_the_same_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int, sizes: list[int]
) -> None:
    monkeypatch.setattr("flagfall.inbox.claim.FEWEST", 2)
    toy = make_toy(tmp_path, more="limits: {shard_batches: 5}")
    for number in range(batches):
        toy.drop(f"{number:02d}")
    taken = claim(toy.inbox(), toy.dataset, sleep=never)
    assert [len(shard) for shard in taken.shards] == sizes


def test_a_run_has_no_more_shards_than_airflow_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flagfall.inbox.claim.SHARDS", 3)
    toy = make_toy(tmp_path, more="limits: {shard_bytes: 1}")
    dropped = [toy.drop(f"2026-11-{day:02d}") for day in range(1, 6)]
    taken = claim(toy.inbox(), toy.dataset, sleep=never)
    assert (taken.shards, taken.left) == (tuple((marker,) for marker in dropped[:3]), 2)


def half_written(toy: ToyFeed, day: str) -> Marker:
    toy.drop(day)
    (toy.folder(day) / "datapackage.json").write_text('{"resources": [{"pa')
    return toy.marker(day)


def test_a_half_written_marker_is_left_alone_while_it_is_young(toy: ToyFeed) -> None:
    half_written(toy, "2026-11-01")
    whole = toy.drop("2026-11-02")
    taken = claim(toy.inbox(Clock()), toy.dataset, sleep=never)
    assert taken == Claim(((whole,),), left=0, unsettled=1)


def test_a_half_written_marker_alone_is_waited_for_until_it_settles(
    toy: ToyFeed, clock: Clock
) -> None:
    marker = half_written(toy, "2026-11-01")
    clock.now = marker.landed_at
    taken = claim(toy.inbox(clock), toy.dataset, sleep=sleeper(clock))
    assert taken.shards == ((marker,),)
    assert clock() - marker.landed_at == toy.dataset.landing.settle


def test_a_marker_before_its_data_is_left_alone_while_it_is_young(
    toy: ToyFeed, clock: Clock
) -> None:
    marker = toy.drop("2026-11-01")
    data = toy.folder("2026-11-01") / "rows.csv"
    content = data.read_bytes()
    data.unlink()
    clock.now = marker.landed_at

    def arrives(seconds: float) -> None:
        data.write_bytes(content)

    ((taken,),) = claim(toy.inbox(clock), toy.dataset, sleep=arrives).shards
    assert taken == toy.marker("2026-11-01")


@pytest.mark.invariant(1)
def test_a_marker_whose_clock_is_an_hour_off_is_claimed_at_once(toy: ToyFeed, clock: Clock) -> None:
    marker = half_written(toy, "2026-11-01")
    clock.now = marker.landed_at - timedelta(hours=1)
    assert claim(toy.inbox(clock), toy.dataset, sleep=never).shards == ((marker,),)


def test_claim_gives_up_waiting_for_a_marker_that_never_settles(
    toy: ToyFeed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its producer writes it again and again, so that it is always young."""
    marker = half_written(toy, "2026-11-01")
    inbox, began = toy.inbox(clock), clock()
    monkeypatch.setattr(
        inbox, "sweep", lambda scope: Swept([replace(marker, landed_at=clock())], ())
    )

    def patiently(seconds: float) -> None:
        clock.advance(timedelta(seconds=seconds))
        assert clock() - began < timedelta(minutes=1), "claim waits for ever"

    taken = claim(inbox, toy.dataset, sleep=patiently)
    assert taken == Claim((), left=0, unsettled=1)
    assert clock() - began == 2 * toy.dataset.landing.settle


@pytest.mark.invariant(5)
@pytest.mark.parametrize("age", [timedelta(), timedelta(minutes=1)], ids=["young", "old"])
def test_a_marker_that_cannot_be_read_stops_no_other(
    toy: ToyFeed, clock: Clock, monkeypatch: pytest.MonkeyPatch, age: timedelta
) -> None:
    bad, good = toy.drop("2026-11-01"), toy.drop("2026-11-02")
    clock.advance(age)
    inbox = toy.inbox(clock)
    read = inbox.landing.store.read

    def damaged(key: str, limit: int) -> bytes:
        if key == bad.key:
            raise StoreUnavailable(bad.uri, "Input/output error")
        return read(key, limit)

    monkeypatch.setattr(inbox.landing.store, "read", damaged)
    taken = claim(inbox, toy.dataset, sleep=never)
    assert good in [marker for shard in taken.shards for marker in shard]
