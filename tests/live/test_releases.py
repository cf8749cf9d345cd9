"""Each release of Airflow that Flagfall runs on, in an environment of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flagfall.dataset.loader import read_dataset
from sandbox.airflow import LocalAirflow
from tests.feeds import ToyFeed
from tests.live.conftest import BROKEN_MODEL, DAGS, EVERY_MINUTE, FEED
from tests.scored import GOOD, make_scored_toy

pytestmark = [pytest.mark.slow, pytest.mark.release]

ENVIRONMENTS = {
    "3.2": DAGS.parent / ".flagfall" / "airflow-3.2",
    "3.3": Path(sys.executable).parents[1],
}
FEEDS = {"due": EVERY_MINUTE, "broken_model": BROKEN_MODEL}


@dataclass(frozen=True)
class Released:
    """A running Airflow of one release, and its feeds."""

    release: str
    airflow: LocalAirflow

    def feed(self, name: str) -> ToyFeed:
        root = self.airflow.home.parent
        folder = root if name == "toy" else root / name
        return ToyFeed(folder, read_dataset(root / "datasets" / f"{name}.yaml"))

    def tasks(self, dag_id: str, state: str) -> list[dict[str, Any]]:
        sql = "select * from task_instance where dag_id = ? and state = ?"
        return self.airflow.query(sql, dag_id, state)


def python_of(release: str) -> Path:
    folder = ENVIRONMENTS[release]
    if release != "3.3" and not (folder / ".done").exists():
        why = f"Airflow {release} is not installed; run `make airflow-{release}`"
        if os.environ.get("FLAGFALL_REQUIRE_SERVERS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return folder / "bin" / "python"


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def released(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Released]:
    python, root = python_of(request.param), tmp_path_factory.mktemp("release")
    make_scored_toy(root)
    for name, more in FEEDS.items():
        text = (FEED.replace("NAME", name) + more).replace("ROOT", str(root))
        (root / "datasets" / f"{name}.yaml").write_text(text.replace("8s", "15m"))
    settings = {"FLAGFALL_DATASETS": str(root / "datasets")}
    with LocalAirflow(root / "airflow", DAGS, settings, python) as running:
        yield Released(request.param, running)


def test_a_batch_goes_from_marker_to_report(released: Released) -> None:
    version = released.airflow.run("version").splitlines()[-1]
    assert version.startswith(f"{released.release}.")
    toy = released.feed("toy")
    toy.drop("2026-11-01", GOOD)
    report = toy.root / "lake/toy/reports/latest.html"
    released.airflow.wait_until(report.exists, "no report")
    assert released.airflow.query("select filename, stacktrace from import_error") == []


def test_bad_input_fails_at_once_and_the_notice_names_the_error(released: Released) -> None:
    """Whether a retry policy sees to it (3.3) or the operator (3.2)."""
    released.feed("broken_model").drop("2026-11-01")
    failed = lambda: released.tasks("broken_model_pipeline", "failed")  # noqa: E731  said once
    released.airflow.wait_until(failed, "the task did not fail")
    task = next(task for task in failed() if task["task_id"] == "preprocess_data")
    assert (task["try_number"], task["max_tries"]) == (1, 3)
    folder = released.airflow.home / "logs" / "dag_id=broken_model_pipeline"
    log = lambda: "\n".join(path.read_text() for path in folder.rglob("*.log*"))  # noqa: E731
    released.airflow.wait_until(lambda: "failed: mend" in log(), "no notice")
    assert "(ModelInvalid: model " in log()


def test_a_sensor_defers_and_goes_on_when_its_marker_comes(released: Released) -> None:
    deferred = lambda: released.tasks("due_expected", "deferred")  # noqa: E731  said once
    released.airflow.wait_until(deferred, "the sensor was not deferred")
    waiting = deferred()[0]
    was_on_a_worker = waiting["hostname"] != ""
    assert was_on_a_worker == (released.release == "3.2")
    (run,) = released.airflow.query(
        "select run_after from dag_run where dag_id = 'due_expected' and run_id = ?",
        waiting["run_id"],
    )
    after = datetime.fromisoformat(str(run["run_after"])).replace(tzinfo=UTC)
    released.feed("due").drop(f"{after:%Y-%m-%dT%H-%M}")
    succeeded = "select 1 from task_instance where id = ? and state = 'success'"
    released.airflow.wait_until(
        lambda: released.airflow.query(succeeded, waiting["id"]), "the sensor did not go on"
    )
