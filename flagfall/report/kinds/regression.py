"""The page of a regression model."""

from __future__ import annotations

from collections.abc import Sequence

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation
from flagfall.report import trend_plots, value_plots
from flagfall.report.formatting import figure, number, signed
from flagfall.report.kinds.binary import outcome
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
from flagfall.report.pooled import Pool
from flagfall.report.trend import Period


class RegressionPage:
    """See ``Kind``."""

    heading = "Predictions"
    pooled = ""

    def column(self, dataset: Dataset) -> Column | None:
        """The mean absolute error, where there are labels."""
        return Column("MAE", _mae) if dataset.label else None

    def tiles(self, facts: Facts) -> list[Tile]:
        """Errors, R², bias and the mean prediction."""
        return [*_error_tiles(facts), *_mean_tile(facts)]

    def pictures(self, dataset: Dataset, pool: Pool) -> list[Picture]:
        """Distribution of the predictions, and errors over their range."""
        found = pool.regression
        if found.bins is None or found.mean is None:
            return []
        svg = value_plots.values(found.bins, found.mean, found.real_mean)
        beyond = "the outer steps also hold what lies beyond"
        note = outcome(dataset, beyond) if dataset.label else f"{beyond.capitalize()}."
        pictures = [Picture("Predictions", note, svg)]
        if found.labelled:
            note = "Dots: mean error, and its 95% interval. Band: two thirds of the errors."
            pictures.append(Picture("Errors", note, value_plots.errors(found.bins)))
        return pictures

    def trends(self, dataset: Dataset, periods: Sequence[Period]) -> list[Picture]:
        """The mean absolute error, and mean prediction beside what really came."""
        found = []
        if any(period.pool.regression.mae is not None for period in periods):
            svg = trend_plots.mae_trend(periods, dataset.thresholds.mae_max)
            found.append(Picture("Mean absolute error", "Lower is better.", svg))
        if any(period.pool.regression.mean is not None for period in periods):
            svg = trend_plots.mean_trend(periods)
            note = "Beside the mean of what really came." if dataset.label else "Over all rows."
            found.append(Picture("Mean prediction", note, svg))
        return found

    def values(self, dataset: Dataset) -> list[Series]:
        """What the pictures show, by day or batch."""
        return [
            Series("MAE", number, lambda period: period.pool.regression.mae),
            Series("Mean prediction", number, lambda period: period.pool.regression.mean),
            Series("Really", number, lambda period: period.pool.regression.real_mean),
        ]

    def words(self, dataset: Dataset) -> list[Word]:
        """The errors, where there are labels."""
        return [_MAE, _R2, _BIAS, _ERRORS] if dataset.label else []


_MAE = Word(
    "MAE and RMSE",
    "An error is the prediction minus the real value. MAE is the mean size of an error, in the"
    " unit of the values. RMSE weighs large errors more: it is never smaller, and far larger"
    " where a few rows are far off.",
)
_R2 = Word(
    "R²",
    "The share of the differences between rows that the model explains. 1.00 is all, 0 is no"
    " better than saying the day's mean for every row, and below 0 is worse than that.",
)
_BIAS = Word(
    "Bias",
    "The mean error. Above 0 the model predicts too much, below 0 too little; errors in both"
    " directions cancel out.",
)
_ERRORS = Word(
    "Errors",
    "Rows of similar prediction. A dot above 0 means that the model predicts too much there; its"
    " line is the 95% interval of the mean. About two thirds of the rows lie in the band.",
)


def _mae(evaluation: Evaluation) -> str:
    found = evaluation.regression
    return "" if found is None or found.mae is None else number(found.mae)


def _error_tiles(facts: Facts) -> list[Tile]:
    found, trend, alerts = facts.pool.regression, facts.trend, facts.alerts
    if found.mae is None or found.rmse is None or found.bias is None:
        return []
    often = usual(trend, lambda period: period.pool.regression.mae, number)
    tiles = [
        Tile(
            "Mean absolute error",
            number(found.mae),
            joined([pooled_over(facts.pool.batches), often]),
            alerted(alerts, "MAE "),
        ),
        Tile(
            "RMSE",
            number(found.rmse),
            usual(trend, lambda period: period.pool.regression.rmse, number),
            alerted(alerts, "RMSE "),
        ),
    ]
    if found.r2 is not None:
        often = usual(trend, lambda period: period.pool.regression.r2, _r2)
        tiles.append(Tile("R²", _r2(found.r2), often, alerted(alerts, "R² ")))
    note = "predicts too much" if found.bias > 0 else "predicts too little"
    note = f"{note}, on average" if found.bias else ""
    return [*tiles, Tile("Bias", signed(found.bias), note, alerted(alerts, "bias "))]


def _r2(value: float) -> str:
    return figure(value).replace("-", "−") if abs(value) < 100 else number(value)


def _mean_tile(facts: Facts) -> list[Tile]:
    found = facts.pool.regression
    if found.mean is None:
        return []
    really = "" if found.real_mean is None else f"really {number(found.real_mean)}"
    often = usual(facts.trend, lambda period: period.pool.regression.mean, number)
    return [Tile("Mean prediction", number(found.mean), joined([really, often]))]
