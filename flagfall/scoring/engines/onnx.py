"""The embedded engine: onnxruntime in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flagfall.dataset.model import class_name
from flagfall.errors import ModelInvalid
from flagfall.scoring.engines.onnx_inputs import Feeder, Input, NotTaken
from flagfall.scoring.engines.onnx_parts import faster_for_many
from flagfall.scoring.engines.onnx_session import FAILURES, MODEL_FILE, open_session
from flagfall.scoring.engines.outputs import NoScores, Outputs, by_class, matrix, texts

VERSION_KEY = "version"
"""Metadata property of ``model.onnx``: where it is set, it must equal the folder's version."""
PROBABILITIES = "probabilities"
"""Output that is used when a model has several with numbers."""

COLUMN = "i"
"""Begins the names of outputs of one class each, as ``zipmap="columns"`` of skl2onnx makes them."""

_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)")


class OnnxEngine:
    """A model in ONNX format, run by onnxruntime on the thread that calls it.

    What ``onnx_inputs.Feeder`` says of its inputs. Of its outputs the scores are the one with
    numbers, or the one that is called ``probabilities``, or ``output``; a list of mappings (ZipMap)
    names the classes. An output of integers or texts beside it is the model's own decision.

    Args:
        folder: The model's folder.
        version: Version of the folder.
        output: Name of the output with the scores; empty where there is no choice.

    Raises:
        ModelInvalid: ``model.onnx`` is missing, cannot be loaded or has no scores.
    """

    def __init__(self, folder: str, version: str, output: str = "") -> None:
        self.folder = folder
        self.version = version
        self._session = open_session(folder)
        self._running = faster_for_many(self._session, Path(folder) / MODEL_FILE)
        try:
            self._feeder = Feeder([Input.of(put) for put in self._session.get_inputs()])
            self.outputs = _score_outputs(self._session.get_outputs(), output)
        except (NotTaken, NoScores) as error:
            raise ModelInvalid(folder, f"{MODEL_FILE}: {error}") from error
        self._label = _label_output(self._session.get_outputs(), self.outputs)
        _check_version(self._session, folder, version)

    def check(self, columns: Sequence[str]) -> None:
        """See ``Engine.check``."""
        try:
            self._feeder.check(columns)
        except NotTaken as error:
            raise ModelInvalid(self.folder, f"{MODEL_FILE}: {error}") from error

    def inputs(self, columns: Sequence[str]) -> tuple[str, ...]:
        """See ``Engine.inputs``."""
        return self._feeder.taken(columns)

    def predict(self, rows: pl.DataFrame) -> Outputs:
        """See ``Engine.predict``."""
        size = self._feeder.rows or rows.height
        slices = (
            _filled(rows[first : first + size], size) for first in range(0, rows.height, size)
        )
        try:
            found = [self._run(piece) for piece in slices]
            return _joined(found, rows.height)
        except FAILURES as failure:
            raise ModelInvalid(self.folder, f"{MODEL_FILE}: {failure}") from failure
        except (NotTaken, NoScores) as error:
            raise ModelInvalid(self.folder, f"{MODEL_FILE}: {error}") from error

    def _run(self, rows: pl.DataFrame) -> Outputs:
        wanted = [*self.outputs, *filter(None, [self._label])]
        found = self._running.run(wanted, self._feeder.tensors(rows))
        scores = found[: len(self.outputs)]
        own = texts(found[-1], rows.height) if self._label else None
        if len(scores) > 1:
            names = [name.removeprefix(COLUMN) for name in self.outputs]
            return replace(by_class(dict(zip(names, scores, strict=True)), rows.height), labels=own)
        if isinstance(scores[0], list):
            return replace(_of_maps(scores[0], rows.height), labels=own)
        return Outputs(matrix(scores[0], rows.height, self.outputs[0]), labels=own)


def _of_maps(maps: Sequence[Mapping[Any, float]], rows: int) -> Outputs:
    names = [_class(name) for name in maps[0]]
    table = np.array([list(one.values()) for one in maps], np.float32)
    return by_class(dict(zip(names, table.T, strict=True)), rows)


def _class(name: object) -> str:
    return str(class_name(name))


def _filled(rows: pl.DataFrame, size: int) -> pl.DataFrame:
    """So many rows: the last one stands in for those that lack."""
    lacking = size - rows.height
    return pl.concat([rows, *[rows[-1:]] * lacking]) if lacking else rows


def _joined(found: Sequence[Outputs], rows: int) -> Outputs:
    if len(found) == 1 and len(found[0].scores) == rows:
        return found[0]
    scores = np.concatenate([one.scores for one in found])[:rows]
    own = [one.labels for one in found if one.labels is not None]
    return Outputs(scores, found[0].classes, np.concatenate(own)[:rows] if own else None)


def _score_outputs(outputs: Sequence[Any], wanted: str) -> tuple[str, ...]:
    """Names of the outputs with the scores: one, or one for each class."""
    found = {str(put.name): str(put.type) for put in outputs}
    scores = [name for name, kind in found.items() if kind in _FLOATS or kind.startswith("seq(map")]
    if wanted:
        if wanted not in scores:
            raise NoScores(f"model.output: expected one of {scores}, got {wanted!r}")
        return (wanted,)
    if PROBABILITIES in scores:
        return (PROBABILITIES,)
    named = [name for name in scores if name.startswith(("output_prob", "prob"))]
    for found_names in (scores, named):
        if len(found_names) == 1:
            return tuple(found_names)
    if len(scores) == len(found) - 1 and all(name.startswith(COLUMN) for name in scores):
        return tuple(scores)
    raise NoScores(f"expected one output with numbers, or model.output to name it, got {found}")


def _label_output(outputs: Sequence[Any], scores: Sequence[str]) -> str:
    found = [str(put.name) for put in outputs if put.type in _LABELS and put.name not in scores]
    return found[0] if len(found) == 1 else ""


def _check_version(session: Any, folder: str, version: str) -> None:
    found = session.get_modelmeta().custom_metadata_map.get(VERSION_KEY, version)
    if found != version:
        why = f"{MODEL_FILE} is version {found}, its folder says {version}"
        raise ModelInvalid(folder, f"{why}; run `flagfall model init` or the training again")
