"""The page of a binary model."""

from __future__ import annotations

from collections.abc import Sequence

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation
from flagfall.report import score_plots, trend_plots
from flagfall.report.expected import EXPECTED, EXPECTED_AUC, expected_tile
from flagfall.report.formatting import figure, share
from flagfall.report.kinds.kind import Facts
from flagfall.report.parts import (
    Column,
    Picture,
    Series,
    Tile,
    Word,
    alerted,
    joined,
    pooled_over,
    usual,
)
from flagfall.report.pooled import Pool, calibration
from flagfall.report.trend import Period


class BinaryPage:
    """See ``Kind``."""

    heading = "Scores"
    pooled = ", in steps of 0.01 of the score"

    def column(self, dataset: Dataset) -> Column | None:
        """AUC, where there are labels."""
        return Column("AUC", _auc) if dataset.label else None

    def tiles(self, facts: Facts) -> list[Tile]:
        """AUC, calibration, the Brier score where it has a threshold, the share of positives.

        Where outcomes come later, also the AUC that the scores let one expect.
        """
        return [
            *_auc_tile(facts),
            *expected_tile(facts.dataset, facts.pool, facts.trend),
            *_calibration_tile(facts),
            *_brier_tile(facts),
            *_positive_tile(facts),
        ]

    def pictures(self, dataset: Dataset, pool: Pool) -> list[Picture]:
        """Scores, ROC curve, calibration."""
        if dataset.model is None or not pool.scores.any():
            return []
        note = outcome(dataset, "yes or no") if pool.labelled else "All scored rows."
        found = [Picture("Scores", note, score_plots.scores(pool.scores, dataset.model.cut))]
        _, negative, positive = pool.scores
        if pool.auc is not None:
            svg = score_plots.roc_curve(negative, positive, pool.auc)
            found.append(Picture("ROC curve", "Further up and to the left is better.", svg))
        if pool.labelled:
            svg = score_plots.calibration(calibration(negative, positive))
            found.append(Picture("Calibration", "The diagonal is perfect; 95% intervals.", svg))
        return found

    def trends(self, dataset: Dataset, periods: Sequence[Period]) -> list[Picture]:
        """AUC, and mean score beside outcomes."""
        found = []
        if any(period.pool.auc is not None for period in periods):
            svg = trend_plots.auc_trend(periods, dataset.thresholds.auc_min)
            found.append(Picture("AUC", "Higher is better; 0.5 is chance.", svg))
        if any(period.pool.batches for period in periods):
            svg = trend_plots.calibration_trend(periods)
            if dataset.label is not None:
                note = "Mean score beside what really happened."
                found.append(Picture("Calibration", note, svg))
            else:
                found.append(Picture("Mean score", "Over all scored rows.", svg))
        return found

    def words(self, dataset: Dataset) -> list[Word]:
        """What needs labels; the Brier score where it has a threshold."""
        if dataset.label is None:
            return []
        brier = [] if dataset.thresholds.brier_max is None else [_BRIER]
        late = [EXPECTED_AUC] if dataset.late_label else []
        return [_AUC, *late, _CALIBRATION, *brier]

    def values(self, dataset: Dataset) -> list[Series]:
        """What the pictures show, by day or batch."""
        return [
            Series("AUC", figure, lambda period: period.pool.auc),
            *([EXPECTED] if dataset.late_label else []),
            Series("Mean score", share, lambda period: period.pool.mean_score),
            Series("Really", share, lambda period: period.pool.positive_share),
        ]


_AUC = Word(
    "AUC",
    "Take a row that turned out positive and one that did not: AUC is how often the model gives the"
    " first the higher score. 1.00 is always, 0.50 is a coin. Over a day of a few hundred rows it"
    " moves by some hundredths by chance alone.",
)
_CALIBRATION = Word(
    "Calibration",
    "Of the rows with a score of 30%, about 30% should turn out positive. Points above the diagonal"
    " mean that the model expects too few positives, points below that it expects too many; the"
    " ranking can still be right.",
)

_BRIER = Word(
    "Brier score",
    "The mean squared distance of the score from what happened (0 or 1). 0 is perfect, and saying"
    " 50% of every row is 0.25.",
)


def outcome(dataset: Dataset, values: str) -> str:
    """What the label says, and which values it has."""
    assert dataset.label is not None, "only for datasets with a label"
    return f"{dataset.label.title or dataset.label.expr}, {values}."


def _auc(evaluation: Evaluation) -> str:
    return "" if evaluation.auc is None else figure(evaluation.auc)


def _auc_tile(facts: Facts) -> list[Tile]:
    pool = facts.pool
    if pool.auc is None:
        return []
    often = usual(facts.trend, lambda period: period.pool.auc, figure)
    note = joined([pooled_over(pool.batches), often])
    return [Tile("AUC", figure(pool.auc), note, alerted(facts.alerts, "AUC "))]


def _calibration_tile(facts: Facts) -> list[Tile]:
    pool = facts.pool
    if pool.positive_share is None or pool.mean_score is None:
        return []
    gap = pool.mean_score - pool.positive_share
    note = f"mean score {share(pool.mean_score)}, really {share(pool.positive_share)}"
    alert = alerted(facts.alerts, "calibration gap ")
    return [Tile("Calibration gap", f"{gap:+.2f}".replace("-", "−"), note, alert)]


def _brier_tile(facts: Facts) -> list[Tile]:
    brier = facts.pool.brier
    if brier is None or facts.dataset.thresholds.brier_max is None:
        return []
    often = usual(facts.trend, lambda period: period.pool.brier, figure)
    return [Tile("Brier score", figure(brier), often, alerted(facts.alerts, "Brier score "))]


def _positive_tile(facts: Facts) -> list[Tile]:
    scored = [batch.predicted for batch in facts.counted if batch.predicted is not None]
    rows = sum(predicted.rows for predicted in scored)
    if facts.dataset.model is None or not rows:
        return []
    threshold = facts.dataset.model.cut
    positives = share(sum(predicted.positives for predicted in scored) / rows)
    often = usual(facts.trend, lambda period: period.pool.share_from(threshold), share)
    note = joined([f"score {threshold:g} or more", often])
    return [Tile("Predicted positive", positives, note)]
