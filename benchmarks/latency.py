"""Marker created → event stored → first task running, beside the floor and Airflow's own.

The floor is a trigger that yields at a time that it knows (``floor.py``). What is ours and the
floor take turns in one Airflow, each when all is quiet. Airflow's own sensors and triggers wait
meanwhile in another one, many at a time, and their markers are dropped at random moments.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import NamedTuple

import detection
import kinds
from kinds import Bucket, Disk, Kind, Place
from live import DAGS, ROOT, STOCK, Board, LiveAirflow, Task, helpers, live_airflow
from table import Cell, Column, Table, found

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.publish import publish
from sandbox.airflow import interruptible
from sandbox.flights import LABELLED, write_day
from sandbox.s3 import LocalS3

PATIENCE = 180.0
"""Seconds after which a marker is given up."""
SIX = "the last of six tasks that do nothing"
AHEAD = 0.6
"""Seconds by which the floor's trigger is told earlier."""
EMPTY = {kinds.MARKER: b""}
WATCHERS = (
    "MarkerFeedTrigger",
    "FileDeleteTrigger",
    "DirectoryFileDeleteTrigger",
    "SqsSensorTrigger",
)
"""Those that watch an asset; the others wait for a task."""
MODES = ("poke", "reschedule", "deferrable")


class Sample(NamedTuple):
    """When a marker was created, its event stored (or its sensor ended), and the next task began.

    Seconds since 1970.
    """

    created: float
    stored: float
    first: float


@dataclass
class Samples:
    """What was seen of one kind of waiting.

    Attributes:
        label: How tables call it.
        every: Seconds between two looks; ``None`` where it is told.
        dropped: Markers.
        seen: What came of them.
    """

    label: str
    every: float | None
    dropped: int = 0
    seen: list[Sample] = field(default_factory=list)

    def take(self, one: Callable[[], Sample]) -> None:
        """Try one marker; one that is given up counts as dropped only."""
        self.dropped += 1
        try:
            self.seen.append(one())
        except TimeoutError:
            print(f"{self.label}: nothing came of a marker in {PATIENCE:.0f} s", flush=True)

    def stored(self) -> list[float]:
        """Seconds from marker to event, in order."""
        return sorted(one.stored - one.created for one in self.seen)

    def first(self) -> list[float]:
        """Seconds from marker to first task, in order."""
        return sorted(one.first - one.created for one in self.seen)


def p99(ordered: Sequence[float]) -> float:
    """The nearest rank: of fewer than 100 the last."""
    return ordered[math.ceil(len(ordered) * 0.99) - 1]


class World:
    """One Airflow, and who waits there.

    Args:
        airflow: Running.
    """

    def __init__(self, airflow: LiveAirflow) -> None:
        self.airflow = airflow
        self.board = Board(airflow)

    def watched(self, asset: str, dag: str, task: str, created: float) -> Sample:
        """What came of a marker that a watched asset was waiting for."""
        stored, said = self.board.until(lambda: self._event(asset, created), PATIENCE)
        if isinstance(said, dict) and "at" in said:
            created = said["at"]
        first = self.board.until(lambda: self._task(dag, task, created), PATIENCE)
        return Sample(created, stored, first.start)

    def waited(self, dag: str, n: int, created: float) -> Sample:
        """What came of a marker that a sensor was waiting for."""
        first = self.board.until(lambda: self._task(dag, f"after_{n}", created), PATIENCE)
        ended = self.board.tasks[dag, f"wait_{n}"][-1].end
        return Sample(created, ended, first.start)

    def _event(self, asset: str, after: float) -> tuple[float, object] | None:
        return next((e for e in self.board.events.get(asset, ()) if e[0] >= after), None)

    def _task(self, dag: str, task: str, after: float) -> Task | None:
        return next((t for t in self.board.tasks.get((dag, task), ()) if t.start >= after), None)

    def waits(self, dag: str, n: int) -> bool:
        """Whether a sensor came to wait; else it or one before it has failed."""
        try:
            tasks = self.board.until(lambda: self.board.tasks.get((dag, f"wait_{n}")), PATIENCE)
        except TimeoutError:
            return False
        return tasks[-1].state not in ("failed", "upstream_failed")

    def ended(self, dag: str) -> None:
        """Wait until no run of a DAG is under way."""
        runs = "dag_run where dag_id = ? and state in ('queued', 'running')"
        self.airflow.wait_until(lambda: not self.airflow.count(runs, dag), f"{dag} does not end")

    def quiet(self) -> None:
        """Wait until nothing runs."""
        self.airflow.wait_until(self.airflow.is_idle, "it does not come to rest")


# What is ours, and the floor


class Ours:
    """The floor, our feeds and our sensors in one Airflow.

    Args:
        folder: For all of it.
        rounds: Markers of each.
    """

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.disk = Disk(folder)
        self.samples: dict[str, Samples] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Ours:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        server = self._stack.enter_context(LocalS3(self.folder, "ours"))
        self.bucket = Bucket(server)
        hinted, hinted_due = self.bucket.tell("hinted", "hinted_due")
        self.batch = kinds.batch(self.folder / "batch")
        self._write_datasets(hinted)
        self.sensors = (
            kinds.floor_sensor(self.folder),
            kinds.marker_sensor("due", "MarkerSensor", self.disk),
            kinds.marker_sensor("hinted_due", "MarkerSensor, SQS hints", self.bucket, hinted_due),
            kinds.marker_sensor("swept_due", "MarkerSensor, sweeps alone", self.bucket),
        )
        files = {f"{kind.name}.py": kind.sensors(self.rounds) for kind in self.sensors}
        files["floor.py"] = kinds.floor_watcher(self.folder).watcher()
        files["six_tasks.py"] = kinds.six_tasks(self.folder)
        files["feeds.py"] = (DAGS / "feeds.py").read_text()
        settings = kinds.connections(server)
        settings["FLAGFALL_DATASETS"] = str(self.folder / "datasets")
        self.world = World(
            self._stack.enter_context(live_airflow(self.folder / "airflow", files, settings))
        )
        self._wait_until_watched()

    def _write_datasets(self, queue: str) -> None:
        datasets = self.folder / "datasets"
        datasets.mkdir()
        (datasets / "disk.yaml").write_text(kinds.feed("disk", self.disk, self.folder))
        (datasets / "hinted.yaml").write_text(kinds.feed("hinted", self.bucket, self.folder, queue))
        (datasets / "swept.yaml").write_text(kinds.feed("swept", self.bucket, self.folder))
        text = (LABELLED / "flights.yaml").read_text()
        rest = text[text.index("arrival:") :].replace("../models/", f"{ROOT}/models/")
        marker = "marker: date={date}/datapackage.json"
        places = f"landing:\n  uri: {self.disk.uri('flights')}\n  {marker}"
        lake = f"lake: {{uri: {self.folder}/lake}}"
        (datasets / "flights.yaml").write_text(f"title: Flights\n{places}\n{lake}\n{rest}")

    def _wait_until_watched(self) -> None:
        airflow = self.world.airflow
        waiting = len(self.sensors) * self.rounds + 6
        airflow.wait_until(
            lambda: airflow.count("trigger where triggerer_id is not null") == waiting,
            f"{waiting} triggers do not wait",
        )
        time.sleep(10)  # first looks and follow-ups are over, and the queues are being polled

    def of(self, kind: Kind | str, every: float | None = None) -> Samples:
        """The samples of a kind."""
        label = kind if isinstance(kind, str) else kind.label
        every = every if isinstance(kind, str) else kind.every
        return self.samples.setdefault(label, Samples(label, every))

    def _one_floor(self, n: int) -> Sample:
        at = kinds.tell(self.folder / "floor", time.time() + AHEAD)
        return self.world.watched("floor", "floor", "first", at)

    def _one_floor_sensor(self, n: int) -> Sample:
        at = kinds.tell(self.folder / f"floor_{n}", time.time() + AHEAD)
        return self.world.waited("floor_sensor", n, at)

    def _one_feed(self, name: str, place: Place, n: int) -> Sample:
        created = place.drop(name, n, self.batch)
        return self.world.watched(f"{name}_landed", f"{name}_pipeline", "claim", created)

    def _one_sensor(self, kind: Kind, place: Place, n: int) -> Sample:
        return self.world.waited(kind.name, n, place.drop(kind.name, n, EMPTY))

    def measure(self) -> None:
        """Take turns, in a new order each round; what is found by sweeps alone runs beside."""
        _, due, hinted_due, swept_due = self.sensors
        turns: list[tuple[Samples, Callable[[int], Sample]]] = [
            (self.of("the floor"), self._one_floor),
            (self.of("the floor of sensors"), self._one_floor_sensor),
            (self.of("MarkerFeedTrigger"), lambda n: self._one_feed("disk", self.disk, n)),
            (self.of(due), lambda n: self._one_sensor(due, self.disk, n)),
            (
                self.of("MarkerFeedTrigger, SQS hints"),
                lambda n: self._one_feed("hinted", self.bucket, n),
            ),
            (self.of(hinted_due), lambda n: self._one_sensor(hinted_due, self.bucket, n)),
        ]
        beside: list[tuple[Samples, Callable[[int], Sample]]] = [
            (
                self.of("MarkerFeedTrigger, sweeps alone", 30.0),
                lambda n: self._one_feed("swept", self.bucket, n),
            ),
            (self.of(swept_due), lambda n: self._one_sensor(swept_due, self.bucket, n)),
        ]
        over = threading.Event()
        with helpers(2) as pool:
            try:
                futures = [pool.submit(self._beside, over, *one) for one in beside]
                for n in range(self.rounds):
                    for samples, one in random.sample(turns, len(turns)):
                        self.world.quiet()
                        time.sleep(random.random())
                        samples.take(lambda one=one, n=n: one(n))
            finally:
                over.set()
            for future in futures:
                future.result()

    def _beside(
        self, over: threading.Event, samples: Samples, one: Callable[[int], Sample]
    ) -> None:
        for n in range(self.rounds):
            if over.wait(random.uniform(0.0, 15.0)):
                return
            self.world.ended("swept_pipeline")  # its claim would take the next one along
            samples.take(lambda n=n: one(n))


# Airflow's own


class Peers:
    """Airflow's own sensors and triggers in an Airflow without Flagfall.

    Args:
        folder: For all of it.
        fast: Markers of each that looks every few seconds.
        slow: Markers of each that looks once a minute.
        chains: How many of the latter wait at a time.
    """

    def __init__(self, folder: Path, fast: int, slow: int, chains: int) -> None:
        self.folder = folder
        self.fast = fast
        self.slow = slow
        self.chains = chains
        self.disk = Disk(folder)
        self.samples: dict[tuple[str, float | None], Samples] = {}

    def measure(self) -> None:
        """All of them; the slow ones wait beside the fast ones, of which a few wait at a time."""
        with LocalS3(self.folder, "peers") as server:
            self.bucket = Bucket(server)
            files = {"floor.py": kinds.floor_watcher(self.folder).watcher()}
            with live_airflow(
                self.folder / "airflow", files, kinds.connections(server), STOCK
            ) as airflow:
                self.world = World(airflow)
                self._measure()

    def _measure(self) -> None:
        minutely = [f"sqs_60_{n}" for n in range(self.chains)]
        urls = self.bucket.tell("sqs_1", *minutely)
        watchers = [
            kinds.file_delete_watcher(self.disk, 1),
            kinds.file_delete_watcher(self.disk),
            kinds.directory_watcher(self.disk, 1),
            kinds.directory_watcher(self.disk),
            kinds.queue_watcher("sqs_1", urls[0], 1),
        ]
        with helpers(100) as pool:
            slow = [
                pool.submit(self._sensors, kind, self.slow, self.chains) for kind in self._slow()
            ]
            for name, url in zip(minutely, urls[1:], strict=True):
                kind = kinds.queue_watcher(name, url)
                slow.append(pool.submit(self._watcher, kind, self.slow // self.chains))
            for group in self._fast():
                for done in [pool.submit(self._sensors, kind, self.fast, 1) for kind in group]:
                    done.result()
            fast = [pool.submit(self._watcher, kind, self.fast) for kind in watchers]
            fast += [pool.submit(self._floor)]
            for done in [*fast, *slow]:
                done.result()

    def _slow(self) -> list[Kind]:
        disk = [kinds.file_sensor(self.disk, mode) for mode in MODES]
        return disk + [kinds.s3_sensor(self.bucket, mode) for mode in MODES]

    def _fast(self) -> list[list[Kind]]:
        """Groups of those that wait beside each other."""
        disk = [kinds.file_sensor(self.disk, mode, 1) for mode in MODES]
        s3 = [kinds.s3_sensor(self.bucket, mode, 1) for mode in MODES]
        triggers = [kinds.file_trigger(self.disk, 1), kinds.file_trigger(self.disk)]
        return [[disk[0], disk[1]], [s3[0], s3[1]], [disk[2], s3[2]], triggers]

    def _of(self, kind: Kind) -> Samples:
        key = kind.label, kind.every
        return self.samples.setdefault(key, Samples(*key))

    def _declare(self, name: str, text: str) -> None:
        dags = self.folder / "airflow" / "dags"
        (dags / f".{name}").write_text(text)
        (dags / f".{name}").rename(dags / f"{name}.py")

    def _place(self, kind: Kind) -> Place:
        return self.bucket if kind.name.startswith("s3") else self.disk

    def _sensors(self, kind: Kind, count: int, chains: int) -> None:
        """Drop the marker of each when it waits; moments are spread over the time between looks."""
        assert kind.every is not None, "Airflow's own look now and then"
        samples, length = self._of(kind), max(1, count // chains)
        self._declare(kind.name, kind.sensors(chains, length))
        count = chains * length
        moments = _moments(count, kind.every)
        with helpers(chains) as pool:
            parts = [range(c * length, (c + 1) * length) for c in range(chains)]
            done = [pool.submit(self._chain, kind, samples, part, moments) for part in parts]
            for one in done:
                one.result()

    def _chain(
        self, kind: Kind, samples: Samples, numbers: Iterable[int], moments: Sequence[float]
    ) -> None:
        for n in numbers:
            if not self.world.waits(kind.name, n):
                samples.dropped += 1
                continue
            time.sleep(1.5 + moments[n])
            samples.take(lambda n=n: self._one(kind, n))

    def _one(self, kind: Kind, n: int) -> Sample:
        return self.world.waited(kind.name, n, self._place(kind).drop(kind.name, n, EMPTY))

    def _watcher(self, kind: Kind, count: int) -> None:
        assert kind.every is not None, "Airflow's own look now and then"
        samples = self._of(kind)
        self._declare(kind.name, kind.watcher())
        known = "trigger t join asset_watcher w on w.trigger_id = t.id where w.name = ?"
        running = f"{known} and t.triggerer_id is not null"
        airflow = self.world.airflow
        airflow.wait_until(lambda: airflow.count(running, kind.name), f"{kind.name}: no watcher")
        for n, moment in enumerate(_moments(count, kind.every)):
            time.sleep(2.5 + moment)  # the trigger starts anew
            samples.take(lambda n=n: self._one_event(kind, n))

    def _one_event(self, kind: Kind, n: int) -> Sample:
        if kind.name.startswith("sqs"):
            created = self.bucket.drop(kind.name, n, EMPTY)
        else:
            created = self.disk.drop_again(kind.name)
        return self.world.watched(kind.name, kind.name, "first", created)

    def _floor(self) -> None:
        samples = self._of(kinds.floor_watcher(self.folder))
        for _ in range(self.fast):
            time.sleep(2.5 + random.random())
            samples.take(self._one_floor)

    def _one_floor(self) -> Sample:
        at = kinds.tell(self.folder / "floor", time.time() + AHEAD)
        return self.world.watched("floor", "floor", "first", at)


def _moments(count: int, every: float) -> list[float]:
    """Moments spread over the time between two looks, in random order."""
    moments = [(n + random.random()) / count * every for n in range(count)]
    random.shuffle(moments)
    return moments


# The main job: marker to receipt, marker to report


def main_job(ours: Ours, days: int) -> Table:
    """Days of flights, one after the other; between them, six empty tasks."""
    dataset = read_dataset(ours.folder / "datasets" / "flights.yaml")
    times = [_one_day(ours, dataset, date(2013, 10, 1) + timedelta(days=n)) for n in range(days)]
    columns = (Column("from the marker to"), Column("batches", ".0f"), *_columns("{}, s"))
    columns = (*columns, Column("first, s", ".2f"))
    rows = []
    for n, name in enumerate(("the receipt", "the report", SIX)):
        taken = [one[n] for one in times]
        rows.append((name, len(taken), *_spread(sorted(taken)), taken[0]))
    return Table("latency_job", columns, tuple(rows))


def _one_day(ours: Ours, dataset: Dataset, day: date) -> tuple[float, float, float]:
    """Seconds to its receipt and to its report, and to the end of six empty tasks."""
    made = ours.folder / "made" / str(day)
    write_day(day, made)
    ours.world.quiet()
    publish(made, f"{dataset.landing.uri}/date={day}")
    inbox = Inbox(Feed.of(dataset))
    marker = inbox.landing.find(f"date={day}/datapackage.json")[0]
    landed = marker.landed_at.timestamp()
    report = _end(ours, ("flights_pipeline", "generate_report"), landed)
    receipt = inbox.receipts.find(marker)
    assert receipt is not None, "reported"
    ours.world.quiet()
    at = kinds.tell(ours.folder / "six", time.time() + AHEAD)
    return receipt.seconds, report - landed, _end(ours, ("six", "nothing_5"), at) - at


def _end(ours: Ours, key: tuple[str, str], after: float) -> float:
    """When a task first succeeded after a moment."""

    def ended() -> float | None:
        tasks = ours.world.board.tasks.get(key, ())
        ends = (task.end for task in tasks if task.state == "success" and task.end > after)
        return next(ends, None)

    return ours.world.board.until(ended, PATIENCE)


# Tables


def _columns(form: str) -> tuple[Column, ...]:
    return tuple(Column(form.format(name), ".2f") for name in ("p50", "p99", "max"))


def _spread(ordered: Sequence[float]) -> tuple[Cell, ...]:
    return (median(ordered), p99(ordered), ordered[-1]) if ordered else (None, None, None)


LATENCY = (
    Column("who waits"),
    Column("looks every, s", ".0f"),
    Column("markers", ".0f"),
    Column("seen", ".0f"),
    Column("stored: p50, s", ".2f"),
    Column("stored: p99, s", ".2f"),
    Column("stored: × floor", ".2f"),
    Column("first task: p50, s", ".2f"),
    Column("first task: p99, s", ".2f"),
    Column("first task: × floor", ".2f"),
)


def latency_table(name: str, parts: Sequence[tuple[Samples, Samples]]) -> Table:
    """A row for each kind, beside its floor."""
    return Table(name, LATENCY, tuple(_row(samples, floor) for samples, floor in parts))


def _row(samples: Samples, floor: Samples) -> tuple[Cell, ...]:
    head = samples.label, samples.every, samples.dropped, len(samples.seen)
    if not samples.seen or not floor.seen:
        return (*head, *[None] * 6)
    stored, first = samples.stored(), samples.first()
    by = median(stored) / median(floor.stored()), median(first) / median(floor.first())
    return *head, median(stored), p99(stored), by[0], median(first), p99(first), by[1]


def tables(
    ours: Mapping[str, Samples], peers: Mapping[tuple[str, float | None], Samples]
) -> Iterable[Table]:
    """Both tables: on disk, and on S3. Either begins with the floors of the Airflow of ours."""
    floors = [one for one in ours.values() if one.label.startswith("the floor")]
    mine = [one for one in ours.values() if one not in floors]
    theirs = sorted(peers.values(), key=lambda one: (one.label, one.every or 0.0))
    theirs_floor = [one for one in theirs if one.label == "the floor"]
    for one in theirs_floor:
        one.label = "the floor, Airflow without Flagfall"
    on_s3 = ("SQS", "sweeps", "S3", "Sqs")
    for name, is_s3 in (("latency_disk", False), ("latency_s3", True)):
        rows = [(one, one) for one in [*floors, *theirs_floor]]
        for some, beside in ((mine, floors[:1]), (theirs, theirs_floor)):
            rows += [
                (one, beside[0] if one.label.partition(",")[0] in WATCHERS else floors[1])
                for one in some
                if one not in theirs_floor and any(w in one.label for w in on_s3) == is_s3
            ]
        yield latency_table(name, rows)


def run(given: argparse.Namespace, folder: Path) -> None:
    """Both Airflows at a time; then the triggers alone."""
    peers = Peers(folder / "peers", given.fast, given.slow, given.chains)
    for name in ("peers", "ours"):
        (folder / name).mkdir()
    with helpers(1) as pool:
        theirs = None if given.only == "ours" else pool.submit(peers.measure)
        mine = {}
        if given.only != "peers":
            with Ours(folder / "ours", given.rounds) as ours:
                ours.measure()
                found(main_job(ours, given.days))
                mine = ours.samples
        if theirs is not None:
            theirs.result()
    if given.only is None:
        for table in tables(mine, peers.samples):
            found(table)
        return
    for one in [*mine.values(), *peers.samples.values()]:
        print(
            one.label,
            one.every,
            one.dropped,
            [_spread(times()) for times in (one.stored, one.first)],
        )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=24, help="markers of each that is ours")
    parser.add_argument("--fast", type=int, default=15, help="markers of each that looks often")
    parser.add_argument("--slow", type=int, default=18, help="of each that looks once a minute")
    parser.add_argument("--chains", type=int, default=3, help="of the latter that wait at a time")
    parser.add_argument("--days", type=int, default=6, help="of flights, from marker to report")
    parser.add_argument("--detected", type=int, default=100, help="markers for a trigger alone")
    parser.add_argument("--only", choices=("ours", "peers", "detection"))
    given = parser.parse_args()
    with interruptible(), tempfile.TemporaryDirectory() as name:
        if given.only != "detection":
            run(given, Path(name))
    if given.only in (None, "detection"):
        found(asyncio.run(detection.table(given.detected)))


if __name__ == "__main__":
    main()
