"""A dataset's model: an engine that runs it, and how its outputs are read."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Literal

import polars as pl

from flagfall.dataset.model import Scorer, Task
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.scoring.engines import open_engine
from flagfall.scoring.engines.outputs import Outputs
from flagfall.scoring.model_folder import PYTHON_FILE, ModelFolder
from flagfall.scoring.reading import NotUnderstood, Reading, columns_of, read_outputs


def scorer_of(dataset: Dataset) -> Scorer:
    """What a dataset's file says of its model.

    Raises:
        NotThere: It has none.
    """
    if dataset.model is None:
        raise NotThere("model of dataset", dataset.name, "its file has no section `model`")
    return dataset.model


class Model:
    """A model that is ready to score.

    Args:
        dataset: Its dataset.
        scorer: What the dataset's file says of it.
        version: Of the model; ``None`` for what its folder says, which is not asked otherwise.

    Attributes:
        folder: Its folder.
        reading: How its outputs are read; ``None`` before the first rows.

    Raises:
        ModelInvalid: The model's folder lacks something, or its parts do not fit one another.
        ModelCrashed: The process that runs it has died as it was loaded.
        ServerRefused: The server has no such model, or another one.
        ServerUnavailable: The server does not answer now.
    """

    def __init__(self, dataset: Dataset, scorer: Scorer, version: str | None = None) -> None:
        self.scorer = scorer
        self.folder = ModelFolder(scorer.path)
        self.card = self.folder.card if version is None else None
        self.version = self.folder.version if version is None else version
        self.engine = open_engine(dataset, scorer, self.folder, self.version)
        self.reading: Reading | None = None
        self._lock = Lock()

    @property
    def expected_task(self) -> Task:
        """Its task as far as it is known without rows; ``binary`` where it is not."""
        return self.scorer.task or (self.card.task if self.card else None) or "binary"

    def check(self, columns: Sequence[str]) -> None:
        """See whether it takes these features (see ``Engine.check``)."""
        self.engine.check(columns)

    def predict(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The predictions of some rows, see ``Reading.predictions``.

        Raises:
            ModelInvalid: It does not take these rows, or its outputs do not fit its task.
        """
        return self.read(self.engine.predict(rows))

    def read(self, outputs: Outputs, classes: tuple[str, ...] = ()) -> pl.DataFrame:
        """The predictions that outputs are, see ``Reading.predictions``.

        Args:
            outputs: What the engine said of some rows.
            classes: Names of the model's classes, where something else than the model tells them.

        Raises:
            ModelInvalid: They do not fit the model's task.
        """
        try:
            return self._reading(outputs, classes).predictions(outputs)
        except NotUnderstood as error:
            raise ModelInvalid(self.scorer.path, str(error)) from error

    def keyed(self, key: pl.DataFrame, predictions: pl.DataFrame) -> pl.DataFrame:
        """Predictions as the lake has them: what names each row, and the model's version."""
        return key.hstack(predictions).with_columns(pl.lit(self.version).alias("model_version"))

    def no_predictions(self) -> pl.DataFrame:
        """The predictions of no rows: the columns, as far as they are known."""
        if self.reading is None:
            return pl.DataFrame(schema=columns_of(self.expected_task))
        return pl.DataFrame(schema=columns_of(self.reading.task, self.reading.classes))

    def _reading(self, outputs: Outputs, classes: tuple[str, ...]) -> Reading:
        with self._lock:
            if self.reading is None:
                task = getattr(self.engine, "task", None)
                own = tuple(getattr(self.engine, "classes", ()))
                self.reading = read_outputs(self.scorer, self.card, outputs, task, own or classes)
            return self.reading


def challenger_of(dataset: Dataset, engine: Literal["onnx", "python"] | None = None) -> Dataset:
    """The dataset as it is with its challenger as the model; that runs in the task's process.

    Args:
        dataset: Its file names a challenger.
        engine: What runs it; ``None`` for what its folder says.
    """
    scorer = scorer_of(dataset)
    has_code = ModelFolder(scorer.challenger).has(PYTHON_FILE)
    runs = engine or ("python" if has_code else "onnx")
    mine = {
        "path": scorer.challenger,
        "engine": runs,
        "interpreter": scorer.interpreter if runs == "python" else "",
        "challenger": "",
        "server": None,
        "pod": None,
    }
    return dataset.model_copy(update={"model": scorer.model_copy(update=mine), "evaluate": None})


def open_model(dataset: Dataset) -> Model:
    """The model of a dataset.

    Raises:
        NotThere: The dataset has none.
        ModelInvalid, ModelCrashed, ServerRefused, ServerUnavailable: As for ``Model``.
    """
    return Model(dataset, scorer_of(dataset))
