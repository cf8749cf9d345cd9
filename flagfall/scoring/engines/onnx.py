"""The embedded engine: onnxruntime in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

# From 1.29 on, onnxruntime reports each process and session to its maker, and writes an id to the
# home directory. It reads this variable once, at import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from flagfall.errors import ModelInvalid
from flagfall.scoring.engines.scores import Floats, NoScores, score_column, score_output

MODEL_FILE = "model.onnx"
VERSION_KEY = "version"
"""Metadata property of ``model.onnx``: where it is set, it must equal the constants' version."""

_RUN_AGAIN = "run the model's training script"
_FAILURES = (
    onnx_errors.EPFail,
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)


class OnnxEngine:
    """A model in ONNX format, run by onnxruntime on the thread that calls it.

    The model has one float32 input [n, inputs]. Its score is read from the only float output, or
    from the one that is called ``probabilities`` where there are several; ``output`` says which. Of
    an output [n, 2] the second column is the score (the probability of class 1), of [n, 1] or [n]
    the only one.

    Args:
        folder: The model's folder.
        version: Version of the constants that the features are made with.
        inputs: Number of features.

    Raises:
        ModelInvalid: ``model.onnx`` is missing, cannot be loaded or does not fit.
    """

    def __init__(self, folder: str, version: str, inputs: int) -> None:
        self.folder = folder
        self.version = version
        self._session = _session(folder)
        self._input = _input(self._session, folder, inputs)
        self.output = _output(self._session, folder)
        _check_version(self._session, folder, version)

    def score(self, features: Floats) -> Floats:
        """See ``Engine.score``."""
        try:
            (scores,) = self._session.run([self.output], {self._input: features})
        except _FAILURES as failure:
            raise ModelInvalid(self.folder, f"{MODEL_FILE}: {failure}") from failure
        try:
            return score_column(np.asarray(scores, dtype=np.float32), len(features), self.output)
        except NoScores as error:
            raise ModelInvalid(self.folder, f"{error}; export a model for two classes") from error


def _session(folder: str) -> Any:
    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        raise ModelInvalid(folder, f"{MODEL_FILE} is missing; {_RUN_AGAIN}")
    options = onnxruntime.SessionOptions()
    # Its own threads spin while they wait, and take cores from other tasks. Callers use threads of
    # their own instead, each for other rows. So the sums of a row are the same.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _FAILURES as failure:
        why = f"{MODEL_FILE} cannot be loaded: {failure}; {_RUN_AGAIN}"
        raise ModelInvalid(folder, why) from failure


def _input(session: Any, folder: str, inputs: int) -> str:
    found = [(put.type, list(put.shape)) for put in session.get_inputs()]
    if len(found) != 1 or found[0][0] != "tensor(float)" or len(found[0][1]) != 2:
        why = f"{MODEL_FILE}: expected one float32 input [n, {inputs}], got {found}; {_RUN_AGAIN}"
        raise ModelInvalid(folder, why)
    rows, width = found[0][1]
    if isinstance(width, int) and width != inputs:
        why = f"{MODEL_FILE} takes {width} inputs, constants.json names {inputs}; {_RUN_AGAIN}"
        raise ModelInvalid(folder, why)
    if isinstance(rows, int):
        why = f"{MODEL_FILE}: its input is [{rows}, {width}], expected [n, {inputs}]"
        raise ModelInvalid(folder, f"{why}; export it with a dynamic batch dimension")
    return str(session.get_inputs()[0].name)


def _output(session: Any, folder: str) -> str:
    floats = [str(put.name) for put in session.get_outputs() if put.type == "tensor(float)"]
    found = [f"{put.name}: {put.type}" for put in session.get_outputs()]
    try:
        return score_output(floats, found)
    except NoScores as error:
        raise ModelInvalid(folder, f"{MODEL_FILE}: {error}; export it without zipmap") from error


def _check_version(session: Any, folder: str, version: str) -> None:
    found = session.get_modelmeta().custom_metadata_map.get(VERSION_KEY, version)
    if found != version:
        why = f"{MODEL_FILE} is version {found}, constants.json is of {version}; {_RUN_AGAIN}"
        raise ModelInvalid(folder, why)
