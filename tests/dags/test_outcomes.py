"""A dataset whose outcomes come by another feed has a DAG that waits for them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from flagfall.lake.output import LATEST
from tests.dags.one_run import DAGS, run_once
from tests.late import LateFeeds, make_late


@pytest.fixture
def feeds(tmp_path: Path) -> LateFeeds:
    return make_late(tmp_path)


@pytest.fixture
def dag(feeds: LateFeeds, monkeypatch: pytest.MonkeyPatch) -> DAG:
    monkeypatch.setenv("FLAGFALL_DATASETS", str(feeds.toy.root / "datasets"))
    found = runpy.run_path(str(DAGS / "feeds.py"))
    assert "truth_outcomes" not in found
    dag = found["toy_outcomes"]
    assert isinstance(dag, DAG)
    return dag


def test_it_is_scheduled_on_what_both_pipelines_update(dag: DAG) -> None:
    names = {one.name for one in dag.timetable.asset_condition.objects}  # type: ignore[attr-defined]
    assert names == {"truth_staged", "toy_evaluated"}
    assert dag.max_active_runs == 1
    assert sorted(dag.task_ids) == ["evaluate_outcomes", "generate_report"]


def test_nobody_has_to_unpause_it_beside_the_two_pipelines(dag: DAG) -> None:
    assert dag.is_paused_upon_creation is False


def test_airflow_can_store_it(dag: DAG) -> None:
    assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == "toy_outcomes"


def test_a_run_evaluates_what_has_come_and_leaves_nothing_to_do(
    feeds: LateFeeds,
) -> None:
    scored = feeds.score("2026-11-20")
    feeds.happen("2026-11-21", "id,delay\n1,30\n2,5\n3,20\n")
    told = run_once(feeds.toy.root / "datasets", dag="toy_outcomes")
    assert told["tasks"] == {"evaluate_outcomes": "success", "generate_report": "success"}
    known = feeds.known(scored)
    assert known is not None
    assert known.evaluation.labelled == 3
    page = (feeds.toy.root / "lake/toy" / LATEST).read_text()
    assert "3 of 4 rows" in page
    assert feeds.learn().batches == ()
