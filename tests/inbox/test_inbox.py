from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.errors import NotThere
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from tests.feeds import Clock, ToyFeed, make_toy


def accept(inbox: Inbox, marker: Marker) -> Receipt:
    turns = inbox.receipts.turns(marker)
    receipt = Receipt(
        batch_id=marker.batch_id,
        marker=marker,
        status="accepted",
        turn=inbox.receipts.take_turn(marker, turns),
        received_at=inbox.clock(),
    )
    return inbox.receive(receipt)


def sweep(inbox: Inbox) -> None:
    """What a claim does: look, and move the watermark up."""
    scope = inbox.shortcuts.scope()
    inbox.shortcuts.advance(inbox.pending(scope), scope)


@pytest.mark.invariant(1)
def test_a_marker_is_pending_from_its_landing_until_its_receipt(toy: ToyFeed) -> None:
    inbox = toy.inbox()
    assert inbox.pending() == []
    marker = toy.drop("2026-11-01")
    assert inbox.pending() == [marker]
    accept(inbox, marker)
    assert inbox.pending() == []


@pytest.mark.invariant(1)
def test_a_restarted_process_finds_the_same_pending_markers(toy: ToyFeed) -> None:
    received, waiting = toy.drop("2026-11-01"), toy.drop("2026-11-02")
    accept(toy.inbox(), received)
    assert toy.inbox().pending() == [waiting]


def test_pending_markers_come_in_the_order_in_which_they_landed(toy: ToyFeed) -> None:
    days = ["2026-11-03", "2026-11-01", "2026-11-02"]
    assert [toy.drop(day) for day in days] == toy.inbox().pending()


@pytest.mark.invariant(1)
def test_a_marker_written_again_is_pending_again(toy: ToyFeed) -> None:
    first = toy.drop("2026-11-01")
    accept(toy.inbox(), first)
    second = toy.drop("2026-11-01", "id,value\n1,0.75\n")
    assert second.batch_id != first.batch_id
    assert toy.inbox().pending() == [second]


@pytest.mark.invariant(1)
def test_a_feed_that_was_not_looked_at_for_a_month_loses_nothing(toy: ToyFeed) -> None:
    clock = Clock()
    early, late = toy.drop("2026-11-01"), toy.drop("2026-11-02")
    accept(toy.inbox(), early)
    clock.advance(timedelta(days=31))
    inbox = toy.inbox(clock)
    sweep(inbox)
    assert toy.inbox(clock).pending() == [late]


@pytest.mark.invariant(1)
class TestOnlyAReceiptHidesAMarker:
    """Not a clock, not the order of ctimes, not a device or an inode, not what could be read."""

    @pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(days=3650)])
    def test_a_clock_that_was_ahead_once(self, toy: ToyFeed, ahead: timedelta) -> None:
        wrong = Clock()
        wrong.advance(ahead)
        sweep(toy.inbox(wrong))
        marker = toy.drop("2026-11-01")
        assert toy.inbox().pending() == [marker]

    def test_a_pattern_that_is_corrected(self, tmp_path: Path) -> None:
        clock = Clock()
        clock.advance(timedelta(days=1))
        marker = make_toy(tmp_path, "datapackage.json").drop("2026-11-01")
        sweep(make_toy(tmp_path, "datapackag.json").inbox(clock))
        assert make_toy(tmp_path, "datapackage.json").inbox(clock).pending() == [marker]

    def test_a_landing_zone_or_a_folder_that_is_renamed_into_place(self, toy: ToyFeed) -> None:
        clock = Clock()
        clock.advance(timedelta(days=1))
        marker = toy.drop("2026-11-01")
        toy.landing.rename(toy.root / "prepared")
        sweep(toy.inbox(clock))
        (toy.root / "prepared").rename(toy.landing)
        assert toy.inbox(clock).pending() == [marker]

    def test_a_folder_that_became_readable_later(self, plain_user: Path) -> None:
        toy = make_toy(plain_user)
        toy.drop("2026-11-01")
        clock = Clock()
        clock.advance(timedelta(days=1))
        toy.folder("2026-11-01").chmod(0)
        sweep(toy.inbox(clock))
        toy.folder("2026-11-01").chmod(0o755)
        assert toy.inbox(clock).pending() == [toy.marker("2026-11-01")]

    def test_an_old_mtime(self, toy: ToyFeed) -> None:
        toy.drop("2026-11-01")
        os.utime(toy.folder("2026-11-01") / "datapackage.json", (0, 0))
        assert toy.inbox().pending() == [toy.marker("2026-11-01")]


@pytest.mark.invariant(3)
class TestAnotherName:
    """A landing zone that is reached by another path holds the same deliveries."""

    def test_a_link(self, toy: ToyFeed) -> None:
        accept(toy.inbox(), toy.drop("2026-11-01"))
        (toy.root / "link").symlink_to(toy.landing)
        assert self.elsewhere(toy, "link").pending() == []

    def test_a_landing_zone_that_was_moved(self, toy: ToyFeed) -> None:
        accept(toy.inbox(), toy.drop("2026-11-01"))
        toy.landing.rename(toy.root / "moved")
        assert self.elsewhere(toy, "moved").pending() == []

    def test_a_copy_is_looked_at_again_and_follows_what_was_taken_in(self, toy: ToyFeed) -> None:
        first = accept(toy.inbox(), toy.drop("2026-11-01"))
        shutil.copytree(toy.landing, toy.root / "copy")
        inbox = self.elsewhere(toy, "copy")
        (again,) = inbox.pending()
        assert inbox.receipts.current(again) == first

    @staticmethod
    def elsewhere(toy: ToyFeed, name: str) -> Inbox:
        path = toy.root / "datasets" / "toy.yaml"
        path.write_text(path.read_text().replace(f"{toy.root}/landing", f"{toy.root}/{name}"))
        return Inbox(Feed.of(read_dataset(path)))


def test_a_name_that_is_not_text_is_left_alone_and_said(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture
) -> None:
    odd = os.fsencode(toy.landing) + b"/date=\xff"
    os.makedirs(odd)
    with open(odd + b"/datapackage.json", "w") as file:
        file.write("{}")
    assert toy.inbox().pending() == []
    assert "not UTF-8" in caplog.text


def test_a_replayed_batch_is_a_delivery_of_its_own_until_its_receipt(toy: ToyFeed) -> None:
    marker = toy.drop("2026-11-01")
    inbox = toy.inbox()
    accept(inbox, marker)
    again = inbox.replay(marker.batch_id)
    assert toy.inbox().pending() == [again]
    assert again.batch_id != marker.batch_id
    accept(inbox, again)
    assert toy.inbox().pending() == []
    current = inbox.receipts.current(marker)
    assert current is not None
    assert current.batch_id == again.batch_id


def test_replaying_twice_before_it_is_received_is_one_delivery(toy: ToyFeed) -> None:
    marker = toy.drop("2026-11-01")
    inbox = toy.inbox()
    accept(inbox, marker)
    assert inbox.replay(marker.batch_id).batch_id == inbox.replay(marker.batch_id).batch_id
    assert len(inbox.pending()) == 1


def test_a_batch_can_be_replayed_again_and_again(toy: ToyFeed) -> None:
    marker = toy.drop("2026-11-01")
    inbox = toy.inbox()
    accept(inbox, marker)
    ids = {marker.batch_id}
    for _ in range(3):
        again = inbox.replay(marker.batch_id)
        accept(inbox, again)
        ids.add(again.batch_id)
    assert len(ids) == 4


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"landed_at": 7}', "[" * 10_000])
def test_a_damaged_replay_is_named_and_stops_nothing_else(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """As a lake may have it that was restored in part."""
    marker = toy.drop("2026-11-01")
    accept(toy.inbox(), marker)
    again = toy.inbox().replay(marker.batch_id)
    (toy.root / f"lake/toy/receipts/replays/{again.batch_id}.json").write_text(content)
    new = toy.drop("2026-11-02")
    assert toy.inbox().pending() == [new]
    assert f"{again.batch_id}.json: damaged" in caplog.text


@pytest.mark.parametrize("name", ["key", "version", "landed_at", "size", "fields", "replay"])
@pytest.mark.parametrize("value", [None, [1]])
def test_so_is_one_with_a_value_that_is_none(toy: ToyFeed, name: str, value: object) -> None:
    marker = toy.drop("2026-11-01")
    accept(toy.inbox(), marker)
    again = toy.inbox().replay(marker.batch_id)
    entry = toy.root / f"lake/toy/receipts/replays/{again.batch_id}.json"
    entry.write_text(json.dumps({**json.loads(entry.read_text()), name: value}))
    new = toy.drop("2026-11-02")
    assert toy.inbox().pending() == [new]


def test_replaying_what_never_was_says_where_to_look(toy: ToyFeed) -> None:
    with pytest.raises(NotThere, match="flagfall status"):
        toy.inbox().replay("nothing.0000")
