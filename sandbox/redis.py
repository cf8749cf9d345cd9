"""A Redis of its own: on loopback, on a free port, keeps nothing, gone when it is left."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from flagfall.errors import FlagfallError
from sandbox.airflow import free_port

PATIENCE = 30.0
"""Seconds in which the server has to answer."""
PROGRAM = "redis-server"


class RedisFailed(FlagfallError):
    """The local Redis did not start."""


class LocalRedis:
    """A server with what Celery's tasks wait in.

    Args:
        home: Folder for its log; made if need be.
    """

    def __init__(self, home: Path) -> None:
        self._port = free_port()
        self._log = home / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For Celery."""
        return f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> LocalRedis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGTERM)

    def start(self) -> None:
        """Start it with nothing in it.

        Raises:
            RedisFailed: It is not installed, or does not answer in time.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise RedisFailed(
                f"{PROGRAM} is not installed; on Debian and Ubuntu: apt-get install {PROGRAM}"
            )
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "--bind", "127.0.0.1", "--port", str(self._port), "--save", ""],
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None, "started before"
        self._process.send_signal(number)
        self._process.wait(PATIENCE)

    def _wait(self) -> None:
        give_up = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > give_up:
                self._end(signal.SIGTERM)
                raise RedisFailed(f"{PROGRAM} did not answer; its log is {self._log}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
