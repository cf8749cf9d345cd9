"""Evaluates a multiclass model: how often is the class right, and how sure was it of the real one?

Rows are counted part by part; memory follows the pairs of classes that occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from flagfall.dataset.schema import PROBABILITY
from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import ClassCounts, Multiclass
from flagfall.scoring.evaluations.alerts import above, below, worse_than_chance
from flagfall.scoring.evaluations.evaluator import Findings
from flagfall.scoring.metrics import log_losses, macro_f1

SHOWN = 50
"""Classes of a confusion matrix that is kept."""


class MulticlassEvaluator:
    """Counts of real and given classes, and the log loss.

    Args:
        classes: Of the model, in its order.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._given: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._loss = 0.0

    def add(self, predictions: pl.DataFrame, labels: pl.Series) -> None:
        """See ``Evaluator.add``."""
        self._given.update(dict(predictions["class"].value_counts().iter_rows()))
        real = labels.alias(_REAL)
        pairs = (
            pl.DataFrame([real, predictions["class"]]).drop_nulls().group_by(_REAL, "class").len()
        )
        self._pairs.update({(is_of, given): rows for is_of, given, rows in pairs.iter_rows()})
        for name in pairs[_REAL].unique():
            probabilities = predictions[f"{PROBABILITY}{name}"].filter(real == name)
            self._loss += float(log_losses(probabilities.to_numpy()).sum())

    def findings(self, thresholds: Thresholds) -> Findings:
        """See ``Evaluator.findings``."""
        found = self._figures()
        labelled = self._pairs.total()
        record = {"labelled": labelled, "multiclass": found}
        return Findings(record, multiclass_alerts(thresholds, found, labelled))

    def _figures(self) -> Multiclass:
        counts = class_counts(self._classes, self._given, self._pairs)
        shown = most_frequent(counts, SHOWN)
        confusion = tuple(
            tuple(self._pairs[real, given] for given in shown) for real in shown if self._pairs
        )
        rows = self._pairs.total()
        return Multiclass(
            log_loss=self._loss / rows if rows else None,
            accuracy=accuracy(counts),
            macro_f1=mean_f1(counts),
            counts=counts,
            shown=shown if rows else (),
            confusion=confusion,
        )


_REAL = "\0real"


def class_counts(
    classes: Sequence[str], predicted: Counter[str], pairs: Counter[tuple[str, str]]
) -> dict[str, ClassCounts]:
    """Counts of the classes that occur.

    Args:
        classes: Of the model, in its order.
        predicted: Rows by class that was given.
        pairs: Labelled rows by real class and class that was given.
    """
    real, given = Counter[str](), Counter[str]()
    for (is_of, was_given), rows in pairs.items():
        real[is_of] += rows
        given[was_given] += rows
    return {
        name: ClassCounts(
            predicted=predicted[name], real=real[name], given=given[name], right=pairs[name, name]
        )
        for name in classes
        if predicted[name] or real[name]
    }


def most_frequent(counts: dict[str, ClassCounts], most: int) -> tuple[str, ...]:
    """The classes with most rows, in the model's order."""
    ranked = sorted(counts, key=lambda name: -(counts[name].real + counts[name].given))[:most]
    return tuple(name for name in counts if name in set(ranked))


def accuracy(counts: dict[str, ClassCounts]) -> float | None:
    """Share of labelled rows of which the class is right; ``None`` without any."""
    rows = sum(one.real for one in counts.values())
    return sum(one.right for one in counts.values()) / rows if rows else None


def mean_f1(counts: dict[str, ClassCounts]) -> float | None:
    """F1 averaged over the classes of labelled rows; ``None`` without any."""
    if not any(one.real for one in counts.values()):
        return None
    by_class = [(one.right, one.given, one.real) for one in counts.values()]
    right, given, real = np.asarray(by_class, dtype=np.int64).T
    return macro_f1(right, given, real)


def multiclass_alerts(thresholds: Thresholds, found: Multiclass, labelled: int) -> tuple[str, ...]:
    """What is not normal; without any threshold, that a die would be right more often."""
    chance = 1 / max(sum(one.real > 0 for one in found.counts.values()), 1)
    error = (chance * (1 - chance) / max(labelled, 1)) ** 0.5
    return (
        *above("log loss", found.log_loss, thresholds.logloss_max),
        *below("F1", found.macro_f1, thresholds.f1_min),
        *below("accuracy", found.accuracy, thresholds.accuracy_min),
        *worse_than_chance(
            "accuracy",
            found.accuracy if chance < 1 else None,
            chance,
            error,
            "are model.classes in the order of its probabilities?",
        ),
    )
