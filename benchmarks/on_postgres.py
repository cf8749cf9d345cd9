"""An Airflow on a PostgreSQL of its own, as both sides of a comparison get it."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from sandbox.airflow import LocalAirflow
from sandbox.postgres import Postgres

ACTIVE = "select 1 from dag_run where dag_id like ? and state in ('queued', 'running')"


class PostgresAirflow(LocalAirflow):
    """Airflow's components on PostgreSQL, else as ``LocalAirflow`` has them.

    Args:
        home: Its folder.
        dags: Folder of the DAG files.
        postgres: The database's server, running.
        settings: More settings.
        python: Of the environment that Airflow is installed in.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        postgres: Postgres,
        settings: Mapping[str, str],
        python: Path = Path(sys.executable),
    ) -> None:
        self._postgres = postgres
        self._token = ""
        database = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url}
        super().__init__(home, dags, {**database, **settings}, python)

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of Airflow's own database."""
        return self._postgres.query(sql, *values)

    def number(self, sql: str, *values: object) -> int:
        """What a query for one number gives."""
        return int(next(iter(self.query(sql, *values)[0].values())))

    def task_instances(self, dag_id: str) -> int:
        """Task instances that there have been of a DAG, or of all that match ``%`` in it."""
        return self.number("select count(*) from task_instance where dag_id like ?", dag_id)

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run of a DAG through Airflow's API."""
        if not self._token:
            login = {"username": "admin", "password": self.password}
            self._token = self._post("/auth/token", login)["access_token"]
        self._post(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})

    def _post(self, path: str, body: object) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def cpu_seconds(self) -> float:
        """CPU that the components and all that they started have taken, without the database's."""
        return sum(_cpu(p) for component in self.components for p in self.family(component))


def _cpu(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])  # user, system, and the same of children that ended
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def airflow_on_postgres(
    folder: Path, dags: Path, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresAirflow]:
    """Start both in a folder; end both."""
    with (
        Postgres() as postgres,
        PostgresAirflow(folder / "airflow", dags, postgres, settings or {}) as airflow,
    ):
        yield airflow
