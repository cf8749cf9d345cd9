"""An inference server over HTTP: requests, retries, and errors that name the setting to change."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
import tenacity
from pydantic import BaseModel, ValidationError

from flagfall.dataset.model import Server
from flagfall.errors import ServerRefused, ServerUnavailable
from flagfall.scoring.server_tokens import token

CORRECT = "correct model.server, or the server"
LARGEST_METADATA = 1 << 20
"""Most bytes of an answer about the server or a model."""

_MAY_HEAL = {429, 502, 503, 504}
_ADVICE = {
    401: "give it a token by model.server.conn_id",
    403: "give it another token by model.server.conn_id",
    404: "correct model.server.url, name or version, or have the server load the model",
    413: "lower model.server.rows",
}

_gave_up: set[str] = set()
"""Servers that did not answer. Until they do, this process asks them once, without waiting."""

_Known = TypeVar("_Known", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    headers: Mapping[str, str]
    body: bytes


class InferenceServer:
    """Sends requests to one server, and repeats those that may succeed later.

    Args:
        dataset: Name of the dataset, for messages.
        server: Where the server is, its timeouts, and the connection with its token.

    Raises:
        NotThere: There is no token.
    """

    def __init__(self, dataset: str, server: Server) -> None:
        self._dataset = dataset
        self._url = server.url
        self._seconds = server.timeout.total_seconds()
        self._retry_for = server.retry_for.total_seconds()
        bearer = token(server.conn_id)
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self._client = httpx.Client(headers=headers, timeout=self._seconds)
        weakref.finalize(self, self._client.close)

    def get(self, path: str, kind: type[_Known]) -> _Known:
        """Read a path of the server.

        Raises:
            ServerRefused: There is something else than ``kind``, or nothing.
            ServerUnavailable: The server does not answer now.
        """
        body = self._ask("GET", path, {}, b"", LARGEST_METADATA).body
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            why = f"{path} does not follow the Open Inference Protocol; correct model.server.url"
            raise self.refused(why) from error

    def post(self, path: str, headers: dict[str, str], body: bytes, limit: int) -> Answer:
        """Send a request and return its answer.

        Raises:
            ServerRefused: The server refuses it, or answers with more than ``limit`` bytes.
            ServerUnavailable: The server does not answer now.
        """
        return self._ask("POST", path, headers, body, limit)

    def refused(self, why: str) -> ServerRefused:
        """The error for a request that must not be repeated."""
        return ServerRefused(self._dataset, self._url, why)

    def _ask(self, *request: Any) -> Answer:
        patience = 0 if self._url in _gave_up else self._retry_for
        trying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_worth_another_try),
            wait=_wait,
            stop=tenacity.stop_before_delay(patience),
            reraise=True,
        )
        try:
            answer = trying(self._try, *request)
        except ServerUnavailable:
            _gave_up.add(self._url)
            raise
        _gave_up.discard(self._url)
        return answer

    def _try(
        self, method: str, path: str, headers: dict[str, str], body: bytes, limit: int
    ) -> Answer:
        url = f"{self._url}{path}"
        try:
            with self._client.stream(method, url, headers=headers, content=body) as response:
                content = b"".join(self._read(response, limit))
        except httpx.TransportError as error:
            why = f"{method} {path}: {type(error).__name__} {error}".rstrip()
            raise ServerUnavailable(self._dataset, self._url, f"{why}; is it up?") from error
        except httpx.HTTPError as error:
            raise self.refused(f"{method} {path}: {error}; {CORRECT}") from error
        if response.status_code != httpx.codes.OK:
            raise self._failure(response, content, f"{method} {path}")
        return Answer(response.headers, content)

    def _read(self, response: httpx.Response, limit: int) -> Iterator[bytes]:
        """Read an answer in pieces; stop if it is too slow or too long."""
        deadline = time.monotonic() + self._seconds
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > limit:
                raise self.refused(f"it answers with more than {limit:,} bytes; {CORRECT}")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"not all of the answer came in {self._seconds:g} s")
            yield chunk

    def _failure(
        self, response: httpx.Response, content: bytes, request: str
    ) -> ServerRefused | ServerUnavailable:
        status = response.status_code
        why = f"{request}: {status} {response.reason_phrase}: {_message(content)}".rstrip(": ")
        if status in _MAY_HEAL:
            return ServerUnavailable(self._dataset, self._url, why, _asked_to_wait(response))
        if status >= 500:
            return ServerUnavailable(self._dataset, self._url, f"{why}; see its log", wait=None)
        return self.refused(f"{why}; {_ADVICE.get(status, CORRECT)}")


def _is_worth_another_try(error: BaseException) -> bool:
    return isinstance(error, ServerUnavailable) and error.wait is not None


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds to wait: random, longer each time, never less than the server asked for."""
    assert state.outcome is not None, "asked only after a try"
    error = state.outcome.exception()
    asked = error.wait or 0 if isinstance(error, ServerUnavailable) else 0
    return asked + tenacity.wait_random_exponential(multiplier=0.5, max=10)(state)


def _asked_to_wait(response: httpx.Response) -> float:
    """Seconds of the header ``Retry-After``, which may be a number or a date; 0 without one."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0)
    except (ValueError, TypeError):
        return 0


def _message(content: bytes) -> str:
    """The server's own message about a failure, at most 300 characters."""
    try:
        plain = json.loads(content)
    except ValueError:
        return content[:300].decode(errors="replace")
    said = plain.get("error", plain.get("detail", plain)) if isinstance(plain, dict) else plain
    return str(said)[:300]
