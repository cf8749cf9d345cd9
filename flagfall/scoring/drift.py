"""Drift: how far a batch has moved from the rows that the model was trained on.

The measure is the population stability index, PSI = Σ (q − p) · ln(q / p) over bins, with ``p`` the
share of reference rows and ``q`` the share of the batch's rows in a bin (the symmetric
Kullback-Leibler or Jeffreys divergence; N. Siddiqi, *Credit Risk Scorecards*, Wiley 2006, ch. 9).
The customary reading: below 0.1 stable, 0.1 to 0.25 moved, above 0.25 moved a lot.

Two things make that reading wrong for a daily batch, and both are kept in view:

- *Noise.* Without any drift the index is about ``(bins − 1) · (1/n + 1/m)`` for n rows against m
  (B. Yurdakul and J. Naranjo, *Statistical properties of the population stability index*, Journal
  of Risk Model Validation 14(4), 2020). Nothing is subtracted; ``alert_above`` wants enough rows.
- *Clustering.* One day has one weekday and one sort of weather, so a day never looks like eight
  months. ``fit_reference`` therefore also measures the reference's own batches against the whole,
  and an index counts as unusual only above what those reached (``usual``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Drift
from flagfall.scoring.reference import (
    SCORE,
    CategoryBins,
    Counts,
    NumberBins,
    Reference,
    fit_bins,
    fit_category,
    fit_number,
)

STABLE, MOVED = 0.1, 0.25
"""The customary reading of a PSI: below the first stable, above the second moved a lot."""

AnyBins = NumberBins | CategoryBins

_NOISE_SHARE = 1 / 3
_USUAL_MARGIN = 1.1
_SMOOTHING = 0.5


def fit_reference(
    dataset: Dataset,
    raw: pl.DataFrame,
    predictions: pl.DataFrame | npt.NDArray[np.floating],
    batches: Sequence[object] | pl.Series | None = None,
) -> Reference:
    """Fit the reference on training rows.

    Args:
        dataset: Whose features they are.
        raw: One column per feature, before encoding (``FeatureMaker.raw``); it may lack some.
        predictions: What the model says of each row (``Model.predict``), or only its scores.
        batches: For each row, the batch it would have come in (for a daily feed, its date). Give it
            wherever it is known: without it an alert compares one batch with all of the training
            rows, and a feature that is the same for a whole day (a weekday, the weather) then
            alerts every day.
    """
    said = predictions if isinstance(predictions, pl.DataFrame) else scored(predictions)
    classes = classes_of(said)
    fitted = Reference(
        rows=raw.height,
        features={name: fit_bins(raw[name]) for name in raw.columns},
        score=fit_number(scores_of(said)),
        score_range=None if said is not predictions else _range(scores_of(said)),
        predicted=None if classes is None else fit_category(classes),
    )
    if batches is None or raw.height == 0:
        return fitted
    return _with_usual(fitted, raw, said, pl.Series("batch", batches))


def scored(scores: npt.NDArray[np.floating]) -> pl.DataFrame:
    """Scores alone, as predictions."""
    return pl.DataFrame({SCORE: pl.Series(SCORE, scores)})


def scores_of(predictions: pl.DataFrame) -> pl.Series:
    """The number that predictions of any task have for a row: the score, or the value."""
    return predictions["value" if "value" in predictions.columns else SCORE]


def classes_of(predictions: pl.DataFrame) -> pl.Series | None:
    """The classes that a multiclass model gives; ``None`` for predictions of another task."""
    named = predictions.schema.get("class") == pl.String()
    return predictions["class"] if named else None


def _range(scores: pl.Series) -> tuple[float, float] | None:
    low, high = scores.cast(pl.Float64()).min(), scores.cast(pl.Float64()).max()
    return (low, high) if isinstance(low, float) and isinstance(high, float) else None


def _with_usual(
    fitted: Reference, raw: pl.DataFrame, said: pl.DataFrame, batches: pl.Series
) -> Reference:
    reached = zip(*_reached(fitted, raw, said, batches), strict=True)
    usual = iter([_largest(of_one) for of_one in reached])

    def known(bins: AnyBins) -> AnyBins:
        return bins.model_copy(update={"usual": next(usual)})

    return fitted.model_copy(
        update={
            "features": {name: known(bins) for name, bins in fitted.features.items()},
            "predicted": fitted.predicted and known(fitted.predicted),
            "score": known(fitted.score),
        }
    )


def _reached(
    fitted: Reference, raw: pl.DataFrame, said: pl.DataFrame, batches: pl.Series
) -> Iterator[tuple[Drift, ...]]:
    order = pl.DataFrame({"batch": batches}).with_row_index("row")
    for rows in order.group_by("batch").agg("row")["row"]:
        tally = Tally(fitted)
        tally.add(raw[rows], said[rows])
        yield tally.drift()


def _largest(batches: Iterable[Drift]) -> float | None:
    return max((drift.psi for drift in batches if not too_few_rows(drift, MOVED)), default=None)


def psi(reference: Counts, batch: Counts) -> float:
    """Population stability index of two counts over the same bins; 0 is the same distribution.

    Bins that are empty on both sides are left out. Half a row is added to each of the others, on
    both sides, so that a bin that is empty on one side stays finite.
    """
    used = (reference > 0) | (batch > 0)
    p, q = (_shares(counts[used]) for counts in (reference, batch))
    return float(np.sum((q - p) * np.log(q / p)))


def _shares(counts: Counts) -> npt.NDArray[np.float64]:
    smoothed = counts + _SMOOTHING
    return smoothed / smoothed.sum()  # type: ignore[no-any-return]  # numpy: Any


def noise(reference: Counts, batch: Counts) -> float:
    """About the index that two samples of these sizes show without any drift."""
    bins = np.count_nonzero((reference > 0) | (batch > 0))
    return float((bins - 1) * (1 / max(reference.sum(), 1) + 1 / max(batch.sum(), 1)))


def too_few_rows(drift: Drift, psi_max: float) -> bool:
    """Whether a batch is too small to distinguish drift above ``psi_max`` from noise.

    So where noise alone would make more than a third of ``psi_max``: under about 120 rows for ten
    bins and 0.25. With more rows, noise passes ``psi_max`` less often than once in a hundred.
    """
    return drift.noise > psi_max * _NOISE_SHARE


def alert_above(drift: Drift, psi_max: float) -> float | None:
    """The index above which a feature is worth an alert.

    Returns:
        The larger of ``psi_max`` and a tenth above what the reference's own batches reached;
        ``None`` where the batch has too few rows.
    """
    if too_few_rows(drift, psi_max):
        return None
    return max(psi_max, _USUAL_MARGIN * (drift.usual or 0.0))


class Tally:
    """Counts over the parts of a batch; memory follows the bins, not the rows."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._counts = [np.zeros_like(bins.reference) for _, bins in reference.bins()]

    def add(self, raw: pl.DataFrame, predictions: pl.DataFrame | npt.NDArray[np.floating]) -> None:
        """Count more rows: raw features and predictions as for ``fit_reference``."""
        said = predictions if isinstance(predictions, pl.DataFrame) else scored(predictions)
        reference = self._reference
        found = [bins.count(raw[name]) for name, bins in reference.features.items()]
        if reference.predicted is not None:
            classes = classes_of(said)
            assert classes is not None, "the reference is of a multiclass model"
            found.append(reference.predicted.count(classes))
        found.append(reference.score.count(scores_of(said)))
        for total, counts in zip(self._counts, found, strict=True):
            total += counts

    def drift(self) -> tuple[Drift, ...]:
        """One entry per feature, perhaps one of the class, then one named ``score``.

        None at all without rows.
        """
        if not self._counts[-1].sum():
            return ()
        kinds: list[Literal["feature", "score", "class"]] = ["feature"] * len(
            self._reference.features
        )
        kinds += ["score"] if self._reference.predicted is None else ["class", "score"]
        return tuple(
            _drift(name, bins, counts, kind)
            for (name, bins), counts, kind in zip(
                self._reference.bins(), self._counts, kinds, strict=True
            )
        )


def _drift(
    name: str, bins: AnyBins, counts: Counts, kind: Literal["feature", "score", "class"]
) -> Drift:
    reference = bins.reference
    return Drift(
        feature=name,
        psi=psi(reference, counts),
        missing_share=_missing_share(counts),
        reference_missing_share=_missing_share(reference),
        usual=bins.usual,
        noise=noise(reference, counts),
        kind=kind,
        **_categories(bins, counts),
    )


def _categories(bins: AnyBins, counts: Counts) -> dict[str, Any]:
    """What a category's entry says of texts that are new, or gone; nothing of a number's."""
    if not isinstance(bins, CategoryBins):
        return {}
    reference = bins.reference
    gone = {
        text: rows / max(int(reference.sum()), 1)
        for (text, rows), found in zip(bins.counts.items(), counts, strict=False)
        if not found
    }
    shares = (float(one[-2] / max(one.sum(), 1)) for one in (counts, reference))
    return dict(zip(("other_share", "reference_other_share"), shares, strict=True)) | {
        "vanished": gone
    }


def _missing_share(counts: Counts) -> float:
    return float(counts[-1] / max(counts.sum(), 1))
