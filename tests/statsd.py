"""A StatsD server on a free port of this machine: what is sent to it, by name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class StatsdServer:
    """Receives what was sent; the kernel keeps it until it is read."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self.port: int = listening.getsockname()[1]

    @property
    def environment(self) -> dict[str, str]:
        """Settings of an Airflow that sends its metrics here, with tags."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.port),
            "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }

    def received(self, of: str = "airflow.flagfall.") -> dict[str, list[str]]:
        """Values with their type, such as ``1|c``, by name with tags; of names that begin so."""
        found: dict[str, list[str]] = {}
        while True:
            try:
                lines = self._socket.recv(65536).decode().splitlines()
            except BlockingIOError:
                return {name: values for name, values in found.items() if name.startswith(of)}
            for line in lines:
                name, _, value = line.rpartition(":")
                found.setdefault(name, []).append(value)


@contextmanager
def statsd_server() -> Iterator[StatsdServer]:
    """One server, for a test."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield StatsdServer(listening)
