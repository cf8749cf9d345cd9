"""Figures of a team's own: the function ``evaluate(rows, predictions)`` of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import polars as pl

from flagfall.scoring.own_code import CodeInvalid, own_function

FUNCTION = "evaluate"
"""Name of the function, in the team's file."""
ALERTS = "alerts"
"""Key of its answer that may hold sentences."""
MOST_FIGURES, MOST_ALERTS, MOST_TEXT = 24, 24, 300


@dataclass(frozen=True)
class OwnFigures:
    """What the team's function said of a batch.

    Attributes:
        figures: Numbers by name; ``None`` for one that has no value, as a NaN.
        alerts: Sentences.
    """

    figures: dict[str, float | None] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()


def own_figures(path: str, rows: pl.DataFrame, predictions: pl.DataFrame) -> OwnFigures:
    """Call the team's function.

    Args:
        path: Its file.
        rows: The dataset's columns, all rows of the batch.
        predictions: The same rows in the same order: the key's columns, and what the model said.

    Raises:
        CodeInvalid: It cannot be used, fails, or returns something else than names and numbers.
    """
    made: Any = own_function(path, FUNCTION)(rows, predictions)
    if not isinstance(made, Mapping):
        raise _invalid(path, f"returned {type(made).__name__}, not names and their numbers")
    figures = {name: _figure(path, name, made[name]) for name in made if name != ALERTS}
    if len(figures) > MOST_FIGURES:
        raise _invalid(path, f"returned {len(figures)} figures, more than {MOST_FIGURES}")
    return OwnFigures(figures, _alerts(path, made.get(ALERTS, ())))


def _figure(path: str, name: Any, value: Any) -> float | None:
    if not isinstance(name, str) or not name:
        raise _invalid(path, f"returned a figure with the name {name!r}, not a text")
    if value is None:
        return None
    try:
        number = float(value) if not isinstance(value, str) else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise _invalid(path, f"returned {value!r} for {name!r}, not a number")
    return number if isfinite(number) else None


def _alerts(path: str, given: Any) -> tuple[str, ...]:
    sentences = [given] if isinstance(given, str) else given
    if not isinstance(sentences, list | tuple) or not all(isinstance(s, str) for s in sentences):
        raise _invalid(path, f"returned {given!r} for {ALERTS!r}, not a list of sentences")
    return tuple(sentence[:MOST_TEXT] for sentence in sentences if sentence)[:MOST_ALERTS]


def _invalid(path: str, why: str) -> CodeInvalid:
    return CodeInvalid(path, f"{FUNCTION}() {why}")
