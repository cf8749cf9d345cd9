"""A hundred waits of five minutes: worker slots held, task starts, rows written.

Every kind of sensor has an Airflow of its own, on a PostgreSQL of its own, with Airflow's default
of 32 tasks at once. Some of them run at the same time, but never two that keep starting tasks.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import kinds
from kinds import Bucket, Disk, Kind, Place
from live import DAGS, STOCK, LiveAirflow, helpers, live_airflow
from table import Cell, Column, Table, found

from sandbox.airflow import AirflowFailed, interruptible
from sandbox.s3 import LocalS3

LOOK_EVERY = 0.5
"""Seconds between two looks at who holds a slot."""
BEGIN = 120.0
"""Seconds in which all have to wait; some never do, for want of a slot."""
END = 180.0
"""Seconds in which all have to end when their markers have come."""
EMPTY = {kinds.MARKER: b""}
HELD = """
select coalesce(sum(pool_slots) filter (where state = 'running'), 0) as running,
coalesce(sum(pool_slots) filter (where state in ('scheduled', 'queued')), 0) as queued
from task_instance"""
WRITTEN = """
select xact_commit as commits, tup_inserted + tup_updated + tup_deleted as rows
from pg_stat_database where datname = 'airflow'"""
STARTS = "log where event = 'running' and dag_id = ? and task_id like ?"
"""Airflow logs whenever a worker has begun with a task instance, anew or again."""


@dataclass(frozen=True)
class Side:
    """A kind of sensor to be measured.

    Attributes:
        name: By which it is chosen.
        group: Those with the same number run beside each other.
        make: Gives the kind, of a place.
        on_s3: Whether markers come to a bucket.
        is_ours: Whether it is Flagfall's; a feed waits beside its sensors then.
        ends: Whether the end of the waits is measured, too.
    """

    name: str
    group: int
    make: Callable[[Place], Kind]
    on_s3: bool = False
    is_ours: bool = False
    ends: bool = False


def _ours(place: Place) -> Kind:
    return kinds.marker_sensor("due", "MarkerSensor", place)


def _file(mode: str, every: float | None = None) -> Callable[[Place], Kind]:
    return lambda place: kinds.file_sensor(place, mode, every)


def _s3(mode: str) -> Callable[[Place], Kind]:
    return lambda place: kinds.s3_sensor(place, mode)


SIDES = (
    Side("ours-disk", 1, _ours, is_ours=True, ends=True),
    Side("ours-s3", 1, _ours, on_s3=True, is_ours=True, ends=True),
    Side("file-deferrable", 2, _file("deferrable"), ends=True),
    Side("s3-deferrable", 2, _s3("deferrable"), on_s3=True, ends=True),
    Side("file-deferrable-1s", 3, _file("deferrable", 1)),
    Side("file-reschedule", 3, _file("reschedule")),
    Side("file-poke", 3, _file("poke")),
    Side("s3-reschedule", 4, _s3("reschedule"), on_s3=True),
    Side("s3-poke", 4, _s3("poke"), on_s3=True),
)


class Held(NamedTuple):
    """What was held and written in a while.

    Attributes:
        seconds: How long that was.
        running: Slot-seconds of task instances that ran.
        queued: Slot-seconds of those that waited for a slot or for their turn.
        starts: Of tasks.
        rows: Inserted, updated and deleted.
        commits: Of any transaction, also one that only read.
    """

    seconds: float
    running: float
    queued: float
    starts: int
    rows: int
    commits: int

    def an_hour(self, count: int) -> float:
        """A count of this while, for an hour."""
        return count * 3600 / self.seconds


class Found(NamedTuple):
    """What was found of one side; ``None`` where it was not looked for.

    Attributes:
        label, store, every: Of its kind.
        waits: How many were to wait.
        begun: How many did.
        idle: The same Airflow before.
        waiting: While they waited.
        to_begin: Task starts until they waited.
        to_end: Task starts to end all kinds.
    """

    label: str
    store: str
    every: float | None
    waits: int
    begun: int
    idle: Held
    waiting: Held
    to_begin: int
    to_end: int | None


class Bench:
    """One side in its Airflow.

    Args:
        side: Whose.
        folder: Made, for all of it.
        given: Options.
    """

    def __init__(self, side: Side, folder: Path, given: argparse.Namespace) -> None:
        self.side = side
        self.folder = folder
        self.given = given
        self.place: Place = Disk(folder)
        self.feeds: list[tuple[Cell, ...]] = []

    @property
    def store(self) -> str:
        """Where markers come to."""
        return "S3" if self.side.on_s3 else "disk"

    def run(self) -> Found:
        """Start it all, watch it, end it."""
        self.folder.mkdir()
        with ExitStack() as stack:
            server = stack.enter_context(LocalS3(self.folder, "slots"))
            if self.side.on_s3:
                self.place = Bucket(server)
            settings, files = kinds.connections(server), {}
            if self.side.is_ours:
                settings |= self._with_feed(files)
            python = {} if self.side.is_ours else {"python": STOCK}
            airflow = live_airflow(self.folder / "airflow", files, settings, **python)
            return self._watch(stack.enter_context(airflow))

    def _with_feed(self, files: dict[str, str]) -> Mapping[str, str]:
        datasets = self.folder / "datasets"
        datasets.mkdir()
        (datasets / "feed.yaml").write_text(kinds.feed("feed", self.place, self.folder))
        files["feeds.py"] = (DAGS / "feeds.py").read_text()
        return {"FLAGFALL_DATASETS": str(datasets)}

    def _watch(self, airflow: LiveAirflow) -> Found:
        count, kind = self.given.waits, self.side.make(self.place)
        time.sleep(15)  # what it does once after its start
        idle = self._held(airflow, kind, self.given.idle)
        (self.folder / "airflow" / "dags" / "waiting.py").write_text(kind.sensors(count))
        begun = self._begin(airflow, kind, count)
        to_begin = airflow.count(STARTS, kind.name, "wait%")
        waiting = self._held(airflow, kind, self.given.seconds)
        to_end = self._end(airflow, kind, count) if self.side.ends else None
        if self.side.is_ours:
            self.feeds = [self._fed(airflow, some) for some in ((0, 1), (1, 1 + count))]
        return Found(
            kind.label, self.store, kind.every, count, begun, idle, waiting, to_begin, to_end
        )

    def _held(self, airflow: LiveAirflow, kind: Kind, seconds: float) -> Held:
        """What is held in the next ``seconds``."""
        began = before = time.monotonic()
        starts, written = airflow.count(STARTS, kind.name, "wait%"), airflow.query(WRITTEN)[0]
        running = queued = 0.0
        while before < began + seconds:
            time.sleep(LOOK_EVERY)
            held, now = airflow.query(HELD)[0], time.monotonic()
            running += held["running"] * (now - before)
            queued += held["queued"] * (now - before)
            before = now
        starts = airflow.count(STARTS, kind.name, "wait%") - starts
        at_end = airflow.query(WRITTEN)[0]
        rows, commits = (int(at_end[name] - written[name]) for name in ("rows", "commits"))
        return Held(before - began, running, queued, starts, rows, commits)

    def _begin(self, airflow: LiveAirflow, kind: Kind, count: int) -> int:
        """Wait until all wait, or no more come; gives how many."""
        waiting = (
            "task_instance where dag_id = ? and task_id like 'wait%'"
            " and (state in ('deferred', 'up_for_reschedule') or start_date is not null)"
        )
        give_up = time.monotonic() + BEGIN
        begun, changed = 0, time.monotonic()
        while begun < count and time.monotonic() < give_up:
            time.sleep(1)
            if (now := airflow.count(waiting, kind.name)) != begun:
                begun, changed = now, time.monotonic()
            if begun and time.monotonic() > changed + 15:
                break
        time.sleep(5)  # the last ones come to rest
        return begun

    def _end(self, airflow: LiveAirflow, kind: Kind, count: int) -> int:
        """Drop all markers and wait until all have ended; gives the task starts of that."""
        before = airflow.count(STARTS, kind.name, "wait%")
        for n in range(count):
            self.place.drop(kind.name, n, EMPTY)
        ended = "task_instance where dag_id = ? and task_id like 'after%' and state = 'success'"
        self._wait(airflow, lambda: airflow.count(ended, kind.name) == count, "waits do not end")
        return airflow.count(STARTS, kind.name, "wait%") - before

    def _fed(self, airflow: LiveAirflow, numbers: tuple[int, int]) -> tuple[Cell, ...]:
        """Drop batches at once; gives how many, and the runs and task starts that they took."""
        batch = kinds.batch(self.folder / "batch")
        runs = airflow.count("dag_run where dag_id = 'feed_pipeline'")
        starts = airflow.count(STARTS, "feed_pipeline", "%")
        for n in range(*numbers):
            self.place.drop("feed", n, batch)
        wanted = numbers[1] - numbers[0]
        self._wait(airflow, lambda: self._received() >= numbers[1], "no receipts")
        self._wait(airflow, airflow.is_idle, "it does not come to rest")
        runs = airflow.count("dag_run where dag_id = 'feed_pipeline'") - runs
        starts = airflow.count(STARTS, "feed_pipeline", "%") - starts
        return (self.store, wanted, runs, starts, starts / wanted)

    def _received(self) -> int:
        return self.place.count("lake/feed/receipts")

    def _wait(self, airflow: LiveAirflow, true: Callable[[], object], what: str) -> None:
        """Wait at most ``END`` seconds; what is not done by then is said, and seen in the table."""
        try:
            airflow.wait_until(true, f"{self.side.name}: {what}", END)
        except AirflowFailed as failed:
            print(failed, flush=True)


COLUMNS = (
    Column("sensors"),
    Column("where"),
    Column("looks every, s", ".0f"),
    Column("waits", ".0f"),
    Column("began to wait", ".0f"),
    Column("slot-seconds held", ",.0f"),
    Column("slot-seconds queued", ",.0f"),
    Column("task starts to begin", ",.0f"),
    Column("task starts while waiting", ",.0f"),
    Column("task starts to end", ",.0f"),
)
WRITES = (
    Column("sensors"),
    Column("where"),
    Column("looks every, s", ".0f"),
    Column("rows an hour, idle", ",.0f"),
    Column("rows an hour, waiting", ",.0f"),
    Column("rows an hour, for the waits", ",.0f"),
    Column("commits an hour, idle", ",.0f"),
    Column("commits an hour, waiting", ",.0f"),
    Column("commits an hour, for the waits", ",.0f"),
)
FEEDS = (
    Column("feed on"),
    Column("batches at once", ".0f"),
    Column("runs", ".0f"),
    Column("task starts", ".0f"),
    Column("task starts a batch", ".2f"),
)


def held_row(one: Found) -> tuple[Cell, ...]:
    """A row of the table of slots."""
    w = one.waiting
    head = one.label, one.store, one.every, one.waits, one.begun
    return (*head, w.running, w.queued, one.to_begin, w.starts, one.to_end)


def written_row(one: Found) -> tuple[Cell, ...]:
    """A row of the table of writes."""
    row: list[Cell] = [one.label, one.store, one.every]
    for name in ("rows", "commits"):
        idle, waiting = (w.an_hour(getattr(w, name)) for w in (one.idle, one.waiting))
        row += [idle, waiting, waiting - idle]
    return tuple(row)


def run(given: argparse.Namespace, folder: Path) -> None:
    """One group after the other."""
    sides = [one for one in SIDES if one.name in (given.only or [s.name for s in SIDES])]
    every, feeds = [], []
    for group in sorted({one.group for one in sides}):
        benches = [Bench(one, folder / one.name, given) for one in sides if one.group == group]
        with helpers(len(benches)) as pool:
            every += list(pool.map(Bench.run, benches))
        feeds += [feed for bench in benches for feed in bench.feeds]
    found(Table("slots_held", COLUMNS, tuple(map(held_row, every))))
    found(Table("slots_writes", WRITES, tuple(map(written_row, every))))
    found(Table("slots_feed", FEEDS, tuple(feeds)))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=300.0, help="that they are watched")
    parser.add_argument("--idle", type=float, default=45.0, help="that Airflow is watched before")
    parser.add_argument("--only", nargs="*", choices=[side.name for side in SIDES])
    given = parser.parse_args()
    with interruptible(), tempfile.TemporaryDirectory() as name:
        run(given, Path(name))


if __name__ == "__main__":
    main()
