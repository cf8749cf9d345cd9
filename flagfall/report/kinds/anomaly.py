"""The page of an anomaly model."""

from __future__ import annotations

from collections.abc import Sequence

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation
from flagfall.report import score_plots, trend_plots, value_plots
from flagfall.report.formatting import count, figure, share
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
from flagfall.report.pooled import Pool, binned_auc
from flagfall.report.pools import AnomalyPool
from flagfall.report.trend import Period


class AnomalyPage:
    """See ``Kind``."""

    heading = "Scores"
    pooled = ""

    def column(self, dataset: Dataset) -> Column | None:
        """The share that was flagged; it needs no label."""
        return Column("Flagged", _flagged)

    def tiles(self, facts: Facts) -> list[Tile]:
        """The share flagged; precision, recall and AUC where there are labels."""
        return [*_flagged_tile(facts), *_outcome_tiles(facts)]

    def pictures(self, dataset: Dataset, pool: Pool) -> list[Picture]:
        """Scores, and the ROC curve where there are labels."""
        found = pool.anomaly
        if found.bins is None:
            return []
        svg = value_plots.anomaly_scores(found.bins)
        note = "On a logarithmic scale: what is unusual is rare."
        pictures = [Picture("Scores", note, svg)]
        if (auc := _auc(found)) is not None:
            usual_rows, unusual = (rows.astype("int64") for rows in found.outcomes)
            svg = score_plots.roc_curve(usual_rows, unusual, auc)
            pictures.append(Picture("ROC curve", "Further up and to the left is better.", svg))
        return pictures

    def trends(self, dataset: Dataset, periods: Sequence[Period]) -> list[Picture]:
        """The share flagged."""
        if all(period.pool.anomaly.share is None for period in periods):
            return []
        limits = dataset.thresholds
        svg = trend_plots.flagged_trend(periods, limits.flagged_min, limits.flagged_max)
        return [Picture("Share flagged", "Of all scored rows.", svg)]

    def values(self, dataset: Dataset) -> list[Series]:
        """What the pictures show, by day or batch."""
        return [Series("Flagged", share, lambda period: period.pool.anomaly.share)]

    def words(self, dataset: Dataset) -> list[Word]:
        """What a score is; precision, recall and AUC where there are labels."""
        return [_SCORE, *([_PRECISION, _AUC] if dataset.label else [])]


_SCORE = Word(
    "Score and share flagged",
    "The higher a row's score, the less it looks like those that the model was trained on. Rows"
    " over the model's line are flagged. A share that jumps says that the rows have changed, not"
    " that each of them is wrong.",
)
_PRECISION = Word(
    "Precision and recall",
    "Precision: of the flagged rows, how many are really unusual. Recall: of the really unusual"
    " rows, how many were flagged. A lower line finds more and is wrong more often.",
)
_AUC = Word(
    "AUC",
    "How often the model gives a really unusual row a higher score than a usual one. 1.00 is"
    " always, 0.50 is a coin. It does not depend on the line.",
)


def _flagged(evaluation: Evaluation) -> str:
    found = evaluation.anomaly
    return "" if found is None or not evaluation.rows else share(found.flagged / evaluation.rows)


def _auc(pool: AnomalyPool) -> float | None:
    usual_rows, unusual = pool.outcomes
    return pool.auc(binned_auc(usual_rows.astype("int64"), unusual.astype("int64")))


def _flagged_tile(facts: Facts) -> list[Tile]:
    found = facts.pool.anomaly
    if found.share is None:
        return []
    often = usual(facts.trend, lambda period: period.pool.anomaly.share, share)
    rows = f"{count(found.flagged)} of {count(found.rows)} rows"
    alert = alerted(facts.alerts, "share flagged ")
    return [Tile("Flagged", share(found.share), joined([rows, often]), alert)]


def _outcome_tiles(facts: Facts) -> list[Tile]:
    found, alerts, tiles = facts.pool.anomaly, facts.alerts, []
    if found.precision is not None:
        note = f"{count(found.right)} of {count(found.known)} flagged are unusual"
        value = share(found.precision)
        tiles.append(Tile("Precision", value, note, alerted(alerts, "precision ")))
    if found.recall is not None:
        note = f"{count(found.right)} of {count(found.positives)} unusual are flagged"
        tiles.append(Tile("Recall", share(found.recall), note, alerted(alerts, "recall ")))
    if (auc := _auc(found)) is not None:
        note = pooled_over(facts.pool.batches)
        tiles.append(Tile("AUC", figure(auc), note, alerted(alerts, "AUC ")))
    return tiles
