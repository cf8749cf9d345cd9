"""The main job on a real Airflow: how fast, what waiting costs, what a burst costs."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

from flagfall.dataset import Dataset, find_dataset
from flagfall.flights import write_day
from flagfall.inbox import Feed, Inbox
from flagfall.local_airflow import LocalAirflow
from flagfall.marker import Marker
from flagfall.publish import publish
from flagfall.records import Receipt

DAGS = Path(__file__).parents[1] / "dags"
BUSY = "('scheduled', 'queued', 'running')"

WAITING = """
from datetime import datetime
from airflow.sdk import DAG
from operators import MarkerSensor
with DAG("waiting", schedule="@once", start_date=datetime(2026, 1, 1), catchup=False):
    for n in range(10):
        MarkerSensor(task_id=f"wait_{n}", landing="LANDING", marker="never={n}/_SUCCESS",
                     partition={"n": str(n)})
"""


def main(what: str) -> None:
    """Run one of the three in a folder of its own."""
    jobs: dict[str, Callable[[Path], None]] = {
        "latency": latency,
        "waiting": waiting,
        "burst": burst,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLAGFALL_DATA"] = f"{folder}/data"
        jobs[what](Path(folder))


def airflow_in(folder: Path, dags: Path = DAGS) -> LocalAirflow:
    """An Airflow whose feed of flights is below ``folder``."""
    return LocalAirflow(folder / "airflow", dags, {"FLAGFALL_DATA": f"{folder}/data"})


def wait_for_watcher(airflow: LocalAirflow) -> None:
    """Wait until the feed is watched and its pipeline known."""
    watching = "select 1 from trigger where classpath like '%FeedTrigger' and triggerer_id > 0"
    airflow.wait_until(lambda: airflow.query(watching), "the feed is not watched")
    airflow.wait_until(
        lambda: airflow.query("select 1 from dag where dag_id = 'flights_pipeline'"), "no pipeline"
    )


def prepare(folder: Path, day: date) -> Path:
    """A published day of flights in an outbox beside the landing zone."""
    write_day(day, folder / "made" / str(day))
    target = folder / "outbox" / f"date={day}"
    publish(folder / "made" / str(day), str(target))
    return target


def land(dataset: Dataset, outbox: Path) -> None:
    """Rename a prepared day into the landing zone."""
    landing = Path(dataset.landing.uri)
    landing.mkdir(parents=True, exist_ok=True)
    outbox.rename(landing / outbox.name)


def received(inbox: Inbox, marker: Marker) -> Receipt:
    """The receipt of a marker that is known to have one."""
    receipt = inbox.receipts.find(marker)
    assert receipt is not None, marker
    return receipt


def latency(folder: Path) -> None:
    """Drop 20 days, each when the report of the one before is there."""
    dataset = find_dataset("flights")
    inbox = Inbox(Feed.of(dataset))
    to_receipt, to_report = [], []
    with airflow_in(folder) as airflow:
        wait_for_watcher(airflow)
        for n in range(20):
            day = date(2013, 10, 1) + timedelta(days=n)
            source = folder / "made" / str(day)
            write_day(day, source)
            publish(source, f"{dataset.landing.uri}/date={day}")
            marker = inbox.landing.find(f"date={day}/datapackage.json")[0]
            done = f"""select end_date from task_instance where task_id = 'generate_report' and
                state = 'success' and end_date > '{marker.landed_at:%Y-%m-%d %H:%M:%S.%f}'"""
            airflow.wait_until(lambda done=done: airflow.query(done), f"{day}: no report")
            ended = datetime.fromisoformat(airflow.query(done)[0]["end_date"]).replace(tzinfo=UTC)
            to_receipt.append(received(inbox, marker).seconds)
            to_report.append((ended - marker.landed_at).total_seconds())
    for name, times in (("receipt", to_receipt), ("report", to_report)):
        first, rest = times[0], times[1:]
        print(
            f"marker to {name}: p50 {median(times):.2f} s, max {max(times):.2f} s over {len(times)}"
            f" batches (first {first:.2f} s; the others at most {max(rest):.2f} s)"
        )


def waiting(folder: Path) -> None:
    """Ten sensors and a watcher wait for a minute; ask the database twice a second."""
    dags = folder / "dags"
    dags.mkdir()
    (dags / "ml_pipeline.py").write_text((DAGS / "ml_pipeline.py").read_text())
    (dags / "waiting.py").write_text(WAITING.replace("LANDING", f"{folder}/data/landing/other"))
    with airflow_in(folder, dags) as airflow:
        wait_for_watcher(airflow)
        deferred = "select * from task_instance where dag_id = 'waiting' and state = 'deferred'"
        airflow.wait_until(lambda: len(airflow.query(deferred)) == 10, "the sensors do not wait")
        busy, slots, looks = 0, 0, 0
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = airflow.query(
                f"select count(*) as n, coalesce(sum(pool_slots), 0) as slots"
                f" from task_instance where state in {BUSY}"
            )[0]
            busy, slots, looks = max(busy, found["n"]), max(slots, found["slots"]), looks + 1
            time.sleep(0.5)
        hosts = airflow.query("select distinct hostname, pid from task_instance")
        print(f"looked {looks} times in 60 s, {len(airflow.query(deferred))} sensors deferred")
        print(f"task instances scheduled, queued or running: at most {busy}; pool slots: {slots}")
        print(f"host and process of the ten task instances: {hosts}")
        cpu = sum(sum(p.cpu_times()[:2]) for p in airflow.family("triggerer"))
        print(f"CPU of the triggerer since its start: {cpu:.1f} s")


def burst(folder: Path) -> None:
    """Rename 200 prepared days into the landing zone as fast as that goes."""
    dataset = find_dataset("flights")
    inbox = Inbox(Feed.of(dataset))
    days = [prepare(folder, date(2013, 3, 1) + timedelta(days=n)) for n in range(200)]
    with airflow_in(folder) as airflow:
        wait_for_watcher(airflow)
        began = time.monotonic()
        for day in days:
            land(dataset, day)
        dropped = time.monotonic() - began
        airflow.wait_until(lambda: not inbox.pending(), "something is still pending", 600)
        taken_in = time.monotonic() - began
        running = "select 1 from dag_run where state in ('queued', 'running')"
        airflow.wait_until(lambda: not airflow.query(running), "runs did not end", 600)
        ended = time.monotonic() - began
        statuses = Counter(received(inbox, m).status for m in inbox.landing.markers())
        runs = airflow.query("select state from dag_run where dag_id = 'flights_pipeline'")
        tasks = airflow.query("select task_id, state from task_instance")
        events = airflow.query(
            "select count(*) as n from asset_event e join asset a on a.id = e.asset_id"
            " where a.name = 'flights_landed'"
        )[0]["n"]
    staged = sum(1 for _ in Path(inbox.lake.store.uri, "staged").iterdir())
    scored = sum(1 for _ in Path(inbox.lake.store.uri, "evaluations").iterdir())
    print(
        f"{len(days)} markers in {dropped:.2f} s; all received after {taken_in:.1f} s, "
        f"all reported after {ended:.1f} s"
    )
    print(f"receipts: {dict(statuses)}; staged {staged}, evaluated {scored}; events {events}")
    print(
        f"runs: {len(runs)} {dict(Counter(r['state'] for r in runs))}; task instances: "
        f"{len(tasks)} {dict(Counter(t['state'] for t in tasks))}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
