"""The reference of a model: its training rows, counted in bins, to compare a batch with.

Training writes it into the model's folder; evaluation reads it there. ``drift`` has the measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from flagfall.scoring.model_folder import REFERENCE_FILE, ModelFolder, read_model_file

SCORE = "score"
CLASS = "predicted class"

NUMBER_BINS = 10
CATEGORY_BINS = 20
CATEGORY_SHARE = 0.01
"""Rarer categories of the reference are counted together with unknown ones."""

Counts = npt.NDArray[np.int64]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NumberBins(_Frozen):
    """Reference of a number.

    Attributes:
        edges: Inner edges, ascending: bin i holds ``edges[i-1] < value <= edges[i]``. Deciles,
            fewer where values repeat.
        counts: Reference rows by bin, one more than ``edges``.
        missing: Reference rows without a value.
        usual: Largest PSI of one of the reference's own batches against the whole; ``None`` where
            its batches were not known or had too few rows.
    """

    kind: Literal["number"] = "number"
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int
    usual: float | None = None

    def count(self, values: pl.Series) -> Counts:
        """Rows of ``values`` by bin, those without a value last."""
        present = _present(values)
        bins = np.searchsorted(np.asarray(self.edges), present, side="left")
        found = np.bincount(bins, minlength=len(self.edges) + 1)
        return np.append(found, len(values) - len(present))

    @property
    def reference(self) -> Counts:
        """Reference rows by bin, in the order of ``count``."""
        return np.array([*self.counts, self.missing], dtype=np.int64)


class CategoryBins(_Frozen):
    """Reference of a category.

    Attributes:
        counts: Reference rows by text, for the frequent texts.
        other: Reference rows with a rare text. A text that the reference never had counts here too.
        missing: Reference rows without a value.
        usual: As for ``NumberBins``.
    """

    kind: Literal["category"] = "category"
    counts: dict[str, int]
    other: int
    missing: int
    usual: float | None = None

    def count(self, values: pl.Series) -> Counts:
        """Rows of ``values`` by bin, other texts and those without a value last."""
        tally = dict(values.cast(pl.String()).value_counts().iter_rows())
        known = [tally.get(text, 0) for text in self.counts]
        missing = values.null_count()
        return np.array([*known, len(values) - missing - sum(known), missing], dtype=np.int64)

    @property
    def reference(self) -> Counts:
        """Reference rows by bin, in the order of ``count``."""
        return np.array([*self.counts.values(), self.other, self.missing], dtype=np.int64)


Bins = Annotated[NumberBins | CategoryBins, Field(discriminator="kind")]


class Reference(_Frozen):
    """The training rows of a model, in counts.

    Attributes:
        rows: Reference rows.
        features: Bins by feature, in the model's order.
        score: Bins of the model's score over the reference rows: a probability, that of the class
            that it gives, a value, or how unusual a row is.
        score_range: Smallest and largest score of the reference rows; ``None`` where not known.
        predicted: Of a multiclass model, the classes that it gives.
    """

    rows: int
    features: dict[str, Bins]
    score: NumberBins
    score_range: tuple[float, float] | None = None
    predicted: CategoryBins | None = None

    def bins(self) -> Iterator[tuple[str, NumberBins | CategoryBins]]:
        """Every feature's bins, those of the class where there are any, then those of the score."""
        yield from self.features.items()
        if self.predicted is not None:
            yield CLASS, self.predicted
        yield SCORE, self.score

    def write(self, model_path: str) -> None:
        """Write ``reference.json`` into a model's folder."""
        path = Path(model_path) / REFERENCE_FILE
        unknown = {name for name in _NOT_EVERY_TASK if getattr(self, name) is None}
        text = self.model_dump_json(indent=1, exclude=unknown)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def find(cls, model_path: str) -> Reference | None:
        """The same; ``None`` without one: drift is not known then."""
        return cls.read(model_path) if ModelFolder(model_path).has(REFERENCE_FILE) else None

    @classmethod
    def read(cls, model_path: str) -> Reference:
        """The reference in a model's folder.

        Raises:
            ModelInvalid: The file is missing or is not what training writes.
        """
        return read_model_file(cls, model_path, REFERENCE_FILE)


_NOT_EVERY_TASK = ("score_range", "predicted")


def fit_bins(values: pl.Series) -> NumberBins | CategoryBins:
    """Bins for a feature's values: one column of the training rows, before encoding.

    Texts and yes or no are categories; all else is a number, a time by its distance from another.
    """
    if values.dtype in (pl.String(), pl.Boolean(), pl.Categorical()):
        return fit_category(values)
    return fit_number(values)


def _present(values: pl.Series) -> npt.NDArray[np.floating[Any]]:
    """The values that are there, as numbers."""
    physical = values.to_physical() if values.dtype.is_temporal() else values
    numbers = physical if physical.dtype.is_float() else physical.cast(pl.Float64())
    found: npt.NDArray[np.floating[Any]] = numbers.to_numpy()  # null is NaN
    present: npt.NDArray[np.floating[Any]] = found[~np.isnan(found)]
    return present


def fit_number(values: pl.Series) -> NumberBins:
    """Deciles of a number; fewer bins if values repeat."""
    present = _present(values)
    finite = present[np.isfinite(present)]
    shares = np.arange(1, NUMBER_BINS) / NUMBER_BINS
    # "lower" makes every edge a value that occurs, so that repeated values share one bin.
    edges = np.unique(np.quantile(finite, shares, method="lower")) if finite.size else finite
    empty = NumberBins(edges=tuple(edges.tolist()), counts=(), missing=0)
    *counts, missing = empty.count(values).tolist()
    return NumberBins(edges=empty.edges, counts=tuple(counts), missing=missing)


def fit_category(values: pl.Series) -> CategoryBins:
    """The most frequent texts: ``CATEGORY_BINS`` at most, none under ``CATEGORY_SHARE``."""
    present = values.drop_nulls().cast(pl.String())
    tally = sorted(present.value_counts().iter_rows(), key=lambda pair: (-pair[1], pair[0]))
    frequent = {
        text: rows for text, rows in tally[:CATEGORY_BINS] if rows >= CATEGORY_SHARE * len(present)
    }
    other = len(present) - sum(frequent.values())
    return CategoryBins(counts=frequent, other=other, missing=values.null_count())
