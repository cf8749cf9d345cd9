"""Tables in trouble: types that change, tasks of long ago, damage, dropped rows, odd places."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import Damaged, StoreRefused, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import Receipts
from flagfall.landing.marker import Marker
from flagfall.stages.shard import Delivery, run_stage, try_stage
from flagfall.tables import delta, upkeep
from flagfall.tables.frames import EVER, kinds_of
from flagfall.tables.upkeep import AT_ONCE, TURNS_KEPT, catch_up, commit, maintain
from tests.feeds import ToyFeed, make_s3_toy, make_toy
from tests.late import AnyLateFeeds, in_tables, make_late
from tests.tables.feed import batches, feed_of, read, uri_of, with_table

NUMBER = "type: number, constraints: {minimum: 0}"


def take_in(dataset: Dataset, inbox: Inbox, marker: Marker) -> list[Exception]:
    return try_stage("ingest", dataset, inbox, [Delivery(marker)])[1]


def retyped(toy: ToyFeed, old: str, new: str) -> ToyFeed:
    """The feed, with another text in its dataset file."""
    file = toy.root / "datasets" / "toy.yaml"
    file.write_text(file.read_text().replace(old, new))
    return replace(toy, dataset=read_dataset(file))


class TestTypesThatChange:
    @pytest.mark.parametrize(
        ("old", "value", "new", "kept"),
        [
            (NUMBER, "2.5", "type: string", "2.5"),
            (NUMBER, "2.5", "type: integer", None),
            (NUMBER, "2", "type: integer", 2),
            ("type: string", "2.5", "type: number", 2.5),
            ("type: string", "x", "type: number", None),
            ("type: string", "true", "type: boolean", None),
            ("type: date", "2026-11-01", "type: datetime", "2026-11-01 00:00:00"),
            ("type: date", "2026-11-01", "type: number", None),
        ],
    )
    def test_a_table_that_is_removed_is_made_again_with_the_new_type(
        self, tmp_path: Path, old: str, value: str, new: str, kept: object
    ) -> None:
        toy = retyped(make_toy(tmp_path), NUMBER, old)
        inbox = toy.inbox()
        take_in(with_table(toy), inbox, toy.drop("2026-11-01", f"id,value\n1,{value}\n"))
        toy = retyped(toy, old, new)
        (refused,) = take_in(with_table(toy), inbox, toy.drop("2026-11-02", "id,value\n2,\n"))
        assert isinstance(refused, StoreRefused)
        shutil.rmtree(uri_of(inbox))
        catch_up(with_table(toy), inbox.lake, EVER)
        found = read(inbox).sort("id")["value"].to_list()
        assert found == [kept, None] or [str(found[0]), found[1]] == [kept, None]


class TestTasksOfLongAgo:
    def test_a_task_that_is_cleared_adds_nothing_that_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = make_toy(tmp_path)
        dataset, inbox = with_table(toy), toy.inbox()
        old = toy.drop("2026-11-01")
        corrected = toy.drop("2026-11-02")
        for marker in (old, corrected, toy.drop("2026-11-02", "id,value\n7,1\n")):
            take_in(dataset, inbox, marker)
        before = batches(inbox)
        long_ago(monkeypatch, {old.batch_id, corrected.batch_id})
        with monkeypatch.context() as patch:  # as a table does that is past its retention
            patch.setattr(delta.DeltaTable, "transaction_version", lambda *_: None)
            assert take_in(dataset, inbox, old) == []
            assert take_in(dataset, inbox, corrected) == []
        assert batches(inbox) == before

    def test_a_batch_that_was_taken_in_long_ago_and_is_missing_is_added(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = make_toy(tmp_path)
        inbox, marker = toy.inbox(), toy.drop("2026-11-01")
        run_stage("ingest", toy.dataset, inbox, [Delivery(marker)])
        long_ago(monkeypatch, {marker.batch_id})
        receipt = inbox.receipts.find(marker)
        assert receipt is not None
        assert commit(with_table(toy), inbox.lake, "rows", [receipt]) == 1
        assert batches(inbox) == {marker.batch_id: 2}


class TestDamage:
    @pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
    def test_files_that_are_gone_are_said_with_the_remedy_which_works(
        self, tmp_path: Path, harm: Callable[[Path], object]
    ) -> None:
        toy = make_toy(tmp_path)
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, marker := toy.drop("2026-11-01"))
        for path in Path(uri_of(inbox)).glob("*/*.parquet"):
            harm(path)
        remedy = "remove the table's folder, and `flagfall table DATASET` makes it again"
        with pytest.raises(StoreUnavailable, match=remedy):
            maintain(dataset, inbox.lake, EVER)
        (failure,) = take_in(dataset, inbox, toy.drop("2026-11-01", "id,value\n7,1\n"))
        assert isinstance(failure, StoreUnavailable)
        assert len(str(failure)) < 700
        shutil.rmtree(uri_of(inbox))
        catch_up(dataset, inbox.lake, EVER)
        assert sum(batches(inbox).values()) == 1
        assert marker.batch_id not in batches(inbox)

    def test_outcomes_are_evaluated_although_their_table_is_damaged(self, tmp_path: Path) -> None:
        feeds = in_tables(make_late(tmp_path))
        scored = feeds.score("2026-11-20")
        feeds.happen("2026-11-21", "id,delay\n1,30\n")
        feeds.learn()
        for path in Path(uri_of(feeds.toy.inbox(), "outcomes")).glob("*/*.parquet"):
            path.unlink()
        feeds.happen("2026-11-22", "id,delay\n2,30\n")
        learned = feeds.learn()
        assert [one.batch_id for one in learned.batches] == [scored.batch_id]
        assert [type(one) for one in learned.failures] == [StoreUnavailable]

    def test_why_a_table_refuses_each_commit_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delta, "ATTEMPTS", 2)
        toy = make_toy(tmp_path)
        dataset, inbox = with_table(toy), toy.inbox()
        take_in(dataset, inbox, toy.drop("2026-11-01"))
        first = Path(uri_of(inbox), "_delta_log", f"{0:020d}.json")
        text = first.read_text()
        first.write_text(text.replace('"minWriterVersion":', '"minWriterVersion":9'))
        assert first.read_text() != text
        (failure,) = take_in(dataset, inbox, toy.drop("2026-11-02"))
        assert "refused 2 times, the last time: " in str(failure)
        assert "features must be specified" in str(failure)


def changed(feeds: AnyLateFeeds, *edits: tuple[str, str]) -> AnyLateFeeds:
    """The feeds with other texts in both of their dataset files."""
    files = [feeds.toy.root / "datasets" / name for name in ("toy.yaml", "truth.yaml")]
    for file, (old, new) in product(files, edits):
        file.write_text(file.read_text().replace(old, new))
    toy, truth = map(read_dataset, files)
    toy_now, truth_now = replace(feeds.toy, dataset=toy), replace(feeds.truth, dataset=truth)
    return replace(feeds, toy=toy_now, truth=truth_now)


TASK = (("expr: delay > 15", "expr: delay"), ("task: binary", "task: regression"))


class TestAfterAnotherTypeOfTheKeyOrTaskOfTheModel:
    """A table refuses what has another form; the remedy is to make it again."""

    def scored(
        self, root: Path, *edits: tuple[str, str], key: str = "type: integer"
    ) -> AnyLateFeeds:
        """Feeds of which batches were scored, with their outcomes, before and after a change."""
        feeds = changed(make_late(root), ("type: integer", key))
        for number in (1, 2):
            feeds.score(f"2026-11-0{number}", f"id,value\n{number},0.5\n")
            feeds.happen(f"2026-11-1{number}", f"id,delay\n{number},30\n")
            assert feeds.learn().failures == ()
            if number == 1:
                catch_up(in_tables(feeds).toy.dataset, feeds.toy.inbox().lake, EVER)
                feeds = changed(feeds, *edits)
        return in_tables(feeds)

    def make_again(self, feeds: AnyLateFeeds) -> None:
        inbox = feeds.toy.inbox()
        with pytest.raises(StoreRefused, match="remove the table's folder"):
            catch_up(feeds.toy.dataset, inbox.lake, EVER)
        shutil.rmtree(Path(inbox.lake.store.uri, "tables"))
        kept = catch_up(feeds.toy.dataset, inbox.lake, EVER)
        assert [(one.added, one.failures) for one in kept] == [(2, ())] * 3
        feeds.score("2026-11-03", "id,value\n3,0.5\n")
        feeds.happen("2026-11-13", "id,delay\n3,0\n")
        assert feeds.learn().failures == ()

    @pytest.mark.parametrize(
        ("old", "new", "keys"),
        [("integer", "string", ["1", "2", "3"]), ("string", "integer", [1, 2, 3])],
    )
    @pytest.mark.parametrize("at_once", [AT_ONCE, 1])
    def test_keys_that_say_the_same_are_kept(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        old: str,
        new: str,
        keys: list[object],
        at_once: int,
    ) -> None:
        monkeypatch.setattr(upkeep, "AT_ONCE", at_once)
        change = (f"type: {old}", f"type: {new}")
        feeds = self.scored(tmp_path, change, key=f"type: {old}")
        self.make_again(feeds)
        for kind in kinds_of(feeds.toy.dataset):
            assert read(feeds.toy.inbox(), kind)["id"].sort().to_list() == keys

    @pytest.mark.parametrize("at_once", [AT_ONCE, 1])
    def test_outcomes_have_the_type_of_todays_task(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
    ) -> None:
        monkeypatch.setattr(upkeep, "AT_ONCE", at_once)
        feeds = self.scored(tmp_path, *TASK)
        self.make_again(feeds)
        found = read(feeds.toy.inbox(), "outcomes").sort("id")
        assert found["outcome"].to_list() == [None, 30.0, 0.0]
        assert read(feeds.toy.inbox(), "predictions").height == 3

    def test_what_one_table_refuses_stops_no_other(self, tmp_path: Path) -> None:
        feeds = self.scored(tmp_path, ("type: integer", "type: string"))
        inbox = feeds.toy.inbox()
        shutil.rmtree(Path(uri_of(inbox, "outcomes")))
        with pytest.raises(StoreRefused, match=r"tables/rows.*remove the table's folder"):
            maintain(feeds.toy.dataset, inbox.lake, EVER)
        assert len(batches(inbox, "outcomes")) == 2


class TestAPartOfTheLakeThatIsDamaged:
    @pytest.fixture
    def feeds(self, tmp_path: Path) -> AnyLateFeeds:
        return in_tables(make_late(tmp_path))

    @pytest.fixture
    def days(self, feeds: AnyLateFeeds) -> list[Marker]:
        """Three days that are scored, and whose outcomes are known."""
        texts = [f"id,value\n{number},0.5\n" for number in (1, 2, 3)]
        days = [feeds.score(f"2026-11-0{n}", text) for n, text in enumerate(texts, start=1)]
        feeds.happen("2026-11-21", "id,delay\n1,30\n2,0\n3,30\n")
        feeds.learn()
        return days

    @pytest.mark.parametrize("which", ["*.parquet", "record.json"])
    @pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
    def test_is_named_and_the_rest_is_added(
        self,
        feeds: AnyLateFeeds,
        days: list[Marker],
        which: str,
        harm: Callable[[Path], object],
    ) -> None:
        lake = Path(feeds.toy.inbox().lake.store.uri)
        name = days[1].batch_id
        paths = [p for of in ("staged", "predictions") for p in (lake / of / name).glob(which)]
        paths += (lake / "known" / name).glob("*.parquet")
        for path in paths:
            harm(path)
        shutil.rmtree(lake / "tables")
        kept = catch_up(feeds.toy.dataset, feeds.toy.inbox().lake, EVER)
        is_gone = which == "record.json" and harm is Path.unlink
        assert [one.added for one in kept] == [2, 2, 2]
        assert [one.gone for one in kept] == [int(is_gone), 0, 0]
        said = [str(failure) for one in kept for failure in one.failures]
        expected = paths[-1:] if is_gone else paths
        assert all(str(path) in text for path, text in zip(expected, said, strict=True))
        assert all(f"`flagfall replay toy {name}" in text for text in said if "record" not in text)
        for kind in ("rows", "predictions", "outcomes"):
            assert set(batches(feeds.toy.inbox(), kind)) == {days[0].batch_id, days[2].batch_id}

    def test_is_mended_by_the_replay_that_is_advised(
        self, feeds: AnyLateFeeds, days: list[Marker]
    ) -> None:
        inbox = feeds.toy.inbox(feeds.clock)
        harm_parts(inbox, "known", days[1])
        shutil.rmtree(uri_of(inbox, "outcomes"))
        *_, outcomes = catch_up(feeds.toy.dataset, inbox.lake, EVER)
        assert "--from staged" in str(outcomes.failures[0])
        again = feeds.score_again(inbox.replay(days[1].batch_id, "staged"))
        assert feeds.learn().failures == ()
        assert again.batch_id in batches(inbox, "outcomes")
        assert [one.failures for one in catch_up(feeds.toy.dataset, inbox.lake, EVER)] == [()] * 3

    def test_holds_up_no_outcomes(self, feeds: AnyLateFeeds, days: list[Marker]) -> None:
        inbox = feeds.toy.inbox()
        harm_parts(inbox, "known", days[1])
        shutil.rmtree(uri_of(inbox, "outcomes"))
        (failure,) = feeds.learn().failures
        assert isinstance(failure, Damaged)
        assert days[1].batch_id in str(failure)
        assert set(batches(inbox, "outcomes")) == {days[0].batch_id, days[2].batch_id}

    def test_holds_up_no_other_batch_of_a_shard(self, tmp_path: Path) -> None:
        toy = make_toy(tmp_path)
        dataset, inbox = with_table(toy), toy.inbox()
        good, bad = toy.drop("2026-11-01"), toy.drop("2026-11-02")
        run_stage("ingest", toy.dataset, inbox, [Delivery(good), Delivery(bad)])
        harm_parts(inbox, "staged", bad)
        (failure,) = try_stage("ingest", dataset, inbox, [Delivery(good), Delivery(bad)])[1]
        assert isinstance(failure, Damaged)
        assert set(batches(inbox)) == {good.batch_id}

    def test_on_s3_is_named_too(self, tmp_path: Path, bucket: str) -> None:
        dataset, inbox = feed_of(tmp_path, bucket)
        toy = make_s3_toy(tmp_path, bucket)
        good, bad = toy.drop("2026-11-01"), toy.drop("2026-11-02")
        run_stage("ingest", toy.dataset, inbox, [Delivery(good), Delivery(bad)])
        (part,) = [k for k in inbox.lake.store.names(f"staged/{bad.batch_id}") if "part" in k]
        inbox.lake.store.delete(part)
        (rows,) = catch_up(dataset, inbox.lake, EVER)
        assert [part in str(failure) for failure in rows.failures] == [True]
        assert set(batches(inbox)) == {good.batch_id}


def harm_parts(inbox: Inbox, folder: str, marker: Marker) -> None:
    for path in Path(inbox.lake.store.uri, folder, marker.batch_id).glob("*.parquet"):
        path.unlink()


def test_batches_whose_rows_were_dropped_are_said_when_a_table_is_made_again(
    tmp_path: Path,
) -> None:
    toy = make_toy(tmp_path)
    dataset, inbox = with_table(toy), toy.inbox()
    take_in(dataset, inbox, gone := toy.drop("2026-11-01"))
    take_in(dataset, inbox, kept := toy.drop("2026-11-02"))
    shutil.rmtree(Path(inbox.lake.store.uri, "staged", gone.batch_id))
    (done,) = catch_up(dataset, inbox.lake, EVER)
    assert done.news == "rows: 0 batches added"
    shutil.rmtree(uri_of(inbox))
    (done,) = catch_up(dataset, inbox.lake, EVER)
    assert done.news == "rows: 1 batches added; the rows of 1 are gone from the lake"
    assert batches(inbox) == {kept.batch_id: 2}


@pytest.mark.parametrize("name", ["a lake", "50%", "a%20b", "sjö", "day=1"])
def test_a_place_that_some_readers_do_not_find_is_refused_for_tables(
    tmp_path: Path, name: str
) -> None:
    toy = make_toy(tmp_path / "a" / name.replace("%", "_"))
    raw = toy.dataset.model_dump(by_alias=True) | {"table": None}
    fields = [{"name": "id", "type": "integer"}]
    plain = {key: raw[key] for key in ("name", "title", "landing")} | {"schema": {"fields": fields}}
    lake = {"uri": str(tmp_path / name / "lake")}
    Dataset.model_validate({**plain, "lake": lake})
    with pytest.raises(ValueError, match="not all readers of Delta tables find it"):
        Dataset.model_validate({**plain, "lake": {**lake, "table": "delta"}})


def long_ago(monkeypatch: pytest.MonkeyPatch, batch_ids: set[str]) -> None:
    """Have receipts say that they were written before a table's turns are forgotten."""
    read = Receipts._read

    def older(self: Receipts, key: str) -> object:
        receipt = read(self, key)
        if receipt is None or receipt.batch_id not in batch_ids:
            return receipt
        then = receipt.received_at - TURNS_KEPT - timedelta(days=2)
        return receipt.model_copy(update={"received_at": then})

    monkeypatch.setattr(Receipts, "_read", older)
