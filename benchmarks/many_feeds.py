"""What 200 feeds cost beside one: on a triggerer, and where Airflow parses their DAGs.

On the triggerer ``MarkerFeedTrigger`` stands beside Airflow's ``DirectoryFileDeleteTrigger``, each
with a folder of its own to watch (``triggerer.py`` runs them). DAGs made of dataset files stand
beside as many trivial DAGs in one file, of one empty task each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
from parse import EMPTY, measure
from table import Cell, Column, Table, found
from waits import A_TURN, Kind, Triggerer, triggerer

OURS, THEIRS = Kind("MarkerFeedTrigger", "feed"), Kind("DirectoryFileDeleteTrigger", "directory")
SETTLE = 10.0
"""Seconds after the start until all first looks are over."""

DATASET = """\
title: Feed {n}
landing: {{uri: /data/landing/{n}, marker: "date={{date}}/_SUCCESS"}}
lake: {{uri: /data/lake}}
schema:
  fields:
    - {{name: id, type: integer, constraints: {{required: true}}}}
    - {{name: value, type: number}}
  primaryKey: [id]
"""
OUR_DAGS = """\
from flagfall.dags import pipelines  # airflow
globals().update(pipelines({folder!r}))
"""
TRIVIAL = """\
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
for n in range({count}):
    with DAG(f"trivial_{{n}}", schedule=None):
        EmptyOperator(task_id="nothing")
"""


class Watched(NamedTuple):
    """What a triggerer with some feeds takes.

    Attributes:
        memory: Resident bytes of it and of what it started, beyond what it had before.
        processes: That it started.
        inotify: Instances of inotify that all of them hold.
        held: Longest time that its event loop was held as they started, in seconds.
        cpu: CPU seconds in a minute of waiting.
    """

    memory: int
    processes: int
    inotify: int
    held: float
    cpu: float


def family(one: Triggerer) -> list[psutil.Process]:
    """The triggerer and what it has started."""
    return [one.seen, *one.seen.children(recursive=True)]


def instances(process: psutil.Process) -> int:
    """Instances of inotify of a process."""
    return sum("inotify" in str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir())


def cpu(one: Triggerer) -> float:
    """CPU seconds of all."""
    return sum(sum(process.cpu_times()[:2]) for process in family(one))


def watched(kind: Kind, feeds: int, seconds: float) -> Watched:
    """Start so many in a process of their own, and watch it."""
    with triggerer(kind, feeds, A_TURN) as one:
        one.held()
        before = one.memory()
        one.tell("start")
        while one.tell()["begun"] < feeds:
            time.sleep(0.1)
        time.sleep(SETTLE)
        held, began = one.held(), cpu(one)
        time.sleep(seconds)
        all_of_it = family(one)
        return Watched(
            sum(process.memory_info().rss for process in all_of_it) - before,
            len(all_of_it) - 1,
            sum(map(instances, all_of_it)),
            held,
            (cpu(one) - began) * 60 / seconds,
        )


def on_a_triggerer(sizes: list[int], seconds: float) -> Table:
    """Each kind, from one feed to many."""
    rows: list[tuple[Cell, ...]] = []
    for kind in (OURS, THEIRS):
        for feeds in sizes:
            done = watched(kind, feeds, seconds)
            counts = done.processes, done.inotify
            rows.append((kind.name, feeds, done.memory / 2**20, *counts, done.held * 1e3, done.cpu))
    columns = (
        Column("trigger"), Column("feeds", ",.0f"), Column("memory, MiB", ",.0f"),
        Column("processes", ",.0f"), Column("inotify instances", ",.0f"),
        Column("held at the start, ms", ",.0f"), Column("CPU, s/min", ".2f"),
    )  # fmt: skip
    return Table("many_feeds", columns, tuple(rows))


def parsed(sizes: list[int], rounds: int) -> Table:
    """DAGs of so many feeds, and as many trivial ones."""
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        empty = home / "empty.py"
        empty.write_text(EMPTY)
        for feeds in sizes:
            datasets, ours, trivial = home / f"of_{feeds}", home / "ours.py", home / "trivial.py"
            datasets.mkdir()
            for n in range(feeds):
                (datasets / f"feed_{n:05}.yaml").write_text(DATASET.format(n=n))
            ours.write_text(OUR_DAGS.format(folder=str(datasets)))
            trivial.write_text(TRIVIAL.format(count=feeds))
            took = [median(measure(empty, [file], rounds)[1]) for file in (ours, trivial)]
            rows.append((feeds, *took, took[0] / took[1]))
    columns = (
        Column("feeds", ",.0f"), Column("their DAGs, CPU s", ".3f"),
        Column("as many trivial DAGs, CPU s", ".3f"), Column("×", ".1f"),
    )  # fmt: skip
    return Table("many_feeds_parsed", columns, tuple(rows))


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 200], help="feeds")
    parser.add_argument("--seconds", type=float, default=30.0, help="that they are watched")
    parser.add_argument("--rounds", type=int, default=5, help="processes for each row of parsing")
    given = parser.parse_args()
    found(on_a_triggerer(given.sizes, given.seconds))
    found(parsed(given.sizes, given.rounds))


if __name__ == "__main__":
    main()
