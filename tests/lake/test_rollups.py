"""Rollups save reads and decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flagfall.dataset.feed import Feed
from flagfall.errors import StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.output import Lake
from flagfall.lake.receipts import Receipts
from flagfall.lake.records import Evaluation, Receipt
from flagfall.lake.rolling_up import WORTH_IT, roll_up
from flagfall.lake.rollups import Rollups
from flagfall.report.run import report_run
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import Store
from sandbox.reads import counting
from tests.feeds import ToyFeed
from tests.lake.test_receipts import delivery, receipt
from tests.scored import make_scored_toy

TODAY = date(2026, 11, 22)
DAYS = 6
PER_DAY = 3


class Past:
    """A lake with accepted deliveries of a few days, each evaluated."""

    def __init__(self, root: Path, opened: Callable[[str, str], Store], reads: list[str]) -> None:
        self.reads = reads
        self._root, self._open = root, opened
        lake = self.lake()
        self.receipts = [
            receipt(delivery(str(number), self.landed(day, number), f"{day}-{number}"), rows=number)
            for day in range(DAYS, 0, -1)
            for number in range(PER_DAY)
        ]
        for one in self.receipts:
            Receipts(lake.store).write(one)
            lake.finish(evaluation(one))

    @staticmethod
    def landed(day: int, number: int) -> datetime:
        noon = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)
        return noon - timedelta(days=day) + timedelta(minutes=number)

    def lake(self) -> Lake:
        """As a new process has it."""
        lake = Lake(str(self._root), "toy")
        lake.store = self._open(lake.store.uri, "")
        lake.rollups = Rollups(lake.store)
        return lake

    def read(self, today: date = TODAY) -> tuple[list[Receipt], list[Evaluation | None]]:
        """What a report reads; then it rolls up."""
        lake = self.lake()
        receipts = Receipts(lake.store, lake.rollups)
        found = receipts.since(date(2026, 1, 1))
        evaluations = list(lake.evaluations(found))
        roll_up(lake, found, receipts.versions, today, with_evaluations=True)
        return found, evaluations


def evaluation(of: Receipt, alerts: tuple[str, ...] = ()) -> Evaluation:
    return Evaluation(
        batch_id=of.batch_id, rows=of.rows, labelled=0, drift=(), alerts=alerts, model_version="1"
    )


@pytest.fixture
def past(tmp_path: Path) -> Past:
    opened, reads = counting()
    return Past(tmp_path, opened, reads)


def single(past: Past) -> list[str]:
    """Receipts and evaluations that were read one by one, since the last time."""
    found = [r for r in past.reads if r.startswith(("read receipts/", "read evaluations/"))]
    past.reads.clear()
    return found


def test_the_next_report_reads_one_object_a_day_and_sees_the_same(past: Past) -> None:
    first = past.read()
    assert len(single(past)) >= 2 * DAYS * PER_DAY
    second = past.read()
    rollups = [read for read in past.reads if read.startswith("read rollups/")]
    assert (len(rollups), single(past)) == (DAYS, [])
    assert second == first
    assert first[0] == past.receipts
    assert [one and one.batch_id for one in first[1]] == [r.batch_id for r in past.receipts]


def test_a_report_of_a_feed_without_a_model_asks_for_no_evaluations(toy: ToyFeed) -> None:
    opened, reads = counting()
    markers = [toy.drop(f"2026-11-0{day}") for day in (1, 2, 3)]
    for marker in markers:
        run_stage("ingest", toy.dataset, toy.inbox(), [Delivery(marker)])
    inbox = toy.inbox()
    inbox.lake.store = opened(inbox.lake.store.uri, "")
    report_run(toy.dataset, inbox, "run", markers[2:])
    assert [read for read in reads if "evaluations" in read or "predictions" in read] == []


def test_what_comes_after_is_read_by_itself_and_rolled_up_then(past: Past) -> None:
    past.read()
    late = receipt(delivery("9", Past.landed(2, 9), "late"))
    Receipts(past.lake().store).write(late)
    single(past)
    found, evaluations = past.read()
    assert late in found
    assert evaluations[found.index(late)] is None
    single(past)
    past.lake().finish(evaluation(late))
    assert past.read()[1].count(None) == 0
    single(past)
    assert past.read()[0] == found
    assert single(past) == []


def test_a_day_that_is_not_over_is_written_again_when_it_is_worth_it(past: Past) -> None:
    yesterday = TODAY - timedelta(days=1)
    past.read(today=yesterday)
    assert f"rollups/{yesterday}.jsonl.gz" not in past.lake().store.names("rollups")
    for number in range(WORTH_IT):
        Receipts(past.lake().store).write(receipt(delivery("1", Past.landed(1, 20), f"n{number}")))
    past.read(today=yesterday)
    assert f"rollups/{yesterday}.jsonl.gz" in past.lake().store.names("rollups")


def test_a_receipt_that_was_replaced_by_hand_is_read_anew(past: Past) -> None:
    past.read()
    old = past.receipts[4]
    store = past.lake().store
    store.delete(f"receipts/landed={old.marker.landed_at.date()}/{old.batch_id}.json")
    assert old not in past.read()[0]
    new = old.model_copy(update={"status": "rejected", "reason": "columns"})
    Receipts(store).write(new)
    for _ in range(2):
        found, _ = past.read()
        assert (new in found, old in found) == (True, False)


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b", b"nonsense", b'{"version": 1}'])
def test_one_that_is_damaged_costs_reads(past: Past, damage: bytes) -> None:
    before = past.read()
    past.read()
    day = past.receipts[0].marker.landed_at.date()
    past.lake().store.put(f"rollups/{day}.jsonl.gz", damage)
    single(past)
    assert past.read() == before
    assert {read.split("/")[1] for read in single(past) if "receipts" in read} == {f"landed={day}"}
    past.read()
    assert single(past) == []


def test_a_report_rolls_up_and_is_written_where_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    toy = make_scored_toy(tmp_path)
    inbox = Inbox(Feed.of(toy.dataset))
    landed = datetime.now(UTC) - timedelta(days=2)
    old = receipt(delivery("1", landed))
    inbox.receipts.write(old)

    def full(*_: object) -> None:
        raise StoreUnavailable(inbox.lake.store.uri, "no space left on the device")

    with monkeypatch.context() as patched:
        patched.setattr(Rollups, "write", full)
        found = report_run(toy.dataset, inbox, "run", [old.marker])
    assert inbox.lake.store.stat(found["key"])
    assert "toy: days are not rolled up" in caplog.text
    report_run(toy.dataset, Inbox(Feed.of(toy.dataset)), "run", [old.marker])
    assert list(inbox.lake.store.names("rollups")) == [f"rollups/{landed.date()}.jsonl.gz"]


def test_a_record_of_last_week_that_is_damaged_fails_no_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy = make_scored_toy(tmp_path)
    inbox = Inbox(Feed.of(toy.dataset))
    old, new = (
        receipt(delivery("1", datetime.now(UTC) - timedelta(days=back), f"day-{back}"))
        for back in (7, 2)
    )
    for one in (old, new):
        inbox.receipts.write(one)
    inbox.lake.store.put(f"evaluations/{old.batch_id}/record.json", b"{")
    found = report_run(toy.dataset, inbox, "run", [new.marker])
    assert inbox.lake.store.stat(found["key"])
    assert f"{old.batch_id}/record.json" in caplog.text
    assert len(list(inbox.lake.store.names("rollups"))) == 2
