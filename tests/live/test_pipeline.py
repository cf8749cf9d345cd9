"""What users rely on, on a real Airflow: nothing is mocked, its own database is read."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Staged
from sandbox.flights import weather_of
from tests.live.conftest import FEEDS, WATCHING, Live


@pytest.mark.invariant(2)
def test_a_burst_of_200_markers_is_taken_in_whole_by_a_run_that_saw_one_event(live: Live) -> None:
    feed = live.feed("burst")
    markers = [feed.drop(f"{n:03d}", f"id,value\n{n},1\n") for n in range(200)]
    inbox = feed.inbox()
    live.wait(lambda: not inbox.pending(), "not everything was taken in")
    live.wait(lambda: live.quiet("burst_pipeline"), "runs did not end")
    receipts = [inbox.receipts.find(marker) for marker in markers]
    assert Counter(receipt.status for receipt in receipts if receipt) == {"accepted": 200}
    staged = list(Path(inbox.lake.store.uri, "staged").iterdir())
    assert len(staged) == 200
    assert all(inbox.lake.find(Staged, folder.name) for folder in staged)
    assert len(live.runs("burst_pipeline")) <= 8  # not one per marker
    succeeded = lambda: {r["state"] for r in live.runs("burst_pipeline")} == {"success"}  # noqa: E731
    live.wait(succeeded, "a run did not succeed")


@pytest.mark.invariant(1)
def test_what_lands_while_the_dag_is_paused_is_taken_in_after_it_with_no_further_marker(
    live: Live,
) -> None:
    feed = live.feed("paused")
    live.pause("paused_pipeline", True)
    for day in range(1, 6):
        feed.drop(f"2026-11-{day:02d}")
    events = (
        "select count(*) as n from asset_event e join asset a on a.id = e.asset_id where a.name = ?"
    )
    live.wait(lambda: live.airflow.query(events, "paused_landed")[0]["n"], "nothing was announced")
    live.pause("paused_pipeline", False)
    inbox = feed.inbox()
    live.wait(lambda: not inbox.pending(), "not everything was taken in")
    assert Counter(r.status for r in inbox.receipts.since(datetime(2026, 1, 1).date())) == {
        "accepted": 5
    }


def test_a_rejected_batch_is_mailed_and_named_in_the_grid_and_in_the_logs(live: Live) -> None:
    live.feed("told").drop("2026-11-01", "nonsense\n")
    live.wait(lambda: live.box.mails, "nobody was told")
    (mail,) = live.box.mails
    assert mail["subject"] == "told: 2026-11-01 (columns) was rejected and not corrected since"
    live.wait(lambda: live.quiet("told_pipeline"), "the run did not end")
    (run,) = live.runs("told_pipeline")
    assert run["state"] == "success"
    assert f"/dags/told_pipeline/runs/{quote(run['run_id'], safe='')}" in live.box.html()[0]
    (ingest,) = live.tasks("told_pipeline", "ingest_data")
    assert ingest["rendered_map_index"] == "2026-11-01: REJECTED"
    log = read_log(live, "told_pipeline", run["run_id"])
    lake = live.root / "told/lake/told"
    assert "told: claimed 1 batches in 1 shards" in log
    assert "was rejected (columns): " in log
    assert f"told: 1 rejected; receipts are in {lake}/receipts" in log
    assert f"{lake}/reports/" in log


def this_minute() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H-%M")


@pytest.mark.usefixtures("live_s3")
@pytest.mark.parametrize("name", ["due", "cloud"])
def test_a_batch_that_is_due_is_waited_for_without_a_worker(live: Live, name: str) -> None:
    """Scheduled to deferred without a start on a worker; done soon after the marker came."""
    feed = live.feed(name) if name == "due" else live.s3_feed(name)
    of_feed = f"select * from task_instance where dag_id = '{name}_expected'"
    deferred = f"{of_feed} and state = 'deferred'"
    live.wait(lambda: live.airflow.query(deferred), "no sensor was deferred")
    waiting = live.airflow.query(deferred)[0]
    assert waiting["hostname"] == ""  # no worker has seen it
    assert waiting["pid"] is None
    run = next(r for r in live.runs(f"{name}_expected") if r["run_id"] == waiting["run_id"])
    due = datetime.fromisoformat(run["run_after"]).strftime("%Y-%m-%dT%H-%M")
    marker = feed.drop(due)
    done = f"select * from task_instance where id = '{waiting['id']}' and state = 'success'"
    live.wait(lambda: live.airflow.query(done), "the sensor did not end")
    events = f"""select e.extra, e.partition_key from asset_event e
        join asset a on a.id = e.asset_id
        where a.name = '{name}_landed' and e.source_task_id = 'wait_for_marker'"""
    event = live.airflow.query(events)[0]
    assert json.loads(event["extra"])["marker"] == marker.uri
    assert event["partition_key"] is None
    inbox = feed.inbox()
    live.wait(lambda: inbox.receipts.find(marker), "the pipeline did not take it in")


def test_a_marker_that_does_not_come_fails_the_wait_with_its_name(live: Live) -> None:
    failed = "select * from task_instance where dag_id = 'late_expected' and state = 'failed'"
    live.wait(lambda: live.airflow.query(failed), "no wait failed")
    expected = rf"marker {live.root}/late/landing/date=[-\dT]+/datapackage.json did not come by"

    def says_so() -> bool:
        waits = live.airflow.query(failed)
        assert {wait["try_number"] for wait in waits} == {1}
        logs = (read_log(live, wait["dag_id"], wait["run_id"]) for wait in waits)
        return any(re.search(expected, log) for log in logs)  # a worker may have died before

    live.wait(says_so, "no log says what did not come")


def read_log(live: Live, dag_id: str, run_id: str) -> str:
    folder = live.airflow.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    return "\n".join(path.read_text() for path in sorted(folder.rglob("*.log*")))


def test_a_feed_of_another_shape_needs_a_yaml_file_and_nothing_else(live: Live) -> None:
    feed = live.feed("weather")
    day = feed.landing / "2013-12-05"
    day.mkdir(parents=True)
    hours = weather_of(datetime(2013, 12, 5).date())
    hours.write_ndjson(day / "hours.jsonl")
    (day / "_SUCCESS").touch()
    inbox = Inbox(Feed.of(feed.dataset))
    marker = inbox.landing.markers()[0]
    live.wait(lambda: inbox.receipts.find(marker), "no receipt")
    receipt = inbox.receipts.find(marker)
    assert receipt is not None
    assert receipt.status == "accepted", receipt.message
    clear = sum(hours["visib"] > 9.9)
    assert clear > 0
    assert (receipt.rows, receipt.rejected_rows) == (hours.height - clear, clear)
    live.wait(lambda: list(feed.root.glob("lake/weather/reports/latest.html")), "no report")
    assert sorted({task["task_id"] for task in live.tasks("weather_pipeline")}) == [
        "claim",
        "generate_report",
        "ingest_data",
    ]


def test_bad_input_fails_at_once_and_the_log_says_what_to_do(live: Live) -> None:
    live.feed("broken_model").drop("2026-11-01")
    failed = lambda: [  # noqa: E731  a name for the test below
        task
        for task in live.tasks("broken_model_pipeline", "preprocess_data")
        if task["state"] == "failed"
    ]
    live.wait(failed, "the task did not fail")
    task = failed()[0]
    assert (task["try_number"], task["max_tries"]) == (1, 3)  # not retried, though it could be
    log = read_log(live, task["dag_id"], task["run_id"])
    assert "there is no such folder; correct model.path" in log
    assert "mend the cause and clear the task, or `flagfall replay broken_model BATCH`" in log


def test_a_mistake_in_a_dataset_file_shows_in_airflows_import_errors(live: Live) -> None:
    live.wait(lambda: live.airflow.query("select * from import_error"), "no import error")
    error = live.airflow.query("select filename, stacktrace from import_error")
    assert [Path(row["filename"]).name for row in error] == ["dataset_errors.py"]
    assert "misspelt.yaml: line 1: titel: this key is not known here" in error[0]["stacktrace"]


def test_nothing_is_queued_or_running_while_sensors_and_watchers_wait(live: Live) -> None:
    """The feed whose deadline passes every minute is left out: its failing takes a worker."""
    busy = """select dag_id, task_id, state from task_instance
        where state in ('queued', 'running', 'scheduled') and dag_id != 'late_expected'"""
    waiting = "select * from task_instance where dag_id = 'due_expected' and state = 'deferred'"
    live.wait(lambda: live.airflow.query(waiting), "no sensor waits")
    going = """select 1 from dag_run where state in ('queued', 'running')
        and dag_id like '%_pipeline'"""
    live.wait(lambda: not live.airflow.query(going), "runs did not end")
    assert len(live.airflow.query(WATCHING)) == len(FEEDS)

    def is_calm() -> bool:
        """For longer than any of them waits between two looks."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            if live.airflow.query(busy):
                return False
            time.sleep(0.1)
        return True

    live.wait(is_calm, "there was always a task that is queued or runs")


def test_airflow_listens_on_loopback_only(live: Live) -> None:
    listening = {
        connection.laddr.ip
        for component in ("api-server", "scheduler", "triggerer", "dag-processor")
        for process in live.airflow.family(component)
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
