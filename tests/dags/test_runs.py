"""What becomes of a run in which something fails, by a real run of Airflow's."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.lake.records import Evaluation
from tests.dags.one_run import run_once
from tests.scored import GOOD, POISON, make_scored_toy

pytestmark = [pytest.mark.timeout(300)]


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
    assert "1 accepted batch was not scored" in page


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
