"""Airflow's public API, asked as a user's program asks it."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from sandbox.airflow import LocalAirflow


class PublicApi:
    """Asks as ``admin``.

    Args:
        airflow: Whose API; it runs by the time of the first request.
    """

    def __init__(self, airflow: LocalAirflow) -> None:
        self._airflow = airflow
        self._token = ""

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer to a request below ``/api/v2/``."""
        if not self._token:
            login = {"username": "admin", "password": self._airflow.password}
            self._token = self._send("POST", "/auth/token", login)["access_token"]
        return self._send(method, f"/api/v2/{path}", body)

    def _send(self, method: str, path: str, body: object) -> Any:
        request = urllib.request.Request(f"{self._airflow.url}{path}", method=method)
        request.add_header("Content-Type", "application/json")
        request.add_header("Accept", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urllib.request.urlopen(request, json.dumps(body).encode(), timeout=30) as answer:
            return json.loads(answer.read())
