from __future__ import annotations

import json
import subprocess
import sys
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
