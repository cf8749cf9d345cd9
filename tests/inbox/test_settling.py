"""When a batch can be taken in: complete, or quiet for so long that nothing more is expected."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.errors import StoreUnavailable
from flagfall.inbox import claim as claims
from flagfall.inbox import settling
from flagfall.inbox.claim import claim
from flagfall.inbox.settling import look_at
from flagfall.landing.marker import Marker
from flagfall.stages.ingest import ingest
from flagfall.stores.local_walk import TEMPORARY
from tests.feeds import Clock, ToyFeed, make_toy

DAY = "2026-11-01"
SETTLE = timedelta(seconds=1)


@pytest.fixture
def plain(tmp_path: Path) -> ToyFeed:
    """A feed with an empty marker; it settles after a second."""
    toy = make_toy(tmp_path, marker="_SUCCESS")
    toy.folder(DAY).mkdir(parents=True)
    return toy


def write(toy: ToyFeed, name: str, text: str = "id,value\n1,1\n") -> None:
    (toy.folder(DAY) / name).write_text(text)


def step(toy: ToyFeed) -> None:
    """Wait until the file system's clock, which goes in steps, has gone on."""
    probe, before = toy.root / "probe", time.time_ns()
    while not probe.exists() or probe.stat().st_ctime_ns <= before + 10_000_000:
        probe.touch()


def settles(toy: ToyFeed, after: timedelta) -> bool:
    """Whether a batch has settled so long after its last change."""
    clock = Clock()
    changes = toy.inbox().landing.changes_beside(toy.marker(DAY))
    clock.now = max([*changes, toy.marker(DAY).landed_at]) + after
    (pending,) = toy.inbox().pending()
    return look_at(pending, toy.inbox(clock), toy.dataset).has_settled


SOON, LATER = SETTLE / 2, 2 * SETTLE


@pytest.mark.invariant(1)
class TestDataThatAreYoungerThanTheirMarker:
    def test_data_first_are_taken_at_once(self, plain: ToyFeed) -> None:
        write(plain, "part-0.csv")
        step(plain)
        write(plain, "_SUCCESS", "")
        assert settles(plain, timedelta())

    def test_those_of_the_same_moment_wait_for_the_next_ones(self, plain: ToyFeed) -> None:
        """Which came first is not known: the file system's clock goes in steps."""
        write(plain, "_SUCCESS", "")
        write(plain, "part-0.csv")
        marker, clock = plain.marker(DAY), Clock()
        data = plain.inbox().landing.store.stat(f"date={DAY}/part-0.csv")
        assert data is not None
        marker = replace(marker, landed_at=data.landed_at)
        for after, settled in ((SOON, False), (LATER, True)):
            clock.now = marker.landed_at + after
            assert look_at(marker, plain.inbox(clock), plain.dataset).has_settled is settled

    def test_they_wait_until_nothing_has_changed_for_a_while(self, plain: ToyFeed) -> None:
        write(plain, "_SUCCESS", "")
        step(plain)
        write(plain, "part-0.csv")
        assert not settles(plain, SOON)
        assert settles(plain, LATER)

    @pytest.mark.parametrize("name", [".part-1.csv.Ab12Cd", "part-1.csv.filepart", "deeper"])
    def test_a_file_with_a_temporary_name_or_deeper_shows_that_it_goes_on(
        self, plain: ToyFeed, name: str
    ) -> None:
        write(plain, "_SUCCESS", "")
        write(plain, "part-0.csv")
        time.sleep(1.1)
        if name == "deeper":
            (plain.folder(DAY) / "x=1").mkdir()
            name = "x=1/part-1.csv"
        write(plain, name)
        assert not settles(plain, SOON)

    def test_so_does_a_file_that_publish_is_copying(self, tmp_path: Path) -> None:
        """Of a correction: the marker that lies there vouches for other data."""
        toy = make_toy(tmp_path)
        toy.drop(DAY)
        write(toy, "rows.csv", "id,value\n7,1\n")
        time.sleep(1.1)
        assert look_at(toy.marker(DAY), toy.inbox(), toy.dataset).has_settled
        write(toy, f"{TEMPORARY}0123")
        assert not look_at(toy.marker(DAY), toy.inbox(), toy.dataset).has_settled

    @pytest.mark.parametrize("deeper", ["x=1", "y=2024/x=1"])
    def test_folders_that_are_renamed_into_place_are_as_young_as_that(
        self, plain: ToyFeed, deeper: str
    ) -> None:
        """``mv`` leaves the times of what is in them; more of them may come."""
        made = plain.root / "made"
        made.mkdir()
        (made / "part-0.csv").write_text("id,value\n1,1\n")
        target = plain.folder(DAY) / deeper
        target.parent.mkdir(exist_ok=True)
        step(plain)
        write(plain, "_SUCCESS", "")
        step(plain)
        made.rename(target)
        assert not settles(plain, SOON)
        assert settles(plain, LATER)

    def test_those_that_a_marker_names_without_sizes_wait_too(self, tmp_path: Path) -> None:
        toy = make_toy(tmp_path)
        toy.folder(DAY).mkdir(parents=True)
        write(toy, "datapackage.json", '{"resources": [{"path": "rows.csv"}]}')
        time.sleep(1.1)
        write(toy, "rows.csv")
        assert not settles(toy, SOON)
        assert settles(toy, LATER)

    def test_nothing_there_yet_waits_and_is_turned_away_at_last(self, plain: ToyFeed) -> None:
        write(plain, "_SUCCESS", "")
        assert not settles(plain, SOON)
        assert settles(plain, LATER)


@pytest.mark.invariant(1)
@pytest.mark.parametrize(("age", "settled"), [(0.5, False), (0.999, False), (1.0, True)])
def test_a_marker_whose_time_is_whole_seconds_waits_for_the_next_ones(
    plain: ToyFeed, age: float, settled: bool
) -> None:
    """S3 and sshfs would not show that it was written again within the second."""
    write(plain, "part-0.csv")
    time.sleep(1.1)
    write(plain, "_SUCCESS", "")
    marker = plain.marker(DAY)
    marker = replace(marker, landed_at=marker.landed_at.replace(microsecond=0))
    clock = Clock()
    clock.now = marker.landed_at + timedelta(seconds=age)
    assert look_at(marker, plain.inbox(clock), plain.dataset).has_settled is settled


@pytest.mark.invariant(5)
def test_a_batch_that_cannot_be_looked_at_is_left_to_ingest(
    plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(plain, "_SUCCESS", "")
    marker, clock = plain.marker(DAY), Clock()

    def broken(*_: object) -> None:
        raise StoreUnavailable("/landing", "input/output error")

    for after, settled in ((SOON, False), (LATER, True)):
        clock.now = marker.landed_at + after
        inbox = plain.inbox(clock)
        monkeypatch.setattr(inbox, "manifest", broken)
        assert look_at(marker, inbox, plain.dataset).has_settled is settled


class TestWhatAProducerCanCause:
    def test_large_markers_are_read_one_at_a_time(
        self, plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their values may take 25 times as much memory."""
        write(plain, "_SUCCESS", "")
        large = replace(plain.marker(DAY), size=settling.LARGE_MARKER + 1)
        at_once, most = 0, 0

        def slow(marker: Marker, *_: object) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            time.sleep(0.02)
            at_once -= 1

        monkeypatch.setattr(settling, "_look", slow)
        threads = [
            threading.Thread(target=look_at, args=(large, plain.inbox(), plain.dataset))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1

    def test_a_size_that_is_only_promised_makes_no_shard(self, tmp_path: Path) -> None:
        toy = make_toy(tmp_path)
        for number in range(1, 6):
            day = f"2026-11-{number:02d}"
            toy.folder(day).mkdir(parents=True)
            (toy.folder(day) / "rows.csv").write_text("id,value\n1,1\n")
            promised = {"resources": [{"path": "rows.csv", "bytes": 2 << 30}]}
            (toy.folder(day) / "datapackage.json").write_text(json.dumps(promised))
        clock = Clock()
        clock.advance(timedelta(seconds=30))
        assert len(claim(toy.inbox(clock), toy.dataset).shards) == 1

    def test_what_airflow_keeps_of_a_claim_is_bounded(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(1, 6):
            toy.drop(f"2026-11-{number:02d}")
        one = len(json.dumps(toy.marker("2026-11-01").to_dict()))
        monkeypatch.setattr(claims, "MARKER_BYTES", 3 * one + 10)
        taken = claim(toy.inbox(), toy.dataset)
        assert (taken.batches, taken.left) == (3, 2)

    @pytest.mark.invariant(5)
    def test_a_path_that_is_too_long_costs_its_batch_only(self, plain: ToyFeed) -> None:
        write(plain, "_SUCCESS", "")
        here = os.open(plain.folder(DAY), os.O_RDONLY)
        for _ in range(17):
            os.mkdir("x" * 250, dir_fd=here)
            below = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        clock = Clock()
        clock.advance(timedelta(minutes=1))
        ((marker,),) = claim(plain.inbox(clock), plain.dataset).shards
        receipt = ingest(plain.dataset, plain.inbox(), marker)
        assert receipt is not None
        assert (receipt.status, receipt.reason) == ("rejected", "not-readable")
        assert "longer than the file system allows; shorten it" in receipt.message

    @pytest.mark.invariant(5)
    def test_a_file_that_is_larger_than_the_disk_does_not_fill_it(
        self, plain: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sparse one takes nothing where it is."""
        with (plain.folder(DAY) / "rows.csv").open("wb") as file:
            file.truncate(1 << 43)
        step(plain)
        write(plain, "_SUCCESS", "")
        inbox = plain.inbox()
        (marker,) = inbox.pending()
        monkeypatch.setattr(inbox.landing.store, "fetch", None)
        huge = plain.dataset.model_copy(
            update={"limits": plain.dataset.limits.model_copy(update={"batch_bytes": 1 << 50})}
        )
        with pytest.raises(StoreUnavailable, match=r"no space left.*8,796,093,022,208 bytes"):
            ingest(huge, inbox, marker)
        receipt = ingest(plain.dataset, inbox, marker)
        assert receipt is not None
        assert receipt.reason == "batch-too-large"
