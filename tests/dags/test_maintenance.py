from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from airflow.serialization.serialized_objects import DagSerialization

from flagfall.dags import pipelines
from flagfall.dags.maintenance import DAILY
from flagfall.errors import Damaged
from flagfall.operators.maintenance import MaintenanceOperator
from flagfall.operators.work import upkeep
from flagfall.upkeep.run import Upkeep, do_upkeep
from tests.dags.one_run import run_once
from tests.feeds import Clock, ToyFeed, make_toy
from tests.upkeep.feeds import run


def two_feeds(root: Path) -> ToyFeed:
    """One whose file says what goes, and one whose file does not."""
    toy = make_toy(root, keep="reports: 1d, staged: 90d")
    text = (root / "datasets/toy.yaml").read_text()
    kept = text.replace(", keep: {reports: 1d, staged: 90d}", "").replace("/landing", "/other")
    (root / "datasets/kept.yaml").write_text(kept)
    return toy


def test_it_has_a_task_for_each_dataset_that_says_what_goes(tmp_path: Path) -> None:
    two_feeds(tmp_path)
    dag = pipelines(tmp_path / "datasets")["flagfall_maintenance"]
    assert list(dag.task_ids) == ["toy"]
    assert (dag.max_active_runs, dag.is_paused_upon_creation) == (1, False)
    assert DagSerialization.to_dict(dag)["dag"]["timetable"]["__var"]["expression"] == DAILY
    assert dag.get_task("toy").on_failure_callback


def test_there_is_none_where_nothing_goes_or_nobody_wants_it(tmp_path: Path) -> None:
    make_toy(tmp_path)
    assert "flagfall_maintenance" not in pipelines(tmp_path / "datasets")
    two_feeds(tmp_path)
    assert "flagfall_maintenance" not in pipelines(tmp_path / "datasets", maintenance="")
    assert "mine" in pipelines(tmp_path / "datasets", maintenance="mine")


def test_the_operator_returns_what_went(tmp_path: Path, clock: Clock) -> None:
    toy = make_toy(tmp_path, keep="reports: 1d, staged: 90d", after_receipt="delete")
    toy.drop("2026-11-01")
    run(toy, clock)
    task = MaintenanceOperator(task_id="toy", dataset="toy", datasets=tmp_path / "datasets")
    nothing = {"batches": 0, "objects": 0, "bytes": 0}
    assert task.execute({}) == {"reports": nothing, "staged": nothing, "landing": nothing}


def test_airflow_runs_it(tmp_path: Path) -> None:
    two_feeds(tmp_path)
    done = run_once(tmp_path / "datasets", dag="flagfall_maintenance")
    assert done == {"run": "success", "tasks": {"toy": "success"}}


def test_it_gives_tables_what_they_lack_and_fewer_files(tmp_path: Path, clock: Clock) -> None:
    toy = make_toy(tmp_path)
    file = tmp_path / "datasets/toy.yaml"
    file.write_text(file.read_text().replace("lake: {", "lake: {table: delta, ", 1))
    dag = pipelines(tmp_path / "datasets")["flagfall_maintenance"]
    assert list(dag.task_ids) == ["toy"]
    for day in ("2026-11-01", "2026-11-02"):
        toy.drop(day)
        run(toy, clock)  # of a feed that had no table then
    task = MaintenanceOperator(task_id="toy", dataset="toy", datasets=tmp_path / "datasets")
    first, second = task.execute({}), task.execute({})
    assert first["table rows"]["added"] == 2
    assert second["table rows"]["added"] == 0
    assert pl.read_delta(str(tmp_path / "lake/toy/tables/rows")).height == 4


def test_a_batch_that_is_damaged_fails_it_when_all_else_is_done(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy(tmp_path, keep="reports: 1d")
    for day in ("2026-11-01", "2026-11-02"):
        toy.drop(day)
    run(toy, clock)
    file = tmp_path / "datasets/toy.yaml"
    file.write_text(file.read_text().replace("lake: {", "lake: {table: delta, ", 1))
    lake = tmp_path / "lake/toy"
    next((lake / "staged").glob("2026-11-01*/*.parquet")).unlink()
    done: list[Upkeep] = []
    monkeypatch.setattr(upkeep, "do_upkeep", lambda *plan: done.append(do_upkeep(*plan)) or done[0])
    task = MaintenanceOperator(task_id="toy", dataset="toy", datasets=tmp_path / "datasets")
    with pytest.raises(Damaged, match=r"`flagfall replay toy 2026-11-01\."):
        task.execute({})
    assert pl.read_delta(str(lake / "tables/rows")).height == 2
    assert len(done) == 1
