"""Reads the scores from a model's outputs, for all engines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PROBABILITIES = "probabilities"
"""Output that is used when a model has more than one float output."""

Floats = npt.NDArray[np.float32]


class NoScores(Exception):
    """A model returns no scores; the message says what was expected."""


def score_output(floats: Sequence[str], found: object) -> str:
    """Name of the output that has the scores.

    Args:
        floats: Names of the model's float outputs.
        found: All its outputs, for the message.

    Raises:
        NoScores: There is none, or more than one and none called ``probabilities``.
    """
    if PROBABILITIES in floats:
        return PROBABILITIES
    if len(floats) == 1:
        return floats[0]
    raise NoScores(f"expected one float output, or one called {PROBABILITIES!r}, got {found}")


def score_column(scores: Floats, rows: int, output: str) -> Floats:
    """The scores of some rows: of shape [n, 2] the second column, of [n, 1] or [n] the only one.

    Raises:
        NoScores: The output has another shape.
    """
    if scores.shape == (rows, 2):
        return scores[:, 1]
    if scores.shape in ((rows, 1), (rows,)):
        return scores.reshape(rows)
    expected = f"expected shape [{rows}, 2], [{rows}, 1] or [{rows}], got {list(scores.shape)}"
    raise NoScores(f"output {output!r}: {expected}")
