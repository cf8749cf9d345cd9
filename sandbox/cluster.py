"""An Airflow as on several machines: Celery workers that share nothing with the rest but S3.

PostgreSQL and Redis, two schedulers, two triggerers, and workers, each with a copy of the project
in a folder of its own. It all runs on loopback, in one folder, and is gone when it is left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sandbox import hostname as machine
from sandbox.airflow import SCHEDULER, SETTINGS, TRIGGERER, LocalAirflow, read_settings
from sandbox.postgres import Postgres
from sandbox.redis import LocalRedis

PROJECT = Path(__file__).resolve().parent.parent
SHIPPED = ("dags", "datasets", "deploy", "flagfall", "models", "sandbox")
"""What an image would hold."""
CELERY = SETTINGS.with_name("celery.env")


class LocalCluster(LocalAirflow):
    """Airflow's components on PostgreSQL, with the CeleryExecutor.

    Args:
        home: Its folder; made if need be.
        settings: More settings, such as where datasets are.
        workers: How many Celery workers.
        tasks: How many tasks a worker runs at once.

    Attributes:
        workers: The workers' names.
    """

    def __init__(
        self, home: Path, settings: Mapping[str, str], workers: int = 2, tasks: int = 2
    ) -> None:
        self._stack = ExitStack()
        self._postgres = Postgres()
        self._redis = LocalRedis(home)
        self._folders = home.absolute() / "machines"
        super().__init__(
            home, PROJECT / "dags", {**read_settings(CELERY), **self._connections(), **settings}
        )
        self.workers = [f"worker-{n + 1}" for n in range(workers)]
        self.components |= {"scheduler-2": SCHEDULER, "triggerer-2": TRIGGERER}
        self.components |= {name: self._worker(name, tasks) for name in self.workers}

    def _connections(self) -> dict[str, str]:
        return {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._postgres.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self._postgres.url}",
            "AIRFLOW__CELERY__BROKER_URL": self._redis.url,
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "sandbox.hostname.name",
            "AIRFLOW__CORE__PARALLELISM": "32",
            "PYTHONPATH": str(PROJECT),
        }

    def _worker(self, name: str, tasks: int) -> tuple[str, ...]:
        known = ("--celery-hostname", f"{name}@%h", "--concurrency", str(tasks))
        return ("celery", "worker", "--skip-serve-logs", "--without-mingle", *known)

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of Airflow's own database."""
        return self._postgres.query(sql, *values)

    def start(self) -> None:
        """Start PostgreSQL and Redis, bring the project to each worker, and start it all."""
        self._stack.enter_context(self._postgres)
        self._stack.enter_context(self._redis)
        for worker in self.workers:
            for name in SHIPPED:
                shutil.copytree(PROJECT / name, self._folders / worker / name)
        super().start()

    def folder_of(self, name: str) -> Path | None:
        """A worker has a folder that it shares with nobody."""
        return self._folders / name if name in self.workers else None

    def environment_of(self, name: str) -> dict[str, str]:
        """A worker finds the project, and keeps all that it writes, in its own folder."""
        folder = self.folder_of(name)
        if folder is None:
            return {**self.environment, machine.VARIABLE: name}
        own = {
            machine.VARIABLE: name,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
            "PYTHONPATH": f"{folder}{os.pathsep}{self.environment.get('PYTHONPATH', '')}",
            "TMPDIR": str(folder / "tmp"),
        }
        (folder / "tmp").mkdir(exist_ok=True)
        return {**self.environment, **own}

    def stop(self) -> None:
        """End every component, then PostgreSQL and Redis."""
        super().stop()
        self._stack.close()
