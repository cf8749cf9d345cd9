"""What becomes of a run in which something fails, by a real run of Airflow's."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.lake.records import Evaluation
from tests.dags.one_run import run_once
from tests.scored import GOOD, POISON, make_scored_toy


@pytest.mark.invariant(5)
def test_a_batch_that_cannot_be_scored_makes_a_red_run_that_finishes_and_reports_the_others(
    tmp_path: Path,
) -> None:
    toy = make_scored_toy(tmp_path)
    days = {"2026-11-01": GOOD, "2026-11-02": POISON, "2026-11-03": GOOD}
    markers = [toy.drop(day, text) for day, text in days.items()]
    assert run_once(toy.root / "datasets") == {
        "run": "failed",
        "tasks": {
            "claim": "success",
            "ingest_data[0]": "success",
            "preprocess_data[0]": "success",
            "run_inference[0]": "failed",
            "evaluate_results[0]": "success",
            "generate_report": "failed",
        },
    }
    found = toy.inbox().lake.find_all(Evaluation, [marker.batch_id for marker in markers])
    assert [evaluation is not None for evaluation in found] == [True, False, True]
    page = (toy.root / "lake/toy/reports/latest.html").read_text()
    assert " was accepted and is not evaluated" in page


OWN_TASKS = """\
from airflow.sdk import task
from flagfall.dags import pipelines


@task
def audit(batches):
    (batch,) = batches
    print(batch["rows"], file=open("AUDIT", "a"))


globals().update(pipelines(after={"preprocess_data": audit, "toy.evaluate_results": audit}))
"""


def test_a_task_of_the_authors_own_runs_between_two_stages(tmp_path: Path) -> None:
    toy = make_scored_toy(tmp_path)
    toy.drop("2026-11-01", GOOD)
    own = tmp_path / "own.py"
    own.write_text(OWN_TASKS.replace("AUDIT", str(tmp_path / "audit")))
    ended = run_once(toy.root / "datasets", own)
    assert ended["run"] == "success"
    assert {"audit[0]", "audit__1[0]"} < set(ended["tasks"])
    assert set(ended["tasks"].values()) == {"success"}
    assert (tmp_path / "audit").read_text() == "2\n2\n"


def test_a_claim_that_fails_makes_a_red_run(tmp_path: Path) -> None:
    toy = make_scored_toy(tmp_path)
    (toy.root / "lake").write_text("a file where the lake should be")
    ended = run_once(toy.root / "datasets")
    assert ended["run"] == "failed"
    states = ended["tasks"]
    assert states.pop("claim") == "failed"
    assert set(states.values()) == {"upstream_failed"}


def test_a_run_with_nothing_to_do_is_skipped(tmp_path: Path) -> None:
    ended = run_once(make_scored_toy(tmp_path).root / "datasets")
    assert (ended["run"], set(ended["tasks"].values())) == ("success", {"skipped"})
