"""Engines run a model. ``Engine`` is their interface; ``open_engine`` returns the right one.

An engine takes the features of some rows as one float32 matrix, in the order of ``constants.json``,
and returns one score per row. It checks neither; ``stages/infer.py`` does.
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
    """Runs a model.

    Attributes:
        version: Version of the model, as predictions carry it.
    """

    version: str

    def score(self, features: Floats) -> Floats:
        """One score per row. Several threads may call it at once.

        Args:
            features: Shape [n, inputs], in the model's order, without NaN.

        Returns:
            Shape [n]. The values are not checked.

        Raises:
            ModelInvalid: The model does not take these features, or returns no scores.
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
    # Load only the library that is needed: each takes a tenth of a second, or more.
    if scorer.server is not None:
        from flagfall.scoring.engines.open_inference import OpenInferenceEngine

        return OpenInferenceEngine(
            dataset.name, scorer.server_model, scorer.server, constants.version, constants.features
        )
    require("onnx")
    from flagfall.scoring.engines.onnx import OnnxEngine

    return OnnxEngine(scorer.path, constants.version, len(constants.features))
