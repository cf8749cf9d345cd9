"""Delta tables of a feed: what counts, whole and once, whoever is late, killed or called again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import deltalake
import polars as pl
import pytest
from deltalake import DeltaTable

from flagfall import extras
from flagfall.cli.dataset_check import check_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere, StoreRefused, StoreUnavailable
from flagfall.extras import ExtraMissing
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.stages.ingest import ingest
from flagfall.stages.shard import Delivery, run_stage, try_stage
from flagfall.stores import aws, forget_stores, open_store
from flagfall.tables import delta
from flagfall.tables.frames import EVER, what_counts
from flagfall.tables.upkeep import catch_up, commit, maintain, missing, open_table
from tests.faults.s3_proxy import S3Proxy
from tests.feeds import Clock, ToyFeed, make_s3_toy, make_toy
from tests.s3 import S3Server
from tests.scored import GOOD, make_scored_toy
from tests.tables.feed import batches, read, uri_of, with_table


def received(dataset: Dataset, inbox: Inbox, marker: Marker) -> Receipt:
    """Take a batch in, and die before its commit."""
    receipt = ingest(dataset, inbox, marker)
    assert receipt is not None
    return receipt


def take_in(dataset: Dataset, inbox: Inbox, markers: Iterable[Marker]) -> list[Delivery]:
    return run_stage("ingest", dataset, inbox, [Delivery(marker) for marker in markers])


def with_value_as(dataset: Dataset, name: str) -> Dataset:
    """The dataset, with another name of its column ``value``."""
    table = dataset.table
    fields = [table.fields[0], table.fields[1].model_copy(update={"name": name})]
    return dataset.model_copy(update={"table": table.model_copy(update={"fields": fields})})


class TestRows:
    def test_are_in_the_table_after_ingest_with_where_they_come_from(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        markers = [toy.drop("2026-11-01"), toy.drop("2026-11-02", "id,value\n7,0.5\n")]
        take_in(dataset, inbox, markers)
        first, second = markers
        assert batches(inbox) == {first.batch_id: 2, second.batch_id: 1}
        row = read(inbox).row(by_predicate=pl.col("id") == 7, named=True)
        receipt = inbox.receipts.find(second)
        assert receipt is not None
        assert row == {
            "batch": second.batch_id,
            "marker": second.key,
            "landed_at": second.landed_at,
            "received_at": receipt.received_at,
            "landed_day": second.landed_at.date(),
            "id": 7,
            "value": 0.5,
        }

    def test_of_a_shard_are_one_commit_and_one_file(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop(f"2026-11-{day:02d}") for day in range(1, 9)])
        table = DeltaTable(uri_of(inbox))
        assert (table.version(), len(table.file_uris())) == (1, 1)

    def test_are_not_added_twice(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        marker = toy.drop("2026-11-01")
        for _ in range(3):
            take_in(dataset, inbox, [marker])
        assert batches(inbox) == {marker.batch_id: 2}

    def test_of_a_correction_replace_the_earlier_ones_in_one_commit(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        other, first = toy.drop("2026-11-02"), toy.drop("2026-11-01")
        take_in(dataset, inbox, [other, first])
        before = DeltaTable(uri_of(inbox)).version()
        corrected = toy.drop("2026-11-01", "id,value\n1,0.7\n2,1.5\n3,1\n")
        take_in(dataset, inbox, [corrected])
        assert batches(inbox) == {other.batch_id: 2, corrected.batch_id: 3}
        assert DeltaTable(uri_of(inbox)).version() == before + 1

    def test_of_a_correction_without_rows_are_gone(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01")])
        take_in(dataset, inbox, [toy.drop("2026-11-01", "id,value\n")])
        assert batches(inbox) == {}

    def test_of_a_marker_with_quotes_in_its_name_are_replaced(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        other = toy.drop("2026-11-02")
        take_in(dataset, inbox, [other, toy.drop("') OR ('1' = '1\\")])
        corrected = toy.drop("') OR ('1' = '1\\", "id,value\n9,0\n")
        take_in(dataset, inbox, [corrected])
        assert batches(inbox) == {other.batch_id: 2, corrected.batch_id: 1}

    def test_of_a_batch_that_is_handed_out_again_are_replaced(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [first := toy.drop("2026-11-01")])
        again = inbox.replay(first.batch_id)
        take_in(dataset, inbox, [again])
        assert batches(inbox) == {again.batch_id: 2}

    def test_of_a_replay_keep_the_day_on_which_its_delivery_landed(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        marker = toy.drop("2026-11-01")
        first = replace(marker, landed_at=marker.landed_at - timedelta(days=9))
        take_in(dataset, inbox, [first])
        again = inbox.replay(first.batch_id)
        take_in(dataset, inbox, [again])
        assert batches(inbox) == {again.batch_id: 2}
        assert set(read(inbox)["landed_at"]) == {first.landed_at}
        today = again.landed_at.date()
        assert missing(dataset, inbox.lake, "rows", today) == []
        assert what_counts(inbox.receipts, today) == []

    def test_on_s3(self, tmp_path: Path, bucket: str) -> None:
        feed = make_s3_toy(tmp_path, bucket)
        dataset, inbox = with_table(feed), feed.inbox()
        other, first = feed.drop("2026-11-02"), feed.drop("2026-11-01")
        take_in(dataset, inbox, [other, first])
        corrected = feed.drop("2026-11-01", "id,value\n1,0.7\n")
        take_in(dataset, inbox, [corrected, other])
        assert batches(inbox) == {other.batch_id: 2, corrected.batch_id: 1}

    def test_that_cannot_be_written_hold_up_no_batch(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        marker = toy.drop("2026-11-01")
        place = toy.root / "lake/toy/tables"
        place.parent.mkdir(parents=True)
        place.touch()
        done, failures = try_stage("ingest", dataset, inbox, [Delivery(marker)])
        assert [one.status for one in done] == ["accepted"]
        assert [type(one) for one in failures] == [StoreUnavailable]
        place.unlink()
        take_in(dataset, inbox, [marker])
        assert batches(inbox) == {marker.batch_id: 2}

    def test_without_the_library_the_extra_is_named(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        monkeypatch.setitem(extras.LIBRARIES, "delta", ("no_such_library",))
        with pytest.raises(ExtraMissing, match=r"pip install 'flagfall\[delta\]'"):
            check_dataset(dataset)
        with pytest.raises(ExtraMissing, match=r"pip install 'flagfall\[delta\]'"):
            take_in(dataset, inbox, [toy.drop("2026-11-01")])

    def test_without_the_setting_there_is_no_table(self, toy: ToyFeed) -> None:
        inbox = toy.inbox()
        take_in(toy.dataset, inbox, [toy.drop("2026-11-01")])
        assert not (toy.root / "lake/toy/tables").exists()
        with pytest.raises(NotThere, match=r"lake\.table: delta"):
            catch_up(toy.dataset, inbox.lake, EVER)


class TestPredictions:
    def test_are_in_their_table_after_inference_with_the_models_version(
        self, tmp_path: Path
    ) -> None:
        feed = make_scored_toy(tmp_path)
        dataset, inbox = with_table(feed), feed.inbox()
        done = take_in(dataset, inbox, [marker := feed.drop("2026-11-01", GOOD)])
        done = run_stage("preprocess", dataset, inbox, done)
        assert missing(dataset, inbox.lake, "rows", EVER) == []
        run_stage("infer", dataset, inbox, done)
        found = read(inbox, "predictions").sort("id")
        assert found["score"].to_list() == [0.25, 0.75]
        assert set(found["batch"]) == {marker.batch_id}
        assert set(found["model_version"]) == {"1"}
        assert found["received_at"].is_not_null().all()


def overtaken(toy: ToyFeed, dataset: Dataset) -> tuple[Inbox, Marker, Marker]:
    """A correction waits while a replay is asked for the day after, and follows it."""
    landed = toy.drop("2026-11-01").landed_at + timedelta(days=-2)
    first = replace(toy.drop("2026-11-01"), landed_at=landed)
    clock = Clock()
    take_in(dataset, toy.inbox(), [first])
    corrected = toy.drop("2026-11-01", "id,value\n1,0.9\n")
    corrected = replace(corrected, landed_at=landed + timedelta(days=1))
    clock.now = landed + timedelta(days=2)
    inbox = toy.inbox(clock)
    again = inbox.replay(first.batch_id, "staged")
    take_in(dataset, inbox, [again])
    take_in(dataset, inbox, [corrected])
    return inbox, again, corrected


class TestWhatWasReplaced:
    def test_does_not_count_since_the_day_on_which_it_was_handed_out_again(
        self, toy: ToyFeed
    ) -> None:
        dataset = with_table(toy)
        inbox, again, corrected = overtaken(toy, dataset)
        assert batches(inbox) == {corrected.batch_id: 1}
        for back, expected in ((0, []), (1, [corrected.batch_id])):
            since = again.landed_at.date() - timedelta(days=back)
            assert [one.batch_id for one in what_counts(inbox.receipts, since)] == expected

    def test_does_not_come_back_when_the_table_has_forgotten_turns(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forgets = {**delta.SETTINGS, "delta.setTransactionRetentionDuration": "interval 0 seconds"}
        monkeypatch.setattr(delta, "SETTINGS", forgets)
        dataset = with_table(toy)
        inbox, again, corrected = overtaken(toy, dataset)
        time.sleep(0.01)
        assert missing(dataset, inbox.lake, "rows", again.landed_at.date()) == []
        maintain(dataset, inbox.lake, again.landed_at.date())
        assert batches(inbox) == {corrected.batch_id: 1}

    def test_does_not_come_back_while_the_receipt_of_what_counts_is_damaged(
        self, toy: ToyFeed
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01")])
        take_in(dataset, inbox, [corrected := toy.drop("2026-11-01", "id,value\n1,0.9\n")])
        missed = received(dataset, inbox, toy.drop("2026-11-02"))
        (receipt,) = Path(inbox.lake.store.uri).glob(f"receipts/*/{corrected.batch_id}.json")
        receipt.write_text("{")
        shutil.rmtree(uri_of(inbox))
        (kept,) = catch_up(dataset, inbox.lake, EVER)
        assert [corrected.batch_id in str(failure) for failure in kept.failures] == [True]
        assert batches(inbox) == {missed.batch_id: 2}
        with pytest.raises(StoreRefused, match=corrected.batch_id):
            what_counts(inbox.receipts, EVER)

    def test_goes_though_what_replaced_it_is_there(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once a table has forgotten turns it may take an earlier delivery in, too."""
        forgets = {**delta.SETTINGS, "delta.setTransactionRetentionDuration": "interval 0 seconds"}
        monkeypatch.setattr(delta, "SETTINGS", forgets)
        dataset, inbox = with_table(toy), toy.inbox()
        first = received(dataset, inbox, toy.drop("2026-11-01"))
        second = received(dataset, inbox, toy.drop("2026-11-01", "id,value\n1,0.9\n"))
        for receipt in (second, first):
            commit(dataset, inbox.lake, "rows", [receipt])
            time.sleep(0.01)
            DeltaTable(uri_of(inbox)).create_checkpoint()
        assert len(batches(inbox)) == 2
        catch_up(dataset, inbox.lake, EVER)
        assert batches(inbox) == {second.batch_id: 1}


class TestWhatWasMissed:
    def test_is_added_however_long_ago_it_landed(self, toy: ToyFeed) -> None:
        """History, which landed before the feed existed, and whose commit failed."""
        dataset, inbox = with_table(toy), toy.inbox()
        marker = toy.drop("2026-11-01")
        old = replace(marker, landed_at=marker.landed_at - timedelta(days=100))
        lost = received(dataset, inbox, old)
        today = lost.received_at.date()
        maintain(dataset, inbox.lake, today - timedelta(days=30))
        assert batches(inbox) == {lost.batch_id: 2}

    def test_is_what_counts_and_is_not_in_the_table(self, toy: ToyFeed) -> None:
        """Whoever dies between a receipt and its commit leaves just that."""
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [there := toy.drop("2026-11-01")])
        lost = received(dataset, inbox, toy.drop("2026-11-02"))
        received(dataset, inbox, toy.drop("2026-11-03", "id,value\n"))
        assert missing(dataset, inbox.lake, "rows", EVER) == [lost]
        assert [kept.added for kept in catch_up(dataset, inbox.lake, EVER)] == [1]
        assert batches(inbox) == {there.batch_id: 2, lost.batch_id: 2}
        assert [kept.added for kept in catch_up(dataset, inbox.lake, EVER)] == [0]

    def test_is_the_last_delivery_only(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01")])
        received(dataset, inbox, toy.drop("2026-11-01", "id,value\n5,0.5\n"))
        last = received(dataset, inbox, toy.drop("2026-11-01", "id,value\n6,0.5\n"))
        catch_up(dataset, inbox.lake, EVER)
        assert batches(inbox) == {last.batch_id: 1}

    def test_a_correction_without_rows_removes_those_of_an_earlier_delivery(
        self, toy: ToyFeed
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01")])
        received(dataset, inbox, toy.drop("2026-11-01", "id,value\n"))
        catch_up(dataset, inbox.lake, EVER)
        assert batches(inbox) == {}

    def test_a_table_that_is_removed_is_made_again_of_the_lake(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        markers = [toy.drop(f"2026-11-0{day}") for day in range(1, 4)]
        for marker in markers:
            received(dataset, inbox, marker)
        catch_up(dataset, inbox.lake, EVER)
        assert batches(inbox) == {marker.batch_id: 2 for marker in markers}


@contextmanager
def just_before(monkeypatch: pytest.MonkeyPatch, *happens: Callable[[], object]) -> Iterator[None]:
    """Have things happen, one between each look at the table and the commit that follows."""
    todo = list(happens)
    write = deltalake.write_deltalake

    def late(*arguments: object, **settings: object) -> None:
        if todo:
            todo.pop(0)()
        write(*arguments, **settings)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(delta, "write_deltalake", late)
        yield


class TestOfTwoWhoCommitAtTheSameTime:
    def test_the_same_delivery_is_added_once(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-02", "id,value\n")])
        receipt = received(dataset, inbox, toy.drop("2026-11-01"))
        other = partial(commit, dataset, inbox.lake, "rows", [receipt])
        with just_before(monkeypatch, other):
            assert commit(dataset, inbox.lake, "rows", [receipt]) == 0
        assert batches(inbox) == {receipt.batch_id: 2}

    def test_an_earlier_delivery_that_is_late_does_not_replace_a_later_one(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        zombie = received(dataset, inbox, toy.drop("2026-11-01"))
        newer = received(dataset, inbox, toy.drop("2026-11-01", "id,value\n6,0.5\n"))
        take_in(dataset, inbox, [toy.drop("2026-11-02", "id,value\n")])
        other = partial(commit, dataset, inbox.lake, "rows", [newer])
        with just_before(monkeypatch, other):
            assert commit(dataset, inbox.lake, "rows", [zombie]) == 0
        assert batches(inbox) == {newer.batch_id: 1}
        assert commit(dataset, inbox.lake, "rows", [zombie]) == 0
        assert batches(inbox) == {newer.batch_id: 1}

    def test_a_later_delivery_replaces_an_earlier_one_that_came_in_between(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        zombie = received(dataset, inbox, toy.drop("2026-11-01"))
        newer = received(dataset, inbox, toy.drop("2026-11-01", "id,value\n6,0.5\n"))
        take_in(dataset, inbox, [toy.drop("2026-11-02", "id,value\n")])
        other = partial(commit, dataset, inbox.lake, "rows", [zombie])
        with just_before(monkeypatch, other):
            assert commit(dataset, inbox.lake, "rows", [newer]) == 1
        assert batches(inbox) == {newer.batch_id: 1}

    def test_other_batches_are_both_added(
        self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [first := toy.drop("2026-11-03")])
        one, two = (received(dataset, inbox, toy.drop(f"2026-11-0{day}")) for day in (1, 2))
        corrected = received(dataset, inbox, toy.drop("2026-11-03", "id,value\n6,0.5\n"))
        assert first.key == corrected.marker.key
        others = [
            partial(commit, dataset, inbox.lake, "rows", [receipt]) for receipt in (two, corrected)
        ]
        with just_before(monkeypatch, *others):
            assert commit(dataset, inbox.lake, "rows", [one]) == 1
        commit(dataset, inbox.lake, "rows", [corrected])
        assert batches(inbox) == {one.batch_id: 2, two.batch_id: 2, corrected.batch_id: 1}

    def test_the_table_is_made_once(self, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        one, two = (received(dataset, inbox, toy.drop(f"2026-11-0{day}")) for day in (1, 2))
        other = partial(commit, dataset, inbox.lake, "rows", [two])
        with just_before(monkeypatch, other):
            assert commit(dataset, inbox.lake, "rows", [one]) == 1
        assert batches(inbox) == {one.batch_id: 2, two.batch_id: 2}


class TestOnS3:
    """Every request of delta-rs goes through a proxy that does harm."""

    @pytest.fixture
    def proxy(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
        with S3Proxy(s3.url, seed=1) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            aws.forget("")
            forget_stores()
            yield proxy
            aws.forget("")

    @pytest.mark.parametrize("harm", ["late_answer", "error500", "slow_down503", "reset"])
    def test_a_commit_whose_answer_is_lost_is_not_made_twice(
        self, harm: str, tmp_path: Path, bucket: str, proxy: S3Proxy
    ) -> None:
        """Such a commit may have been made, so delta-rs meets its own when it asks again."""
        feed = make_s3_toy(tmp_path, bucket)
        dataset, inbox = with_table(feed), feed.inbox()
        take_in(dataset, inbox, [feed.drop("2026-11-02", "id,value\n")])
        proxy.set(share=1.0, kinds=(harm,), only=r"^PUT .*_delta_log/.*\.json", times=2)
        marker = feed.drop("2026-11-01")
        for _ in range(5):  # as Airflow tries it again
            with suppress(StoreUnavailable):
                take_in(dataset, inbox, [marker])
        assert proxy.counts()[harm]
        assert batches(inbox) == {marker.batch_id: 2}

    @pytest.mark.parametrize("harm", ["error500", "reset", "denied403"])
    def test_a_storage_that_fails_is_no_reason_to_remove_a_table(
        self, harm: str, tmp_path: Path, bucket: str, proxy: S3Proxy
    ) -> None:
        feed = make_s3_toy(tmp_path, bucket)
        dataset, inbox = with_table(feed), feed.inbox()
        take_in(dataset, inbox, [feed.drop("2026-11-01")])
        proxy.set(share=1.0, kinds=(harm,), only=r"/tables/")
        with pytest.raises(StoreUnavailable) as caught:
            open_table(dataset, inbox.lake, "rows").optimize()
        assert "remove" not in str(caught.value)

    def test_its_commits_are_created_and_never_overwritten(
        self, tmp_path: Path, bucket: str, s3: S3Server
    ) -> None:
        feed = make_s3_toy(tmp_path, bucket)
        dataset, inbox = with_table(feed), feed.inbox()
        take_in(dataset, inbox, [feed.drop("2026-11-01")])
        commits = [one for one in s3.requests if one.method == "PUT" and ".json" in one.path]
        commits = [one for one in commits if "_delta_log/0" in one.path]
        assert [one.status for one in commits] == [200, 200]
        store = open_store(uri_of(inbox))
        assert not store.create("_delta_log/00000000000000000001.json", b"")


class TestMaintenance:
    def test_joins_small_files_and_removes_none_that_a_reader_may_have_open(
        self, toy: ToyFeed
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        markers = [toy.drop(f"2026-11-0{day}") for day in range(1, 6)]
        for marker in markers:
            take_in(dataset, inbox, [marker])
        open_files = DeltaTable(uri_of(inbox)).file_uris()
        assert len(open_files) == 5
        (kept,) = maintain(dataset, inbox.lake, EVER)
        assert (kept.added, kept.joined, kept.into, kept.removed) == (0, 5, 1, 0)
        assert len(DeltaTable(uri_of(inbox)).file_uris()) == 1
        assert all(Path(file).exists() for file in open_files)
        assert batches(inbox) == {marker.batch_id: 2 for marker in markers}

    def test_removes_what_broke_off_a_week_ago_and_nothing_that_is_under_way(
        self, toy: ToyFeed
    ) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        marker = toy.drop("2026-11-01")
        take_in(dataset, inbox, [marker])
        (file,) = map(Path, DeltaTable(uri_of(inbox)).file_uris())
        week_ago = time.time() - timedelta(days=8).total_seconds()
        for name, changed in (("old", week_ago), ("new", time.time())):
            orphan = file.with_name(f"part-00000-{name}.parquet")
            orphan.write_bytes(file.read_bytes())
            os.utime(orphan, (changed, changed))
        os.utime(file, (week_ago, week_ago))
        (kept,) = maintain(dataset, inbox.lake, EVER)
        assert kept.removed == 1
        left = {path.name for path in file.parent.iterdir()}
        assert left == {file.name, "part-00000-new.parquet"}
        assert batches(inbox) == {marker.batch_id: 2}

    def test_a_correction_finds_its_rows_in_a_file_that_was_joined(self, toy: ToyFeed) -> None:
        dataset, inbox = with_table(toy), toy.inbox()
        markers = [toy.drop(f"2026-11-0{day}") for day in range(1, 4)]
        for marker in markers:
            take_in(dataset, inbox, [marker])
        maintain(dataset, inbox.lake, EVER)
        take_in(dataset, inbox, [last := toy.drop("2026-11-01", "id,value\n6,0.5\n")])
        kept = {marker.batch_id: 2 for marker in markers[1:]}
        assert batches(inbox) == {last.batch_id: 1, **kept}

    def test_of_a_dataset_that_has_no_table_yet(self, toy: ToyFeed) -> None:
        (kept,) = maintain(with_table(toy), toy.inbox().lake, EVER)
        assert (kept.added, kept.joined, kept.removed) == (0, 0, 0)


class TestColumns:
    def test_a_new_one_is_added_and_one_that_is_gone_has_no_values(self, tmp_path: Path) -> None:
        toy = make_toy(tmp_path)
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01", "id,value\n1,2\n")])
        changed = with_value_as(dataset, "other")
        take_in(changed, inbox, [toy.drop("2026-11-02", "id,other\n2,3\n")])
        found = read(inbox).sort("id").select("id", "value", "other").rows()
        assert found == [(1, 2.0, None), (2, None, 3.0)]

    def test_one_of_another_type_is_refused_with_the_remedy(self, tmp_path: Path) -> None:
        toy = make_toy(tmp_path)
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01", "id,value\n1,2\n")])
        plain = toy.dataset.table
        fields = [plain.fields[0], plain.fields[1].model_copy(update={"type": "string"})]
        fields[1] = fields[1].model_copy(update={"constraints": plain.fields[0].constraints})
        changed = dataset.model_copy(update={"table": plain.model_copy(update={"fields": fields})})
        with pytest.raises(
            StoreRefused, match=r"'value' is Float64, and now String.*flagfall table"
        ):
            take_in(changed, inbox, [toy.drop("2026-11-02", "id,value\n2,0017\n")])

    @pytest.mark.parametrize("is_correction", [False, True])
    def test_one_that_is_renamed_only_in_case_is_refused_with_the_remedy(
        self, is_correction: bool, tmp_path: Path
    ) -> None:
        toy = make_toy(tmp_path)
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01", "id,value\n1,2\n")])
        changed = with_value_as(dataset, "Value")
        day = "2026-11-01" if is_correction else "2026-11-02"
        later = toy.drop(day, "id,Value\n2,3\n")
        with pytest.raises(StoreRefused, match=r"'value' is called 'Value' now.*flagfall table"):
            take_in(changed, inbox, [later])
        shutil.rmtree(tmp_path / "lake" / "toy" / "tables")
        catch_up(changed, inbox.lake, EVER)
        assert later.batch_id in batches(inbox)

    @pytest.mark.parametrize("is_correction", [False, True])
    def test_what_delta_refuses_without_a_name_is_an_error_of_the_table(
        self, is_correction: bool, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delta.Table, "_check_types", lambda *_: None)
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, [toy.drop("2026-11-01", "id,value\n1,2\n")])
        changed = with_value_as(dataset, "Value")
        day = "2026-11-01" if is_correction else "2026-11-02"
        with pytest.raises(StoreUnavailable, match=r"Duplicate field name.*flagfall table"):
            take_in(changed, inbox, [toy.drop(day, "id,Value\n2,3\n")])

    @pytest.mark.parametrize("names", [("batch", "x"), ("Landed_Day", "x"), ("a", "A")])
    def test_a_dataset_whose_names_tables_need_is_refused(
        self, names: tuple[str, str], tmp_path: Path
    ) -> None:
        toy = make_toy(tmp_path)
        plain = toy.dataset.model_dump(by_alias=True)
        del toy
        fields = [{"name": name, "type": "integer"} for name in names]
        raw = {
            **{key: plain[key] for key in ("name", "title", "landing")},
            "lake": {"uri": str(tmp_path / "lake"), "table": "delta"},
            "schema": {"fields": fields},
        }
        with pytest.raises(ValueError, match=r"expected other names than \[.*\], which lake.table"):
            Dataset.model_validate(raw)
        raw["lake"] = {"uri": str(tmp_path / "lake")}
        Dataset.model_validate(raw)
