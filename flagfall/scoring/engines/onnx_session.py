"""Sessions of onnxruntime: how a model is opened, and what can go wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

# From 1.29 on, onnxruntime reports each process and session to its maker, and writes an id to the
# home directory. It reads this variable once, at import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from flagfall.errors import ModelInvalid
from flagfall.stores.places import is_file

MODEL_FILE = "model.onnx"

FAILURES = (
    onnx_errors.EPFail,
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)
"""What onnxruntime raises."""

_LFS = b"version https://git-lfs.github.com/"


class KeptWhole(Exception):
    """The trees are not taken out of a model; the message says why."""


class Session(Protocol):
    """Runs a model; onnxruntime's own is one."""

    def run(self, wanted: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs of these names. Several threads may call it at once."""


def open_session(folder: str) -> Any:
    """The session of a folder's model.

    Raises:
        ModelInvalid: ``model.onnx`` is missing, or cannot be loaded.
    """
    path = Path(folder) / MODEL_FILE
    if not is_file(path):
        why = f"{MODEL_FILE} is missing; put it there, or correct model.path or model.engine"
        raise ModelInvalid(folder, why)
    try:
        return opened(path)
    except FAILURES as failure:
        why = f"{MODEL_FILE} {_no_model(path) or _cannot_be_loaded(failure)}"
        raise ModelInvalid(folder, why) from failure


def opened(model: Path | bytes) -> Any:
    """The session of a model, in a file or in memory.

    Raises:
        FAILURES: It cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings are for who exports a model
    # Its own threads spin while they wait, and take cores from other tasks. Callers use threads of
    # their own instead, each for other rows. So the sums of a row are the same.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _no_model(path: Path) -> str:
    """What a file is that is no model at all, with the remedy; else empty."""
    with path.open("rb") as file:
        head = file.read(len(_LFS))
    if head == _LFS:
        return "is a pointer of Git LFS, not the file; run `git lfs pull`"
    return "" if head else "is empty; export it again"


def _cannot_be_loaded(failure: Exception) -> str:
    return f"cannot be loaded: {failure}; {_export_again(failure)}"


def _export_again(failure: Exception) -> str:
    if isinstance(failure, onnx_errors.NotImplemented):
        return "onnxruntime has no such operator for these types: export it again, as float32"
    return "export it again, with all its files"
