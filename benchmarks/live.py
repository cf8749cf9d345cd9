"""What the benchmarks on a real Airflow share: its database, its DAG files, what is waited for."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from on_postgres import PostgresAirflow

from sandbox.postgres import Postgres

ROOT = Path(__file__).parents[1]
DAGS = ROOT / "dags"
STOCK = ROOT / ".flagfall/stock/bin/python"
"""Airflow without Flagfall, with aiobotocore and PostgreSQL's drivers; of ``make bench``."""
PARALLELISM = 32
"""Tasks at once: Airflow's default."""
ALIKE = {
    "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
}
"""Settings of every Airflow that is measured, whosever triggers it runs."""
TASKS = """
select dag_id, task_id, state, start_date, end_date from task_instance
where start_date is not null order by start_date"""
EVENTS = """
select a.name, e.timestamp, e.extra from asset_event e join asset a on a.id = e.asset_id
order by e.timestamp"""

OVER = threading.Event()
"""Set when the benchmark is broken off: whoever asks an Airflow anything is stopped by that."""

_T = TypeVar("_T")


class BrokenOff(Exception):
    """The benchmark is over."""


@contextmanager
def helpers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end soon when this is left by an error, or by Ctrl-C."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            OVER.set()
            raise


class LiveAirflow(PostgresAirflow):
    """Airflow's components on PostgreSQL, and an end to all waiting."""

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of Airflow's own database.

        Raises:
            BrokenOff: The benchmark is over.
        """
        if OVER.is_set():
            raise BrokenOff
        return super().query(sql, *values)

    def count(self, table: str, *values: object) -> int:
        """How many rows there are: ``table`` may go on with ``where …``."""
        return self.number(f"select count(*) from {table}", *values)

    def is_idle(self) -> bool:
        """Whether no task is about to run or runs, and no run that an asset started goes on."""
        tasks = "task_instance where state in ('scheduled', 'queued', 'running', 'restarting')"
        runs = "dag_run where run_type = 'asset_triggered' and state in ('queued', 'running')"
        return not self.count(tasks) and not self.count(runs)


@contextmanager
def live_airflow(
    folder: Path,
    files: Mapping[str, str],
    settings: Mapping[str, str],
    python: Path = Path(sys.executable),
) -> Iterator[LiveAirflow]:
    """An Airflow of its own on a PostgreSQL of its own.

    Args:
        folder: Made, for all that it keeps.
        files: Text of each DAG file by its name.
        settings: More settings.
        python: Of the environment that Airflow is installed in.
    """
    dags = folder / "dags"
    dags.mkdir(parents=True)
    for name, text in files.items():
        (dags / name).write_text(text)
    path = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    all_settings = {**ALIKE, "PYTHONPATH": path, **settings}
    with (
        Postgres() as postgres,
        LiveAirflow(folder / "airflow", dags, postgres, all_settings, python) as airflow,
    ):
        yield airflow


class Task(NamedTuple):
    """A task instance; times are seconds since 1970."""

    state: str | None
    start: float
    end: float


class Board:
    """What Airflow's database says, looked up now and then for all who want to know.

    Args:
        airflow: Whose.
        every: Seconds between two looks.

    Attributes:
        tasks: Instances by DAG and task, in the order in which they started; those that have.
        events: When each event of an asset was stored, with what its trigger yielded.
    """

    def __init__(self, airflow: LiveAirflow, every: float = 0.25) -> None:
        self._airflow = airflow
        self._every = every
        self._looked_at = 0.0
        self._lock = threading.Lock()
        self.tasks: dict[tuple[str, str], list[Task]] = {}
        self.events: dict[str, list[tuple[float, Any]]] = {}

    def until(self, found: Callable[[], _T | None], patience: float) -> _T:
        """Look until something is found.

        Raises:
            TimeoutError: It was not, within ``patience`` seconds.
        """
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up:
            self._look()
            if (one := found()) is not None:
                return one
            time.sleep(self._every)
        raise TimeoutError

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked_at < self._every:
                return
            self._airflow.check()
            tasks, events = defaultdict(list), defaultdict(list)
            for row in self._airflow.query(TASKS):
                task = Task(row["state"], _time(row["start_date"]), _time(row["end_date"]))
                tasks[row["dag_id"], row["task_id"]].append(task)
            for row in self._airflow.query(EVENTS):
                said = (row["extra"] or {}).get("payload")
                events[row["name"]].append((_time(row["timestamp"]), said))
            self.tasks, self.events = dict(tasks), dict(events)
            self._looked_at = time.monotonic()


def _time(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0
