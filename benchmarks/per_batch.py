"""What one more batch costs in a run, beside one DAG run per file and one mapped task per file.

All do the same work on the same days of flights, with the same functions of
``flagfall.stages``; only what calls them differs. A loop in one process shows what the functions
take by themselves.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.on_postgres import ACTIVE, PostgresAirflow, airflow_on_postgres
from benchmarks.table import Column, Plot, Table, found
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.publish import publish
from sandbox.airflow import interruptible
from sandbox.flights import LABELLED, write_day

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 10, 100, 1_000)
LIMIT = 100.0
"""Seconds for one size; then it is said how far it got, and larger sizes are left out."""
DAYS = 30
"""Different days that are published; further batches are copies of them. Of the winter's later ones
two are turned away: planes that never flew in the snow have no number."""
RECORDS = ("staged", "features", "predictions", "evaluations")
"""What the four stages leave of each batch in the lake."""

ABOVE = """\
title: Days of flights
landing: {uri: LANDING, marker: "date={date}/datapackage.json"}
lake: {uri: LAKE}
"""

LOOP = """\
import sys
from pathlib import Path
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from flagfall.report.run import report_run

dataset = read_dataset(Path(sys.argv[1]))
inbox = Inbox(Feed.of(dataset))
deliveries = [Delivery(marker) for marker in inbox.pending()]
for stage in STAGES:
    deliveries = run_stage(stage, dataset, inbox, deliveries)
report_run(dataset, inbox, "run", [delivery.marker for delivery in deliveries])
"""

TASKS = """\
from pathlib import Path
from airflow.sdk import DAG, task, task_group
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.stages.shard import Delivery, run_stage
from flagfall.report.run import report_run

def feed():
    dataset = read_dataset(Path("DATASET"))
    return dataset, Inbox(Feed.of(dataset))

def done(stage, delivery):
    return run_stage(stage, *feed(), [delivery])[0].to_dict()

def reported(run, deliveries):
    dataset, inbox = feed()
    markers = [Delivery.from_dict(delivery).marker for delivery in deliveries]
    return report_run(dataset, inbox, run, markers)["uri"]

@task
def preprocess(delivery):
    return done("preprocess", Delivery.from_dict(delivery))

@task
def infer(delivery):
    return done("infer", Delivery.from_dict(delivery))

@task
def evaluate(delivery):
    return done("evaluate", Delivery.from_dict(delivery))

"""
RUN_PER_FILE = """\
with DAG("NAME", schedule=None):
    @task
    def ingest(dag_run=None):
        return done("ingest", Delivery(Marker.from_dict(dag_run.conf["marker"])))

    @task
    def report(delivery, run_id=None):
        return reported(run_id, [delivery])

    report(evaluate(infer(preprocess(ingest()))))
"""
TASK_PER_FILE = """\
with DAG("NAME", schedule=None):
    @task
    def files():
        return [marker.to_dict() for marker in feed()[1].pending()]

    @task
    def ingest(marker):
        return done("ingest", Delivery(Marker.from_dict(marker)))

    @task
    def report(deliveries, run_id=None):
        return reported(run_id, list(deliveries))

    @task_group
    def of_file(marker):
        return evaluate(infer(preprocess(ingest(marker))))

    report(of_file.expand(marker=files()))
"""
SIDES = {
    "Flagfall": "shards",
    "a DAG run per file": "runs",
    "a mapped task per file": "mapped",
}
THEIRS = {"runs": RUN_PER_FILE, "mapped": TASK_PER_FILE}


@dataclass(frozen=True)
class Measured:
    """One size of one side; the columns of the table, in order.

    Attributes:
        side: What calls the stages.
        batches: How many there are.
        done: How many were done in time; a quarter for each of the four stages.
        seconds: Until the last run had ended, or the time was over.
        each: Seconds per batch done.
        tasks: Task instances that had ended.
        tasks_each: Per batch done.
        cpu_each: CPU seconds per batch done, of all of Airflow's processes.
    """

    side: str
    batches: int
    done: float | None = None
    seconds: float | None = None
    each: float | None = None
    tasks: int | None = None
    tasks_each: float | None = None
    cpu_each: float | None = None

    @classmethod
    def of(
        cls, side: str, batches: int, done: float, seconds: float, tasks: int | None, cpu: float
    ) -> Measured:
        """With what follows from the rest."""
        over = done or None
        return cls(
            side=side,
            batches=batches,
            done=done,
            seconds=seconds,
            each=over and seconds / over,
            tasks=tasks,
            tasks_each=over and tasks and tasks / over,
            cpu_each=over and cpu / over,
        )


COLUMNS = (
    Column("side"),
    Column("batches", ",d"),
    Column("done", ",.4g"),
    Column("seconds", ",.1f"),
    Column("seconds per batch", ",.3f"),
    Column("task instances", ",d"),
    Column("task instances per batch", ",.3g"),
    Column("CPU seconds per batch", ",.3f"),
)
PLOTS = (
    Plot("side", "batches", "seconds per batch", "Seconds per batch"),
    Plot("side", "batches", "CPU seconds per batch", "CPU seconds per batch"),
)


@dataclass(frozen=True)
class Place:
    """Where the batches of one size land, and what becomes of them on one side."""

    folder: Path
    batches: int

    @property
    def outbox(self) -> Path:
        """Published batches that have not landed yet."""
        return self.folder / f"outbox_{self.batches}"

    @property
    def landing(self) -> Path:
        """Where all sides read them."""
        return self.folder / f"landing_{self.batches}"

    def name(self, kind: str) -> str:
        """Name of a side's dataset and of its DAG, unless that is Flagfall's own."""
        return f"{kind}_{self.batches}"

    def dataset(self, kind: str) -> Path:
        """The dataset file of a side: the flights', with a lake of its own."""
        watched = "datasets" if kind == "shards" else "unwatched"
        return self.folder / watched / f"{self.name(kind)}.yaml"

    def write_dataset(self, kind: str) -> None:
        """Write the dataset file of a side."""
        text = (LABELLED / "flights.yaml").read_text()
        rest = text[text.index("schema:") :].replace("../models/", f"{ROOT}/models/")
        above = ABOVE.replace("LANDING", str(self.landing)).replace("LAKE", str(self._lake))
        file = self.dataset(kind)
        file.parent.mkdir(exist_ok=True)
        file.write_text(above + rest)

    @property
    def _lake(self) -> Path:
        return self.folder / "lake"

    def done(self, kind: str) -> float:
        """How many batches are done; a quarter for each stage."""
        lake = self._lake / self.name(kind)
        return sum(_count(lake / records) for records in RECORDS) / len(RECORDS)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*/record.json"))


def publish_all(place: Place) -> None:
    """Publish the batches of a size into its outbox."""
    for n in range(place.batches):
        target = place.outbox / f"date={date(2013, 1, 1) + timedelta(days=n)}"
        if n < DAYS:
            day = date(2013, 1, 1) + timedelta(days=n)
            write_day(day, place.folder / "made" / str(day))
            publish(place.folder / "made" / str(day), str(target))
        else:
            shutil.copytree(place.outbox / f"date={date(2013, 1, 1) + timedelta(n % DAYS)}", target)


def land(place: Place) -> None:
    """Rename all batches into the landing zone."""
    for batch in sorted(place.outbox.iterdir()):
        batch.rename(place.landing / batch.name)


def measure(
    airflow: PostgresAirflow, place: Place, side: str, dag_id: str, limit: float
) -> Measured:
    """Have one side do one size."""
    kind = SIDES[side]
    cpu, began = airflow.cpu_seconds(), time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        started = thread.submit(_start, airflow, place, kind, began + limit)
        over = _wait(airflow, place, kind, dag_id, began + limit)
        started.result()
    seconds = time.monotonic() - began
    ended = "select count(*) from task_instance where dag_id = ? and end_date is not null"
    measured = Measured.of(
        side=side,
        batches=place.batches,
        done=place.done(kind),
        seconds=seconds,
        tasks=airflow.number(ended, dag_id),
        cpu=airflow.cpu_seconds() - cpu,
    )
    if not over:
        _stop(airflow, dag_id)
    return measured


def _start(airflow: PostgresAirflow, place: Place, kind: str, give_up: float) -> None:
    if kind == "shards":
        land(place)
    elif kind == "mapped":
        airflow.trigger(place.name(kind), {})
    else:
        for marker in Inbox(Feed.of(read_dataset(place.dataset(kind)))).pending():
            if time.monotonic() < give_up:
                airflow.trigger(place.name(kind), {"marker": marker.to_dict()})


def _wait(airflow: PostgresAirflow, place: Place, kind: str, dag_id: str, give_up: float) -> bool:
    """Whether all was done and reported in time."""
    while time.monotonic() < give_up:
        airflow.check()
        if place.done(kind) >= place.batches and not airflow.query(ACTIVE, dag_id):
            return True
        time.sleep(0.3)
    return False


def _stop(airflow: PostgresAirflow, dag_id: str) -> None:
    """Have a DAG start nothing more, and wait for what it has started."""
    airflow.run("dags", "pause", "-y", dag_id)
    busy = "select 1 from task_instance where dag_id = ? and state in ('queued', 'running')"
    airflow.wait_until(lambda: not airflow.query(busy, dag_id), "tasks do not end")


def loop(place: Place) -> Measured:
    """The stages' functions, called in one process that does nothing else."""
    place.write_dataset("loop")
    before, began = _cpu_of_children(), time.monotonic()
    code = [sys.executable, "-c", LOOP, str(place.dataset("loop"))]
    subprocess.run(code, check=True, cwd=ROOT)
    seconds, cpu = time.monotonic() - began, _cpu_of_children() - before
    return Measured.of("a loop", place.batches, place.done("loop"), seconds, None, cpu)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write_dags(folder: Path, places: Sequence[Place]) -> None:
    (folder / "dags").mkdir()
    shutil.copy(ROOT / "dags" / "feeds.py", folder / "dags")
    for place in places:
        place.write_dataset("shards")
        for kind, dag in THEIRS.items():
            place.write_dataset(kind)
            text = (TASKS + dag).replace("DATASET", str(place.dataset(kind)))
            (folder / "dags" / f"{place.name(kind)}.py").write_text(
                text.replace("NAME", place.name(kind))
            )


def run(
    folder: Path, sizes: Sequence[int], sides: Sequence[str], limit: float
) -> Iterator[Measured]:
    """The sides of that name, one size after the other; then the loop."""
    places = [Place(folder, size) for size in sizes]
    for place in places:
        publish_all(place)
        place.landing.mkdir()
    _write_dags(folder, places)
    settings = {"FLAGFALL_DATASETS": str(folder / "datasets")}
    hopeless: set[str] = set()
    with airflow_on_postgres(folder, folder / "dags", settings) as airflow:
        _wait_until_ready(airflow, len(places))
        for place in places:
            for side in sides:
                kind = SIDES[side]
                dag_id = place.name(kind) + ("_pipeline" if kind == "shards" else "")
                if side in hopeless:
                    yield Measured(side, place.batches)
                    continue
                measured = measure(airflow, place, side, dag_id, limit)
                if measured.done != place.batches:
                    hopeless.add(side)
                yield measured
    for place in places:
        yield loop(place)


def _wait_until_ready(airflow: PostgresAirflow, sizes: int) -> None:
    watched: Callable[[], bool] = lambda: (  # noqa: E731
        airflow.number("select count(*) from trigger where triggerer_id is not null") >= sizes
        and airflow.number("select count(*) from serialized_dag") >= 3 * sizes
    )
    airflow.wait_until(watched, "the DAGs are not known")
    time.sleep(5)  # a trigger that is assigned starts a moment later


def main() -> None:
    """Measure all sides at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for each size")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=tuple(SIDES))
    options = parser.parse_args()
    rows: list[Measured] = []
    with interruptible(), tempfile.TemporaryDirectory() as name:
        for measured in run(Path(name), options.sizes, options.sides, options.limit):
            print(json.dumps(astuple(measured)), flush=True)
            rows.append(measured)
    order = ["a loop", *SIDES]
    rows.sort(key=lambda row: order.index(row.side))
    found(Table("per_batch", COLUMNS, tuple(map(astuple, rows)), PLOTS))


if __name__ == "__main__":
    main()
