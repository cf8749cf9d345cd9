"""An Airflow whose tasks are pods, and the harm that Kubernetes does to pods and to its API.

Several feeds are harmed side by side: a pod of one dies while the runs of others go on. What harms
all at once, such as an API that is away, is done one at a time.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from typing import ClassVar, TypeVar
from unittest.mock import patch

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.errors import FlagfallError
from flagfall.inbox.inbox import Inbox
from flagfall.publish import DEFAULT_MARKER
from sandbox.airflow import LocalAirflow
from sandbox.demo import BUCKET, CONN_ID
from sandbox.demo import S3Producer as DemoProducer
from sandbox.flights import LABELLED
from sandbox.kubernetes import Cluster
from sandbox.kubernetes.selectors import Object
from sandbox.kubernetes.store import Refused
from sandbox.pods import Life, lives, task_of
from sandbox.rehearsal import MODEL_IMAGE, PROJECT, LocalKubernetes
from sandbox.s3 import LocalS3
from tests.faults.airflow import SITE, kill
from tests.faults.cluster import FlightsWorld
from tests.faults.comparison import S3Files, Verdict
from tests.faults.producer import Drop, FlightRows, S3Producer
from tests.faults.world import Line

IN_POD = "in_pod"
"""A feed whose model runs in a pod of its own."""
FEEDS = ("dawn", "noon", "dusk", "night", IN_POD)
"""Feeds that are harmed side by side in the campaign."""
ROWS_APART = 50_000
"""No two feeds have the same flights: a row that came twice is seen."""
FAULTS = "/faults"
"""Where a pod finds the folder of the campaign's points."""
AWAY = 60.0
LAME = 20.0
"""Seconds for which the API is away, and for which something else does not work."""
SLOW = 3.0
"""Seconds that a slow API takes for each answer."""
USUAL = 5.0
"""Seconds that a pod runs, as long as none of its task has ended."""
HITS = {"generate_report": 1}
"""How often the pods of one task are hit in a run: a report is not retried."""
MOST_HITS = 2
"""The same for the others, which are tried four times."""
TURNED_AWAY = 2
"""Pods that a node refuses, one after the other."""
AT_ONCE = 8
"""Harms in one round, where each hits a pod: several pods of a run."""
SEED = 17

HEAD = """\
title: NAME
landing:
  uri: ${FLAGFALL_DATA}/landing/NAME
  conn_id: ${FLAGFALL_CONN_ID:-}
  sqs_queue: ${FLAGFALL_QUEUE:-}
  marker: date={date}/datapackage.json
lake: {uri: "${FLAGFALL_DATA}/lake", conn_id: "${FLAGFALL_CONN_ID:-}"}
watch: {sweep_every: 30s, redeliver_after: 5m}
"""


def dataset_text(name: str) -> str:
    """A dataset file of flights that have their outcome, with another landing zone."""
    text = (LABELLED / "flights.yaml").read_text()
    rest = text[text.index("schema:") :].replace("../models/", "models/")
    if name == IN_POD:
        rest = rest.replace(
            "model:\n", f"model:\n  engine: pod\n  pod: {{image: '{MODEL_IMAGE}'}}\n"
        )
    return HEAD.replace("NAME", name) + rest


class HarmedPods(LocalKubernetes):
    """A rehearsal whose scheduler can be killed; what ends is started again, as a Deployment does.

    Attributes:
        ended: Components that ended by themselves.
        alone: Who harms all at once has this meanwhile.
    """

    def __init__(
        self,
        home: Path,
        settings: Mapping[str, str],
        in_pods: Mapping[str, str] | None = None,
        shared: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(home, settings, in_pods, shared)
        self.ended: list[str] = []
        self.alone = threading.Lock()
        self._keeping = threading.Lock()

    def check(self) -> None:
        """Start components that have ended again."""
        with self._keeping:
            for name, process in list(self._processes.items()):
                if process.poll() is not None:
                    self.ended.append(name)
                    for orphan in self.family(name):
                        kill(orphan)
                    self.launch(name)

    def restart_scheduler(self) -> None:
        """SIGKILL the scheduler with all that it started, and start it again. Pods go on."""
        with self._keeping:
            for process in self.family("scheduler"):
                kill(process)
            self._processes.pop("scheduler").wait()
            self.launch("scheduler")


@dataclass(frozen=True)
class Hit:
    """A harm that was done.

    Attributes:
        at: When, by the monotonic clock.
        task: Of the pod that it hit; empty where it hit all at once.
    """

    at: float
    task: str = ""


@dataclass(frozen=True)
class PodsWorld(FlightsWorld):
    """A feed of a running rehearsal."""

    pods: HarmedPods
    patience: ClassVar[float] = 900.0

    @property
    def airflow(self) -> LocalAirflow:
        """The rehearsal."""
        return self.pods

    @property
    def cluster(self) -> Cluster:
        """What its pods run on."""
        return self.pods.cluster

    def running(self) -> None:
        """Wait until a pod of the pipeline runs."""
        self.wait(lambda: self.in_phase("Running"), "no pod of the pipeline ran")

    def waits(self) -> None:
        """Wait until a pod of the pipeline is pending."""
        self.wait(lambda: self.in_phase("Pending"), "no pod of the pipeline waits")

    def in_phase(self, phase: str) -> list[Object]:
        """The pods of the pipeline that are in a phase."""
        found = self.cluster.pods(f"dag_id={self.dag_id}")
        return [pod for pod in found if pod["status"]["phase"] == phase]

    def ended(self, task: str) -> list[Life]:
        """The pods of a task that ended well."""
        found = lives(self.cluster)
        return [life for life in found if life.task == task and life.outcome == "Succeeded"]

    def healed(self, hit: Hit) -> float:
        """Seconds until the task whose pod was hit was done, now at most."""
        later = [life.ended for life in self.ended(hit.task) if life.ended > hit.at]
        return min(later, default=time.monotonic()) - hit.at


@contextmanager
def pods_world(folder: Path, names: Sequence[str] = FEEDS) -> Iterator[list[PodsWorld]]:
    """Start it all, with a feed of each name; end it all."""
    datasets = folder / "datasets"
    datasets.mkdir(parents=True)
    write_datasets(datasets, names)
    (folder / "models").symlink_to(PROJECT / "models")
    with ExitStack() as stack:
        s3 = stack.enter_context(LocalS3(folder / "s3", BUCKET, marker=DEFAULT_MARKER))
        settings = {**DemoProducer(s3).settings, "FLAGFALL_DATASETS": str(datasets)}
        stack.enter_context(patch.dict(os.environ, settings))
        stack.enter_context(s3.reached_by(CONN_ID))
        pods = harmed_pods(folder, settings)
        stack.callback(pods.stop)
        pods.start()
        wait_until_watched(pods, len(names))
        yield [world_of(pods, s3, folder, name) for name in names]


def write_datasets(folder: Path, names: Sequence[str]) -> None:
    """Write a dataset file of each name."""
    for name in names:
        (folder / f"{name}.yaml").write_text(dataset_text(name))


def harmed_pods(folder: Path, settings: Mapping[str, str]) -> HarmedPods:
    """A rehearsal below a folder, whose pods tell which stages they finish."""
    faults = folder / "faults"
    faults.mkdir(parents=True)
    in_pods = {"FLAGFALL_FAULTS": FAULTS, "PYTHONPATH": str(SITE)}
    return HarmedPods(folder / "airflow", settings, in_pods, {FAULTS: faults})


def wait_until_watched(pods: HarmedPods, feeds: int) -> None:
    """Wait until a triggerer watches so many feeds, and their pipelines are known."""
    watched = "select 1 from trigger where classpath like '%FeedTrigger' and triggerer_id > 0"
    known = "select 1 from dag where dag_id ~ '_pipeline$'"
    for sql in (watched, known):
        pods.wait_until(lambda sql=sql: len(pods.query(sql)) >= feeds, sql)


def world_of(pods: HarmedPods, s3: LocalS3, folder: Path, name: str) -> PodsWorld:
    """A feed of a rehearsal that runs."""
    client, dataset = s3.client("s3"), find_dataset(name)
    rows = FlightRows(FEEDS.index(name) * ROWS_APART)
    producer = S3Producer(dataset, rows, folder / "outbox" / name, client=client)
    files = S3Files(client, BUCKET, f"lake/{name}")
    return PodsWorld(producer, Inbox(Feed.of(dataset)), files, folder / "faults", pods)


T = TypeVar("T")
Harm = Callable[[PodsWorld, int], list[Hit]]
"""Does something to a feed so often; drops what it needs for that."""


def to_pods(how: str) -> Harm:
    """Harm pods that run, each at some time of its life, by a method of the cluster."""

    def harm(world: PodsWorld, times: int) -> list[Hit]:
        chance = random.Random(f"{SEED} {how} {world.dag_id} {len(world.producer.dropped)}")
        struck = (_strike(world, how, pod, chance) for pod in _quarry(world))
        return list(islice((hit for hit in struck if hit), times))

    return harm


def _quarry(world: PodsWorld) -> Iterator[Object]:
    """Pods as they come, not too many of one task in a run; what they work on is dropped."""
    tasks: Counter[str] = Counter()
    while True:
        if world.is_quiet():
            tasks.clear()
            world.producer.drop()
        for pod in world.in_phase("Running"):
            name = task_of(pod).rpartition(".")[2]
            if tasks[name] < HITS.get(name, MOST_HITS):
                tasks[name] += 1
                yield pod
        world.airflow.check()
        time.sleep(0.5)


def _strike(world: PodsWorld, how: str, pod: Object, chance: random.Random) -> Hit | None:
    """Harm a pod; ``None`` where it ended first."""
    name, task = pod["metadata"]["name"], task_of(pod)
    usual = [life.ran for life in world.ended(task)]
    time.sleep(chance.uniform(0, median(usual) if usual else USUAL))
    at = time.monotonic()
    try:
        getattr(world.cluster, how)(name)
    except Refused:
        return None
    world.wait(lambda: _last(world, name)["status"]["phase"] != "Running", f"{name} did not end")
    changes = world.cluster.past()[name]
    return Hit(at, task) if was_hit(changes, at) else None


def _last(world: PodsWorld, name: str) -> Object:
    return world.cluster.past()[name][-1][1]


def was_hit(changes: Sequence[tuple[float, Object]], at: float) -> bool:
    """Whether a pod was harmed as it ran: it failed after that, or was marked as deleted."""
    before = [pod for when, pod in changes if when < at]
    last = changes[-1][1]
    was_deleted = "deletionTimestamp" in last["metadata"]
    failed = last["status"]["phase"] == "Failed"
    return before[-1]["status"]["phase"] == "Running" and (failed or was_deleted)


def to_all(how: Callable[[PodsWorld], None]) -> Harm:
    """Harm all at once, so often, with a batch of this feed under way."""

    def harm(world: PodsWorld, times: int) -> list[Hit]:
        hits = []
        for _ in range(times):
            with world.pods.alone:
                hits.append(Hit(time.monotonic()))
                world.producer.drop()
                how(world)
        return hits

    return harm


def pending(how: str) -> Callable[[PodsWorld], None]:
    """Keep pods in ``Pending`` for a while by a method of the cluster."""

    def harm(world: PodsWorld) -> None:
        with getattr(world.cluster, how)():
            world.waits()
            time.sleep(LAME)

    return harm


def _refused(world: PodsWorld) -> None:
    """Have a node turn away pods before they begin, as one that is drained or full does."""
    world.cluster.refuse(TURNED_AWAY)
    world.wait(lambda: world.cluster.to_refuse == 0, "no pod came that the node could refuse")


def _away(world: PodsWorld) -> None:
    world.running()
    world.cluster.weather.is_away = True
    time.sleep(AWAY)
    world.cluster.weather.is_away = False


def _slow(world: PodsWorld) -> None:
    world.cluster.weather.delay = SLOW
    world.running()
    time.sleep(LAME)
    world.cluster.weather.delay = 0.0


def _busy(world: PodsWorld) -> None:
    before = world.pods.ended.count("scheduler")
    world.cluster.weather.is_busy = True
    time.sleep(LAME)
    world.cluster.weather.is_busy = False
    world.pods.check()
    if world.pods.ended.count("scheduler") > before:
        raise Spoiled("429 ended the scheduler")


def _forgetful(world: PodsWorld) -> None:
    world.running()
    world.cluster.forget()


def _restarted(world: PodsWorld) -> None:
    world.running()
    world.pods.restart_scheduler()


class Spoiled(FlagfallError):
    """A harm did more than it may."""


@dataclass(frozen=True)
class Kind:
    """A kind of harm.

    Attributes:
        harm: Does it.
        times: How often in the long campaign.
        at_once: How often in one round.
    """

    harm: Harm
    times: int
    at_once: int = 1


HARM = {
    "kill of all that runs in a pod": Kind(to_pods("kill"), 60, AT_ONCE),
    "pod deleted as it runs": Kind(to_pods("delete"), 45, AT_ONCE),
    "pod evicted as it runs": Kind(to_pods("evict"), 20, AT_ONCE),
    "pod out of memory": Kind(to_pods("exhaust"), 20, AT_ONCE),
    f"pods pending for {LAME:.0f} s": Kind(to_all(pending("full")), 10),
    f"images not pulled for {LAME:.0f} s": Kind(to_all(pending("without_registry")), 10),
    "pods refused by their node": Kind(to_all(_refused), 10),
    f"Kubernetes API away for {AWAY:.0f} s": Kind(to_all(_away), 5),
    f"Kubernetes API takes {SLOW:.0f} s for an answer, for {LAME:.0f} s": Kind(to_all(_slow), 5),
    f"Kubernetes API answers 429 for {LAME:.0f} s": Kind(to_all(_busy), 5),
    "watch expired (410)": Kind(to_all(_forgetful), 5),
    "kill of the scheduler with a pod under way": Kind(to_all(_restarted), 5),
}
"""What is done: 200 times together in the long campaign."""
AFTERWARDS = "none, afterwards: one batch more of each feed, and every report that was left out"


def rounds() -> list[tuple[str, int]]:
    """The long campaign: which harm, and how often in one round."""
    found = [
        (what, min(kind.at_once, kind.times - done))
        for what, kind in HARM.items()
        for done in range(0, kind.times, kind.at_once)
    ]
    random.Random(SEED).shuffle(found)
    return found


@dataclass(frozen=True)
class Round:
    """Harm of one kind to one feed, until all is well again.

    Attributes:
        drops: What was dropped for it.
        took: Seconds of each harm until what it hit was done.
        faults: What went wrong besides.
    """

    what: str
    world: PodsWorld
    drops: Sequence[Drop]
    took: tuple[float, ...] = ()
    faults: tuple[str, ...] = ()


def harm_pods(worlds: Sequence[PodsWorld], given: Sequence[tuple[str, int]]) -> Iterator[Line]:
    """Do rounds of harm, one at a time to each feed; a line as soon as all of a kind are done.

    The last line judges all that was dropped once more.
    """
    waiting: SimpleQueue[tuple[str, int]] = SimpleQueue()
    for one in given:
        waiting.put(one)
    left = Counter(what for what, _ in given)
    done: list[Round] = []
    with ThreadPoolExecutor(len(worlds)) as pool:
        for one in as_they_come(pool, [_rounds(world, waiting) for world in worlds]):
            done.append(one)
            left[one.what] -= 1
            if left[one.what] == 0:
                yield _line(one.what, [other for other in done if other.what == one.what])
    afterwards = [one for one in done if one.what == AFTERWARDS]
    yield _line(AFTERWARDS, [replace(one, drops=one.world.producer.dropped) for one in afterwards])


def as_they_come(pool: ThreadPoolExecutor, sources: Sequence[Iterator[T]]) -> Iterator[T]:
    """What several iterators give, each in a thread of its own.

    Raises:
        Exception: What one of them raised, when the others have ended.
    """
    found: SimpleQueue[T | None] = SimpleQueue()

    def drain(source: Iterator[T]) -> None:
        try:
            for one in source:
                found.put(one)
        finally:
            found.put(None)

    threads = [pool.submit(drain, source) for source in sources]
    ended = 0
    while ended < len(threads):
        if one := found.get():
            yield one
        else:
            ended += 1
    for thread in threads:
        thread.result()


def _rounds(world: PodsWorld, waiting: SimpleQueue[tuple[str, int]]) -> Iterator[Round]:
    while True:
        try:
            what, times = waiting.get_nowait()
        except Empty:
            yield _afterwards(world)
            return
        yield _round(world, what, times)


def _round(world: PodsWorld, what: str, times: int) -> Round:
    before = len(world.producer.dropped)
    hits, faults = [], []
    try:
        hits = HARM[what].harm(world, times)
    except FlagfallError as failed:
        faults.append(f"{what}: {failed}")
    drops = world.producer.dropped[before:]
    verdict = world.judge(drops)
    took = tuple(round(world.healed(hit), 1) for hit in hits)
    wrong = [*verdict.lost, *verdict.twice, *verdict.undone, *faults]
    print(f"{world.dag_id}: {what}: {took} s, {len(drops)} batches, wrong: {wrong}", flush=True)
    return Round(what, world, drops, took, tuple(faults))


def _afterwards(world: PodsWorld) -> Round:
    """A report whose pod was killed is written by the next run."""
    began = time.monotonic()
    drops = world.producer.drop()
    world.judge(drops)
    took = round(time.monotonic() - began, 1)
    left = tuple(f"{world.dag_id}: no report: {key}" for key in world.files.keys("reports/due"))
    return Round(AFTERWARDS, world, drops, (took,), left)


def _line(what: str, done: Sequence[Round]) -> Line:
    verdicts = [one.world.judge(one.drops) for one in done]
    faults = [fault for one in done for fault in one.faults]
    verdict = Verdict(
        tuple(text for one in verdicts for text in one.lost),
        tuple(text for one in verdicts for text in one.twice),
        (*(text for one in verdicts for text in one.undone), *faults),
        tuple(seconds for one in done for seconds in one.took),
    )
    drops = sum(len(one.drops) for one in done)
    return Line(f"{what} (Kubernetes)", len(verdict.seconds), drops, verdict)
