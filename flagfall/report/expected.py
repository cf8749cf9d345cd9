"""The AUC that scores let one expect before outcomes are known, and how right that turned out."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from flagfall.dataset.schema import Dataset
from flagfall.report.formatting import figure
from flagfall.report.parts import Series, Tile, Word, joined
from flagfall.report.pooled import Pool
from flagfall.report.trend import Period, Trend

EXPECTED = Series("Expected AUC", figure, lambda period: period.pool.expected_auc)
EXPECTED_AUC = Word(
    "Expected AUC",
    "An estimate that needs no outcomes: if the scores are calibrated, 30 of 100 rows with a score"
    " of 30% are positive, so scores alone say how well they can rank. It cannot see that the model"
    " has become wrong. So each day it is compared with the AUC as soon as enough outcomes are"
    " known.",
)


def expected_tile(dataset: Dataset, pool: Pool, trend: Trend) -> list[Tile]:
    """The estimate, and what is known beside it; none where batches have their outcomes.

    Args:
        dataset: The dataset.
        pool: The evaluations of the run.
        trend: The days before.
    """
    expected = pool.expected_auc
    if dataset.late_label is None or expected is None:
        return []
    note = joined(["an estimate from the scores", _grade(dataset, trend.periods)])
    return [Tile("Expected AUC", figure(expected), note)]


def _grade(dataset: Dataset, periods: Sequence[Period]) -> str:
    """How far the estimate was off on days of which enough is known; empty without any."""
    found = [off for period in periods if (off := _off(dataset, period)) is not None]
    if not found:
        return ""
    days = "1 day" if len(found) == 1 else f"{len(found)} days"
    return f"on {days} {figure(mean(found))} off on average"


def _off(dataset: Dataset, period: Period) -> float | None:
    """Distance of estimate and AUC; ``None`` where too few outcomes are known."""
    expected, auc = period.pool.expected_auc, period.pool.auc
    least = dataset.late_label.enough if dataset.late_label is not None else 1.0
    if expected is None or auc is None or period.pool.labelled < least * period.rows:
        return None
    return abs(expected - auc)
