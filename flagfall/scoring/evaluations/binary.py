"""Evaluates a binary model: does it rank, and are its probabilities right?

Exact measures need all scores at once: 4 bytes per row, 5 more per labelled row (a float32 and a
bool), and about 35 more while these are sorted (measured with 5 million rows). All else is counted
part by part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import HISTOGRAM_BINS, Scores
from flagfall.scoring.evaluations.alerts import above, below, worse_than_chance
from flagfall.scoring.evaluations.evaluator import Findings
from flagfall.scoring.metrics import (
    auc_error,
    average_precision,
    brier_score,
    expected_auc,
    roc_auc,
)

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measures:
    """Measures over the labelled rows.

    Attributes:
        auc: ``None`` unless both classes have rows.
        average_precision: The same.
        brier: ``None`` without labelled rows.
        calibration_gap: Mean score minus share of positives; ``None`` without labelled rows.
        expected_auc: What all scores let one expect, labelled or not (see ``metrics``).
    """

    labelled: int
    positives: int
    auc: float | None = None
    average_precision: float | None = None
    brier: float | None = None
    calibration_gap: float | None = None
    expected_auc: float | None = None


class Binary:
    """Scores and labels of the labelled rows, and histograms of all scores."""

    def __init__(self) -> None:
        self._histograms = np.zeros((3, HISTOGRAM_BINS), dtype=np.int64)
        self._all: list[Floats] = []
        self._scores: list[Floats] = []
        self._labels: list[Bools] = []

    def add(self, predictions: pl.DataFrame, labels: pl.Series) -> None:
        """See ``Evaluator.add``."""
        scores = predictions["score"].to_numpy()
        real = labels.cast(pl.Float32()).to_numpy()  # null is NaN
        known, positive = ~np.isnan(real), real == 1
        for row, wanted in enumerate((~known, known & ~positive, positive)):
            self._histograms[row] += histogram(scores[wanted])
        self._all.append(scores)
        self._scores.append(scores[known])
        self._labels.append(positive[known])

    def findings(self, thresholds: Thresholds) -> Findings:
        """See ``Evaluator.findings``."""
        measures = self._measures()
        return Findings(
            {**vars(measures), "scores": self._binned()}, binary_alerts(thresholds, measures)
        )

    def _binned(self) -> Scores:
        unlabelled, negative, positive = (tuple(row) for row in self._histograms.tolist())
        return Scores(unlabelled=unlabelled, negative=negative, positive=positive)

    def _measures(self) -> Measures:
        scores = np.concatenate(self._scores or [np.empty(0, np.float32)])
        labels = np.concatenate(self._labels or [np.empty(0, np.bool_)])
        both = bool(labels.any() and not labels.all())
        return Measures(
            labelled=labels.size,
            positives=int(labels.sum()),
            auc=roc_auc(labels, scores) if both else None,
            average_precision=average_precision(labels, scores) if both else None,
            brier=brier_score(labels, scores) if labels.size else None,
            calibration_gap=_calibration_gap(labels, scores) if labels.size else None,
            expected_auc=expected_auc(np.concatenate(self._all or [np.empty(0, np.float32)])),
        )


def histogram(scores: Floats) -> npt.NDArray[np.int64]:
    """Float32 scores counted in ``HISTOGRAM_BINS`` bins over 0 to 1; 1 itself is in the last."""
    # In float32, 0.7 times 100 is 70; in float64, what 0.7 is as a float32 would make 69.99.
    bins = np.minimum((scores * np.float32(HISTOGRAM_BINS)).astype(np.int64), HISTOGRAM_BINS - 1)
    return np.bincount(bins, minlength=HISTOGRAM_BINS)


def _calibration_gap(labels: Bools, scores: Floats) -> float:
    return float(scores.mean(dtype=np.float64) - labels.mean())


def binary_alerts(thresholds: Thresholds, measures: Measures) -> tuple[str, ...]:
    """What is not normal; without any threshold, that the model ranks the wrong way round."""
    gap = None if measures.calibration_gap is None else abs(measures.calibration_gap)
    return (
        *below("AUC", measures.auc, thresholds.auc_min),
        *above("Brier score", measures.brier, thresholds.brier_max),
        *above("calibration gap", gap, thresholds.calibration_max),
        *worse_than_chance(
            "AUC",
            measures.auc,
            0.5,
            auc_error(measures.positives, measures.labelled - measures.positives),
            "is model.positive_class right?",
        ),
    )
