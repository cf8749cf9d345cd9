"""What it costs that many wait: 1 to 10,000 triggers in one triggerer, ours and Airflow's.

Every row has a process of its own, in which Airflow's own runner of triggers runs them on one event
loop (``triggerer.py``), and those on S3 have an S3 of their own with canned answers. ``make bench``
makes the environment of ``S3KeyTrigger``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from canned_s3 import LANDING, canned_s3, environment, many_files, stats
from table import Column, Plot, Table, found

HERE = Path(__file__).parent
STOCK_PYTHON = HERE.parent / ".flagfall/stock/bin/python"
CROWD = 1_000
"""From so many on, what a single wait takes can be told from what a process takes."""
PRESENT = 1_000
"""Files that are in the landing zone already."""
A_TURN = 50
"""Triggers that a triggerer takes over in a turn of its loop, unless it is told otherwise."""
SETTLE = 5.0
"""Seconds between the last start and what is watched: first looks are over."""
LIST_PRICE = 0.005
"""Dollars for 1,000 LIST requests, as ``flagfall status`` has it."""
HEAD_PRICE = 0.0004
"""Dollars for 1,000 HEAD requests (S3 Standard in us-east-1)."""
HOUR, MONTH = 3600.0, 30 * 24


class Kind(NamedTuple):
    """One kind of trigger.

    Attributes:
        name: In the table.
        code: What ``triggerer.py`` calls it.
        is_on_s3: Whether it waits for a key, else for a file.
        python: Which runs it.
    """

    name: str
    code: str
    is_on_s3: bool = False
    python: Path = Path(sys.executable)


NOTHING = Kind("no trigger", "sleeping")
SLEEPING = Kind("DateTimeTrigger, only sleeps", "sleeping")
S3_KEY = Kind("S3KeyTrigger, every 60 s", "s3-key", True, STOCK_PYTHON)
KINDS = (
    SLEEPING,
    Kind("Flagfall on disk", "disk"),
    Kind("FileTrigger, every 5 s", "file-5"),
    Kind("FileTrigger, every 60 s", "file-60"),
    Kind("Flagfall on S3", "s3", True),
    S3_KEY,
)


@dataclass
class Row:
    """What was measured of one process.

    Attributes:
        kind: Of its triggers.
        waits: How many were to be started.
        started: How many were, within the limit.
        start: Seconds until then.
        start_cpu: CPU seconds until their first looks were over.
        start_held: Longest time until then that the event loop was held, in seconds.
        cpu: CPU seconds in a minute of waiting.
        held: Longest time in it that the event loop was held, in seconds.
        memory: Bytes that the process took more than before the start.
        lists: LIST requests to S3 in an hour.
        heads: HEAD requests to S3 in an hour.
    """

    kind: Kind
    waits: int
    started: int = 0
    start: float = 0.0
    start_cpu: float = 0.0
    start_held: float = 0.0
    cpu: float = 0.0
    held: float = 0.0
    memory: int = 0
    lists: float = 0.0
    heads: float = 0.0


class Triggerer:
    """A process with triggers of one kind, seen from outside.

    Args:
        process: It, with pipes to its ends.
        s3: URL of its S3; empty where it has none.
    """

    def __init__(self, process: subprocess.Popen[str], s3: str) -> None:
        self._process = process
        self._s3 = s3
        self.seen = psutil.Process(process.pid)
        self._held = 0.0

    def tell(self, word: str = "look") -> dict[str, Any]:
        """Give it a word and wait for the answer, which comes when its event loop is free."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(word, file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        self._held = max(self._held, answer["held"])
        return answer

    def held(self) -> float:
        """Longest time that its event loop was held since this was asked last, in seconds."""
        self.tell()
        held, self._held = self._held, 0.0
        return held

    def cpu(self) -> float:
        """CPU seconds since its start."""
        return float(sum(self.seen.cpu_times()[:2]))

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.seen.memory_info().rss)

    def requests(self) -> Counter[str]:
        """Requests to its S3 so far, by kind, and ``keys``."""
        return stats(self._s3) if self._s3 else Counter()


@contextmanager
def triggerer(kind: Kind, count: int, a_turn: int) -> Iterator[Triggerer]:
    """A process that has everything imported, and has started no trigger yet."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        s3 = stack.enter_context(canned_s3(PRESENT)) if kind.is_on_s3 else ""
        place = LANDING if kind.is_on_s3 else str(landing_zone(home / "landing"))
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        errors = stack.enter_context(open(home / "errors", "w"))
        process = subprocess.Popen(
            [kind.python, HERE / "triggerer.py", kind.code, str(count), str(a_turn), place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**environment(s3), "AIRFLOW_HOME": str(home), "PYTHONPATH": path},
        )
        try:
            yield Triggerer(process, s3)
        except (OSError, ValueError):
            print((home / "errors").read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            process.kill()
            process.wait()


def landing_zone(folder: Path) -> Path:
    """A directory in which there is something else, too, as in the canned S3."""
    day = folder / "date=2024-01-01"
    day.mkdir(parents=True)
    for n in range(PRESENT):
        (day / f"part-{n:04}.parquet").touch()
    return folder


def start(one: Triggerer, row: Row, limit: float) -> None:
    """Start all triggers of a process, and wait until they have, or until the limit."""
    one.held()
    before, began = one.cpu(), time.monotonic()
    one.tell("start")
    while row.started < row.waits and row.start < limit:
        time.sleep(0.1)
        row.started = one.requests()["keys"] if row.kind is S3_KEY else one.tell()["begun"]
        row.start = time.monotonic() - began
    time.sleep(min(SETTLE, 1.0 + row.waits / 1000))  # their first looks
    row.start_cpu = one.cpu() - before
    row.start_held = one.held()


def watch(one: Triggerer, row: Row, seconds: float) -> Iterator[None]:
    """Watch a process between its two steps, so that others can be watched meanwhile."""
    one.held()
    asked, before = one.requests(), one.cpu()
    yield
    row.cpu = (one.cpu() - before) * 60 / seconds
    answer, at_end = one.tell(), one.requests()
    row.held = one.held()
    row.lists, row.heads = ((at_end[k] - asked[k]) * HOUR / seconds for k in ("LIST", "HEAD"))
    assert not answer["ended"], f"{row.kind.name}: {answer['ended']} ended, but nothing was there"
    yield


def a_turn(kind: Kind, given: argparse.Namespace) -> int:
    """How many are started in one turn: as many as Airflow would, where that takes long anyway."""
    return A_TURN if kind is S3_KEY else int(given.a_turn)


def measure(given: argparse.Namespace, planned: Sequence[tuple[Kind, int]]) -> list[Row]:
    """Start one process after the other, then watch all of them at once."""
    with ExitStack() as stack:
        processes = [
            (stack.enter_context(triggerer(kind, waits, a_turn(kind, given))), Row(kind, waits))
            for kind, waits in planned
        ]
        for one, _ in processes:
            one.tell()  # it is there
        for one, row in processes:
            before = one.memory()
            start(one, row, given.start_limit)
            row.memory = one.memory() - before
        time.sleep(SETTLE)
        waiting = [(one, row) for one, row in processes if row.started == row.waits]
        watched = [watch(one, row, given.seconds) for one, row in waiting]
        for process in watched:
            next(process)
        time.sleep(given.seconds if watched else 0.0)
        for process in watched:
            next(process)
    return [row for _, row in processes]


def groups(sizes: Sequence[int]) -> Iterator[list[tuple[Kind, int]]]:
    """What is watched at once: what is nearly idle.

    Airflow's own round of 10,000 triggers takes half a core, so there ours are watched alone.
    """
    small = [size for size in sizes if size < CROWD]
    yield [(NOTHING, 0), *((kind, size) for size in small for kind in KINDS)]
    for size in sizes:
        if CROWD <= size <= 2 * CROWD:
            yield [(kind, size) for kind in KINDS]
        elif size > 2 * CROWD:
            alone = [kind for kind in KINDS if kind.code in ("disk", "s3", "s3-key")]
            yield [(kind, size) for kind in KINDS if kind not in alone]
            yield from ([(kind, size)] for kind in alone)


COLUMNS = (
    Column("trigger"),
    Column("waits", ",.0f"),
    Column("started", ",.0f"),
    Column("start, s", ".1f"),
    Column("start, CPU s", ".2f"),
    Column("held at the start, ms", ".0f"),
    Column("CPU, s/min", ".2f"),
    Column("beyond an idle process, s/min", ".2f"),
    Column("beyond sleeping triggers, s/min", ".2f"),
    Column("memory a wait, KB", ".1f"),
    Column("beyond sleeping triggers, KB", ".1f"),
    Column("held while waiting, ms", ".0f"),
    Column("S3 requests, 1/h", ",.0f"),
    Column("dollars a month", ",.2f"),
)
PLOTS = (
    Plot("trigger", "started", "CPU, s/min", "CPU of a triggerer, by how many wait"),
    Plot("trigger", "started", "S3 requests, 1/h", "Requests to S3, by how many wait"),
)


def cells(row: Row, idle: Row, sleeping: Row) -> tuple[str | float | None, ...]:
    """A row of the table. What still starts when the limit is over is not told to wait.

    Args:
        row: What was measured.
        idle: The process without triggers.
        sleeping: As many triggers of Airflow's that only sleep.
    """
    has_any, is_crowd = row.started > 0, row.started >= CROWD
    waits = row.started == row.waits
    memory = row.memory / row.started if is_crowd else None
    own = sleeping.memory / sleeping.started if is_crowd else 0.0
    is_peer = has_any and row.kind is not SLEEPING
    hourly = row.lists + row.heads
    monthly = (row.lists * LIST_PRICE + row.heads * HEAD_PRICE) / 1000 * MONTH
    return (
        row.kind.name,
        row.waits,
        row.started,
        row.start if has_any else None,
        row.start_cpu if has_any else None,
        row.start_held * 1e3 if has_any else None,
        row.cpu if waits else None,
        row.cpu - idle.cpu if waits and has_any else None,
        row.cpu - sleeping.cpu if waits and is_peer else None,
        memory / 1e3 if memory else None,
        (memory - own) / 1e3 if memory and is_peer else None,
        row.held * 1e3 if waits else None,
        hourly if waits and row.kind.is_on_s3 else None,
        monthly if waits and row.kind.is_on_s3 else None,
    )


def main() -> None:
    """Measure group after group, smallest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 1000, 10_000])
    parser.add_argument("--seconds", type=float, default=60.0, help="that they are watched")
    parser.add_argument("--a-turn", type=int, default=1000, help="triggers started in one turn")
    parser.add_argument("--start-limit", type=float, default=120.0, help="seconds to start them")
    given = parser.parse_args()
    if not STOCK_PYTHON.exists():
        parser.error("`make .flagfall/stock/.done` makes what S3KeyTrigger needs")
    many_files()
    rows = [row for group in groups(given.sizes) for row in measure(given, group)]
    idle = next(row for row in rows if row.kind is NOTHING)
    sleeping = {row.waits: row for row in [idle, *rows] if row.kind in (NOTHING, SLEEPING)}
    rows.sort(key=lambda row: [NOTHING, *KINDS].index(row.kind))
    told = tuple(cells(row, idle, sleeping[row.waits]) for row in rows)
    found(Table("waits", COLUMNS, told, PLOTS))


if __name__ == "__main__":
    main()
