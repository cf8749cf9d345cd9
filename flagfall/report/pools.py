"""Evaluations of several batches of other than binary models, added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from flagfall.lake.records import ClassCounts, Evaluation, ValueBins
from flagfall.scoring.evaluations.multiclass import accuracy, mean_f1, most_frequent
from flagfall.scoring.evaluations.value_bins import merged
from flagfall.scoring.metrics import Values

OTHERS = "others"


@dataclass
class MulticlassPool:
    """Batches of a multiclass model.

    Attributes:
        rows: Labelled rows.
        counts: By class.
        pairs: Labelled rows by real class and class that was given, of the classes that records
            keep.
    """

    rows: int = 0
    counts: dict[str, ClassCounts] = field(default_factory=dict)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    _loss: float = 0.0

    def add(self, evaluation: Evaluation) -> None:
        """Add one batch; one of another task changes nothing."""
        found = evaluation.multiclass
        if found is None:
            return
        self.rows += evaluation.labelled
        self._loss += (found.log_loss or 0.0) * evaluation.labelled
        for name, counts in found.counts.items():
            self.counts[name] = _sum(self.counts.get(name, ClassCounts()), counts)
        for real, line in zip(found.shown, found.confusion, strict=bool(found.confusion)):
            self.pairs.update(
                {(real, given): n for given, n in zip(found.shown, line, strict=True)}
            )

    @property
    def log_loss(self) -> float | None:
        """Over all labelled rows, exact; so are the next two."""
        return self._loss / self.rows if self.rows else None

    @property
    def accuracy(self) -> float | None:
        """Share of labelled rows of which the class is right."""
        return accuracy(self.counts)

    @property
    def macro_f1(self) -> float | None:
        """F1, averaged over the classes."""
        return mean_f1(self.counts)

    @property
    def predicted(self) -> int:
        """All rows, labelled or not."""
        return sum(counts.predicted for counts in self.counts.values())

    def shown(self, most: int) -> list[str]:
        """The classes with most rows, most first."""
        names = most_frequent(self.counts, most)
        return sorted(names, key=lambda name: -self.counts[name].predicted)

    def confusion(self, most: int) -> tuple[list[str], Values]:
        """Labelled rows by real and by given class: ``most`` classes, the rest as ``OTHERS``."""
        names = list(most_frequent(self.counts, most))
        if len(names) < len(self.counts):
            names = [*names[: most - 1], OTHERS]
        place = {name: index for index, name in enumerate(names)}
        table = np.zeros((len(names), len(names)))
        for (real, given), rows in self.pairs.items():
            table[place.get(real, -1), place.get(given, -1)] += rows
        return names, table


def _sum(one: ClassCounts, other: ClassCounts) -> ClassCounts:
    return ClassCounts(
        predicted=one.predicted + other.predicted,
        real=one.real + other.real,
        given=one.given + other.given,
        right=one.right + other.right,
    )


@dataclass
class RegressionPool:
    """Batches of a regression model.

    Attributes:
        rows: Rows with a prediction.
        labelled: Those of them whose real value is known.
        bins: See ``Regression``; ``None`` without rows.
    """

    rows: int = 0
    labelled: int = 0
    bins: ValueBins | None = None
    _sum: float = 0.0
    _absolute: float = 0.0
    _squares: float = 0.0
    _error: float = 0.0
    _real: float = 0.0
    _spread: float = 0.0

    def add(self, evaluation: Evaluation) -> None:
        """Add one batch; one of another task changes nothing."""
        found = evaluation.regression
        if found is None or found.bins is None:
            return
        self.bins = merged(self.bins, found.bins)
        self.rows += evaluation.rows
        self._sum += evaluation.rows * (found.mean or 0.0)
        rows = evaluation.labelled
        if not rows:
            return
        self._add_spread(rows, found.real_mean or 0.0, found.real_spread or 0.0)
        self._absolute += rows * (found.mae or 0.0)
        self._squares += rows * (found.rmse or 0.0) ** 2
        self._error += rows * (found.bias or 0.0)
        self._real += rows * (found.real_mean or 0.0)
        self.labelled += rows

    def _add_spread(self, rows: int, mean: float, spread: float) -> None:
        """Squared distances from the common mean (Chan, Golub and LeVeque, 1979)."""
        self._spread += rows * spread**2
        if self.labelled:
            apart = mean - self._real / self.labelled
            self._spread += apart**2 * rows * self.labelled / (rows + self.labelled)

    def _mean(self, total: float) -> float | None:
        return total / self.labelled if self.labelled else None

    @property
    def mae(self) -> float | None:
        """Mean absolute error over all labelled rows, exact; so are the next four."""
        return self._mean(self._absolute)

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared error."""
        return None if not self.labelled else float((self._squares / self.labelled) ** 0.5)

    @property
    def bias(self) -> float | None:
        """Mean error."""
        return self._mean(self._error)

    @property
    def real_mean(self) -> float | None:
        """Mean of the real values."""
        return self._mean(self._real)

    @property
    def r2(self) -> float | None:
        """R² around the common mean of all batches."""
        return 1 - self._squares / self._spread if self._spread > 0 else None

    @property
    def mean(self) -> float | None:
        """Mean prediction of all rows."""
        return self._sum / self.rows if self.rows else None


@dataclass
class AnomalyPool:
    """Batches of an anomaly model.

    Attributes:
        rows: All rows.
        flagged: Those that are flagged.
        known: Flagged rows whose label is known.
        right: Flagged rows that are really unusual.
        positives: Rows that are really unusual.
        bins: See ``Anomaly``; ``None`` without rows.
    """

    rows: int = 0
    flagged: int = 0
    known: int = 0
    right: int = 0
    positives: int = 0
    bins: ValueBins | None = None
    _batches: int = 0
    _auc: float | None = None

    def add(self, evaluation: Evaluation) -> None:
        """Add one batch; one of another task changes nothing."""
        found = evaluation.anomaly
        if found is None:
            return
        self._batches += 1
        self._auc = found.auc
        self.rows += evaluation.rows
        self.flagged += found.flagged
        self.known += found.known
        self.right += found.right
        self.positives += evaluation.positives
        self.bins = merged(self.bins, found.bins)

    @property
    def share(self) -> float | None:
        """Share of rows that are flagged."""
        return self.flagged / self.rows if self.rows else None

    @property
    def precision(self) -> float | None:
        """Share of flagged rows that are unusual."""
        return self.right / self.known if self.known else None

    @property
    def recall(self) -> float | None:
        """Share of unusual rows that are flagged."""
        return self.right / self.positives if self.positives else None

    @property
    def outcomes(self) -> tuple[Values, Values]:
        """Labelled rows by bin: usual, unusual."""
        if self.bins is None:
            return np.zeros(0), np.zeros(0)
        known, positive = (np.asarray(self.bins.sums[name]) for name in ("known", "positive"))
        return known - positive, positive

    def auc(self, binned: float | None) -> float | None:
        """Exact for one batch; for more, ``binned``."""
        return self._auc if self._batches == 1 else binned
