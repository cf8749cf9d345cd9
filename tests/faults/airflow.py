"""A real Airflow on PostgreSQL that can be harmed, and is kept alive as an init system does."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from sandbox.airflow import TRIGGERER, LocalAirflow
from sandbox.postgres import Postgres
from tests.patience import SOON

RESTART_AFTER = 1.0
"""Seconds after which a component that died is started again."""
SECOND = "second-triggerer"
SITE = Path(__file__).parent / "site"


class HarmedAirflow(LocalAirflow):
    """Airflow's components on PostgreSQL; one that dies is started again a second later.

    Args:
        home: Its folder.
        dags: Folder of the DAG files.
        postgres: The database's server, running; ``None`` for SQLite.
        settings: More settings.

    Attributes:
        faults: The folder in which points are armed, see ``site/sitecustomize.py``.
        kills: Who was killed, and where.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        postgres: Postgres | None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.faults = home.absolute() / "faults"
        self.kills: list[str] = []
        self._postgres = postgres
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, daemon=True)
        self._lock = threading.RLock()
        own = {
            "FLAGFALL_FAULTS": str(self.faults),
            "PYTHONPATH": f"{SITE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        if postgres is not None:
            own["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = postgres.url
        super().__init__(home, dags, {**own, **(settings or {})})

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of Airflow's own database, as soon as it answers."""
        give_up = time.monotonic() + SOON
        while True:
            try:
                if self._postgres is None:
                    return super().query(sql, *values)
                return self._postgres.query(sql, *values)
            except (psycopg2.OperationalError, sqlite3.OperationalError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.5)

    def state(self, sql: str, *values: object) -> set[object]:
        """The first column of a query's rows."""
        return {next(iter(row.values())) for row in self.query(sql, *values)}

    def start(self) -> None:
        """Set the database up, start the components and keep them alive."""
        self.faults.mkdir(parents=True)
        super().start()
        self._keeper.start()

    def check(self) -> None:
        """A component that ended is the keeper's business, once it is at work."""
        if not self._keeper.is_alive():
            super().check()

    def _keep_alive(self) -> None:
        while not self._stopping.wait(0.1):
            for component in list(self._processes):
                if self._processes[component].poll() is not None:
                    self._stopping.wait(RESTART_AFTER)
                    self._restart(component)

    def _restart(self, component: str) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            for orphan in self.family(component):
                kill(orphan)
            self.launch(component)

    def second_triggerer(self) -> None:
        """Start another triggerer beside the first."""
        with self._lock:
            self.components[SECOND] = TRIGGERER
            self.launch(SECOND)

    def kill(self, component: str, why: str = "at random") -> None:
        """SIGKILL a component and all that it started."""
        for process in self.family(component):
            kill(process)
        self.kills.append(f"{component} {why}")

    def kill_and_restart(self, component: str) -> None:
        """SIGKILL a component and return as it is started again."""
        before = self._processes[component].pid
        self.kill(component)
        self.wait_until(lambda: self._processes[component].pid != before, f"no new {component}")

    def kill_task(self) -> bool:
        """SIGKILL one task that runs, if any: the process of its code, not the one above it."""
        running = [p for p in self.family("scheduler") if self._is_task(p)]
        if running:
            kill(running[0])
            self.kills.append("task at random")
        return bool(running)

    def _is_task(self, process: psutil.Process) -> bool:
        """Whether it runs a task's code: its parent is one of the scheduler's workers."""
        try:
            worker = process.parent()
            return worker is not None and worker.ppid() == self._processes["scheduler"].pid
        except psutil.NoSuchProcess:
            return False

    def freeze(self, component: str) -> None:
        """SIGSTOP a component and all that it started."""
        for process in self.family(component):
            process.send_signal(signal.SIGSTOP)

    def thaw(self, component: str) -> None:
        """Have a frozen component go on."""
        for process in self.family(component):
            process.send_signal(signal.SIGCONT)

    def arm(self, point: str, who: str = "self") -> None:
        """Have the first process that gets to a point die.

        Args:
            point: See ``site/sitecustomize.py``.
            who: ``self`` for that process; ``worker``: and the one above it; ``machine``: the
                component with all that it started.
        """
        draft = self.faults / f".{point}"
        draft.write_text(who)
        draft.rename(self.faults / point)

    def died_at(self, point: str, patience: float = 120.0) -> None:
        """Wait until a process has died at an armed point."""
        self.wait_until(lambda: not self.is_armed(point), f"nobody died at {point!r}", patience)
        self.kills.append(f"at {point}")

    def is_armed(self, point: str) -> bool:
        """Whether the process that gets to a point is still to die."""
        return (self.faults / point).exists()

    def stop(self) -> None:
        """End every component."""
        self._stopping.set()
        with self._lock:
            super().stop()


def kill(process: psutil.Process) -> None:
    """SIGKILL a process, if it is still there."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
