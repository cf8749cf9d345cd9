"""Engines run a model. ``Engine`` is their interface; ``open_engine`` returns the right one.

An engine takes rows with a column for each feature, and returns what the model says in one form,
``Outputs``. It knows nothing of what the numbers mean; ``scoring/model.py`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from flagfall.dataset.model import Scorer
from flagfall.dataset.schema import Dataset
from flagfall.extras import require
from flagfall.scoring.engines.outputs import Outputs
from flagfall.scoring.model_folder import PYTHON_FILE, ModelFolder


class Engine(Protocol):
    """Runs a model."""

    def check(self, columns: Sequence[str]) -> None:
        """See whether the model can be given such rows.

        Args:
            columns: The features, in their order.

        Raises:
            ModelInvalid: It cannot.
        """

    def inputs(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of the features that the model takes."""

    def predict(self, rows: pl.DataFrame) -> Outputs:
        """What the model says of some rows. Several threads may call it at once.

        Args:
            rows: One row at least; a column for each feature, in their order.

        Raises:
            ModelInvalid: The model does not take these features, or returns no scores.
            ModelCrashed: The process that runs it has died.
            ServerRefused: The server that runs it does not answer such a request.
            ServerUnavailable: The server does not answer now.
        """


def open_engine(dataset: Dataset, scorer: Scorer, folder: ModelFolder, version: str) -> Engine:
    """The engine for a model. In the container of ``engine: pod`` the folder says which.

    Raises:
        ModelInvalid: The model's folder lacks something, or its parts do not fit one another.
        ModelCrashed: The process that runs it has died as it was loaded.
        ServerRefused: The server has no such model, or another one.
        ServerUnavailable: The server does not answer now.
    """
    # Load only the library that is needed: each takes a tenth of a second, or more.
    if scorer.server is not None:
        from flagfall.scoring.engines.open_inference import OpenInferenceEngine

        return OpenInferenceEngine(dataset.name, scorer.server_model, scorer.server, scorer.output)
    if scorer.engine == "python" or (scorer.engine == "pod" and folder.has(PYTHON_FILE)):
        from flagfall.scoring.engines.python import PythonEngine

        return PythonEngine(scorer.path, scorer.interpreter)
    require("onnx")
    from flagfall.scoring.engines.onnx import OnnxEngine

    return OnnxEngine(scorer.path, version, scorer.output)
