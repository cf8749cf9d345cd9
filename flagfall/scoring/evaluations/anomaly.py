"""Evaluates an anomaly model: how much does it flag, and is it right where somebody knows?

Exact measures need all scores at once: 11 bytes a row (a float64 and three flags), and about 60
more while labelled ones are sorted (measured with 4 million rows).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import Anomaly
from flagfall.scoring.evaluations import value_bins
from flagfall.scoring.evaluations.alerts import above, below, worse_than_chance
from flagfall.scoring.evaluations.evaluator import Findings
from flagfall.scoring.metrics import auc_error, roc_auc

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class AnomalyEvaluator:
    """Scores, flags and labels of all rows.

    Args:
        over: Range of the reference's scores; ``None`` where not known.
    """

    def __init__(self, over: tuple[float, float] | None) -> None:
        self._over = over
        self._scores: list[Values] = []
        self._flagged: list[Flags] = []
        self._known: list[Flags] = []
        self._positive: list[Flags] = []

    def add(self, predictions: pl.DataFrame, labels: pl.Series) -> None:
        """See ``Evaluator.add``."""
        self._scores.append(predictions["score"].to_numpy())
        self._flagged.append((predictions["label"] == 1).to_numpy())
        self._known.append(labels.is_not_null().to_numpy())
        self._positive.append(labels.fill_null(False).to_numpy())

    def findings(self, thresholds: Thresholds) -> Findings:
        """See ``Evaluator.findings``."""
        scores = np.concatenate(self._scores or [np.empty(0, np.float64)])
        flagged, known, positive = (
            np.concatenate(parts or [np.empty(0, np.bool_)])
            for parts in (self._flagged, self._known, self._positive)
        )
        figures = self._figures(scores, flagged, known, positive)
        labelled, positives = int(known.sum()), int(positive.sum())
        record = {"labelled": labelled, "positives": positives, "anomaly": figures}
        error = auc_error(positives, labelled - positives)
        return Findings(record, anomaly_alerts(thresholds, figures, scores.size, error))

    def _figures(self, scores: Values, flagged: Flags, known: Flags, positive: Flags) -> Anomaly:
        if not scores.size:
            return Anomaly()
        both = bool(positive.any() and (known & ~positive).any())
        judged, right = int((flagged & known).sum()), int((flagged & positive).sum())
        over = value_bins.fit_range(scores, self._over)
        sums = {"flagged": flagged, "known": known, "positive": positive}
        return Anomaly(
            flagged=int(flagged.sum()),
            known=judged,
            right=right,
            auc=roc_auc(positive[known], scores[known]) if both else None,
            precision=right / judged if judged else None,
            recall=right / int(positive.sum()) if positive.any() else None,
            bins=value_bins.fill(scores, over, sums),
        )


def anomaly_alerts(
    thresholds: Thresholds, found: Anomaly, rows: int, error: float
) -> tuple[str, ...]:
    """What is not normal; without any threshold, that the usual rows have the higher scores.

    Args:
        thresholds: The dataset's.
        found: The figures.
        rows: All rows.
        error: Standard error of an AUC by chance.
    """
    share = found.flagged / rows if rows else None
    remedy = "does a higher score mean more unusual, and the label true?"
    return (
        *below("share flagged", share, thresholds.flagged_min),
        *above("share flagged", share, thresholds.flagged_max),
        *below("AUC", found.auc, thresholds.auc_min),
        *below("precision", found.precision, thresholds.precision_min),
        *below("recall", found.recall, thresholds.recall_min),
        *worse_than_chance("AUC", found.auc, 0.5, error, remedy),
    )
