"""What cannot be told by one look, nor by a clock: batches on a share, and on S3."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.stages import shard
from flagfall.stages.shard import Delivery, try_stage
from flagfall.stores.local import LocalStore
from tests.feeds import ToyFeed, make_toy

DAY = "2026-11-01"


class Share:
    """A feed whose landing zone is on a share; what happens while a worker waits is given."""

    def __init__(self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch) -> None:
        self.toy = toy
        self.waits: list[float] = []
        self.meanwhile: Callable[[], Any] = lambda: None
        monkeypatch.setattr(LocalStore, "is_remote", True)
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=self._wait)
        monkeypatch.setattr(shard, "time", clock)
        toy.folder(DAY).mkdir(parents=True)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.meanwhile()

    def write(self, name: str, first: int = 1) -> None:
        text = "" if name == "_SUCCESS" else f"id,value\n{first},1\n{first + 1},1\n"
        (self.toy.folder(DAY) / name).write_text(text)
        time.sleep(0.02)  # a step of the file system's clock

    def marker(self) -> Marker:
        return self.toy.marker(DAY)

    def ingest(self) -> Receipt | None:
        marker, inbox = self.marker(), self.toy.inbox()
        done, failures = try_stage("ingest", self.toy.dataset, inbox, [Delivery(marker)])
        assert not failures
        assert bool(done) == (inbox.receipts.find(marker) is not None)
        return inbox.receipts.find(marker)


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Share:
    return Share(make_toy(tmp_path, marker="_SUCCESS"), monkeypatch)


def test_a_complete_batch_is_taken_in_at_once(share: Share) -> None:
    share.write("part-0.csv")
    share.write("_SUCCESS")
    receipt = share.ingest()
    assert receipt is not None
    assert (receipt.status, receipt.rows, share.waits) == ("accepted", 2, [])


@pytest.mark.invariant(1)
def test_what_is_not_there_yet_may_come_until_the_second_look(share: Share) -> None:
    share.write("_SUCCESS")
    share.meanwhile = lambda: share.write("part-0.csv")
    assert share.ingest() is None
    assert share.waits == [share.toy.dataset.landing.settle.total_seconds()]
    share.meanwhile = lambda: None
    receipt = share.ingest()
    assert receipt is not None
    assert (receipt.status, receipt.rows) == ("accepted", 2)


def test_what_does_not_come_is_turned_away_then(share: Share) -> None:
    share.write("_SUCCESS")
    receipt = share.ingest()
    assert receipt is not None
    assert (receipt.status, receipt.reason, len(share.waits)) == ("rejected", "no-data", 1)


@pytest.mark.invariant(3)
def test_data_that_are_younger_than_their_marker_may_be_a_part(share: Share) -> None:
    share.write("_SUCCESS")
    share.write("part-0.csv")
    share.meanwhile = lambda: share.write("part-1.csv", 3)
    assert share.ingest() is None
    share.meanwhile = lambda: None
    receipt = share.ingest()
    assert receipt is not None
    assert (receipt.status, receipt.rows) == ("accepted", 4)


@pytest.mark.invariant(3)
def test_a_listing_of_before_the_marker_is_not_believed(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may show a folder as it was, and the marker itself as it is."""
    for name in ("part-0.csv", "part-1.csv", "_SUCCESS"):
        share.write(name, 1 if name == "part-0.csv" else 3)
    listed = LocalStore.list

    def as_it_was(self: LocalStore, *how: Any, **more: Any) -> Any:
        found = listed(self, *how, **more)
        hidden = () if share.waits or "landing" not in self.uri else ("part-1.csv", "_SUCCESS")
        return (entry for entry in found if not entry.key.endswith(hidden or "\0"))

    monkeypatch.setattr(LocalStore, "list", as_it_was)
    receipt = share.ingest()
    assert receipt is not None
    assert (receipt.status, receipt.rows, len(share.waits)) == ("accepted", 4, 1)


def test_a_shard_waits_once_and_no_longer_than_a_client_remembers(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        folder = share.toy.folder(f"2026-12-0{number + 1}")
        folder.mkdir()
        (folder / "_SUCCESS").touch()
    landing = share.toy.dataset.landing.model_copy(update={"settle": timedelta(hours=1)})
    dataset = share.toy.dataset.model_copy(update={"landing": landing})
    deliveries = [Delivery(marker) for marker in share.toy.inbox().pending()]
    done, _ = try_stage("ingest", dataset, share.toy.inbox(), deliveries)
    assert [delivery.status for delivery in done] == ["rejected"] * 3
    assert share.waits == [120.0]


def test_on_a_disk_of_this_machine_nobody_waits(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStore, "is_remote", False)
    share.write("_SUCCESS")
    assert share.ingest() is not None
    assert share.waits == []
