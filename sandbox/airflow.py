"""An Airflow of its own: in one folder, on loopback, on free ports, gone when it is left.

For the demo and the tests. It runs Airflow's four components as processes and reads its SQLite
database; it imports nothing of Airflow.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
from rich.table import Table

from flagfall.errors import FlagfallError

PATIENCE = 300.0
"""Seconds in which Airflow has to be up."""
GRACE = 8.0
"""Seconds between asking a process to end and ending it."""


SCHEDULER = ("scheduler", "--skip-serve-logs")
TRIGGERER = ("triggerer", "--skip-serve-logs")
"""No log servers, which would listen everywhere."""
SETTINGS = Path(__file__).resolve().parent.parent / "deploy" / "airflow.env"
"""What makes Airflow go on soon after a crash: the same as a deployment's."""


class AirflowFailed(FlagfallError):
    """A component of the local Airflow did not start, or ended on its own."""

    def __init__(self, what: str, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
        super().__init__(f"Airflow's {what}; the end of {log}:\n{tail}")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a server answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def read_settings(file: Path) -> dict[str, str]:
    """The ``NAME=value`` lines of a file; ``#`` begins a comment."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line)


class LocalAirflow:
    """Airflow's components on SQLite, with the LocalExecutor.

    Args:
        home: Its folder; made if need be.
        dags: Folder of the DAG files.
        settings: More settings, such as ``{"AIRFLOW__CORE__PARALLELISM": "8"}``.
        python: Of the environment that Airflow is installed in.

    Attributes:
        components: By name, the ``airflow`` command of each process that is started.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        settings: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
    ) -> None:
        self.home = home.absolute()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.password = secrets.token_urlsafe(12)
        self.components: dict[str, tuple[str, ...]] = {
            "api-server": ("api-server", "--host", "127.0.0.1", "--port", str(self.port)),
            "dag-processor": ("dag-processor",),
            "scheduler": SCHEDULER,
            "triggerer": TRIGGERER,
        }
        self._python = python.absolute()
        self._dags = dags.absolute()
        self._settings = dict(settings or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs so that it talks to this Airflow.

        Bytecode is kept, as it is for a user: a shell that says not to, as in many an image, would
        have every task compile the project again.
        """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        path = f"{self._python.parent}{os.pathsep}{inherited.get('PATH', '')}"
        defaults = {**read_settings(SETTINGS), **self._defaults()}
        return {**inherited, "PATH": path, **defaults, **self._settings}

    def _defaults(self) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": self._secret("api"),
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secret("jwt"),
            "AIRFLOW__CORE__AUTH_MANAGER": (
                "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
            ),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__FERNET_KEY": self._secret("fernet"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def _secret(self, name: str) -> str:
        """A secret of this home, made at its first use; a Fernet key's form serves for all."""
        file = self.home / f".{name}.secret"
        if not file.exists():
            self._private(file, urlsafe_b64encode(secrets.token_bytes(32)).decode())
        return file.read_text()

    def _private(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "airflow.db"

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of Airflow's own database, read only."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]

    def run(self, *arguments: str) -> str:
        """Run an ``airflow`` command to its end and return what it printed.

        Raises:
            AirflowFailed: It ended with an error.
        """
        log = self.home / f"airflow-{arguments[0]}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            done = subprocess.run(
                self._command(*arguments), env=self.environment, stdout=out, stderr=out, check=False
            )
        if done.returncode:
            raise AirflowFailed(f"command {' '.join(arguments)!r} failed", log)
        return log.read_text()

    def _command(self, *arguments: str) -> list[str]:
        return [str(self._python), "-m", "airflow", *arguments]

    def start(self) -> None:
        """Set the database up and start the components.

        Raises:
            AirflowFailed: One of them ended, or the API did not answer in time.
        """
        self._private(self.home / "passwords.json", json.dumps({"admin": self.password}))
        self.run("db", "migrate")
        for name in self.components:
            self.launch(name)
        self.wait_until(self._answers, "API server did not answer")

    def launch(self, name: str) -> None:
        """Start one of the components in a session of its own, its output in ``<name>.log``."""
        log = (self.home / f"{name}.log").open("ab")
        self._logs.append(log)
        self._processes[name] = subprocess.Popen(
            [*self.prefix_of(name), *self._command(*self.components[name])],
            env=self.environment_of(name),
            cwd=self.folder_of(name),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def prefix_of(self, name: str) -> list[str]:
        """What a component's command begins with, such as one that enters a namespace."""
        return []

    def environment_of(self, name: str) -> dict[str, str]:
        """What one component's process gets."""
        return self.environment

    def folder_of(self, name: str) -> Path | None:
        """The folder in which a component is started; ``None`` for the current one."""
        return None

    def _answers(self) -> bool:
        """Whether the API that tasks talk to answers; its first answer takes seconds."""
        return answers(f"{self.url}/execution/health")

    def check(self) -> None:
        """See that all components live.

        Raises:
            AirflowFailed: One has ended.
        """
        for component, process in self._processes.items():
            if process.poll() is not None:
                what = f"{component} ended with code {process.returncode}"
                raise AirflowFailed(what, self.home / f"{component}.log")

    def wait_until(self, true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Wait until ``true()``.

        Raises:
            AirflowFailed: It does not come true within ``patience`` seconds, or a component ends.
        """
        give_up = time.monotonic() + patience
        while not true():
            self.check()
            if time.monotonic() > give_up:
                raise AirflowFailed(f"{what} within {patience:.0f} s", self.home / "scheduler.log")
            time.sleep(0.2)

    def tables(self) -> Iterable[Table]:
        """What else there is to show at the end of a demo."""
        return ()

    def family(self, component: str) -> list[psutil.Process]:
        """A component's process and all that it started."""
        return _family(self._processes[component].pid)

    def stop(self) -> None:
        """End every component and all that they started."""
        family = [process for component in self._processes for process in self.family(component)]
        _end(family)
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        while self._logs:
            self._logs.pop().close()

    def __enter__(self) -> LocalAirflow:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that it started, as long as they are in its session."""
    return [p for p in psutil.process_iter() if _session(p.pid) == pid]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _end(processes: list[psutil.Process]) -> None:
    """Ask processes to end, and end those that do not within ``GRACE`` seconds."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=GRACE)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=GRACE)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program as Ctrl-C does, so that what it started is ended, too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
