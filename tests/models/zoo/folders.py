"""What every model of the zoo is on disk: its files, its rows, its predictions, and what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from tests.models.zoo.tables import Table

Build = Callable[[Path], None]
MODELS: dict[str, Build] = {}


@dataclass(frozen=True)
class About:
    """``about.json``.

    Args:
        task: ``binary``, ``multiclass``, ``regression``, ``anomaly`` or ``clustering``.
        exporter: What wrote the model's files.
        inputs: ``matrix`` for one input of all features, ``columns`` for one a column, ``rows`` for
            the rows as they are.
        classes: The classes as text, in the order of the model's probabilities.
        output: The output to choose, where the model does not tell; empty if it does.
        activation: What makes probabilities of the output: ``softmax``, ``sigmoid``, or nothing.
        missing_text: What the model was given for a missing text; ``None`` if no text was missing.
        label: The label's column; empty if there is none.
        features: The columns that the model takes, in its order.
    """

    task: str
    exporter: str
    inputs: str = "matrix"
    classes: list[str] = field(default_factory=list)
    output: str = ""
    activation: str = ""
    missing_text: str | None = None
    label: str = ""
    features: list[str] = field(default_factory=list)


def model(build: Build) -> Build:
    """Add a function that fills a model's folder to the zoo, under its own name."""
    MODELS[build.__name__.replace("_", "-")] = build
    return build


def save(folder: Path, table: Table, expected: pl.DataFrame, about: About) -> None:
    """Write ``train.parquet``, ``expected.parquet`` and ``about.json``."""
    table.rows.write_parquet(folder / "train.parquet")
    expected.write_parquet(folder / "expected.parquet")
    known = asdict(about) | {"label": table.label, "features": table.features}
    (folder / "about.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def classified(names: Sequence[str], classes: Sequence, probabilities: np.ndarray) -> pl.DataFrame:
    """The class of every row as text, and a column of probabilities for each class."""
    columns = {f"probability.{name}": probabilities[:, at] for at, name in enumerate(names)}
    return pl.DataFrame({"class": [str(one) for one in classes]} | columns)


def likeliest(names: Sequence[str], probabilities: np.ndarray) -> pl.DataFrame:
    """`classified`, where the class is the one with the highest probability."""
    return classified(names, [names[at] for at in probabilities.argmax(axis=1)], probabilities)


def both(probability: np.ndarray) -> np.ndarray:
    """Probabilities of both classes, from that of the second."""
    flat = np.asarray(probability, dtype=np.float64).reshape(-1)
    return np.column_stack([1 - flat, flat])


def valued(values: np.ndarray) -> pl.DataFrame:
    """A value for every row."""
    return pl.DataFrame({"value": np.asarray(values, dtype=np.float64).reshape(-1)})


def unusual(decision: np.ndarray, verdict: np.ndarray) -> pl.DataFrame:
    """Score and label from scikit-learn's decision function and its 1 or −1."""
    label = (np.asarray(verdict) == -1).astype(np.int64)
    return pl.DataFrame({"score": -np.asarray(decision, dtype=np.float64), "label": label})
