"""How well scores separate positive rows from negative ones, computed with numpy alone.

scikit-learn takes 1.4 s to import, in every evaluation of every shard. These functions return
the same values; a test compares them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def roc_auc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve: how often a positive row scores higher than a negative one.

    Ties count half (the Mann-Whitney U statistic; Hanley and McNeil, Radiology 143, 1982).

    Args:
        labels: Shape [n], with at least one True and one False.
        scores: Shape [n].
    """
    return _area(*_cumulated(labels, scores))


def expected_auc(scores: Scores) -> float | None:
    """The AUC that calibrated scores let one expect, without any label.

    A row with a score of 0.3 counts as 0.3 of a positive row and 0.7 of a negative one (NannyML
    documents the method as CBPE).

    Args:
        scores: Probabilities, of shape [n].

    Returns:
        ``None`` where no row can be positive, or none negative.
    """
    ranked = np.sort(scores.astype(np.float64))[::-1]
    ends = _ends(ranked)
    found = np.cumsum(ranked)[ends]
    false = ends + 1 - found
    return _area(found, false) if scores.size and found[-1] > 0 and false[-1] > 0 else None


def _area(found: Counts | Values, false: Counts | Values) -> float:
    """Under the ROC curve, from what ``_cumulated`` returns."""
    at_once = np.diff(false, prepend=0)
    before = np.concatenate([[0], found[:-1]])
    return float((at_once * (before + found)).sum() / (2.0 * found[-1] * false[-1]))


def average_precision(labels: Labels, scores: Scores) -> float:
    """Precision, averaged over the thresholds by the recall that each adds.

    Not interpolated (scikit-learn's definition of ``average_precision_score``).

    Args:
        labels: Shape [n], with at least one True.
        scores: Shape [n].
    """
    found, false = _cumulated(labels, scores)
    gained = np.diff(found, prepend=0) / found[-1]
    return float((gained * found / (found + false)).sum())


def brier_score(labels: Labels, scores: Scores) -> float:
    """Mean squared difference of score and outcome (Brier, Monthly Weather Review 78, 1950).

    Args:
        labels: Shape [n], n at least 1.
        scores: Shape [n].
    """
    return float(np.square(scores.astype(np.float64) - labels).mean())


def _cumulated(labels: Labels, scores: Scores) -> tuple[Counts, Counts]:
    """Count positive and negative rows that score at least s, for each score s, largest first."""
    order = np.argsort(scores, kind="stable")[::-1]
    ends = _ends(scores[order])
    found = np.cumsum(labels[order], dtype=np.int64)[ends]
    return found, ends + 1 - found


def _ends(ranked: Scores) -> Counts:
    """The place of the last row of each score."""
    is_last = np.ones(ranked.size, np.bool_)
    is_last[:-1] = ranked[1:] != ranked[:-1]
    return np.flatnonzero(is_last)


def auc_error(positives: int, negatives: int) -> float:
    """Standard error of the AUC of scores that say nothing: that of the Mann-Whitney U statistic.

    From Hanley and McNeil's formula with an area of 0.5, without ties. 0 without rows of a class.
    """
    if not positives or not negatives:
        return 0.0
    return float(np.sqrt((positives + negatives + 1) / (12.0 * positives * negatives)))


def macro_f1(right: Counts, given: Counts, real: Counts) -> float:
    """F1 of each class that occurs, averaged: 2 · right / (given + real).

    scikit-learn's ``f1_score(average="macro")``.

    Args:
        right: By class, rows that were given it and are of it.
        given: Rows that were given it.
        real: Rows that are of it; at least one row in all.
    """
    occurs = given + real > 0
    return float((2.0 * right[occurs] / (given + real)[occurs]).mean())


def log_losses(probabilities: Scores) -> Values:
    """−ln of each probability; one of 0 counts as the smallest step of a float32 above 0.

    Their mean is scikit-learn's ``log_loss``.

    Args:
        probabilities: Those of the rows' real classes.
    """
    least = np.finfo(np.float32).eps
    return -np.log(np.clip(probabilities.astype(np.float64), least, 1 - least))


def r_squared(real: Values, predicted: Values) -> float | None:
    """1 − squared errors / squared distances of the real values from their mean.

    Args:
        real: As ``held`` returns them.
        predicted: The same.

    Returns:
        ``None`` where all real values are the same, or there is none; ``-LARGEST`` at least.
    """
    if not real.size:
        return None
    spread = np.square(real - real.mean()).sum()
    if spread <= 0:
        return None
    with np.errstate(over="ignore"):
        return max(float(1 - np.square(predicted - real).sum() / spread), -LARGEST)


LARGEST = 1e150
"""Values beyond it count as it: the sum of the squares of many is a float64, too."""


def held(values: Values) -> Values:
    """The values, none beyond ``LARGEST``: no figure of them is infinite, which JSON has not."""
    return np.clip(values, -LARGEST, LARGEST)
