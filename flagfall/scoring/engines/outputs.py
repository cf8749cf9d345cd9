"""What a model returns, in one form for all engines and kinds of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.floating[Any]]
Texts = npt.NDArray[np.str_]

SCORES = "score"


class NoScores(Exception):
    """A model returns no scores; the message says what was expected."""


@dataclass(frozen=True)
class Outputs:
    """What a model says of some rows.

    Attributes:
        scores: Shape [n, k], k at least 1: probabilities by class, a value, or an anomaly's score.
        classes: Name of each column of ``scores``; empty where the model does not name them.
        labels: The class of each row as the model itself decides, as text; ``None``: it does not.
        flagged: Whether it flags each row as unusual, where it says so in these words.
    """

    scores: Floats
    classes: tuple[str, ...] = ()
    labels: Texts | None = None
    flagged: npt.NDArray[np.bool_] | None = None


def matrix(values: object, rows: int, output: str) -> Floats:
    """Scores of shape [n, k], of values of shape [n, k] or [n].

    Raises:
        NoScores: They are of another shape, or no numbers.
    """
    try:
        found = np.asarray(values)
        numbers = found if found.dtype.kind == "f" else found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise NoScores(f"output {output!r}: expected numbers, got {_sample(values)}") from error
    shaped = numbers.reshape(rows, 1) if numbers.shape == (rows,) else numbers
    if shaped.ndim != 2 or len(shaped) != rows or not shaped.shape[1]:
        expected = f"expected shape [{rows}, classes], [{rows}, 1] or [{rows}]"
        raise NoScores(f"output {output!r}: {expected}, got {list(found.shape)}")
    return shaped


def by_class(values: Mapping[str, Any] | pl.DataFrame, rows: int) -> Outputs:
    """Outputs of one column for each class, or of ``score``, high for the unusual, and ``label``.

    Raises:
        NoScores: A column is no such number, or has another length; a label is neither 1 nor 0.
    """
    columns = {str(name): values[name] for name in _names(values)}
    label = columns.pop("label", None) if SCORES in columns else None
    parts = [matrix(column, rows, name) for name, column in columns.items()]
    if not parts or any(part.shape[1] != 1 for part in parts):
        raise NoScores(f"expected a column for each class, got {list(columns)}")
    named = () if SCORES in columns else tuple(columns)
    flagged = None if label is None else _flags(texts(label, rows))
    return Outputs(np.hstack(parts), named, flagged=flagged)


def _flags(labels: Texts) -> npt.NDArray[np.bool_]:
    """Whether each label is 1 or true; a missing one is not."""
    lower = np.strings.lower(labels)  # booleans beside a missing one are texts of Python's
    flagged: npt.NDArray[np.bool_] = np.isin(lower, ("1", "true"))
    if strange := sorted(set(lower[~flagged].tolist()) - {"0", "false", "none"})[:5]:
        raise NoScores(f"label: expected 1 for the unusual and 0 for the rest, got {strange}")
    return flagged


def _names(values: Mapping[str, Any] | pl.DataFrame) -> Sequence[str]:
    return values.columns if isinstance(values, pl.DataFrame) else list(values)


def texts(values: object, rows: int) -> Texts:
    """Labels as texts: ``1`` of 1 and of 1.0, ``true`` of True.

    Raises:
        NoScores: There is not one for each row.
    """
    found = np.asarray(values).reshape(-1)
    if len(found) != rows:
        raise NoScores(f"expected {rows} labels, got {len(found)}")
    if found.dtype.kind == "b":
        return np.where(found, "true", "false")
    if found.dtype.kind == "f" and (found == np.floor(found)).all():
        found = found.astype(np.int64)
    return found.astype(np.str_)


def probabilities(scores: Floats) -> Floats:
    """Of logits: the logistic function of one column, softmax over several."""
    if scores.shape[1] == 1:
        return 1 / (1 + np.exp(-scores))
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _sample(values: object) -> str:
    return f"{type(values).__name__} {str(values)[:60]!r}"
