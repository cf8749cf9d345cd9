"""Days of flights through Celery: 1, 10 and 100 at once, with 1, 2 and 4 workers on one machine."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from table import Cell, Column, Table, found

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Evaluation
from flagfall.landing.marker import Marker
from flagfall.publish import DEFAULT_MARKER, publish
from sandbox.cluster import PROJECT, LocalCluster
from sandbox.demo import BUCKET, CONN_ID, S3Producer
from sandbox.flights import LABELLED, write_day
from sandbox.s3 import LocalS3

FIRST = date(2013, 3, 1)
PATIENCE = 600.0
SHARD = 10
"""Batches in a shard, so that a hundred days can be on several workers."""
DAG = "flights_pipeline"
WATCHED = """select 1 from trigger t join job j on j.id = t.triggerer_id
    where t.classpath like '%FeedTrigger'"""


class Cluster(NamedTuple):
    """A running one, and who drops days."""

    airflow: LocalCluster
    producer: S3Producer
    inbox: Inbox
    folder: Path


@contextmanager
def cluster(workers: int, shard: int) -> Iterator[Cluster]:
    """Start S3 and Airflow, with so many batches in a shard at most; end it all."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        s3 = stack.enter_context(LocalS3(folder / "s3", BUCKET, marker=DEFAULT_MARKER))
        producer = S3Producer(s3)
        datasets = {"FLAGFALL_DATASETS": str(_datasets(folder, shard))}
        stack.enter_context(patch.dict(os.environ, {**producer.settings, **datasets}))
        stack.enter_context(s3.reached_by(CONN_ID))
        airflow = LocalCluster(folder / "airflow", {**producer.settings, **datasets}, workers)
        stack.enter_context(airflow)
        for sql in (WATCHED, f"select 1 from dag where dag_id = '{DAG}'"):
            airflow.wait_until(lambda sql=sql: airflow.query(sql), sql)
        inbox = Inbox(Feed.of(find_dataset("flights")))
        yield Cluster(airflow, producer, inbox, folder)


def _datasets(folder: Path, shard: int) -> Path:
    """The flights' own dataset file, with another limit."""
    text = (LABELLED / "flights.yaml").read_text()
    text = text.replace("../models/", f"{PROJECT}/models/")
    (folder / "datasets").mkdir()
    file = folder / "datasets" / "flights.yaml"
    file.write_text(f"{text}limits: {{shard_batches: {shard}}}\n")
    return file.parent


def prepare(folder: Path, days: Sequence[date]) -> list[Path]:
    """Days as their producer has them."""
    for day in days:
        write_day(day, folder / "made" / str(day))
        publish(folder / "made" / str(day), str(folder / "outbox" / f"date={day}"))
    return [folder / "outbox" / f"date={day}" for day in days]


def run(running: Cluster, days: Sequence[date]) -> tuple[float, int, int]:
    """Drop days; gives the seconds until all are reported, and the runs and tasks that it took."""
    ready = prepare(running.folder, days)
    before = _counts(running.airflow)
    began = time.monotonic()
    for batch in ready:
        running.producer.hand_over(batch, running.inbox.landing.store.uri)
    idle = f"select 1 from dag_run where dag_id = '{DAG}' and state in ('queued', 'running')"
    running.airflow.wait_until(lambda: not _pending(running.inbox), "still pending", PATIENCE)
    running.airflow.wait_until(lambda: not running.airflow.query(idle), "still running", PATIENCE)
    seconds = time.monotonic() - began
    markers = [m for m in running.inbox.landing.markers() if _day(m.key) in {str(d) for d in days}]
    scored = [m for m in markers if running.inbox.lake.find(Evaluation, m.batch_id)]
    assert len(scored) == len(days), f"{len(scored)} of {len(days)} days were evaluated"
    after = _counts(running.airflow)
    return seconds, after[0] - before[0], after[1] - before[1]


def _pending(inbox: Inbox) -> list[Marker]:
    """What has no receipt, however long ago its day was."""
    return inbox.pending(inbox.shortcuts.full_scope())


def _day(key: str) -> str:
    return key.partition("/")[0].removeprefix("date=")


def _counts(airflow: LocalCluster) -> tuple[int, int]:
    """Runs, and tries of tasks."""
    runs = airflow.query("select count(*) as n from dag_run where dag_id = ?", DAG)[0]["n"]
    tries = "select coalesce(sum(try_number), 0) as n from task_instance where dag_id = ?"
    return int(runs), int(airflow.query(tries, DAG)[0]["n"])


def main() -> None:
    """Measure each number of workers in a cluster of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--days", type=int, nargs="+", default=[1, 10, 100])
    given = parser.parse_args()
    default = find_dataset("flights").limits.shard_batches
    rows: list[tuple[Cell, ...]] = []
    for workers, shard in [*((n, SHARD) for n in given.workers), (max(given.workers), default)]:
        with cluster(workers, shard) as running:
            first = FIRST
            for count in given.days:
                days = [first + timedelta(days=n) for n in range(count)]
                seconds, runs, tasks = run(running, days)
                rows.append((workers, shard, count, seconds, seconds / count, runs, tasks))
                first += timedelta(days=count)
    columns = (
        Column("workers"),
        Column("shard_batches"),
        Column("days"),
        Column("time, s", ".1f"),
        Column("a day, s", ".2f"),
        Column("runs"),
        Column("task starts"),
    )
    found(Table("cluster", columns, tuple(rows)))


if __name__ == "__main__":
    main()
