"""A cluster whose workers and triggerers have networks of their own: cut off, and healed again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.cluster import (
    STAGE_RUNS,
    WATCHED,
    ClusterWorld,
    HarmedCluster,
    cluster_world,
)
from tests.faults.network import Network, own_network
from tests.faults.producer import Drop
from tests.faults.world import Line

CUT = 45.0
"""Seconds that a partition lasts: longer than the 30 s after which a task is given to another."""
TRIGGERERS = ["triggerer", "triggerer-2"]


class PartitionedCluster(HarmedCluster):
    """Its workers and triggerers each have an address of their own."""

    network: Network

    def start(self) -> None:
        """Make the network, then start all."""
        s3 = urlsplit(str(self._settings["FLAGFALL_PARTITIONS_S3"])).port
        ports = {
            "S3": int(s3 or 0),
            "the database": self._postgres.port,
            "the broker": int(urlsplit(self._redis.url).port or 0),
            "Airflow's API": self.port,
        }
        self.network = Network([*self.workers, *TRIGGERERS], ports)
        self._stack.enter_context(self.network)
        super().start()

    def prefix_of(self, name: str) -> list[str]:
        """See ``LocalAirflow.prefix_of``."""
        return self.network.inside(name)

    def environment_of(self, name: str) -> dict[str, str]:
        """The same, with the addresses as a machine knows them."""
        given = super().environment_of(name)
        return {key: self.network.seen_from(name, value) for key, value in given.items()}

    def check(self) -> None:
        """A machine that gave up is started again, as an init system does."""
        for name in [*self.workers, *TRIGGERERS]:
            if name in self._processes and self._processes[name].poll() is not None:
                self.launch(name)
        super().check()


@contextmanager
def partitioned_world(folder: Path) -> Iterator[ClusterWorld]:
    """Start it all in a network of its own; end it all."""
    with own_network(), cluster_world(folder, kind=PartitionedCluster) as running:
        yield running


def cut_a_worker(world: ClusterWorld, *services: str, times: int = 1) -> Line:
    """Cut the worker that runs a stage off from services, and heal it later.

    The line says how many of the tasks that it ran then were given to another worker.
    """
    drops: list[Drop] = []
    held: list[Try] = []
    for _ in range(times):
        drops += world.producer.drop(2)
        name = world.where(STAGE_RUNS)
        for service in services:
            _network(world).cut(name, service)
        held += _held(world, name)
        time.sleep(CUT)
        _network(world).heal()
        world.judge(drops)
    tries = {one: later_tries(world, one) for one in held}
    for one, found in tries.items():
        print(f"{one.task_id} on {one.hostname}: {found}", flush=True)
    moved = sum(any(host != one.hostname for _, host, _ in tries[one]) for one in held)
    what = f"a worker that runs a stage cannot reach {' and '.join(services)}"
    given = f"{moved} of {len(held)} tasks given to another"
    return _line(world, f"{what} for {CUT:.0f} s, {given}", times, drops)


def cut_a_triggerer(world: ClusterWorld, service: str, times: int = 1) -> Line:
    """Cut the triggerer that watches off from a service; batches land meanwhile.

    The line says how often the other one watched before the network healed.
    """
    drops: list[Drop] = []
    moved = 0
    for _ in range(times):
        name = world.where(WATCHED)
        _network(world).cut(name, service)
        drops += world.producer.drop(2)
        time.sleep(CUT)
        moved += world.where(WATCHED) != name
        _network(world).heal()
        world.judge(drops)
    what = f"the triggerer that watches cannot reach {service}"
    given = f"the other took over {moved} of {times} times"
    return _line(world, f"{what} for {CUT:.0f} s, {given}", times, drops)


@dataclass(frozen=True)
class Try:
    """A task that a worker runs, as Airflow's database has it."""

    task_id: str
    run_id: str
    map_index: int
    try_number: int
    hostname: str


TRY = [one.name for one in fields(Try)]


def _held(world: ClusterWorld, name: str) -> list[Try]:
    running = f"select {', '.join(TRY)} from task_instance where state = 'running' and hostname = ?"
    return [Try(**row) for row in world.cluster.query(running, name)]


def later_tries(world: ClusterWorld, first: Try) -> list[tuple[int, str, str]]:
    """Number, worker and end of each try of a task since one of them."""
    tables = "task_instance", "task_instance_history"
    sql = " union ".join(
        f"select try_number, hostname, state from {table} where task_id = ? and run_id = ?"
        " and map_index = ? and try_number >= ?"
        for table in tables
    )
    task = first.task_id, first.run_id, first.map_index, first.try_number
    rows = world.cluster.query(f"{sql} order by 1", *task, *task)
    return [(row["try_number"], row["hostname"], str(row["state"])) for row in rows]


def _network(world: ClusterWorld) -> Network:
    assert isinstance(world.cluster, PartitionedCluster)
    return world.cluster.network


def _line(world: ClusterWorld, what: str, times: int, drops: list[Drop]) -> Line:
    return Line(f"{what} (Celery)", times, len(drops), world.judge(drops))
