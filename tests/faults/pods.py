"""An Airflow whose tasks are pods, and the harm that Kubernetes does to pods and to its API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.publish import DEFAULT_MARKER
from sandbox.airflow import LocalAirflow
from sandbox.demo import BUCKET, CONN_ID
from sandbox.demo import S3Producer as DemoProducer
from sandbox.kubernetes import Cluster
from sandbox.kubernetes.store import Refused
from sandbox.rehearsal import PROJECT, LocalKubernetes
from sandbox.s3 import LocalS3
from tests.faults.airflow import SITE, kill
from tests.faults.cluster import NAME, WATCHED, FlightsWorld, WholeDays
from tests.faults.comparison import S3Files
from tests.faults.producer import Drop, S3Producer
from tests.faults.world import Line

FAULTS = "/faults"
"""Where a pod finds the folder of the campaign's points."""
AWAY = 60.0
LAME = 20.0
"""Seconds for which the API is away, and for which something else does not work."""
SLOW = 3.0
"""Seconds that a slow API takes for each answer."""
OURS = f"dag_id={NAME}_pipeline"


class HarmedPods(LocalKubernetes):
    """A rehearsal whose scheduler can be killed; what ends is started again, as a Deployment does.

    Attributes:
        ended: Components that ended by themselves.
    """

    ended: tuple[str, ...] = ()

    def check(self) -> None:
        """Start components that have ended again."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self.ended += (name,)
                for orphan in self.family(name):
                    kill(orphan)
                self.launch(name)

    def restart_scheduler(self) -> None:
        """SIGKILL the scheduler with all that it started, and start it again. Pods go on."""
        for process in self.family("scheduler"):
            kill(process)
        self._processes.pop("scheduler").wait()
        self.launch("scheduler")


@dataclass(frozen=True)
class PodsWorld(FlightsWorld):
    """A running rehearsal."""

    pods: HarmedPods

    @property
    def airflow(self) -> LocalAirflow:
        """The rehearsal."""
        return self.pods

    @property
    def cluster(self) -> Cluster:
        """What its pods run on."""
        return self.pods.cluster

    def running(self) -> str:
        """Wait until a pod of the pipeline runs, and name it."""
        self.wait(lambda: self._in("Running"), "no pod of the pipeline ran")
        return next(iter(self._in("Running")), "")

    def _in(self, phase: str) -> list[str]:
        found = self.cluster.pods(OURS)
        return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == phase]

    def waits(self) -> None:
        """Wait until a pod of the pipeline is pending."""
        self.wait(lambda: self._in("Pending"), "no pod of the pipeline waits")


@contextmanager
def pods_world(folder: Path) -> Iterator[PodsWorld]:
    """Start it all; end it all."""
    faults = folder / "faults"
    faults.mkdir(parents=True)
    with ExitStack() as stack:
        s3 = stack.enter_context(LocalS3(folder / "s3", BUCKET, marker=DEFAULT_MARKER))
        given = DemoProducer(s3).settings
        settings = {**given, "FLAGFALL_DATASETS": str(PROJECT / "datasets")}
        stack.enter_context(patch.dict(os.environ, settings))
        stack.enter_context(s3.reached_by(CONN_ID))
        in_pods = {"FLAGFALL_FAULTS": FAULTS, "PYTHONPATH": str(SITE)}
        pods = HarmedPods(folder / "airflow", settings, in_pods, {FAULTS: faults})
        running = _world(folder, s3, faults, pods)
        stack.callback(pods.stop)
        pods.start()
        running.wait(lambda: pods.query(WATCHED), "nobody watches")
        running.wait(lambda: pods.query("select 1 from dag where dag_id ~ '_pipeline$'"), "no DAG")
        yield running


def _world(folder: Path, s3: LocalS3, faults: Path, pods: HarmedPods) -> PodsWorld:
    client, dataset = s3.client("s3"), find_dataset(NAME)
    producer = S3Producer(dataset, WholeDays(), folder / "outbox", client=client)
    files = S3Files(client, BUCKET, f"lake/{NAME}")
    return PodsWorld(producer, Inbox(Feed.of(dataset)), files, faults, pods)


def to_a_pod(how: str) -> Callable[[PodsWorld], list[Drop]]:
    """Harm a pod that runs by a method of the cluster."""

    def harm(world: PodsWorld) -> list[Drop]:
        drops = world.producer.drop()
        while True:
            try:
                getattr(world.cluster, how)(world.running())
            except Refused:  # it has just ended
                continue
            return drops

    return harm


def pending(how: str) -> Callable[[PodsWorld], list[Drop]]:
    """Keep pods in ``Pending`` for a while by a method of the cluster."""

    def harm(world: PodsWorld) -> list[Drop]:
        with getattr(world.cluster, how)():
            drops = world.producer.drop()
            world.waits()
            time.sleep(LAME)
        return drops

    return harm


def _away(world: PodsWorld) -> list[Drop]:
    drops = world.producer.drop()
    world.running()
    world.cluster.weather.is_away = True
    time.sleep(AWAY)
    world.cluster.weather.is_away = False
    return drops


def _slow(world: PodsWorld) -> list[Drop]:
    drops = world.producer.drop()
    world.cluster.weather.delay = SLOW
    world.running()
    time.sleep(LAME)
    world.cluster.weather.delay = 0.0
    return drops


def _busy(world: PodsWorld) -> list[Drop]:
    world.cluster.weather.is_busy = True
    drops = world.producer.drop()
    time.sleep(LAME)
    world.cluster.weather.is_busy = False
    world.pods.check()
    assert "scheduler" not in world.pods.ended, "429 ended it"
    return drops


def _forgetful(world: PodsWorld) -> list[Drop]:
    drops = world.producer.drop()
    world.running()
    world.cluster.forget()
    return drops


def _restarted(world: PodsWorld) -> list[Drop]:
    drops = world.producer.drop()
    world.running()
    world.pods.restart_scheduler()
    return drops


HARM: dict[str, tuple[Callable[[PodsWorld], list[Drop]], int]] = {
    "kill of all that runs in a pod": (to_a_pod("kill"), 60),
    "pod deleted as it runs": (to_a_pod("delete"), 45),
    "pod evicted as it runs": (to_a_pod("evict"), 30),
    "pod out of memory": (to_a_pod("exhaust"), 20),
    f"pods pending for {LAME:.0f} s": (pending("full"), 10),
    f"ImagePullBackOff for {LAME:.0f} s": (pending("without_registry"), 10),
    f"Kubernetes API away for {AWAY:.0f} s": (_away, 5),
    f"Kubernetes API takes {SLOW:.0f} s for an answer, for {LAME:.0f} s": (_slow, 5),
    f"Kubernetes API answers 429 for {LAME:.0f} s": (_busy, 5),
    "watch expired (410)": (_forgetful, 5),
    "kill of the scheduler with a pod under way": (_restarted, 5),
}
"""What is done, and how often in the long campaign: 200 times together."""


def harm_pods(world: PodsWorld, what: str, times: int | None = None) -> Line:
    """Drop a day and do harm, so often; how long it takes is from the drop until all is done."""
    harm, often = HARM[what]
    drops: list[Drop] = []
    took: list[float] = []
    for _ in range(times or often):
        began = time.monotonic()
        done = harm(world)
        world.judge(done)
        took.append(time.monotonic() - began)
        drops += done
    verdict = replace(world.judge(drops), seconds=tuple(took))
    return Line(f"{what} (Kubernetes)", len(took), len(drops), verdict)
