"""What pages show is what runs and the watchman wrote down of a feed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flagfall.dataset.feed import LakeAddress
from flagfall.errors import StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.ledger.board import Standing, put_on_board, read_board
from flagfall.ledger.ledger import Ledger, read_ledger
from flagfall.ledger.note import note_standing
from flagfall.report.run import report_run
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import open_store
from flagfall.verdict.dismissed import dismiss
from flagfall.verdict.look import look
from flagfall.verdict.verdict import judge
from tests.feeds import ToyFeed, make_toy


@pytest.fixture
def toy(tmp_path: Path) -> ToyFeed:
    return make_toy(tmp_path)


def ran(
    toy: ToyFeed, *days: str, text: str = "id,value\n1,0.5\n2,-1\n", run: str = "night"
) -> Inbox:
    """Batches that came, and the run that took them in and reported them."""
    inbox = toy.inbox()
    markers = [toy.drop(day, text) for day in days]
    run_stage("ingest", toy.dataset, inbox, [Delivery(marker) for marker in markers])
    report_run(toy.dataset, inbox, run, markers)
    return inbox


def ledger_of(toy: ToyFeed) -> Ledger:
    found = read_ledger(toy.inbox().lake.store)
    assert found is not None
    return found


def watched(toy: ToyFeed) -> None:
    """What the watchman does."""
    inbox = toy.inbox()
    facts = look(toy.dataset, inbox)
    note_standing(toy.dataset, inbox, facts, judge(toy.dataset, facts))


def test_a_run_leaves_its_verdict_and_each_batch_with_its_run_report_and_time(toy: ToyFeed) -> None:
    ran(toy, "2026-11-01")
    found = ledger_of(toy)
    (row,) = found.rows
    assert (row.label, row.status, row.rows, row.rejected_rows) == ("2026-11-01", "accepted", 1, 1)
    assert (row.run, row.report) == ("night", found.report)
    assert row.reported_at == found.verdict.at
    assert open_store(f"{toy.dataset.lake.uri}/toy").stat(found.report) is not None
    assert found.days[-1].word == found.verdict.word
    assert len(found.days) == 30


def test_the_watchman_sees_what_no_run_saw_and_keeps_which_run_reported_a_batch(
    toy: ToyFeed,
) -> None:
    ran(toy, "2026-11-01")
    late = toy.drop("2026-11-02")
    watched(toy)
    found = ledger_of(toy)
    assert found.pending == 1
    assert [one.batch_id for one in found.waiting] == [late.batch_id]
    assert [row.run for row in found.rows] == ["night"]
    assert found.report


def test_a_rejected_batch_is_open_until_its_marker_is_corrected(toy: ToyFeed) -> None:
    ran(toy, "2026-11-01", text="nonsense\n")
    assert [row.is_open for row in ledger_of(toy).rows] == [True]
    assert ledger_of(toy).days[-1].rejected == 1
    ran(toy, "2026-11-01", run="morning")
    rows = ledger_of(toy).rows
    assert [row.is_open for row in rows] == [False, False]
    assert {row.marker for row in rows} == {rows[0].marker}


def test_a_rejection_that_was_dismissed_is_not_open(toy: ToyFeed) -> None:
    inbox = ran(toy, "2026-11-01", text="nonsense\n")
    dismiss(inbox.lake.store, ledger_of(toy).rows[0].batch_id, "a holiday", inbox.clock())
    watched(toy)
    (row,) = ledger_of(toy).rows
    assert (row.is_open, row.is_dismissed) == (False, True)
    assert ledger_of(toy).open_rejections == 0


def test_where_the_landing_zone_is_away_pending_is_not_known_and_the_batches_stay(
    toy: ToyFeed,
) -> None:
    inbox = ran(toy, "2026-11-01")
    facts = look(toy.dataset, inbox)
    facts = replace(facts, landed=(), error=StoreUnavailable("/landing", "no route to host"))
    note_standing(toy.dataset, inbox, facts, judge(toy.dataset, facts))
    found = ledger_of(toy)
    assert found.pending is None
    assert found.overdue is None
    assert found.verdict.word == "failed"
    assert len(found.rows) == 1


def test_all_feeds_of_a_lake_are_on_one_board_and_none_displaces_another(tmp_path: Path) -> None:
    toy = make_toy(tmp_path)
    ran(toy, "2026-11-01")
    lake = LakeAddress(uri=toy.dataset.lake.uri)
    standing = Standing.of(ledger_of(toy), None)
    put_on_board(lake, {"other": standing})
    watched(toy)
    assert set(read_board(open_store(lake.uri)).feeds) == {"toy", "other"}


@pytest.mark.parametrize("damage", ["", "{", '{"verdict": 3}'])
def test_one_that_is_damaged_is_written_anew(toy: ToyFeed, damage: str) -> None:
    ran(toy, "2026-11-01")
    for name in ("toy/ledger.json", "feeds.json"):
        Path(toy.dataset.lake.uri, name).write_text(damage)
    watched(toy)
    assert len(ledger_of(toy).rows) == 1
    board = json.loads(Path(toy.dataset.lake.uri, "feeds.json").read_text())
    assert set(board["feeds"]) == {"toy"}


def test_a_lake_that_takes_no_ledger_stops_no_report(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture
) -> None:
    Path(toy.dataset.lake.uri, "feeds.json").mkdir(parents=True)
    ran(toy, "2026-11-01")
    assert "the page in Airflow stays as it is" in caplog.text
