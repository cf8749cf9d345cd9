"""A cluster of Celery workers that can be harmed: the others go on with what a dead one had."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import psutil

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.publish import DEFAULT_MARKER
from sandbox.airflow import LocalAirflow
from sandbox.cluster import LocalCluster
from sandbox.demo import BUCKET, CONN_ID
from sandbox.demo import S3Producer as DemoProducer
from sandbox.flights import OUTCOME, all_flights
from sandbox.s3 import LocalS3
from tests.faults.airflow import SITE, kill
from tests.faults.comparison import Comparison, S3Files, Verdict
from tests.faults.producer import Drop, S3Producer
from tests.faults.world import Line
from tests.patience import A_RUN

FIRST_DAY = date(2013, 10, 1)
NAME = "flights"
SOON_QUEUED_AGAIN = {
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "15",
}
"""A task whose message is lost is queued again after so long; by default after ten minutes."""


class WholeDays:
    """Days of flights, one a batch, without the rows that would be turned away."""

    def __init__(self) -> None:
        key = ["date", "carrier", "flight", "origin"]
        complete = all_flights().drop_nulls(["tailnum", "sched_dep_time", "sched_arr_time"])
        self._flights = complete.unique(key, maintain_order=True)
        self._day = FIRST_DAY

    def write(self, folder: Path) -> frozenset[str]:
        rows = self._flights.filter(date=self._day).drop(OUTCOME)
        self._day += timedelta(days=1)
        folder.mkdir(parents=True)
        rows.write_csv(folder / "flights.csv", null_value="NA")
        keys = rows.select("date", "carrier", "flight", "origin").iter_rows()
        return frozenset("|".join(map(str, key)) for key in keys)


class HarmedCluster(LocalCluster):
    """A cluster whose machines can be killed."""

    def kill(self, name: str) -> None:
        """SIGKILL a component and all that it started; it stays dead until it is replaced."""
        for process in self.family(name):
            kill(process)
        self._processes.pop(name).wait()

    def replace_dead(self) -> None:
        """Start what was killed again."""
        for name in self.components.keys() - self._processes:
            self.launch(name)

    @property
    def alive(self) -> set[str]:
        """The components that live."""
        return set(self._processes)

    @contextmanager
    def workers_frozen(self) -> Iterator[None]:
        """No worker takes a task meanwhile."""
        frozen = [process for name in self.workers for process in self.family(name)]
        for process in frozen:
            process.suspend()
        try:
            yield
        finally:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):  # it had ended, and nobody had noticed yet
                    process.resume()

    def lose_broker(self) -> None:
        """Kill Redis, and start it again with nothing in it."""
        self._redis.kill()
        self._redis.start()


@dataclass(frozen=True)
class FlightsWorld:
    """The flights' feed on S3, and their producer."""

    producer: S3Producer
    inbox: Inbox
    files: S3Files
    faults: Path
    patience: ClassVar[float] = A_RUN

    @property
    def airflow(self) -> LocalAirflow:
        """Who takes them in."""
        raise NotImplementedError

    @property
    def dag_id(self) -> str:
        """Their pipeline."""
        return f"{self.producer.dataset.name}_pipeline"

    def wait(self, true: Callable[[], object], what: str) -> None:
        """Wait until ``true()``."""
        self.airflow.wait_until(true, what, self.patience)

    def judge(self, drops: Sequence[Drop]) -> Verdict:
        """Wait until all is quiet and well, at most ``patience`` seconds."""
        give_up = time.monotonic() + self.patience
        while time.monotonic() < give_up:
            self.airflow.check()
            if self.is_quiet() and (verdict := self._verdict(drops)).is_clean:
                return verdict
            time.sleep(1)
        return self._verdict(drops)

    def is_quiet(self) -> bool:
        """Whether nothing is pending and no run is under way."""
        active = "select 1 from dag_run where state in ('queued', 'running') and dag_id = ?"
        return not self.airflow.query(active, self.dag_id) and not self.inbox.pending()

    def _verdict(self, drops: Sequence[Drop]) -> Verdict:
        log = self.faults / "finished.log"
        finished = log.read_text() if log.exists() else ""
        key = self.producer.dataset.table.primary_key
        return Comparison(self.files, key, True, finished).judge(drops)


@dataclass(frozen=True)
class ClusterWorld(FlightsWorld):
    """A running cluster, the flights' feed on S3, and their producer."""

    cluster: HarmedCluster

    @property
    def airflow(self) -> LocalAirflow:
        """The cluster."""
        return self.cluster

    def where(self, sql: str) -> str:
        """Wait until a query finds a machine, and name it."""
        self.wait(lambda: self.cluster.query(sql), f"nothing for: {sql}")
        return str(self.cluster.query(sql)[0]["hostname"])


@contextmanager
def cluster_world(
    folder: Path,
    workers: int = 2,
    more: Mapping[str, str] | None = None,
    kind: type[HarmedCluster] = HarmedCluster,
) -> Iterator[ClusterWorld]:
    """Start it all, with more settings if given; end it all."""
    faults = folder / "faults"
    faults.mkdir(parents=True)
    with ExitStack() as stack:
        s3 = stack.enter_context(LocalS3(folder / "s3", BUCKET, marker=DEFAULT_MARKER))
        settings = {**DemoProducer(s3).settings, **(more or {})}
        stack.enter_context(patch.dict(os.environ, settings))
        stack.enter_context(s3.reached_by(CONN_ID))
        own = {**settings, **_faults(faults), "FLAGFALL_PARTITIONS_S3": s3.url}
        cluster = kind(folder / "airflow", own, workers)
        running = _world(folder, stack.enter_context(cluster), s3, faults)
        running.wait(lambda: cluster.query(WATCHED), "nobody watches")
        running.wait(lambda: cluster.query("select 1 from dag where dag_id ~ '_pipeline$'"), "DAG")
        yield running


WATCHED = """select j.hostname from trigger t join job j on j.id = t.triggerer_id
    where t.classpath like '%FeedTrigger'"""
STAGE_RUNS = """select hostname from task_instance where state = 'running' and
    task_id in ('ingest_data', 'preprocess_data', 'run_inference')"""

WAITS = f"select 1 from task_instance where state = 'queued' and dag_id = '{NAME}_pipeline'"


def _faults(folder: Path) -> Mapping[str, str]:
    return {"FLAGFALL_FAULTS": str(folder), "PYTHONPATH": str(SITE)}


def _world(folder: Path, cluster: HarmedCluster, s3: LocalS3, faults: Path) -> ClusterWorld:
    client, dataset = s3.client("s3"), find_dataset(NAME)
    producer = S3Producer(dataset, WholeDays(), folder / "outbox", client=client)
    files = S3Files(client, BUCKET, f"lake/{NAME}")
    return ClusterWorld(producer, Inbox(Feed.of(dataset)), files, faults, cluster)


def go_well(world: ClusterWorld, days: int = 5) -> Line:
    """Drop days; nothing is harmed."""
    return Line(f"none: {days} days (Celery)", 1, days, world.judge(world.producer.drop(days)))


def kill_a_worker(world: ClusterWorld, times: int = 1) -> Line:
    """Kill the worker that runs a stage, with all that it runs."""

    def harm() -> list[Drop]:
        drops = world.producer.drop(2)
        world.cluster.kill(world.where(STAGE_RUNS))
        return drops

    return _line(world, "kill of a worker as it runs a stage", times, harm)


def kill_a_triggerer(world: ClusterWorld, times: int = 1) -> Line:
    """Kill the triggerer that watches the feed, and drop batches."""

    def harm() -> list[Drop]:
        world.cluster.kill(world.where(WATCHED))
        return world.producer.drop(2)

    return _line(world, "kill of the triggerer that watches", times, harm)


def kill_a_scheduler(world: ClusterWorld, times: int = 1) -> Line:
    """Kill a scheduler in the middle of a run."""

    def harm() -> list[Drop]:
        drops = world.producer.drop(2)
        world.where(STAGE_RUNS)
        world.cluster.kill("scheduler")
        return drops

    return _line(world, "kill of a scheduler in the middle of a run", times, harm)


def kill_a_machine(world: ClusterWorld, times: int = 1) -> Line:
    """Kill a worker, a scheduler and a triggerer at once, as a node takes its pods with it."""

    def harm() -> list[Drop]:
        drops = world.producer.drop(2)
        for name in (world.where(STAGE_RUNS), "scheduler-2", world.where(WATCHED)):
            world.cluster.kill(name)
        return drops

    what = "kill of a worker, a scheduler and the triggerer that watches at once"
    return _line(world, what, times, harm)


def lose_the_broker(world: ClusterWorld, times: int = 1) -> Line:
    """Kill Redis as a task waits in it; it comes back empty."""

    def harm() -> list[Drop]:
        with world.cluster.workers_frozen():
            drops = world.producer.drop(2)
            world.wait(lambda: world.cluster.query(WAITS), "no task waits")
            world.cluster.lose_broker()
        return drops

    return _line(world, "kill of Redis as a task waits in it; it comes back empty", times, harm)


def _line(world: ClusterWorld, what: str, times: int, harm: Callable[[], list[Drop]]) -> Line:
    """Harm so often; what died is replaced when all is well again, just before it dies again."""
    drops: list[Drop] = []
    for turn in range(times):
        if turn:
            world.cluster.replace_dead()
        drops += harm()
        world.judge(drops)
    return Line(f"{what} (Celery)", times, len(drops), world.judge(drops))
