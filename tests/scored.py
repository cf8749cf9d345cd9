"""A toy feed with a model that gives a row's value as its score, and fails on one above 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from flagfall.dataset.schema import Dataset
from flagfall.scoring.drift import fit_reference
from flagfall.scoring.features import Constants
from tests.feeds import BY_DAY, S3Feed, ToyFeed, make_s3_toy, make_toy
from tests.tiny_onnx import write_model

GOOD = "id,value\n1,0.25\n2,0.75\n"
POISON = "id,value\n1,0.25\n2,7.5\n"
"""Good rows by every rule of the feed, with a value that the model cannot score."""


def make_scored_toy(root: Path, more: str = "") -> ToyFeed:
    """``make_toy`` with the model."""
    toy = make_toy(root, more=with_model(root) + more)
    train_toy(toy.dataset)
    return toy


def make_scored_s3_toy(root: Path, bucket: str, more: str = "") -> S3Feed:
    """``make_s3_toy`` with the model, which is on the disk."""
    feed = make_s3_toy(root, bucket, BY_DAY + with_model(root) + more)
    train_toy(feed.dataset)
    return feed


def with_model(root: Path) -> str:
    """YAML for the end of the feed's file, and the model's folder."""
    (root / "model").mkdir(exist_ok=True)
    write_model(root / "model", 1, {"scores": "Identity"})
    constants = Constants(version="1", features=("value",), fill={"value": 0.0}, codes={})
    (root / "model" / "constants.json").write_text(constants.model_dump_json())
    return f"features: [{{name: value}}]\nmodel: {{path: {root}/model, task: binary}}\n"


def train_toy(dataset: Dataset) -> None:
    """Write the reference of the model of a toy feed."""
    assert dataset.model is not None
    values = np.linspace(0, 1, 500)
    fit_reference(dataset, pl.DataFrame({"value": values}), values).write(dataset.model.path)
