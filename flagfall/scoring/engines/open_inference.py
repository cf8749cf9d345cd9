"""A model on a server that speaks the Open Inference Protocol (KServe V2) over HTTP.

https://github.com/kserve/open-inference-protocol. Tensors go as raw bytes where the server
announces the extension ``binary_tensor_data``, else as JSON. Scoring changes nothing at the server,
so a request may be repeated.
"""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import tenacity
from pydantic import BaseModel, Field, ValidationError

from flagfall.dataset.model import Server
from flagfall.errors import ServerRefused, ServerUnavailable
from flagfall.scoring.engines.scores import Floats, NoScores, score_column, score_output
from flagfall.scoring.server_tokens import token

BINARY = "binary_tensor_data"
"""The protocol's extension for tensors as raw bytes, as a server announces it."""
LENGTH = "Inference-Header-Content-Length"
"""Header with the bytes of the JSON that stands before raw tensors."""

_TYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_MAY_HEAL = {429, 502, 503, 504}
_ADVICE = {
    401: "give it a token by model.server.conn_id",
    403: "give it another token by model.server.conn_id",
    404: "correct model.server.url, name or version, or have the server load the model",
    413: "lower model.server.rows",
}
_CORRECT = "correct model.server, or the server"
_LARGEST_METADATA = 1 << 20
_BYTES_A_ROW = 256
"""More than a row's outputs take in JSON: an answer is read no further."""

_gave_up: set[str] = set()
"""Servers that did not answer: until they do, this process asks once and does not wait again."""

_Known = TypeVar("_Known", bound=BaseModel)


class _Tensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]

    def __str__(self) -> str:
        return f"{self.name}: {self.datatype} {self.shape}"


class _Result(_Tensor):
    data: Any = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class _ServerMetadata(BaseModel):
    extensions: list[str] = Field(default_factory=list)


class _ModelMetadata(BaseModel):
    inputs: list[_Tensor] = Field(default_factory=list)
    outputs: list[_Tensor] = Field(default_factory=list)


class _Inferred(BaseModel):
    outputs: list[_Result]


@dataclass(frozen=True)
class _Answer:
    headers: Mapping[str, str]
    body: bytes


class OpenInferenceEngine:
    """A model on a server. Its metadata is compared with the features before any row is sent.

    It has one float32 input [n, inputs]; which output has the score, and of which shape, is as for
    a model in ONNX format.

    Args:
        dataset: Name of the dataset, for messages.
        model: Name of the model at the server.
        server: Where the server is and how it is asked.
        version: Version of the constants that the features are made with.
        features: Names of the inputs, in the model's order.

    Raises:
        NotThere: There is no token.
        ServerRefused: The server has no such model, or it does not fit.
        ServerUnavailable: The server does not answer now.
    """

    def __init__(
        self, dataset: str, model: str, server: Server, version: str, features: Sequence[str]
    ) -> None:
        self.version = version
        self.rows = server.rows
        self._asks = _Asking(dataset, server)
        path = f"/v2/models/{quote(model, safe='')}"
        path += f"/versions/{quote(server.version, safe='')}" if server.version else ""
        self._infer = f"{path}/infer"
        self.binary = BINARY in self._asks.get("/v2", _ServerMetadata).extensions
        metadata = self._asks.get(path, _ModelMetadata)
        self._input = self._input_of(metadata, len(features))
        self.output = self._output_of(metadata)

    def score(self, features: Floats) -> Floats:
        """See ``Engine.score``."""
        parts = range(0, len(features), self.rows)
        scores = [self._score(features[first : first + self.rows]) for first in parts]
        return np.concatenate([np.empty(0, np.float32), *scores])

    def _score(self, features: Floats) -> Floats:
        headers, body = self._request(features)
        limit = _LARGEST_METADATA + _BYTES_A_ROW * len(features)
        answer = self._asks.post(self._infer, headers, body, limit)
        try:
            return score_column(_tensor(answer, self.output), len(features), self.output)
        except NoScores as error:
            raise self._asks.refused(f"{error}; serve a model for two classes") from error
        except (ValidationError, ValueError, TypeError, LookupError) as error:
            why = f"its answer does not follow the protocol ({error}); {_CORRECT}"
            raise self._asks.refused(why) from error

    def _request(self, features: Floats) -> tuple[dict[str, str], bytes]:
        shape = list(features.shape)
        tensor: dict[str, Any] = {"name": self._input, "datatype": "FP32", "shape": shape}
        output: dict[str, Any] = {"name": self.output}
        if not self.binary:
            self._must_be_finite(features)
            tensor["data"] = features.ravel().tolist()
            plain = {"inputs": [tensor], "outputs": [output]}
            return {"Content-Type": "application/json"}, json.dumps(plain).encode()
        raw = features.astype(_TYPES["FP32"], copy=False).tobytes()
        tensor["parameters"] = {"binary_data_size": len(raw)}
        output["parameters"] = {"binary_data": True}
        head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
        headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
        return headers, head + raw

    def _must_be_finite(self, features: Floats) -> None:
        if not np.isfinite(features).all():
            why = "a feature is infinite, which JSON cannot carry"
            raise self._asks.refused(f"{why}; bound it in its expr, or serve it with {BINARY}")

    def _input_of(self, metadata: _ModelMetadata, inputs: int) -> str:
        found = metadata.inputs
        if len(found) == 1 and found[0].datatype == "FP32" and len(found[0].shape) == 2:
            if found[0].shape[1] in (-1, inputs):
                return found[0].name
            takes = f"its model takes {found[0].shape[1]} inputs, constants.json names {inputs}"
            raise self._asks.refused(f"{takes}; serve the model that the features are made for")
        expected = f"expected a model with one input, FP32 [-1, {inputs}]"
        raise self._asks.refused(f"{expected}, got {[str(one) for one in found]}; {_CORRECT}")

    def _output_of(self, metadata: _ModelMetadata) -> str:
        floats = [put.name for put in metadata.outputs if put.datatype in _TYPES]
        try:
            return score_output(floats, [str(put) for put in metadata.outputs])
        except NoScores as error:
            raise self._asks.refused(f"{error}; {_CORRECT}") from error


def _tensor(answer: _Answer, name: str) -> Floats:
    """An output, out of the JSON or of the raw bytes behind it, where it is read."""
    length = int(answer.headers.get(LENGTH, len(answer.body)))
    inferred = _Inferred.model_validate_json(answer.body[:length])
    raw = answer.body[length:]
    for result in inferred.outputs:
        size = int(result.parameters.get("binary_data_size", 0))
        mine, raw = raw[:size], raw[size:]
        if result.name == name:
            found = np.frombuffer(mine, _TYPES[result.datatype]) if size else result.data
            return np.asarray(found, dtype=np.float32).reshape(result.shape)
    raise LookupError(f"no output {name!r}")


class _Asking:
    """Requests to one server: repeated while that may help, else refused in plain words."""

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
        """What the server says at a path."""
        body = self._ask("GET", path, {}, b"", _LARGEST_METADATA).body
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            why = f"{path} does not follow the Open Inference Protocol; correct model.server.url"
            raise self.refused(why) from error

    def post(self, path: str, headers: dict[str, str], body: bytes, limit: int) -> _Answer:
        """The answer to a request; of more than ``limit`` bytes it is none."""
        return self._ask("POST", path, headers, body, limit)

    def refused(self, why: str) -> ServerRefused:
        """An error that asking again cannot help."""
        return ServerRefused(self._dataset, self._url, why)

    def _ask(self, *request: Any) -> _Answer:
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
    ) -> _Answer:
        url = f"{self._url}{path}"
        try:
            with self._client.stream(method, url, headers=headers, content=body) as response:
                content = b"".join(self._read(response, limit))
        except httpx.TransportError as error:
            why = f"{method} {path}: {type(error).__name__} {error}".rstrip()
            raise ServerUnavailable(self._dataset, self._url, f"{why}; is it up?") from error
        except httpx.HTTPError as error:
            raise self.refused(f"{method} {path}: {error}; {_CORRECT}") from error
        if response.status_code != httpx.codes.OK:
            raise self._failure(response, content, f"{method} {path}")
        return _Answer(response.headers, content)

    def _read(self, response: httpx.Response, limit: int) -> Iterator[bytes]:
        """The answer as it comes; one that trickles, or does not end, is cut off."""
        deadline = time.monotonic() + self._seconds
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > limit:
                raise self.refused(f"it answers with more than {limit:,} bytes; {_CORRECT}")
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
        return self.refused(f"{why}; {_ADVICE.get(status, _CORRECT)}")


def _is_worth_another_try(error: BaseException) -> bool:
    return isinstance(error, ServerUnavailable) and error.wait is not None


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds: longer each time, by chance, and never less than the server asked for."""
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
    """What the server says of its failure, cut short."""
    try:
        plain = json.loads(content)
    except ValueError:
        return content[:300].decode(errors="replace")
    said = plain.get("error", plain.get("detail", plain)) if isinstance(plain, dict) else plain
    return str(said)[:300]
