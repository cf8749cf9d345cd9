"""Engines: what runs a model. The seam is ``Engine``; ``open_engine`` knows which there are.

An engine takes the features of some rows as one float32 matrix, in the order of ``constants.json``,
and gives one score a row. It judges neither: ``stages/infer.py`` does.
"""

from __future__ import annotations

from typing import Protocol

from flagfall.dataset.model import Scorer
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere
from flagfall.extras import require
from flagfall.scoring.engines.scores import Floats
from flagfall.scoring.features import Constants


class Engine(Protocol):
    """What runs a model.

    Attributes:
        version: Version of the model, as predictions carry it.
    """

    version: str

    def score(self, features: Floats) -> Floats:
        """One score per row. Several threads may call it at once.

        Args:
            features: Shape [n, inputs], in the model's order, without NaN.

        Returns:
            Shape [n]. Nothing is promised about the values.

        Raises:
            ModelInvalid: The model does not take such features or gives something else than scores.
            ServerRefused: The server that runs it does not answer such a request.
            ServerUnavailable: The server does not answer now.
        """


def scorer_of(dataset: Dataset) -> Scorer:
    """The dataset's model.

    Raises:
        NotThere: It has none.
    """
    if dataset.model is None:
        raise NotThere("model of dataset", dataset.name, "its file has no section `model`")
    return dataset.model


def open_engine(dataset: Dataset) -> Engine:
    """The engine for a dataset's model. In the container of ``engine: pod`` that is onnxruntime.

    Raises:
        NotThere: The dataset has no model.
        ModelInvalid: The model's folder lacks something, or its parts do not fit one another.
        ServerRefused: The server has no such model, or another one.
        ServerUnavailable: The server does not answer now.
    """
    scorer = scorer_of(dataset)
    constants = Constants.read(scorer.path)
    # Only the library that is used is loaded: each takes a tenth of a second, or more.
    if scorer.server is not None:
        from flagfall.scoring.engines.open_inference import OpenInferenceEngine

        return OpenInferenceEngine(
            dataset.name, scorer.server_model, scorer.server, constants.version, constants.features
        )
    require("onnx")
    from flagfall.scoring.engines.onnx import OnnxEngine

    return OnnxEngine(scorer.path, constants.version, len(constants.features))
