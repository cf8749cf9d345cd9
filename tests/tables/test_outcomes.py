"""The table of outcomes: what became of each prediction that counts, once, whoever is late."""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from flagfall.lake.outcomes import KNOWN, add_late
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.operators.maintenance import MaintenanceOperator
from flagfall.stores.object_options import object_options
from flagfall.tables import upkeep
from flagfall.tables.frames import EVER
from flagfall.tables.upkeep import catch_up, commit, missing
from tests.late import AnyLateFeeds, in_tables, make_late, make_late_s3
from tests.tables.feed import read, uri_of
from tests.tables.test_tables import just_before

DAY, NEXT, LATER = "2026-11-20", "2026-11-21", "2026-11-22"


@pytest.fixture(params=["disk", "s3"])
def feeds(request: pytest.FixtureRequest, tmp_path: Path) -> AnyLateFeeds:
    if request.param == "disk":
        return in_tables(make_late(tmp_path))
    return in_tables(make_late_s3(tmp_path, request.getfixturevalue("bucket")))


@pytest.fixture
def on_disk(tmp_path: Path) -> AnyLateFeeds:
    return in_tables(make_late(tmp_path))


def table(feeds: AnyLateFeeds) -> pl.DataFrame:
    """What a stranger reads."""
    return read(feeds.toy.inbox(feeds.clock), "outcomes").sort("id")


def version(feeds: AnyLateFeeds) -> int:
    uri = uri_of(feeds.toy.inbox(), "outcomes")
    return DeltaTable(uri, storage_options=object_options(uri, "")).version()


def outcomes(feeds: AnyLateFeeds) -> dict[int, bool]:
    return dict(table(feeds).select("id", "outcome").iter_rows())


def receipt_of(feeds: AnyLateFeeds, marker: Marker) -> Receipt:
    receipt = feeds.toy.inbox(feeds.clock).receipts.find(marker)
    assert receipt is not None
    return receipt


def test_it_has_a_row_for_each_outcome_that_is_known(feeds: AnyLateFeeds) -> None:
    scored = feeds.score(DAY)
    came = feeds.happen(NEXT, "id,delay\n1,30\n2,5\n3,\n9,1\n")
    feeds.learn()
    theirs = feeds.truth.inbox(feeds.clock).receipts.find(came)
    assert theirs is not None
    first, second = table(feeds).to_dicts()
    assert first == {
        "batch": scored.batch_id,
        "marker": scored.key,
        "landed_at": scored.landed_at,
        "received_at": receipt_of(feeds, scored).received_at,
        "landed_day": scored.landed_at.date(),
        "id": 1,
        "outcome": True,
        "known_at": theirs.received_at,
        "evaluation": 1,
    }
    assert (second["id"], second["outcome"]) == (2, False)


def test_a_later_evaluation_replaces_what_was_known_in_one_commit(feeds: AnyLateFeeds) -> None:
    feeds.score("2026-11-18", "id,value\n7,0.5\n")
    feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n7,30\n")
    feeds.learn()
    before = version(feeds)
    feeds.clock.advance(timedelta(minutes=1))
    feeds.happen(LATER, "id,delay\n1,0\n3,60\n")
    feeds.learn()
    assert outcomes(feeds) == {1: False, 2: False, 3: True, 7: True}
    assert table(feeds)["evaluation"].to_list() == [2, 2, 2, 1]
    assert table(feeds)["known_at"].n_unique() == 2
    assert version(feeds) == before + 1


def test_looking_again_commits_nothing(on_disk: AnyLateFeeds) -> None:
    on_disk.score(DAY)
    on_disk.happen(NEXT, "id,delay\n1,30\n")
    on_disk.learn()
    before = version(on_disk)
    on_disk.learn()
    assert version(on_disk) == before


def test_an_outcome_that_was_taken_back_is_gone(feeds: AnyLateFeeds) -> None:
    feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n")
    feeds.learn()
    feeds.happen(NEXT, "id,delay\n77,30\n")
    feeds.learn()
    assert outcomes(feeds) == {}
    assert feeds.learn().failures == ()


def test_so_are_those_of_long_ago(on_disk: AnyLateFeeds) -> None:
    """Nobody looks at the days of the replaced delivery any more."""
    on_disk.score(DAY, ago=timedelta(days=40))
    on_disk.happen(NEXT, "id,delay\n1,30\n", ago=timedelta(days=39))
    on_disk.learn()
    assert outcomes(on_disk) == {1: True}
    on_disk.score(DAY, "id,value\n5,0.1\n", ago=timedelta(days=2))
    on_disk.learn()
    assert outcomes(on_disk) == {}


def test_outcomes_of_a_delivery_that_was_replaced_are_gone_though_no_new_one_is_known(
    on_disk: AnyLateFeeds,
) -> None:
    on_disk.score(DAY)
    on_disk.happen(NEXT, "id,delay\n1,30\n")
    on_disk.learn()
    new = on_disk.score(DAY, "id,value\n5,0.1\n")
    on_disk.learn()
    assert outcomes(on_disk) == {}
    on_disk.happen(LATER, "id,delay\n5,30\n")
    on_disk.learn()
    assert outcomes(on_disk) == {5: True}
    assert set(table(on_disk)["batch"]) == {new.batch_id}


def test_a_worker_that_is_late_does_not_bring_back_an_earlier_evaluation(
    on_disk: AnyLateFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = on_disk.score(DAY)
    dataset, lake = on_disk.toy.dataset, on_disk.toy.inbox(on_disk.clock).lake
    on_disk.happen(NEXT, "id,delay\n1,30\n")
    on_disk.learn()
    on_disk.happen(LATER, "id,delay\n1,0\n")
    with just_before(monkeypatch, partial(commit, dataset, lake, "outcomes", [])):
        on_disk.learn()
    receipts = [receipt_of(on_disk, scored)]
    record = on_disk.known(scored)
    assert record is not None
    earlier = record.model_copy(update={"number": 1})
    monkeypatch.setattr(upkeep, "records_of", lambda *_: {scored.batch_id: earlier})
    assert commit(dataset, lake, "outcomes", receipts) == 0
    assert outcomes(on_disk) == {1: False}


def test_of_two_who_commit_the_same_evaluation_one_does(
    on_disk: AnyLateFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = on_disk.score(DAY)
    on_disk.score("2026-11-19", "id,value\n8,0.5\n")
    on_disk.happen("2026-11-19", "id,delay\n8,30\n")
    on_disk.learn()
    on_disk.happen(NEXT, "id,delay\n1,30\n2,0\n")
    dataset, lake = on_disk.toy.dataset, on_disk.toy.inbox(on_disk.clock).lake
    receipts = [receipt_of(on_disk, scored)]
    with just_before(monkeypatch, partial(commit, dataset, lake, "outcomes", receipts)):
        on_disk.learn()
    assert table(on_disk)["id"].to_list() == [1, 2, 8]


def test_what_a_commit_missed_is_added_by_the_next_look_and_by_maintenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_late(tmp_path)
    feeds = in_tables(plain)
    scored = plain.score(DAY)
    plain.happen(NEXT, "id,delay\n1,30\n")
    plain.learn()  # as one that died before its commit
    dataset, lake = feeds.toy.dataset, feeds.toy.inbox(feeds.clock).lake
    assert missing(dataset, lake, "outcomes", EVER) == [receipt_of(feeds, scored)]
    assert [one.added for one in catch_up(dataset, lake, EVER)] == [1, 1, 1]
    assert outcomes(feeds) == {1: True}
    plain.happen(LATER, "id,delay\n2,30\n")
    plain.learn()
    feeds.learn()
    assert outcomes(feeds) == {1: True, 2: True}
    plain.happen("2026-11-23", "id,delay\n3,30\n")
    plain.learn()
    file = tmp_path / "datasets/toy.yaml"
    file.write_text(file.read_text().replace("/lake}", "/lake, table: delta}"))
    operator = MaintenanceOperator(task_id="toy", dataset="toy", datasets=file.parent)
    done = operator.execute({})
    assert done["table outcomes"]["added"] == 1
    assert outcomes(feeds) == {1: True, 2: True, 3: True}


def test_a_table_that_cannot_be_written_to_holds_up_no_evaluation(on_disk: AnyLateFeeds) -> None:
    scored = on_disk.score(DAY)
    on_disk.happen(NEXT, "id,delay\n1,30\n")
    place = Path(on_disk.toy.inbox().lake.store.uri) / "tables/outcomes"
    place.touch()
    learned = on_disk.learn()
    assert [one.batch_id for one in learned.batches] == [scored.batch_id]
    assert len(learned.failures) == 1
    place.unlink()
    on_disk.learn()
    assert outcomes(on_disk) == {1: True}


def test_an_evaluation_of_an_earlier_release_is_readable_and_has_no_rows(
    tmp_path: Path,
) -> None:
    plain = make_late(tmp_path)
    scored = plain.score(DAY)
    plain.happen(NEXT, "id,delay\n1,30\n")
    plain.learn()
    (file,) = (tmp_path / "lake/toy/outcomes").glob("landed=*/*/000001.json")
    record = json.loads(file.read_text())
    del record["parts"]
    file.write_text(json.dumps(record))
    known = plain.known(scored)
    assert known is not None
    assert (known.evaluation.labelled, known.parts) == (1, ())
    feeds = in_tables(plain)
    dataset, lake = feeds.toy.dataset, feeds.toy.inbox(feeds.clock).lake
    assert missing(dataset, lake, "outcomes", date(1970, 1, 1)) == []


def test_the_parts_that_the_record_names_count_and_those_of_an_overtaken_attempt_go(
    on_disk: AnyLateFeeds,
) -> None:
    scored = on_disk.score(DAY)
    on_disk.happen(NEXT, "id,delay\n1,30\n")
    on_disk.learn()
    known, lake = on_disk.known(scored), on_disk.toy.inbox(on_disk.clock).lake
    assert known is not None
    file = on_disk.toy.root / "part-00000.parquet"
    pl.DataFrame({"id": [4]}).write_parquet(file)
    add_late(lake.store, receipt_of(on_disk, scored), known, [(file, 1)])
    named = [f"{KNOWN}/{scored.batch_id}/{part.name}" for part in known.parts]
    assert list(lake.store.names(KNOWN)) == named


def test_outcomes_of_history_are_in_the_table_at_once(on_disk: AnyLateFeeds) -> None:
    on_disk.score(DAY, ago=timedelta(days=100))
    on_disk.happen(NEXT, "id,delay\n1,30\n", ago=timedelta(days=99))
    assert on_disk.learn().failures == ()
    assert outcomes(on_disk) == {1: True}


def test_outcomes_are_waited_for_by_maintenance_as_long_as_by_the_dataset(tmp_path: Path) -> None:
    plain = make_late(tmp_path, ", within: 60d")
    plain.score(DAY)
    plain.clock.advance(timedelta(days=45))
    plain.happen(NEXT, "id,delay\n1,30\n")
    plain.learn()
    feeds = in_tables(plain)
    feeds.learn()
    assert outcomes(feeds) == {1: True}
