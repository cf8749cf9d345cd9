"""The page of a multiclass model."""

from __future__ import annotations

from collections.abc import Sequence

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Evaluation
from flagfall.report import class_plots, trend_plots
from flagfall.report.formatting import figure, share
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
from flagfall.verdict.words import cut

CLASSES_SHOWN = 10
NAME_SHOWN = 20


class MulticlassPage:
    """See ``Kind``."""

    heading = "Classes"
    pooled = ""

    def column(self, dataset: Dataset) -> Column | None:
        """Accuracy, where there are labels."""
        return Column("Accuracy", _accuracy) if dataset.label else None

    def tiles(self, facts: Facts) -> list[Tile]:
        """Accuracy, F1 and log loss, and the commonest class."""
        return [*_quality_tiles(facts), *_commonest_tile(facts)]

    def pictures(self, dataset: Dataset, pool: Pool) -> list[Picture]:
        """Confusion matrix, and shares by class."""
        found, classes = [], pool.multiclass
        if not classes.predicted:
            return []
        if classes.rows:
            note = outcome(dataset, "% of the rows of each real class")
            names, table = classes.confusion(CLASSES_SHOWN)
            found.append(Picture("Confusion", note, class_plots.confusion(names, table)))
        names = classes.shown(CLASSES_SHOWN)
        more = len(classes.counts) - len(names)
        note = f"The {len(names)} most frequent; {more} more are not shown." if more else ""
        svg = class_plots.class_shares(names, classes.counts, bool(classes.rows))
        return [*found, Picture("Share by class", note or "All scored rows.", svg)]

    def trends(self, dataset: Dataset, periods: Sequence[Period]) -> list[Picture]:
        """Accuracy."""
        if all(period.pool.multiclass.accuracy is None for period in periods):
            return []
        svg = trend_plots.accuracy_trend(periods, dataset.thresholds.accuracy_min)
        return [Picture("Accuracy", "Share of rows whose class is right.", svg)]

    def values(self, dataset: Dataset) -> list[Series]:
        """What the pictures show, by day or batch."""
        return [
            Series("Accuracy", share, lambda period: period.pool.multiclass.accuracy),
            Series("F1", figure, lambda period: period.pool.multiclass.macro_f1),
        ]

    def words(self, dataset: Dataset) -> list[Word]:
        """Accuracy, F1, log loss and the matrix, where there are labels."""
        return [_ACCURACY, _F1, _LOG_LOSS, _CONFUSION] if dataset.label else []


_ACCURACY = Word(
    "Accuracy",
    "The share of rows whose predicted class is the real one. Where one class is frequent,"
    " always saying that class is often right, too: compare with its share.",
)
_F1 = Word(
    "F1",
    "For each class: of the rows that were given it, how many are of it (precision), and of its"
    " rows, how many were given it (recall). F1 joins the two in one figure, which is then"
    " averaged over the classes. 1.00 is perfect, and a rare class counts as much as a frequent"
    " one.",
)
_LOG_LOSS = Word(
    "Log loss",
    "How sure the model was of the real class: 0 is certain of it every time. Being certain of a"
    " wrong class costs a lot. Saying nothing, with equal probabilities, is 0.69 for two classes,"
    " 1.10 for three and 2.30 for ten.",
)
_CONFUSION = Word(
    "Confusion",
    "Each line is a real class: the numbers say what share of its rows, in percent, was given"
    " which class. The diagonal is right.",
)


def _accuracy(evaluation: Evaluation) -> str:
    found = evaluation.multiclass
    return "" if found is None or found.accuracy is None else share(found.accuracy)


def _quality_tiles(facts: Facts) -> list[Tile]:
    found, trend = facts.pool.multiclass, facts.trend
    if found.accuracy is None or found.macro_f1 is None or found.log_loss is None:
        return []
    usually = (
        usual(trend, lambda period: period.pool.multiclass.accuracy, share),
        usual(trend, lambda period: period.pool.multiclass.macro_f1, figure),
        usual(trend, lambda period: period.pool.multiclass.log_loss, figure),
    )
    over = pooled_over(facts.pool.batches)
    return [
        Tile(
            "Accuracy",
            share(found.accuracy),
            joined([over, usually[0]]),
            alerted(facts.alerts, "accuracy "),
        ),
        Tile("F1", figure(found.macro_f1), usually[1], alerted(facts.alerts, "F1 ")),
        Tile("Log loss", figure(found.log_loss), usually[2], alerted(facts.alerts, "log loss ")),
    ]


def _commonest_tile(facts: Facts) -> list[Tile]:
    found = facts.pool.multiclass
    if not found.predicted:
        return []
    [name] = found.shown(1)
    counts = found.counts[name]
    really = f", really {share(counts.real / found.rows)}" if found.rows else ""
    note = f"{share(counts.predicted / found.predicted)} of rows{really}"
    return [Tile("Most frequent class", cut(name, NAME_SHOWN), note)]
