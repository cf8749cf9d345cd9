"""Evaluations of several batches, added up from their histograms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flagfall.lake.records import HISTOGRAM_BINS, Evaluation
from flagfall.report.pools import AnomalyPool, MulticlassPool, RegressionPool

Counts = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

CALIBRATION_BINS = 10

_CENTRES = (np.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS


@dataclass
class Pool:
    """Evaluations of one or more batches, added up.

    Attributes:
        scores: Of binary models, rows by score bin: unlabelled, negative, positive.
        multiclass: Of multiclass models. So for the next two.
    """

    batches: int = 0
    labelled: int = 0
    positives: int = 0
    scores: Counts = field(default_factory=lambda: np.zeros((3, HISTOGRAM_BINS), dtype=np.int64))
    multiclass: MulticlassPool = field(default_factory=MulticlassPool)
    regression: RegressionPool = field(default_factory=RegressionPool)
    anomaly: AnomalyPool = field(default_factory=AnomalyPool)
    _score_sum: float = 0.0
    _brier_sum: float = 0.0
    _auc: float | None = None
    _expected_auc: float | None = None

    @classmethod
    def of(cls, evaluations: Iterable[Evaluation | None]) -> Pool:
        """Those that there are, added up."""
        pool = cls()
        for evaluation in evaluations:
            if evaluation is not None:
                pool.add(evaluation)
        return pool

    def add(self, evaluation: Evaluation) -> None:
        """Add one batch."""
        found = evaluation.scores
        self.scores = self.scores + np.array([found.unlabelled, found.negative, found.positive])
        self.batches += 1
        self.labelled += evaluation.labelled
        self.positives += evaluation.positives
        self._score_sum += evaluation.positives + (evaluation.calibration_gap or 0.0) * (
            evaluation.labelled
        )
        self._brier_sum += (evaluation.brier or 0.0) * evaluation.labelled
        self._auc = evaluation.auc
        self._expected_auc = evaluation.expected_auc
        for pool in (self.multiclass, self.regression, self.anomaly):
            pool.add(evaluation)

    @property
    def auc(self) -> float | None:
        """Exact for one batch; for more, the trapezoid under the binned ROC curve."""
        return self._auc if self.batches == 1 else binned_auc(self.scores[1], self.scores[2])

    @property
    def expected_auc(self) -> float | None:
        """The AUC that all scores let one expect if they are calibrated; ``None`` without scores.

        A row with a score of 0.3 counts as 0.3 of a positive one and 0.7 of a negative one: the
        expected confusion of calibrated scores, which NannyML documents as CBPE. Exact for one
        batch, as ``auc`` is.
        """
        if self.batches == 1 and self._expected_auc is not None:
            return self._expected_auc
        rows = self.scores.sum(axis=0)
        return binned_auc(rows * (1 - _CENTRES), rows * _CENTRES)

    @property
    def brier(self) -> float | None:
        """The Brier score over labelled rows, exact; ``None`` without labels."""
        return self._brier_sum / self.labelled if self.labelled else None

    @property
    def positive_share(self) -> float | None:
        """Share of labelled rows that are positive; ``None`` without labels."""
        return self.positives / self.labelled if self.labelled else None

    @property
    def mean_score(self) -> float | None:
        """Over labelled rows, exact; without labels over all rows, from the middle of each bin."""
        if self.labelled:
            return self._score_sum / self.labelled
        rows = self.scores.sum()
        return float(self.scores.sum(axis=0) @ _CENTRES / rows) if rows else None

    def share_from(self, threshold: float) -> float | None:
        """Share of rows that score at least ``threshold``, to the nearest bin."""
        rows = self.scores.sum()
        first = round(threshold * HISTOGRAM_BINS)
        return float(self.scores[:, first:].sum() / rows) if rows else None


def binned_auc(negative: Counts | Weights, positive: Counts | Weights) -> float | None:
    """Area under the ROC curve through the bins' edges; ``None`` unless both classes are there.

    The chance that a positive's bin is above a negative's, plus half the chance that it is the same
    (J. A. Hanley and B. J. McNeil, Radiology 143, 1982).
    """
    if not negative.any() or not positive.any():
        return None
    false, true = roc(negative, positive)
    return float(np.trapezoid(true, false))


def roc(
    negative: Counts | Weights, positive: Counts | Weights
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False and true positive rates from (0, 0) to (1, 1): a step per bin, highest score first."""
    false, true = (np.concatenate([[0], np.cumsum(c[::-1])]) for c in (negative, positive))
    return false / false[-1], true / true[-1]


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of similar score.

    Attributes:
        score: Their mean score, from the middle of each histogram bin.
        share: Share of them that are positive.
        low: Lower end of the 95 % Wilson interval of ``share``.
        high: Upper end.
    """

    rows: int
    score: float
    share: float
    low: float
    high: float


def calibration(negative: Counts, positive: Counts) -> list[CalibrationBin]:
    """Labelled rows in ``CALIBRATION_BINS`` bins of equal width; empty bins are left out."""
    width = HISTOGRAM_BINS // CALIBRATION_BINS
    parts = (slice(start, start + width) for start in range(0, HISTOGRAM_BINS, width))
    found = (_calibration_bin(negative[part], positive[part], _CENTRES[part]) for part in parts)
    return [filled for filled in found if filled is not None]


def _calibration_bin(
    negative: Counts, positive: Counts, centres: npt.NDArray[np.float64]
) -> CalibrationBin | None:
    rows = int((negative + positive).sum())
    if not rows:
        return None
    share = float(positive.sum() / rows)
    low, high = wilson(share, rows)
    score = float((negative + positive) @ centres / rows)
    return CalibrationBin(rows, score, share, low, high)


def wilson(share: float, rows: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927)."""
    z = 1.959964
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * (share * (1 - share) / rows + (z / (2 * rows)) ** 2) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
