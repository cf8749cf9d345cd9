"""A cluster whose workers and triggerers have networks of their own: cut off, and healed again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def cut_a_worker(world: ClusterWorld, service: str, times: int = 1) -> Line:
    """Cut the worker that runs a stage off from a service, and heal it later."""

    def harm() -> list[Drop]:
        drops = world.producer.drop(2)
        _cut(world, world.where(STAGE_RUNS), service)
        return drops

    return _line(world, f"a worker that runs a stage cannot reach {service}", times, harm)


def cut_a_triggerer(world: ClusterWorld, service: str, times: int = 1) -> Line:
    """Cut the triggerer that watches off from a service; batches land meanwhile."""

    def harm() -> list[Drop]:
        network = _network(world)
        network.cut(world.where(WATCHED), service)
        drops = world.producer.drop(2)
        time.sleep(CUT)
        network.heal()
        return drops

    return _line(world, f"the triggerer that watches cannot reach {service}", times, harm)


def _cut(world: ClusterWorld, name: str, service: str) -> None:
    _network(world).cut(name, service)
    time.sleep(CUT)
    _network(world).heal()


def _network(world: ClusterWorld) -> Network:
    assert isinstance(world.cluster, PartitionedCluster)
    return world.cluster.network


def _line(world: ClusterWorld, what: str, times: int, harm: Callable[[], list[Drop]]) -> Line:
    drops: list[Drop] = []
    for _ in range(times):
        drops += harm()
        world.judge(drops)
    return Line(f"{what} for {CUT:.0f} s (Celery)", times, len(drops), world.judge(drops))
