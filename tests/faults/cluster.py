"""A cluster of Celery workers that can be harmed: what dies stays dead, the others go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

from flagfall.dataset import find_dataset
from flagfall.demo import BUCKET, CONN_ID
from flagfall.demo import S3Producer as DemoProducer
from flagfall.flights import all_flights
from flagfall.inbox import Feed, Inbox
from flagfall.local_cluster import LocalCluster
from flagfall.local_s3 import LocalS3
from flagfall.stores import aws
from tests.faults.airflow import SITE, kill
from tests.faults.comparison import Comparison, S3Files, Verdict
from tests.faults.producer import Drop, S3Producer
from tests.faults.world import Line

FIRST_DAY = date(2013, 12, 11)
PATIENCE = 300.0
NAME = "flights"


class WholeDays:
    """The demo's days, one a batch, without the rows that would be turned away."""

    def __init__(self) -> None:
        key = ["date", "carrier", "flight", "origin"]
        complete = all_flights().drop_nulls(["tailnum", "sched_dep_time", "sched_arr_time"])
        self._flights = complete.unique(key, maintain_order=True)
        self._day = FIRST_DAY

    def write(self, folder: Path) -> frozenset[str]:
        rows = self._flights.filter(date=self._day)
        self._day += timedelta(days=1)
        folder.mkdir(parents=True)
        rows.write_csv(folder / "flights.csv", null_value="NA")
        keys = rows.select("date", "carrier", "flight", "origin").iter_rows()
        return frozenset("|".join(map(str, key)) for key in keys)


class HarmedCluster(LocalCluster):
    """A cluster whose machines can be killed."""

    def kill(self, name: str) -> None:
        """SIGKILL a component and all that it started; it stays dead."""
        for process in self.family(name):
            kill(process)
        self._processes.pop(name).wait()

    @property
    def alive(self) -> set[str]:
        """The components that have not been killed."""
        return set(self._processes)


@dataclass(frozen=True)
class ClusterWorld:
    """A running cluster, the flights' feed on S3, and their producer."""

    cluster: HarmedCluster
    producer: S3Producer
    inbox: Inbox
    files: S3Files
    faults: Path

    def wait(self, true: Callable[[], object], what: str) -> None:
        """Wait until ``true()``."""
        self.cluster.wait_until(true, what, PATIENCE)

    def where(self, sql: str) -> str:
        """Wait until a query finds a machine, and name it."""
        self.wait(lambda: self.cluster.query(sql), f"nothing for: {sql}")
        return str(self.cluster.query(sql)[0]["hostname"])

    def judge(self, drops: Sequence[Drop]) -> Verdict:
        """Wait until all is quiet and well, at most ``PATIENCE`` seconds."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            if self._is_quiet() and (verdict := self._verdict(drops)).is_clean:
                return verdict
            time.sleep(1)
        return self._verdict(drops)

    def _is_quiet(self) -> bool:
        active = "select 1 from dag_run where state in ('queued', 'running') and dag_id = ?"
        return not self.inbox.pending() and not self.cluster.query(active, f"{NAME}_pipeline")

    def _verdict(self, drops: Sequence[Drop]) -> Verdict:
        log = self.faults / "finished.log"
        finished = log.read_text() if log.exists() else ""
        key = find_dataset(NAME).table.primary_key
        return Comparison(self.files, key, True, finished).judge(drops)


@contextmanager
def cluster_world(folder: Path, workers: int = 2) -> Iterator[ClusterWorld]:
    """Start it all; end it all."""
    faults = folder / "faults"
    faults.mkdir(parents=True)
    with ExitStack() as stack:
        s3 = stack.enter_context(LocalS3(folder / "s3", BUCKET))
        settings = DemoProducer(s3).settings
        stack.enter_context(patch.dict(os.environ, settings))
        aws._accounts[CONN_ID] = s3.account(CONN_ID)
        cluster = HarmedCluster(folder / "airflow", {**settings, **_faults(faults)}, workers)
        running = _world(folder, stack.enter_context(cluster), s3, faults)
        running.wait(lambda: cluster.query(WATCHED), "nobody watches")
        running.wait(lambda: cluster.query("select 1 from dag where dag_id ~ '_pipeline$'"), "DAG")
        yield running


WATCHED = """select j.hostname from trigger t join job j on j.id = t.triggerer_id
    where t.classpath like '%FeedTrigger'"""
STAGE_RUNS = """select hostname from task_instance where state = 'running' and
    task_id in ('ingest_data', 'preprocess_data', 'run_inference')"""


def _faults(folder: Path) -> Mapping[str, str]:
    return {"FLAGFALL_FAULTS": str(folder), "PYTHONPATH": str(SITE)}


def _world(folder: Path, cluster: HarmedCluster, s3: LocalS3, faults: Path) -> ClusterWorld:
    client, dataset = s3.client("s3"), find_dataset(NAME)
    producer = S3Producer(dataset, WholeDays(), folder / "outbox", client=client)
    files = S3Files(client, BUCKET, f"lake/{NAME}")
    return ClusterWorld(cluster, producer, Inbox(Feed.of(dataset)), files, faults)


def go_well(world: ClusterWorld) -> Line:
    """Drop the demo's days; nothing is harmed."""
    return _line(world, "none: the demo's five days", world.producer.drop(5), 0)


def kill_a_worker(world: ClusterWorld) -> Line:
    """Kill the worker that runs a stage, with all that it runs."""
    drops = world.producer.drop(2)
    world.cluster.kill(world.where(STAGE_RUNS))
    return _line(world, "kill of a Celery worker as it runs a stage", drops)


def kill_a_triggerer(world: ClusterWorld) -> Line:
    """Kill the triggerer that watches the feed, and drop batches."""
    world.cluster.kill(world.where(WATCHED))
    return _line(world, "kill of the triggerer that watches", world.producer.drop(2))


def kill_a_scheduler(world: ClusterWorld) -> Line:
    """Kill a scheduler in the middle of a run."""
    drops = world.producer.drop(2)
    world.where(STAGE_RUNS)
    world.cluster.kill("scheduler")
    return _line(world, "kill of a scheduler in the middle of a run", drops)


def _line(world: ClusterWorld, harm: str, drops: Sequence[Drop], times: int = 1) -> Line:
    return Line(f"{harm} (Celery)", times, len(drops), world.judge(drops))
