"""A feed of a zoo model: dataset file, ``model init``, ``check``, one batch through the stages."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import yaml

from flagfall.cli.main import main
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Evaluation, Predicted
from flagfall.publish import publish
from flagfall.scoring.model_folder import ModelFolder
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from tests.models.conftest import ZOO

ZOO_PYTHON = ZOO.parent / "zoo" / "bin" / "python"
TYPES = {pl.Int64: "integer", pl.Float64: "number", pl.String: "string", pl.Boolean: "boolean"}
NOT_OF_THE_MODEL = ("about.json", "train.parquet", "expected.parquet", "__pycache__")
ASKED = {"model.task": "task", "model.classes": "classes", "model.output": "output"}
"""Settings that Flagfall asks for by name, where the model's file does not tell them."""
NO_TASK = frozenset({"sklearn-clusters"})
"""Good models of a kind that Flagfall has no task for."""
TIE = 1e-6
"""A binary score so near the threshold is given the positive class; frameworks differ there."""


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


def flagfall(*arguments: object) -> Ran:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["flagfall", *map(str, arguments)]
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    return Ran(int(code), out.getvalue(), err.getvalue())


class ZooFeed:
    """A project with one dataset and one model of the zoo.

    Args:
        source: The model's folder in the zoo.
        root: Folder of the project.

    Attributes:
        about: What ``about.json`` says.
        settings: Keys of ``model`` in the dataset file beside ``path`` and ``engine``.
    """

    def __init__(self, source: Path, root: Path) -> None:
        self.source, self.root = source, root
        self.name = source.name.replace("-", "_")
        self.about: dict[str, Any] = json.loads((source / "about.json").read_text("utf-8"))
        self.settings: dict[str, Any] = {}
        self.train = source / "train.parquet"
        (root / "datasets").mkdir(parents=True)
        self.file = root / "datasets" / f"{self.name}.yaml"
        ignore = shutil.ignore_patterns(*NOT_OF_THE_MODEL)
        shutil.copytree(source, root / "model", ignore=ignore)
        self.write()

    @property
    def is_python(self) -> bool:
        return (self.source / "model.py").exists()

    @cached_property
    def rows(self) -> pl.DataFrame:
        return pl.read_parquet(self.train)

    @property
    def dataset(self) -> Dataset:
        return read_dataset(self.file)

    def write(self) -> None:
        """The dataset file, as a person writes it who knows the rows."""
        whole: dict[str, Any] = {
            "title": self.source.name,
            "landing": {
                "uri": str(self.root / "landing"),
                "marker": "{day}/datapackage.json",
                "settle": "0s",
            },
            "lake": {"uri": str(self.root / "lake")},
            "schema": {"fields": [self._field(name) for name in self.rows.columns]},
            "model": {"path": str(self.root / "model"), **self._engine(), **self.settings},
        }
        if self.about["inputs"] == "matrix":
            whole["features"] = [self._feature(name) for name in self.about["features"]]
        if self.about["label"] and self.about["task"] != "anomaly":
            whole["label"] = {"expr": f'"{self.about["label"]}"'}
        self.file.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")

    def _field(self, name: str) -> dict[str, Any]:
        column = self.rows[name]
        field = {"name": name, "type": TYPES[type(column.dtype)]}
        return field if column.null_count() else {**field, "constraints": {"required": True}}

    def _feature(self, name: str) -> dict[str, Any]:
        has_gaps = self.rows[name].null_count() > 0
        return {"name": name, **({"missing": "keep"} if has_gaps else {})}

    def _engine(self) -> dict[str, Any]:
        if not self.is_python:
            return {}
        text = (self.source / "model.py").read_text("utf-8")
        alone = "import" not in text.replace("import polars as pl", "")
        return {"engine": "python"} | ({} if alone else {"interpreter": str(ZOO_PYTHON)})

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Commands find this project."""
        with mock.patch.dict(os.environ, {"FLAGFALL_DATASETS": str(self.root / "datasets")}):
            yield

    def init(self) -> Ran:
        """``flagfall model init``, with the settings that it asks for, one after the other."""
        with self.here():
            ran = flagfall("model", "init", self.name, "--train", self.train)
            while ran.code and (asked := self._asked(ran.err)):
                self.settings.update(asked)
                self.write()
                ran = flagfall("model", "init", self.name, "--train", self.train)
            return ran

    def _asked(self, said: str) -> dict[str, Any]:
        if "model.logits" in said and self.about["activation"] and "logits" not in self.settings:
            return {"logits": True}
        return next(
            (
                {key: self.about[key]}
                for words, key in ASKED.items()
                if words in said and key not in self.settings and self._may_say(key)
            ),
            {},
        )

    def _may_say(self, key: str) -> bool:
        return bool(self.about[key]) and self.about[key] != "clustering"

    def check(self) -> Ran:
        """``flagfall check``, then ``flagfall model check`` with what its framework predicts."""
        with self.here():
            ran = flagfall("check", self.name, "--offline")
            if ran.code:
                return ran
            expected = self.source / "expected.parquet"
            more = ("--expect", expected) if expected.exists() else ()
            return flagfall("model", "check", self.name, "--train", self.train, *more)

    def assert_said(self, expected: str, said: str) -> None:
        """See that an error names the model's folder, or the dataset file, and what is expected."""
        assert str(self.root / "model") in said or self.file.name in said
        assert re.search(expected, said), said

    def score(self) -> tuple[pl.DataFrame, Evaluation]:
        """Take the training rows in as a batch; predictions of every row, and its evaluation."""
        source = self.root / "producer"
        source.mkdir()
        shutil.copy(self.train, source / "rows.parquet")
        publish(source, str(self.root / "landing" / "monday"))
        inbox = Inbox(Feed.of(self.dataset))
        (marker,) = inbox.pending()
        batch = [Delivery(marker)]
        for stage in STAGES:
            batch = run_stage(stage, self.dataset, inbox, batch)
        predicted, evaluation = (
            inbox.lake.find(kind, marker.batch_id) for kind in (Predicted, Evaluation)
        )
        assert isinstance(predicted, Predicted), batch
        assert isinstance(evaluation, Evaluation), batch
        parts = [pl.read_parquet(part) for part in inbox.lake.parts(predicted, self.root)]
        return pl.concat(parts), evaluation

    def distance(self, found: pl.DataFrame) -> tuple[float, int]:
        """Of predictions from the framework's own: the largest difference, rows of other classes.

        A reading of its own, which shares nothing with ``flagfall model check``.
        """
        expected = pl.read_parquet(self.source / "expected.parquet")
        if self.about["task"] == "binary":
            return self._binary_distance(found, expected)
        numbers = [name for name in expected.columns if name not in ("class", "label")]
        gap = max(_gap(found[name], expected[name]) for name in numbers)
        verdict = next((name for name in ("class", "label") if name in expected.columns), None)
        texts = [table[verdict].cast(pl.String()) for table in (found, expected)] if verdict else []
        return gap, int((texts[0] != texts[1]).sum()) if texts else 0

    def _binary_distance(self, found: pl.DataFrame, expected: pl.DataFrame) -> tuple[float, int]:
        card = ModelFolder(str(self.root / "model")).card
        positive = (card.classes if card and card.classes else self.about["classes"])[1]
        score = found["score"].to_numpy()
        chosen = (expected["class"] == positive).to_numpy()
        others = (found["class"].to_numpy() == 1) != chosen
        return (
            _gap(found["score"], expected[f"probability.{positive}"]),
            int((others & (np.abs(score - 0.5) > TIE)).sum()),
        )


def _gap(ours: pl.Series, theirs: pl.Series) -> float:
    """The largest difference; of numbers above 1 as a share of them."""
    assert len(ours) == len(theirs), "a prediction for every row"
    wanted = theirs.to_numpy().astype(np.float64)
    return float((np.abs(ours.to_numpy() - wanted) / np.maximum(np.abs(wanted), 1)).max())


@dataclass(frozen=True)
class Scored:
    """A model of the zoo that went all the way.

    Attributes:
        largest: Difference from the framework's own predictions, over all rows.
        others: Rows of another class.
        rows: Rows of the batch.
        asked: Settings that the dataset file needed beside ``path`` and ``engine``.
        seconds: From the model's file to the evaluated batch.
        evaluation: Of the batch.
    """

    about: dict[str, Any]
    largest: float
    others: int
    rows: int
    asked: tuple[str, ...]
    seconds: float
    evaluation: Evaluation

    @property
    def lines(self) -> int:
        """Lines of Python that its team writes."""
        return int(self.about["python"]["lines"]) if "python" in self.about else 0


def all_models(zoo: Path) -> list[str]:
    """Names of the good models, without those that there is no task for."""
    return sorted({path.parent.name for path in zoo.glob("*/about.json")} - NO_TASK)


def score_whole(source: Path, root: Path) -> Scored:
    """Take a model all the way; an assertion says where it stops."""
    started = time.monotonic()
    feed = ZooFeed(source, root)
    for ran in (feed.init(), feed.check()):
        assert ran.code == 0, f"{source.name}: {ran.err}"
    predictions, evaluation = feed.score()
    seconds = time.monotonic() - started
    asked = tuple(feed.settings)
    return Scored(
        feed.about, *feed.distance(predictions), predictions.height, asked, seconds, evaluation
    )
