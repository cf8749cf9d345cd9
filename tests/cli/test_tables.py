"""``flagfall rows``, ``predictions`` and ``table``."""

from __future__ import annotations

import io
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.errors import HOPELESS_EXIT
from flagfall.stages.ingest import ingest
from flagfall.stages.shard import Delivery, run_stage
from tests.cli.test_cli import CommandLine, flagfall, shell
from tests.feeds import Clock, ToyFeed
from tests.late import make_late
from tests.scored import GOOD, make_scored_toy
from tests.tables.feed import batches

__all__ = ["flagfall"]


def take_in(toy: ToyFeed, day: str, text: str = "id,value\n1,0.5\n2,1.5\n") -> str:
    """Take a batch in, and give its id."""
    marker = toy.drop(day, text)
    receipt = ingest(toy.dataset, toy.inbox(), marker)
    assert receipt is not None
    return receipt.batch_id


@pytest.fixture
def text(toy: ToyFeed) -> ToyFeed:
    """The same feed; its values are texts."""
    file = toy.root / "datasets" / "toy.yaml"
    number = "{name: value, type: number, constraints: {minimum: 0}}"
    file.write_text(file.read_text().replace(number, "{name: value, type: string}"))
    return ToyFeed(toy.root, read_dataset(file))


class TestRows:
    def test_are_printed_as_csv_each_markers_last_delivery_only(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        take_in(toy, "2026-11-01")
        other = take_in(toy, "2026-11-02")
        last = take_in(toy, "2026-11-01", "id,value\n7,7\n")
        printed, _ = shell("rows", "toy").communicate()
        found = pl.read_csv(io.StringIO(printed))
        assert sorted(found["batch"]) == sorted([last, other, other])
        assert found.columns[-2:] == ["id", "value"]

    def test_on_a_terminal_cannot_steer_it(
        self, flagfall: CommandLine, text: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take_in(text, "2026-11-01", "id,value\n1,\x1b]0;stolen\x07\n")
        assert "\x1b]0;stolen\x07" in flagfall("rows", "toy").out
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert r",1,\x1b]0;stolen\x07" in flagfall("rows", "toy").out

    @pytest.mark.parametrize("suffix", ["csv", "parquet"])
    def test_are_written_to_a_file(self, suffix: str, flagfall: CommandLine, toy: ToyFeed) -> None:
        batch = take_in(toy, "2026-11-01")
        target = toy.root / f"rows.{suffix}"
        assert flagfall("rows", "toy", "--to", target).out == f"{target}: rows of 1 batches\n"
        found = pl.read_csv(target) if suffix == "csv" else pl.read_parquet(target)
        assert found["batch"].to_list() == [batch, batch]
        assert found["value"].to_list() == [0.5, 1.5]
        assert [path.name for path in toy.root.glob(".*")] == []

    def test_that_are_gone_from_the_lake_are_said_however_they_are_exported(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        gone, kept = take_in(toy, "2026-11-01"), take_in(toy, "2026-11-02")
        assert flagfall("rows", "toy").err == ""
        shutil.rmtree(toy.root / "lake" / "toy" / "staged" / gone)
        said = "rows of 1 batches; those of 1 are gone from the lake (lake.keep.staged)\n"
        printed = flagfall("rows", "toy")
        assert set(pl.read_csv(io.StringIO(printed.out))["batch"]) == {kept}
        assert printed.err == f"flagfall: toy: {said}"
        target = toy.root / "rows.csv"
        assert flagfall("rows", "toy", "--to", target).out == f"{target}: {said}"

    def test_since_a_day_are_those_of_markers_that_landed_since(
        self, flagfall: CommandLine, toy: ToyFeed, clock: Clock
    ) -> None:
        take_in(toy, "2026-11-01")
        target = toy.root / "rows.csv"
        for days, rows in ((0, 2), (2, 0)):
            since = (clock() + timedelta(days=days)).date()
            flagfall("rows", "toy", "--to", target, "--since", since)
            assert pl.read_csv(target).height == rows

    def test_without_any_have_the_names_of_the_columns(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        target = toy.root / "rows.csv"
        flagfall("rows", "toy", "--to", target)
        head = "batch,marker,landed_at,received_at,landed_day,id,value"
        assert target.read_text().splitlines() == [head]

    def test_a_file_of_another_kind_is_refused(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        said = flagfall.refused("rows", "toy", "--to", toy.root / "rows.xlsx")
        assert "ends in .parquet or .csv" in said

    def test_a_file_that_is_on_no_disk_is_refused(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        said = flagfall.refused("rows", "toy", "--to", "s3://bucket/a/rows.parquet")
        assert "no disk of this machine for 's3://bucket/a/rows.parquet'; write it to" in said

    @pytest.mark.parametrize("to", [(), ("--to", "rows.csv"), ("--to", "rows.parquet")])
    @pytest.mark.parametrize("is_gone", [True, False])
    def test_that_are_damaged_are_named(
        self, flagfall: CommandLine, toy: ToyFeed, to: tuple[str, ...], is_gone: bool
    ) -> None:
        take_in(toy, "2026-11-01")
        lost = [lose_part(toy, take_in(toy, f"2026-11-0{day}"), is_gone) for day in (2, 3)]
        if to:
            to = (to[0], str(toy.root / to[1]))
        ran = flagfall("rows", "toy", *to)
        assert ran.code == HOPELESS_EXIT
        assert all(str(part) in line for part, line in zip(lost, ran.err.splitlines(), strict=True))
        assert not list(toy.root.glob("*rows*"))

    @pytest.mark.parametrize("name", ["nowhere/rows.csv", "nowhere/rows.parquet", "folder.csv"])
    def test_a_place_that_cannot_be_written_is_named(
        self, flagfall: CommandLine, toy: ToyFeed, name: str
    ) -> None:
        ingest(toy.dataset, toy.inbox(), toy.drop("2026-11-01"))
        (toy.root / "folder.csv").mkdir()
        said = flagfall.refused("rows", "toy", "--to", toy.root / name)
        assert str(toy.root / name) in said
        assert not list(toy.root.glob(".*.part"))


class TestPredictions:
    def test_have_batch_marker_times_and_version(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        toy = make_scored_toy(tmp_path)
        inbox = toy.inbox()
        done = run_stage("ingest", toy.dataset, inbox, [Delivery(toy.drop("2026-11-01", GOOD))])
        toy.drop("2026-11-02", GOOD)  # not taken in
        for stage in ("preprocess", "infer"):
            done = run_stage(stage, toy.dataset, inbox, done)
        target = tmp_path / "predictions.parquet"
        flagfall("predictions", "toy", "--to", target)
        found = pl.read_parquet(target)
        assert set(found["batch"]) == {done[0].marker.batch_id}
        assert {"marker", "landed_at", "received_at", "model_version"} < set(found.columns)
        assert found.sort("id")["score"].to_list() == [0.25, 0.75]

    def test_of_a_dataset_without_a_model_are_refused(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        assert "it has no model" in flagfall.refused("predictions", "toy")


def lose_part(toy: ToyFeed, batch: str, is_gone: bool = True) -> Path:
    """Harm the staged rows of a batch, and give the file that did."""
    (part,) = (toy.root / "lake/toy/staged" / batch).glob("*.parquet")
    part.unlink()
    if not is_gone:
        part.write_bytes(b"PAR1")
    return part


class TestNamesThatExportsNeed:
    """A feed without tables may have columns of these names; it is taken in as any other."""

    def test_are_refused_where_the_producers_values_would_be_lost(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        toy = renamed(make_scored_toy(tmp_path), "id", "batch")
        batch = scored(toy, "batch,value\n1,0.5\n")
        for what in ("rows", "predictions"):
            said = flagfall.refused(what, "toy", "--to", tmp_path / "export.csv")
            assert "no export of columns named 'batch'" in said
        assert f"{tmp_path}/lake/toy/staged" in flagfall.refused("rows", "toy")
        assert not (tmp_path / "export.csv").exists()
        (staged,) = (tmp_path / "lake/toy/staged" / batch).glob("*.parquet")
        assert pl.read_parquet(staged)["batch"].to_list() == [1]

    def test_of_a_column_that_predictions_do_not_have_concern_rows_only(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        make_scored_toy(tmp_path)
        file = tmp_path / "datasets/toy.yaml"
        more = "  fields:\n    - {name: marker, type: string, optional: true}\n"
        file.write_text(file.read_text().replace("  fields:\n", more))
        batch = scored(ToyFeed(tmp_path, read_dataset(file)), GOOD)
        assert f"{batch},date=2026-11-01/" in flagfall("predictions", "toy").out
        assert "'marker'" in flagfall.refused("rows", "toy")

    def test_of_the_key_concern_outcomes_too(self, flagfall: CommandLine, tmp_path: Path) -> None:
        feeds = make_late(tmp_path)
        for name in ("toy", "truth"):
            renamed(getattr(feeds, name), "id", "landed_day", name, tmp_path)
        assert "'landed_day'" in flagfall.refused("outcomes", "toy")


def renamed(
    toy: ToyFeed, old: str, new: str, name: str = "toy", root: Path | None = None
) -> ToyFeed:
    """The feed, with another name of its key."""
    file = (root or toy.root) / f"datasets/{name}.yaml"
    text = file.read_text().replace(f"name: {old},", f"name: {new},")
    file.write_text(text.replace(f"primaryKey: [{old}]", f"primaryKey: [{new}]"))
    return ToyFeed(toy.root, read_dataset(file))


def scored(toy: ToyFeed, text: str) -> str:
    """Have a batch scored, and give its id."""
    done = [Delivery(toy.drop("2026-11-01", text))]
    for stage in ("ingest", "preprocess", "infer"):
        done = run_stage(stage, toy.dataset, toy.inbox(), done)
    return done[0].marker.batch_id


class TestOutcomes:
    def test_are_those_of_predictions_that_count(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        feeds = make_late(tmp_path)
        scored = feeds.score("2026-11-20")
        feeds.score("2026-11-19", "id,value\n8,0.5\n")
        feeds.happen("2026-11-21", "id,delay\n1,30\n2,5\n")
        feeds.learn()
        target = tmp_path / "outcomes.parquet"
        said = flagfall("outcomes", "toy", "--to", target).out
        assert said == f"{target}: outcomes of 1 batches\n"
        found = pl.read_parquet(target).sort("id")
        assert found.select("id", "outcome").rows() == [(1, True), (2, False)]
        assert set(found["batch"]) == {scored.batch_id}
        since = (feeds.clock() + timedelta(days=2)).date()
        flagfall("outcomes", "toy", "--to", target, "--since", since)
        assert pl.read_parquet(target).height == 0

    def test_have_the_same_columns_before_any_is_known(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        feeds = make_late(tmp_path)
        feeds.score("2026-11-20")
        target = tmp_path / "outcomes.parquet"
        flagfall("outcomes", "toy", "--to", target)
        before = pl.read_parquet(target)
        feeds.happen("2026-11-21", "id,delay\n1,30\n")
        feeds.learn()
        flagfall("outcomes", "toy", "--to", target)
        after = pl.read_parquet(target)
        assert (before.height, after.height) == (0, 1)
        assert before.schema == after.schema
        assert after.columns[-4:] == ["id", "outcome", "known_at", "evaluation"]

    def test_of_a_dataset_without_such_a_feed_are_refused(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        make_scored_toy(tmp_path)
        assert "label.from" in flagfall.refused("outcomes", "toy")


def harm(feed: ToyFeed, kind: str, how: str) -> str:
    """Damage or remove the one file of a kind; gives its name."""
    (file,) = (feed.root / "lake/toy" / kind).glob("*/*.parquet")
    if how == "gone":
        file.unlink()
    else:
        half = file.stat().st_size // 2
        file.write_bytes(file.read_bytes()[:half] if how == "cut" else b"x" * 2 * half)
    return file.name


class TestARowsFileThatIsDamagedOrGone:
    @pytest.mark.parametrize("how", ["cut", "garbage", "gone"])
    @pytest.mark.parametrize("to", ["", "out.csv", "out.parquet"])
    def test_is_named_and_leaves_no_export_behind(
        self, flagfall: CommandLine, tmp_path: Path, to: str, how: str
    ) -> None:
        feeds = make_late(tmp_path)
        feeds.score("2026-11-20")
        feeds.happen("2026-11-21", "id,delay\n1,30\n2,5\n")
        feeds.learn()
        target = ("--to", tmp_path / to) if to else ()
        folders = {"rows": "staged", "predictions": "predictions", "outcomes": "known"}
        for command, folder in folders.items():
            name = harm(feeds.toy, folder, how)
            said = flagfall.refused(command, "toy", *target)
            assert name in said
            assert "flagfall replay toy" in said
        assert not list(tmp_path.glob(".*.part"))
        assert not list(tmp_path.glob("out.*"))

    @pytest.mark.parametrize("how", ["cut", "garbage", "gone"])
    def test_is_named_by_a_stage(self, flagfall: CommandLine, tmp_path: Path, how: str) -> None:
        toy = make_scored_toy(tmp_path)
        first = [Delivery(toy.drop("2026-11-01", GOOD))]
        (done,) = run_stage("ingest", toy.dataset, toy.inbox(), first)
        name = harm(toy, "staged", how)
        assert name in flagfall.refused("stage", "preprocess", "toy", done.marker.batch_id)


class TestTable:
    def test_what_it_lacks_is_added(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        batch = take_in(toy, "2026-11-01")
        file = toy.root / "datasets/toy.yaml"
        file.write_text(file.read_text().replace("/lake}", "/lake, table: delta}"))
        assert flagfall("table", "toy").out == "rows: 1 batches added\n"
        assert batches(toy.inbox()) == {batch: 2}
        said = flagfall("table", "toy", "--maintain").out
        assert said == "rows: 0 batches added, 0 files joined into 0, 0 removed\n"

    @pytest.mark.parametrize("option", [(), ("--maintain",)])
    def test_a_batch_that_is_damaged_is_named_after_the_rest_is_added(
        self, flagfall: CommandLine, toy: ToyFeed, option: tuple[str, ...]
    ) -> None:
        good, bad = take_in(toy, "2026-11-01"), take_in(toy, "2026-11-02")
        part = lose_part(toy, bad)
        file = toy.root / "datasets/toy.yaml"
        file.write_text(file.read_text().replace("/lake}", "/lake, table: delta}"))
        ran = flagfall("table", "toy", *option)
        assert ran.code == HOPELESS_EXIT
        assert ran.out.startswith("rows: 1 batches added")
        assert ran.err.startswith(f"flagfall: {part}: ")
        assert ran.err.count("\n") == 1
        assert f"`flagfall replay toy {bad}`" in ran.err
        assert batches(toy.inbox()) == {good: 2}
        flagfall("replay", "toy", bad)
        (again,) = toy.inbox().pending()
        flagfall("stage", "ingest", "toy", again.batch_id)
        assert batches(toy.inbox()) == {good: 2, again.batch_id: 2}
        assert flagfall("table", "toy", *option).code == 0

    def test_of_a_dataset_without_the_setting_is_refused(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        assert "set lake.table: delta in its file" in flagfall.refused("table", "toy")
