"""Evaluates a regression model: how far are its values from what really came?

An error is the prediction minus the real value. Exact measures need all values at once: 16 bytes a
row, and about 70 more while they are computed (measured with 4 million rows).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import Regression
from flagfall.scoring.evaluations import value_bins
from flagfall.scoring.evaluations.alerts import CLEARLY, above, below, figure_text
from flagfall.scoring.evaluations.evaluator import Findings
from flagfall.scoring.metrics import held, r_squared

ENOUGH_ROWS = 30
"""Labelled rows from which on a model can be called worse than the mean."""

Values = npt.NDArray[np.float64]


class RegressionEvaluator:
    """Values and labels of all rows.

    Args:
        over: Range of the reference's values; ``None`` where not known.
    """

    def __init__(self, over: tuple[float, float] | None) -> None:
        self._over = over
        self._values: list[Values] = []
        self._labels: list[Values] = []

    def add(self, predictions: pl.DataFrame, labels: pl.Series) -> None:
        """See ``Evaluator.add``."""
        self._values.append(predictions["value"].to_numpy())
        self._labels.append(labels.fill_null(float("nan")).to_numpy())

    def findings(self, thresholds: Thresholds) -> Findings:
        """See ``Evaluator.findings``."""
        none = [np.empty(0, np.float64)]
        both = (np.concatenate(parts or none) for parts in (self._values, self._labels))
        values, labels = map(held, both)
        known = ~np.isnan(labels)
        figures = self._figures(values, labels, known)
        worse = _worse_than_the_mean(labels[known], values[known], figures.r2)
        record = {"labelled": int(known.sum()), "regression": figures}
        return Findings(record, (*regression_alerts(thresholds, figures), *worse))

    def _figures(self, values: Values, labels: Values, known: npt.NDArray[np.bool_]) -> Regression:
        if not values.size:
            return Regression()
        error = np.where(known, values - labels, 0.0)
        over = value_bins.fit_range(values, self._over)
        sums = {"known": known, "error": error, "square": np.square(error)}
        binned = value_bins.fill(values, over, sums)
        mean = float(values.mean())
        if not known.any():
            return Regression(mean=mean, bins=binned)
        real, off = labels[known], error[known]
        return Regression(
            mae=float(np.abs(off).mean()),
            rmse=float(np.sqrt(np.square(off).mean())),
            r2=r_squared(real, values[known]),
            bias=float(off.mean()),
            real_mean=float(real.mean()),
            real_spread=float(real.std()),
            mean=mean,
            bins=binned,
        )


def regression_alerts(thresholds: Thresholds, found: Regression) -> tuple[str, ...]:
    """What is over a threshold."""
    bias = None if found.bias is None else abs(found.bias)
    return (
        *above("MAE", found.mae, thresholds.mae_max),
        *above("RMSE", found.rmse, thresholds.rmse_max),
        *below("R²", found.r2, thresholds.r2_min),
        *above("bias", bias, thresholds.bias_max),
    )


def _worse_than_the_mean(real: Values, predicted: Values, r2: float | None) -> tuple[str, ...]:
    """A sentence where the mean of the real values would be a clearly better prediction.

    R² is below 0, and the squared errors are larger than those of the mean by more than ``CLEARLY``
    standard errors of their difference. No threshold is needed for that.
    """
    if r2 is None or r2 >= 0 or real.size < ENOUGH_ROWS:
        return ()
    scale = max(np.abs(real).max(), np.abs(predicted).max())  # the square of a square is infinite
    real, predicted = real / scale, predicted / scale
    more = np.square(predicted - real) - np.square(real - real.mean())
    if more.mean() <= CLEARLY * more.std(ddof=1) / np.sqrt(real.size):
        return ()
    remedy = "is the label in the unit of the model's values?"
    return (f"R² {figure_text(r2)} is worse than saying the mean for every row ({remedy})",)
