from __future__ import annotations

import os
import runpy
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, TriggerRule
from airflow.sdk.definitions.asset import AssetNameRef
from airflow.serialization.serialized_objects import DagSerialization

from flagfall.dags import check_datasets, pipelines
from flagfall.dataset.loader import dataset_files
from flagfall.errors import DatasetInvalid, DatasetsInvalid, NotThere
from tests.feeds import make_toy

DAGS = Path(__file__).parents[2] / "dags"
EXPECTED_TASKS = [
    "claim",
    "evaluate_results",
    "generate_report",
    "ingest_data",
    "preprocess_data",
    "run_inference",
]


def dags_of(name: str) -> dict[str, DAG]:
    found: dict[str, Any] = runpy.run_path(str(DAGS / f"{name}.py"))
    return {value.dag_id: value for value in found.values() if isinstance(value, DAG)}


def toy_pipeline(root: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> DAG:
    make_toy(root, more=more)
    monkeypatch.setenv("FLAGFALL_DATASETS", str(root / "datasets"))
    return dags_of("feeds")["toy_pipeline"]


@pytest.fixture
def flights() -> DAG:
    return dags_of("feeds")["flights_pipeline"]


def test_every_dataset_has_a_pipeline() -> None:
    pipelines = {f"{p.stem}_pipeline" for p in dataset_files()}
    assert {name for name in dags_of("feeds") if name.endswith("_pipeline")} == pipelines


def test_airflow_can_store_every_dag() -> None:
    """A field of ours that is also one of Airflow's operators, such as ``queue``, breaks that."""
    for dag in dags_of("feeds").values():
        assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == dag.dag_id


def test_the_pipeline_is_scheduled_on_its_landed_asset_which_is_watched(flights: DAG) -> None:
    landed = flights.timetable.asset_condition.objects[0]  # type: ignore[attr-defined]
    assert landed.name == "flights_landed"
    assert [type(w.trigger).__name__ for w in landed.watchers] == ["MarkerFeedTrigger"]


def test_its_tasks_go_from_claim_to_report(flights: DAG) -> None:
    assert sorted(flights.task_ids) == EXPECTED_TASKS
    order = [task.task_id for task in flights.topological_sort()]
    assert [task for task in order if task in EXPECTED_TASKS] == [
        "claim",
        "ingest_data",
        "preprocess_data",
        "run_inference",
        "evaluate_results",
        "generate_report",
    ]


def test_the_stages_are_mapped_over_shards(flights: DAG) -> None:
    inside = {t.task_id for t in flights.tasks if t.get_closest_mapped_task_group()}
    assert inside == set(EXPECTED_TASKS) - {"claim", "generate_report"}


@pytest.mark.parametrize(("more", "tasks"), [("", 4), ("{active_tasks: 9}", 9)])
def test_one_run_at_a_time_and_as_many_tasks_as_the_dataset_says(
    more: str, tasks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = toy_pipeline(tmp_path, monkeypatch, f"limits: {more}" if more else "")
    assert (dag.max_active_runs, dag.max_active_tasks) == (1, tasks)


def test_a_dataset_can_leave_the_number_of_tasks_to_airflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG", "53")
    dag = toy_pipeline(tmp_path, monkeypatch, "limits: {active_tasks: 0}")
    assert dag.max_active_tasks == 53


def test_what_may_heal_is_retried_and_the_report_is_made_up_for(flights: DAG) -> None:
    retries = {task.task_id: task.retries for task in flights.tasks}
    assert retries.pop("generate_report") == 0
    assert set(retries.values()) == {3}


def test_a_dataset_sets_retries_and_timeout_of_single_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "tasks: {generate_report: {retries: 2}, ingest_data: {timeout: 6h}}"
    dag = toy_pipeline(tmp_path, monkeypatch, more)
    report, ingest, claim = map(dag.get_task, ("generate_report", "ingest_data", "claim"))
    assert (report.retries, ingest.retries, claim.retries) == (2, 3, 3)
    assert ingest.execution_timeout == timedelta(hours=6)
    assert report.execution_timeout == timedelta(hours=2)


def test_a_shard_that_fails_leaves_the_others_their_report(flights: DAG) -> None:
    """A claim that was skipped skips it; one that failed fails it."""
    report = flights.get_task("generate_report")
    assert report.trigger_rule == TriggerRule.ALL_DONE_MIN_ONE_SUCCESS
    assert report.upstream_task_ids == {"claim", "evaluate_results"}


@pytest.mark.parametrize(
    ("task_id", "asset"),
    [
        ("ingest_data", "flights_staged"),
        ("run_inference", "flights_predictions"),
        ("generate_report", "flights_report"),
    ],
)
def test_others_can_schedule_on_what_a_stage_made(flights: DAG, task_id: str, asset: str) -> None:
    outlets = flights.get_task(task_id).outlets
    assert [outlet.name for outlet in outlets if isinstance(outlet, Asset)] == [asset]


def test_every_dag_says_what_it_is_and_who_owns_it() -> None:
    for dag in dags_of("feeds").values():
        assert dag.doc_md
        assert "data-team" in dag.owner
        assert dag.dag_id == "flagfall_watchman" or all(
            task.on_failure_callback for task in dag.tasks
        )


def test_a_scheduled_feed_waits_for_its_marker_and_updates_the_asset_without_a_partition_key() -> (
    None
):
    dag = dags_of("feeds")["flights_expected"]
    sensor = dag.get_task("wait_for_marker")
    assert sensor.outlets == [AssetNameRef(name="flights_landed")]
    assert sensor.start_from_trigger


def test_a_schedule_is_in_utc_whatever_the_default_timezone_is(tmp_path: Path) -> None:
    """In a process of its own: Airflow reads its settings once."""
    make_toy(tmp_path, more="arrival: {schedule: '0 6 * * *', partition: {date: '%Y-%m-%d'}}")
    code = (
        "from flagfall.dags import pipelines\n"
        f"dag = pipelines({str(tmp_path / 'datasets')!r})['toy_expected']\n"
        "print('schedule', dag.timetable.expression, dag.timetable.timezone)\n"
    )
    setting = {"AIRFLOW__CORE__DEFAULT_TIMEZONE": "America/New_York"}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, env={**os.environ, **setting}, capture_output=True, text=True, check=True
    )
    assert "schedule 0 6 * * * UTC" in ran.stdout


def test_a_feed_without_a_model_has_no_scoring_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = toy_pipeline(tmp_path, monkeypatch)
    assert sorted(dag.task_ids) == ["claim", "generate_report", "ingest_data"]


def test_a_broken_dataset_file_shows_as_an_import_error_and_stops_no_other_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy(tmp_path)
    (toy.root / "datasets" / "broken.yaml").write_text("title: 3\n")
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    assert list(dags_of("feeds")) == ["toy_pipeline", "flagfall_watchman"]
    with pytest.raises(DatasetsInvalid) as failed:
        runpy.run_path(str(DAGS / "dataset_errors.py"))
    assert isinstance(failed.value.problems[0], DatasetInvalid)
    assert "broken.yaml: line 1: title" in str(failed.value)
    assert failed.value.__cause__ is None, "no traceback of pydantic above it"


def test_a_notifier_that_cannot_be_imported_shows_as_an_import_error_and_stops_no_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_toy(tmp_path, more="notify: [{notifier: no.such.Notifier}]")
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    assert set(dags_of("feeds")) == {"toy_pipeline", "flagfall_watchman"}
    with pytest.raises(DatasetsInvalid, match=r"toy\.yaml: notify\[0\]\.notifier: 'no\.such"):
        runpy.run_path(str(DAGS / "dataset_errors.py"))


def test_a_folder_that_is_not_there_is_an_error_and_not_no_dags(tmp_path: Path) -> None:
    for function in (pipelines, check_datasets):
        with pytest.raises(NotThere, match="give pipelines\\(\\) the folder of your dataset files"):
            function(tmp_path / "datasetz")


def _own(batches: Any) -> Any:
    return EmptyOperator(task_id="own")


def test_the_next_stage_waits_for_a_task_of_the_authors_own() -> None:
    for after, waits in (
        ("ingest_data", "preprocess_data"),
        ("run_inference", "evaluate_results"),
        ("flights.evaluate_results", "generate_report"),
    ):
        dag = pipelines(after={after: _own})["flights_pipeline"]
        own = dag.get_task("own")
        assert own.upstream_task_ids == {after.rpartition(".")[2]}
        assert own.downstream_task_ids == {waits}
        assert DagSerialization.to_dict(dag)


@pytest.mark.parametrize("name", ["evaluate", "claim", "flight.evaluate_results"])
def test_a_task_of_the_authors_own_that_would_follow_nothing_is_an_error(name: str) -> None:
    with pytest.raises(NotThere, match=f"no task '{name}'; expected ingest_data, preprocess_data"):
        pipelines(after={name: _own})


def test_in_a_task_only_its_own_dag_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_toy(tmp_path, more='arrival: {schedule: "0 6 * * *", partition: {date: "%Y-%m-%d"}}')
    folder = tmp_path / "datasets"
    assert set(pipelines(folder)) == {"toy_pipeline", "toy_expected", "flagfall_watchman"}
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "toy_expected")
    assert set(pipelines(folder)) == {"toy_expected"}


def test_in_a_task_only_its_own_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With hundreds of feeds each task would read hundreds of files."""
    make_toy(tmp_path)
    folder = tmp_path / "datasets"
    (folder / "broken.yaml").write_text("title: 5\n")
    own = {"broken.ingest_data": _own}
    assert "toy_pipeline" in pipelines(folder, after=own)
    assert "broken.yaml" in caplog.text
    caplog.clear()
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "toy_pipeline")
    assert set(pipelines(folder, after=own)) == {"toy_pipeline"}
    assert not caplog.text


def test_a_task_of_the_upkeep_knows_every_dataset_whatever_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_toy(tmp_path)
    folder = tmp_path / "datasets"
    text = (folder / "toy.yaml").read_text()
    for name in ("toy", "flagfall"):
        kept = text.replace("lake: {", "lake: {keep: {staged: 90d}, ")
        (folder / f"{name}.yaml").write_text(kept)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "flagfall_maintenance")
    (dag,) = pipelines(folder).values()
    assert set(dag.task_ids) == {"toy", "flagfall"}
