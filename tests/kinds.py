"""Feeds with a model in Python for each task; their batches go through the stages as in a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation, Predicted
from flagfall.scoring.drift import fit_reference
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from tests.feeds import ToyFeed

FEED = """\
title: {title}
landing: {{uri: {root}/landing, marker: "date={{date}}/datapackage.json", settle: 1s}}
lake: {{uri: {root}/lake}}
schema:
  fields: [{fields}]
  {key}
{features}
model: {{path: {root}/model, engine: python, {model}}}
{more}
"""
COLUMNS = {
    "binary": {"id": "integer", "x": "number", "truth": "string"},
    "multiclass": {"id": "integer", "a": "number", "b": "number", "truth": "string"},
    "regression": {"id": "integer", "x": "number", "truth": "number"},
    "anomaly": {"id": "integer", "x": "number", "truth": "integer"},
}
CODE = {
    "binary": "x = rows['x'].clip(0, 1)\n    return {'no': 1 - x, 'yes': x}",
    "multiclass": "a = rows['a'].clip(0, 1)\n"
    "    b = (rows['b'].clip(0, 1) + a).clip(0, 1) - a\n"
    "    return {'ant': a, 'bee': b, 'cow': (1 - a - b).clip(0, 1)}",
    "regression": "return rows['x'] * 2",
    "anomaly": "return {'score': rows['x'], 'label': rows['x'] > 0.7}",
}
"""What a model does: it takes any number, and is exact for rows of ``rows_of``."""


def make(
    root: Path,
    task: str,
    *,
    label: str = "truth",
    model: str = "",
    more: str = "",
    features: str = "",
    key: bool = True,
) -> ToyFeed:
    """A feed ``toy`` of a task, without a reference; ``more`` is YAML for the end of its file."""
    for folder in ("model", "datasets"):
        (root / folder).mkdir()
    code = f"TASK = {task!r}\ndef load(folder): ...\ndef predict(model, rows):\n    {CODE[task]}\n"
    (root / "model" / "model.py").write_text(code)
    columns = COLUMNS[task]
    declared = ", ".join(f"{{name: {n}, missing: 0}}" for n in _inputs(task))
    text = FEED.format(
        root=root,
        title=f"A feed with a model of kind {task}",
        fields=", ".join(f"{{name: {n}, type: {kind}}}" for n, kind in columns.items()),
        key="primaryKey: [id]" if key else "",
        features=features or f"features: [{declared}]",
        model=model,
        more=(f"label: {{expr: {json.dumps(label)}, title: What it was}}\n" if label else "")
        + more,
    )
    (root / "datasets" / "toy.yaml").write_text(text)
    return ToyFeed(root, read_dataset(root / "datasets" / "toy.yaml"))


def _inputs(task: str) -> list[str]:
    return [name for name in COLUMNS[task] if name not in ("id", "truth")]


def rows_of(task: str, count: int = 400, seed: int = 0, shift: float = 0.0) -> pl.DataFrame:
    """Rows whose model is good, but not perfect; a label in twenty is not known."""
    random = np.random.default_rng(seed)
    x = random.beta(2, 4, count)
    columns: dict[str, Any] = {"id": np.arange(count), "x": x}
    if task == "binary":
        truth: Sequence[Any] = np.where(random.random(count) < x, "yes", "no").tolist()
    elif task == "regression":
        columns["x"] = x = 10 * x + shift
        truth = (2 * x - 0.5 + random.normal(0, 1.5, count) - shift / 2).tolist()
    elif task == "anomaly":
        columns["x"] = x = np.where(random.random(count) < 0.08, 0.6 + 0.4 * x, 0.8 * x)
        truth = (random.random(count) < x**4).astype(int).tolist()
    else:
        shares = random.dirichlet((1.2, 0.8, 0.5), count)
        columns = {"id": np.arange(count), "a": shares[:, 0], "b": shares[:, 1]}
        truth = [str(random.choice(["ant", "bee", "cow"], p=line)) for line in shares]
    columns["truth"] = [None if n % 20 == 7 else value for n, value in enumerate(truth)]
    return pl.DataFrame(columns)


def train(feed: ToyFeed, task: str) -> None:
    """Write the model's reference: other rows of the same sort."""
    rows = rows_of(task, 4000, seed=99)
    raw = rows.select(_inputs(task)).cast(pl.Float32())
    fit_reference(feed.dataset, raw, said(task, rows), rows["id"] // 400).write(
        str(feed.root / "model")
    )


def said(task: str, rows: pl.DataFrame) -> pl.DataFrame:
    """What the model says of rows, as predictions have it."""
    if task == "multiclass":
        shares = rows.select(ant="a", bee="b", cow=1 - pl.col("a") - pl.col("b")).to_numpy()
        named = np.array(["ant", "bee", "cow"])[shares.argmax(axis=1)].tolist()
        return pl.DataFrame({"class": named, "score": shares.max(axis=1)})
    if task == "regression":
        return rows.select(value=pl.col("x") * 2)
    return rows.select(score="x")


def run(feed: ToyFeed, day: str, rows: pl.DataFrame) -> tuple[Evaluation, pl.DataFrame]:
    """Take a batch through all stages; its evaluation and its predictions."""
    marker = feed.drop(day, rows.write_csv())
    inbox = feed.inbox()
    deliveries = [Delivery(marker)]
    for stage in STAGES:
        deliveries = run_stage(stage, feed.dataset, inbox, deliveries)
    lake = inbox.lake
    evaluation, predicted = (lake.find(k, marker.batch_id) for k in (Evaluation, Predicted))
    assert isinstance(evaluation, Evaluation)
    assert isinstance(predicted, Predicted)
    with lake.scratch() as folder:
        parts = [pl.read_parquet(part) for part in lake.parts(predicted, folder)]
    return evaluation, pl.concat(parts) if parts else pl.DataFrame()


__all__ = ["Dataset", "make", "rows_of", "run", "said", "train"]
