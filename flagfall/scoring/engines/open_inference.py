"""A model on a server that speaks the Open Inference Protocol (KServe V2) over HTTP.

https://github.com/kserve/open-inference-protocol. Tensors go as raw bytes where the server
announces the extension ``binary_tensor_data``, else as JSON. Scoring changes nothing at the server,
so a request may be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
from pydantic import BaseModel, Field, ValidationError

from flagfall.dataset.model import Server
from flagfall.scoring.engines.inference_server import (
    CORRECT,
    LARGEST_METADATA,
    Answer,
    InferenceServer,
)
from flagfall.scoring.engines.outputs import Floats, NoScores, Outputs, matrix

BINARY = "binary_tensor_data"
"""The protocol's extension for tensors as raw bytes, as a server announces it."""
LENGTH = "Inference-Header-Content-Length"
"""Header with the bytes of the JSON that stands before raw tensors."""

PROBABILITIES = "probabilities"
"""Output that is used when a model has more than one of numbers."""

_TYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_BYTES_A_SCORE = 32
"""More than a score takes in JSON. A longer answer is refused."""
_SCORES_A_ROW = 8
"""Where the server does not say how many a row has."""


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


class OpenInferenceEngine:
    """A model on a server. Its metadata is compared with the features before any row is sent.

    It has one float32 input [n, inputs]; which output has the scores is as for a model in ONNX
    format.

    Args:
        dataset: Name of the dataset, for messages.
        model: Name of the model at the server.
        server: Where the server is, and its settings.
        output: Name of the output with the scores; empty where there is no choice.

    Raises:
        NotThere: There is no token.
        ServerRefused: The server has no such model, or it does not fit.
        ServerUnavailable: The server does not answer now.
    """

    def __init__(self, dataset: str, model: str, server: Server, output: str = "") -> None:
        self.rows = server.rows
        self._server = InferenceServer(dataset, server)
        path = f"/v2/models/{quote(model, safe='')}"
        path += f"/versions/{quote(server.version, safe='')}" if server.version else ""
        self._infer = f"{path}/infer"
        self.binary = BINARY in self._server.get("/v2", _ServerMetadata).extensions
        metadata = self._server.get(path, _ModelMetadata)
        self._tensor = self._input_of(metadata)
        self.output = self._output_of(metadata, output)
        shape = next(put.shape for put in metadata.outputs if put.name == self.output)
        width = shape[-1] if len(shape) > 1 else 1
        self._bytes_a_row = _BYTES_A_SCORE * max(width, _SCORES_A_ROW)

    def check(self, columns: Sequence[str]) -> None:
        """See ``Engine.check``."""
        width = self._tensor.shape[1]
        if width not in (-1, len(columns)):
            takes = f"its model takes {width} inputs, the dataset has {len(columns)} features"
            raise self._server.refused(f"{takes}; serve the model that the features are made for")

    def inputs(self, columns: Sequence[str]) -> tuple[str, ...]:
        """See ``Engine.inputs``."""
        return tuple(columns)

    def predict(self, rows: pl.DataFrame) -> Outputs:
        """See ``Engine.predict``."""
        try:
            features = rows.cast(pl.Float32()).to_numpy(order="c")
        except pl.exceptions.PolarsError as error:
            why = f"it takes numbers, a feature is none: {str(error).splitlines()[0]}"
            raise self._server.refused(f"{why}; encode the feature") from error
        parts = range(0, len(features), self.rows)
        return Outputs(
            np.concatenate([self._score(features[first : first + self.rows]) for first in parts])
        )

    def _score(self, features: Floats) -> Floats:
        headers, body = self._request(features)
        limit = LARGEST_METADATA + self._bytes_a_row * len(features)
        answer = self._server.post(self._infer, headers, body, limit)
        try:
            return matrix(_tensor(answer, self.output), len(features), self.output)
        except NoScores as error:
            raise self._server.refused(f"{error}; name another output in model.output") from error
        except (ValidationError, ValueError, TypeError, LookupError) as error:
            why = f"its answer does not follow the protocol ({error}); {CORRECT}"
            raise self._server.refused(why) from error

    def _request(self, features: Floats) -> tuple[dict[str, str], bytes]:
        shape = list(features.shape)
        tensor: dict[str, Any] = {"name": self._tensor.name, "datatype": "FP32", "shape": shape}
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
            raise self._server.refused(f"{why}; bound it in its expr, or serve it with {BINARY}")

    def _input_of(self, metadata: _ModelMetadata) -> _Tensor:
        found = metadata.inputs
        if len(found) == 1 and found[0].datatype == "FP32" and len(found[0].shape) == 2:
            return found[0]
        expected = "expected a model with one input, FP32 [-1, features]"
        raise self._server.refused(f"{expected}, got {[str(one) for one in found]}; {CORRECT}")

    def _output_of(self, metadata: _ModelMetadata, wanted: str) -> str:
        floats = [put.name for put in metadata.outputs if put.datatype in _TYPES]
        for name in filter(None, (wanted, PROBABILITIES, *floats[:1][: len(floats) == 1])):
            if name in floats:
                return name
        found = [str(put) for put in metadata.outputs]
        expected = f"expected one float output, or one called {wanted or PROBABILITIES!r}"
        raise self._server.refused(f"{expected}, got {found}; {CORRECT}")


def _tensor(answer: Answer, name: str) -> Floats:
    """Return an output, from the JSON or from the raw bytes after it."""
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
