"""Each release of Airflow that Flagfall runs on, in an environment of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flagfall.dataset.loader import read_dataset
from sandbox.airflow import LocalAirflow
from tests.feeds import ToyFeed
from tests.live.conftest import DAGS, EVERY_MINUTE, FEED
from tests.scored import GOOD, make_scored_toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ENVIRONMENTS = {
    "3.2": DAGS.parent / ".flagfall" / "airflow-3.2",
    "3.3": Path(sys.executable).parents[1],
}
SENSOR = "select state from task_instance where dag_id = 'due_expected'"


def python_of(release: str) -> Path:
    folder = ENVIRONMENTS[release]
    if release != "3.3" and not (folder / ".done").exists():
        why = f"Airflow {release} is not installed; run `make airflow-{release}`"
        if os.environ.get("FLAGFALL_REQUIRE_SERVERS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return folder / "bin" / "python"


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def airflow(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    python, root = python_of(request.param), tmp_path_factory.mktemp("release")
    make_scored_toy(root)
    due = (FEED.replace("NAME", "due") + EVERY_MINUTE).replace("ROOT", str(root))
    (root / "datasets" / "due.yaml").write_text(due)
    settings = {"FLAGFALL_DATASETS": str(root / "datasets")}
    with LocalAirflow(root / "airflow", DAGS, settings, python) as running:
        yield running


def states(airflow: LocalAirflow) -> set[Any]:
    return {row["state"] for row in airflow.query(SENSOR)}


def test_a_batch_goes_from_marker_to_report_and_a_sensor_defers_and_goes_on(
    airflow: LocalAirflow,
) -> None:
    root = airflow.home.parent
    toy = ToyFeed(root, read_dataset(root / "datasets" / "toy.yaml"))
    toy.drop("2026-11-01", GOOD)
    report = root / "lake/toy/reports/latest.html"
    airflow.wait_until(report.exists, "no report")
    airflow.wait_until(lambda: "deferred" in states(airflow), "the sensor was not deferred")
    due = ToyFeed(root / "due", read_dataset(root / "datasets" / "due.yaml"))
    for row in airflow.query(
        "select logical_date, run_after from dag_run where dag_id like 'due_e%'"
    ):
        after = datetime.fromisoformat(str(row["run_after"])).replace(tzinfo=UTC)
        due.drop(f"{after:%Y-%m-%dT%H-%M}")
    airflow.wait_until(lambda: "success" in states(airflow), "the sensor did not go on")
    assert airflow.query("select filename, stacktrace from import_error") == []
