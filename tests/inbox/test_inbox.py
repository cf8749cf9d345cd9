from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flagfall.errors import NotThere
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.shortcuts import WATERMARK_MARGIN
from flagfall.lake.receipts import Watermark
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from tests.feeds import Clock, ToyFeed


def accept(inbox: Inbox, marker: Marker) -> Receipt:
    receipt = Receipt(
        batch_id=marker.batch_id, marker=marker, status="accepted", received_at=inbox.clock()
    )
    return inbox.receive(receipt)


def sweep(inbox: Inbox) -> None:
    """What a claim does: look, and move the watermark up."""
    scope = inbox.shortcuts.scope()
    inbox.shortcuts.advance(inbox.pending(scope), scope)


def move_watermark(inbox: Inbox, landed_before: datetime) -> None:
    place = inbox.landing.store.identity()
    inbox.receipts.move_watermark(Watermark(place, landed_before))


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
def test_the_watermark_never_passes_a_pending_marker(toy: ToyFeed) -> None:
    clock = Clock()
    marker = toy.drop("2026-11-01")
    clock.advance(timedelta(days=400))
    inbox = toy.inbox(clock)
    sweep(inbox)
    assert (
        inbox.receipts.watermark(inbox.landing.store.identity()).landed_before <= marker.landed_at
    )


def test_the_watermark_follows_when_nothing_is_pending(toy: ToyFeed) -> None:
    clock = Clock()
    accept(toy.inbox(), toy.drop("2026-11-01"))
    clock.advance(timedelta(days=2))
    inbox = toy.inbox(clock)
    sweep(inbox)
    landing = inbox.landing.store.identity()
    assert inbox.receipts.watermark(landing).landed_before == clock() - WATERMARK_MARGIN


@pytest.mark.invariant(1)
def test_a_landing_zone_that_is_renamed_into_place_is_pending_though_the_watermark_has_passed(
    toy: ToyFeed,
) -> None:
    marker = toy.drop("2026-11-01")
    prepared = toy.root / "prepared"
    toy.landing.rename(prepared)
    toy.landing.mkdir()
    inbox = toy.inbox()
    move_watermark(inbox, datetime.now(UTC))
    toy.landing.rmdir()
    prepared.rename(toy.landing)
    assert toy.inbox().pending() == [marker]


@pytest.mark.invariant(1)
def test_a_folder_renamed_into_place_is_pending_though_its_marker_is_older_than_the_watermark(
    toy: ToyFeed,
) -> None:
    outbox = toy.root / "outbox"
    toy.drop("2026-11-01")
    toy.folder("2026-11-01").rename(outbox)
    landing = toy.inbox().landing.store.identity()
    move_watermark(toy.inbox(), datetime.now(UTC))
    outbox.rename(toy.folder("2026-11-01"))
    marker = toy.marker("2026-11-01")
    assert marker.landed_at < toy.inbox().receipts.watermark(landing).landed_before
    assert toy.inbox().pending() == [marker]


@pytest.mark.invariant(1)
def test_an_old_mtime_does_not_hide_a_marker(toy: ToyFeed) -> None:
    toy.drop("2026-11-01")
    move_watermark(toy.inbox(), datetime.now(UTC) - timedelta(days=1))
    os.utime(toy.folder("2026-11-01") / "datapackage.json", (0, 0))
    assert [m.key for m in toy.inbox().pending()] == ["date=2026-11-01/datapackage.json"]


def test_a_received_marker_whose_inode_is_touched_does_not_come_back(toy: ToyFeed) -> None:
    """chmod, a hard link or a backup change the ctime; the identity stays."""
    marker = toy.drop("2026-11-01")
    long_ago = replace(marker, landed_at=marker.landed_at - timedelta(days=40))
    inbox = toy.inbox()
    accept(inbox, long_ago)
    move_watermark(inbox, marker.landed_at - timedelta(hours=2))
    assert toy.inbox().pending() == []


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


def test_replaying_what_never_was_says_where_to_look(toy: ToyFeed) -> None:
    with pytest.raises(NotThere, match="flagfall status"):
        toy.inbox().replay("nothing.0000")
