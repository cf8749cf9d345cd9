from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("bench")


@pytest.fixture
def table(bench: Any) -> Any:
    return import_module("table")


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_part_has_a_section_and_says_what_it_measures(bench: Any, script: Path) -> None:
    has_section = (bench.PAGES / f"{script.stem}.md.j2").exists()
    assert has_section == (script.stem in bench.PARTS)
    if has_section:
        command = [sys.executable, "-W", "ignore", str(script), "--help"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said.startswith("usage: ")


def test_the_pages_are_what_was_measured(bench: Any) -> None:
    assert bench.pages(bench.DOCS) == [bench.BENCHMARKS, bench.SCALING]
    for page in bench.pages(bench.DOCS):
        assert (bench.DOCS / f"{page}.md").read_text() == bench.render(bench.DOCS, page)


def test_every_part_has_been_run_and_every_table_and_plot_is_shown(bench: Any) -> None:
    page = (bench.DOCS / "benchmarks.md").read_text()
    folder = bench.DOCS / bench.TABLES
    assert list(json.loads((folder / bench.RUNS).read_text())) == list(bench.PARTS)
    for table in bench.tables(bench.DOCS).values():
        assert table.markdown() in page, table.name
    assert sorted(re.findall(rf"\({bench.TABLES}/(.*\.svg)\)", page)) == sorted(
        path.name for path in folder.glob("*.svg")
    )


def test_a_part_that_is_run_leaves_its_tables_and_where_they_were_measured(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "HERE", tmp_path)
    (tmp_path / "parse.py").write_text(
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from table import Column, Plot, Table, found\n"
        "columns = Column('side'), Column('files', ',.0f'), Column('time, s', '.1f')\n"
        "rows = ('Flagfall', 1000, 0.123), ('peer', 1000, None)\n"
        "plots = Plot('side', 'files', 'time, s', 'Time'),\n"
        "found(Table('parse_new', columns, rows, plots))\n"
    )
    kept = tmp_path / bench.TABLES
    kept.mkdir()
    (kept / "parse_old.json").write_text("what an earlier run left")
    bench.run("parse", tmp_path)
    found = bench.tables(tmp_path)
    assert list(found) == ["parse_new"]
    assert found["parse_new"].value("time, s", side="Flagfall") == 0.123
    assert found["parse_new"].texts() == [["Flagfall", "1,000", "0.1"], ["peer", "1,000", "–"]]
    assert json.loads((kept / bench.RUNS).read_text())["parse"]["cores"] > 0
    import_module("drawing").draw(found["parse_new"], kept)
    assert "Flagfall" in (kept / "parse_new.svg").read_text()


def test_a_plot_has_only_the_rows_that_it_is_of_and_no_line_runs_back(
    table: Any, tmp_path: Path
) -> None:
    columns = table.Column("layout"), table.Column("side"), table.Column("files"), table.Column("s")
    rows = tuple((layout, "Flagfall", files, 0.5) for layout in ("a", "b") for files in (10, 100))
    of_one = table.Plot("side", "files", "s", "Time of a", ("layout", "a"))
    made = table.Table("t", columns, rows, (of_one,))
    drawing = import_module("drawing")
    drawing.draw(made, tmp_path)
    assert [points for _, points in drawing._lines(made, of_one)] == [[(10, 0.5), (100, 0.5)]]
    with pytest.raises(ValueError, match="several rows for one files"):
        drawing.draw(replace(made, plots=(of_one._replace(only=None),)), tmp_path)


def test_a_part_that_fails_leaves_what_was_there(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "HERE", tmp_path)
    (tmp_path / "parse.py").write_text("raise SystemExit('no')")
    (tmp_path / bench.TABLES).mkdir()
    old = tmp_path / bench.TABLES / "parse.json"
    old.write_text("what an earlier run left")
    with pytest.raises(SystemExit, match="parse failed"):
        bench.run("parse", tmp_path)
    assert old.exists()


def test_a_cell_is_found_by_the_others_of_its_row(table: Any) -> None:
    columns = table.Column("side"), table.Column("at"), table.Column("p50, s")
    made = table.Table("t", columns, (("a", 1, 2.0), ("a", 2, 3.0), ("b", 1, 4.0)))
    assert made.value("p50, s", side="a", at=2) == 3.0
    with pytest.raises(LookupError, match="2 rows"):
        made.value("p50, s", side="a")
    with pytest.raises(LookupError, match="0 rows"):
        made.value("p50, s", side="c")


class TestSizing:
    """With figures that can be reckoned in one's head."""

    @pytest.fixture
    def sizing(self, bench: Any) -> Any:
        return bench.sizing

    @pytest.fixture
    def measured(self, sizing: Any) -> Any:
        return sizing.Measured(
            run=10.0, run_cpu=20.0, batch_cpu=0.6, row_cpu=1e-6, row_bytes=100.0,
            lake_bytes=50.0, starts=2.0, events=1.0, waits=0.0, writes=15.0, reads=28.0,
        )  # fmt: skip

    def test_a_feed_with_a_batch_now_and_then_has_a_run_for_each(
        self, sizing: Any, measured: Any
    ) -> None:
        needs = sizing.need(sizing.Load(markers=10, bytes=1e6, feeds=1), measured)
        assert (needs.batches, needs.runs, needs.starts) == (1, 10, 60)
        assert needs.run == pytest.approx(10.6, rel=1e-2)

    def test_a_busy_feed_has_larger_runs(self, sizing: Any, measured: Any) -> None:
        """Batches of 10,000 rows take 0.61 s of a core; 13.1 a second need half of 16 cores."""
        a_second = 0.5 * 16 / 0.61
        load = sizing.Load(round(a_second * 86_400), a_second * 86_400 * 1e6, feeds=1)
        needs = sizing.need(load, measured)
        assert needs.busy == pytest.approx(0.5, rel=1e-3)
        assert 60 < needs.run < 75, "some 900 batches, a shard for each hundred: 10 s and 61 s"
        assert needs.batches == pytest.approx(a_second * needs.run, rel=0.01)
        assert needs.starts / needs.runs == 2 + 4 * sizing.shards(needs.batches, 1e6)
        assert needs.cores == pytest.approx(8 + 20 / needs.run, rel=0.01)

    def test_batches_that_gather_share_a_run(self, sizing: Any, measured: Any) -> None:
        load = sizing.Load(86_400, 86_400e3, feeds=10)
        alone, gathered = (sizing.need(load, measured, gather) for gather in (0.0, 300.0))
        assert gathered.batches == pytest.approx(30)
        assert alone.batches < 2
        assert gathered.starts == pytest.approx(86_400 / 30 * 6)

    def test_a_lane_that_waits_for_s3_is_taken_up_and_no_core_is_busy(
        self, sizing: Any, measured: Any
    ) -> None:
        load = sizing.Load(1_000_000, 10e12, feeds=1)
        here, there = (sizing.need(load, replace(measured, waits=waits)) for waits in (0, 0.7))
        assert there.busy == pytest.approx(here.busy * 2)
        assert there.cores <= here.cores

    @pytest.mark.parametrize(
        ("batches", "size", "count"),
        [(1, 1, 1), (100, 1, 1), (101, 1, 2), (1_600, 1, 16), (5_000, 1, 16), (10, 2.0**30, 10)],
    )
    def test_a_run_has_the_shards_that_the_claim_makes(
        self, sizing: Any, batches: int, size: float, count: int
    ) -> None:
        assert sizing.shards(batches, size) == count

    def test_more_than_all_lanes_is_never_done(self, sizing: Any, measured: Any) -> None:
        needs = sizing.need(sizing.Load(10_000_000, 10e12, feeds=1), measured)
        assert needs.busy > 1
        assert needs.batches == 5_000

    def test_feeds_share_the_lanes_of_more_tasks(self, sizing: Any, measured: Any) -> None:
        load = sizing.Load(1_000_000, 10e12, feeds=1)
        one, ten = sizing.need(load, measured), sizing.need(replace(load, feeds=10), measured)
        assert ten.busy == pytest.approx(one.busy / 10)
        assert ten.sweep == pytest.approx(one.sweep / 10)

    def test_large_batches_have_shards_of_their_own(self, sizing: Any, measured: Any) -> None:
        needs = sizing.need(sizing.Load(10, 10 * 3 * 2.0**30, feeds=1), measured)
        assert needs.starts == 10 * (2 + 4 * 3)

    def test_a_sweep_of_a_million_markers_asks_for_three_thousand_pages(self, sizing: Any) -> None:
        seconds, lists = sizing.sweeps(sizing.Load(1_000_000, 10e12, feeds=1))
        assert seconds == 3_000 * sizing.S3_LIST
        assert lists == pytest.approx(24 * 3_000 + 86_400 / (5 * 75) * 1_500)
