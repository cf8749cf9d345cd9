"""Engines: what runs a model. One now, onnxruntime in this process; the seam is ``Engine``.

An engine takes the features of some rows as one float32 matrix, in the order of ``constants.json``,
and gives one score a row. It judges neither: ``stages/infer.py`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from flagfall.dataset import Dataset, Scorer
from flagfall.errors import ModelInvalid, NotThere
from flagfall.features import Constants

MODEL_FILE = "model.onnx"
VERSION_KEY = "version"
"""Metadata property of ``model.onnx``: where it is set, it must equal the constants' version."""

PROBABILITIES = "probabilities"
"""Output that is used when a model has more than one float output."""

Floats = npt.NDArray[np.float32]

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


class Engine(Protocol):
    """What runs a model.

    Attributes:
        version: Version of the model, as predictions carry it.
    """

    version: str

    def score(self, features: Floats) -> Floats:
        """One score per row.

        Args:
            features: Shape [n, inputs], in the model's order, without NaN.

        Returns:
            Shape [n]. Nothing is promised about the values.

        Raises:
            ModelInvalid: The model does not take such features or gives something else than scores.
        """


class OnnxEngine:
    """A model in ONNX format, run by onnxruntime on one thread.

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
        return self._column(np.asarray(scores, dtype=np.float32), len(features))

    def _column(self, scores: Floats, rows: int) -> Floats:
        if scores.shape == (rows, 2):
            return scores[:, 1]
        if scores.shape in ((rows, 1), (rows,)):
            return scores.reshape(rows)
        expected = f"expected shape [{rows}, 2], [{rows}, 1] or [{rows}], got {list(scores.shape)}"
        why = f"output {self.output!r}: {expected}; export a model for two classes"
        raise ModelInvalid(self.folder, why)


def scorer_of(dataset: Dataset) -> Scorer:
    """The dataset's model.

    Raises:
        NotThere: It has none.
    """
    if dataset.model is None:
        raise NotThere("model of dataset", dataset.name, "its file has no section `model`")
    return dataset.model


def open_engine(dataset: Dataset) -> Engine:
    """The engine for a dataset's model.

    Raises:
        NotThere: The dataset has no model.
        ModelInvalid: The model's folder lacks something, or its parts do not fit one another.
    """
    scorer = scorer_of(dataset)
    constants = Constants.read(scorer.path)
    engines = {"onnx": OnnxEngine}
    return engines[scorer.engine](scorer.path, constants.version, len(constants.features))


def _session(folder: str) -> Any:
    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        raise ModelInvalid(folder, f"{MODEL_FILE} is missing; {_RUN_AGAIN}")
    options = onnxruntime.SessionOptions()
    # Airflow runs many tasks beside each other: one thread each, whatever the machine has.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    onnxruntime.disable_telemetry_events()
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
    width = found[0][1][1]
    if isinstance(width, int) and width != inputs:
        why = f"{MODEL_FILE} takes {width} inputs, constants.json names {inputs}; {_RUN_AGAIN}"
        raise ModelInvalid(folder, why)
    return str(session.get_inputs()[0].name)


def _output(session: Any, folder: str) -> str:
    floats = [put.name for put in session.get_outputs() if put.type == "tensor(float)"]
    if PROBABILITIES in floats:
        return PROBABILITIES
    if len(floats) == 1:
        return str(floats[0])
    found = [f"{put.name}: {put.type}" for put in session.get_outputs()]
    why = f"expected one float output, or one called {PROBABILITIES!r}, got {found}"
    raise ModelInvalid(folder, f"{MODEL_FILE}: {why}; export it without zipmap")


def _check_version(session: Any, folder: str, version: str) -> None:
    found = session.get_modelmeta().custom_metadata_map.get(VERSION_KEY, version)
    if found != version:
        why = f"{MODEL_FILE} is version {found}, constants.json is of {version}; {_RUN_AGAIN}"
        raise ModelInvalid(folder, why)
