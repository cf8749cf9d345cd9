"""Evaluate: how well a batch was scored, and how far it has moved from the model's training rows.

Exact measures need all labelled scores at once: 5 bytes per labelled row (a float32 and a bool),
and about 35 more while they are sorted (measured with 5 million rows). Everything else is counted
part by part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from flagfall.dataset.schema import Dataset, Thresholds
from flagfall.errors import ModelInvalid, NotThere
from flagfall.lake.output import Lake
from flagfall.lake.records import HISTOGRAM_BINS, Drift, Evaluation, Predicted, Scores, Staged
from flagfall.scoring import drift
from flagfall.scoring.features import FeatureInvalid, label_expression, raw_expression
from flagfall.scoring.metrics import average_precision, brier_score, roc_auc
from flagfall.scoring.model_folder import REFERENCE_FILE
from flagfall.scoring.reference import Reference

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Needed = TypeVar("Needed", Staged, Predicted)

_STAGES: dict[type, str] = {Staged: "ingest", Predicted: "infer"}


def evaluate(dataset: Dataset, lake: Lake, batch_id: str) -> Evaluation:
    """Evaluate a scored batch, once.

    Raises:
        NotThere: The batch was not ingested or not scored.
        ModelInvalid: The model's drift reference is missing, broken or of other features.
        FeatureInvalid: The label's expression fails on the batch's values.
    """
    if (done := lake.find(Evaluation, batch_id)) is not None:
        return done
    staged, predicted = _needed(lake, Staged, batch_id), _needed(lake, Predicted, batch_id)
    gathered = _Gathered(dataset, _reference(dataset))
    with lake.scratch() as folder:
        for rows, predictions in _aligned(lake, staged, predicted, folder):
            gathered.add(rows, predictions)
    return lake.finish(gathered.evaluation(batch_id, predicted.model_version))


def _needed(lake: Lake, kind: type[Needed], batch_id: str) -> Needed:
    found = lake.find(kind, batch_id)
    if found is None:
        raise NotThere(f"{kind.__name__} record of batch", batch_id, f"run {_STAGES[kind]} first")
    return found


def _reference(dataset: Dataset) -> Reference:
    assert dataset.model is not None, "a batch was scored, so there is a model"
    reference = Reference.read(dataset.model.path)
    declared = [feature.name for feature in dataset.features]
    if declared != list(reference.features):
        found = f"{REFERENCE_FILE} has {list(reference.features)}"
        why = f"{found}, {dataset.name} declares {declared}; train it again"
        raise ModelInvalid(dataset.model.path, why)
    return reference


def _aligned(
    lake: Lake, staged: Staged, predicted: Predicted, folder: Path
) -> Iterator[tuple[pl.LazyFrame, pl.DataFrame]]:
    """Yield part i of both, with the same rows. Two folders: their parts have the same names."""
    rows, predictions = (folder / "staged", folder / "predictions")
    for place in (rows, predictions):
        place.mkdir()
    pairs = zip(lake.parts(staged, rows), lake.parts(predicted, predictions), strict=True)
    for rows_part, predictions_part in pairs:
        yield pl.scan_parquet(rows_part), pl.read_parquet(predictions_part)


class _Gathered:
    """Counts and outcomes of the parts that have been added."""

    def __init__(self, dataset: Dataset, reference: Reference) -> None:
        self._dataset = dataset
        self._tally = drift.Tally(reference)
        self._rows = 0
        self._outcomes = _Outcomes()

    def add(self, rows: pl.LazyFrame, predictions: pl.DataFrame) -> None:
        key = list(self._dataset.table.primary_key)
        columns = self._collected(rows.select(*key, *self._derived()))
        assert columns.select(key).equals(predictions.select(key)), "parts are not aligned"
        scores = predictions["score"].to_numpy()
        raw = columns.select(
            pl.col(_RAW + feature.name).alias(feature.name) for feature in self._dataset.features
        )
        self._rows += len(scores)
        self._tally.add(raw, scores)
        self._outcomes.add(scores, columns[_LABEL])

    def _collected(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """Compute the columns. The features worked in preprocess, so only the label can fail."""
        try:
            return rows.collect()
        except pl.exceptions.PolarsError as error:
            if self._dataset.label is None:
                raise
            why, expr = str(error).splitlines()[0], self._dataset.label.expr
            raise FeatureInvalid(self._dataset.name, "label", expr, why) from error

    def _derived(self) -> list[pl.Expr]:
        """Features and label, under names that no column of the dataset has."""
        label = label_expression(self._dataset) if self._dataset.label else pl.lit(None, pl.Boolean)
        features = [
            raw_expression(feature).alias(_RAW + feature.name) for feature in self._dataset.features
        ]
        return [*features, label.alias(_LABEL)]

    def evaluation(self, batch_id: str, model_version: str) -> Evaluation:
        measures, drifts = self._outcomes.measures(), self._tally.drift()
        return Evaluation(
            batch_id=batch_id,
            rows=self._rows,
            labelled=measures.labelled,
            positives=measures.positives,
            auc=measures.auc,
            average_precision=measures.average_precision,
            brier=measures.brier,
            calibration_gap=measures.calibration_gap,
            scores=self._outcomes.histograms(),
            drift=drifts,
            alerts=find_alerts(
                self._dataset.thresholds,
                measures.auc,
                measures.brier,
                measures.calibration_gap,
                drifts,
            ),
            model_version=model_version,
        )


_RAW, _LABEL = "\0raw ", "\0label"


@dataclass(frozen=True)
class _Measures:
    """Measures over the labelled rows.

    Attributes:
        auc: ``None`` unless both classes have rows.
        average_precision: The same.
        brier: ``None`` without labelled rows.
        calibration_gap: Mean score minus share of positives; ``None`` without labelled rows.
    """

    labelled: int
    positives: int
    auc: float | None
    average_precision: float | None
    brier: float | None
    calibration_gap: float | None


class _Outcomes:
    """Scores and labels of the labelled rows, and histograms of all scores."""

    def __init__(self) -> None:
        self._histograms = np.zeros((3, HISTOGRAM_BINS), dtype=np.int64)
        self._scores: list[Floats] = []
        self._labels: list[Bools] = []

    def add(self, scores: Floats, labels: pl.Series) -> None:
        known = labels.is_not_null().to_numpy()
        positive = labels.fill_null(False).to_numpy()
        for row, wanted in enumerate((~known, known & ~positive, positive)):
            self._histograms[row] += histogram(scores[wanted])
        self._scores.append(scores[known])
        self._labels.append(positive[known])

    def histograms(self) -> Scores:
        unlabelled, negative, positive = (tuple(row) for row in self._histograms.tolist())
        return Scores(unlabelled=unlabelled, negative=negative, positive=positive)

    def measures(self) -> _Measures:
        scores = np.concatenate(self._scores or [np.empty(0, np.float32)])
        labels = np.concatenate(self._labels or [np.empty(0, np.bool_)])
        both = bool(labels.any() and not labels.all())
        return _Measures(
            labelled=labels.size,
            positives=int(labels.sum()),
            auc=roc_auc(labels, scores) if both else None,
            average_precision=average_precision(labels, scores) if both else None,
            brier=brier_score(labels, scores) if labels.size else None,
            calibration_gap=_calibration_gap(labels, scores) if labels.size else None,
        )


def histogram(scores: Floats) -> npt.NDArray[np.int64]:
    """Float32 scores counted in ``HISTOGRAM_BINS`` bins over 0 to 1; 1 itself is in the last."""
    # In float32, 0.7 times 100 is 70; in float64, what 0.7 is as a float32 would make 69.99.
    bins = np.minimum((scores * np.float32(HISTOGRAM_BINS)).astype(np.int64), HISTOGRAM_BINS - 1)
    return np.bincount(bins, minlength=HISTOGRAM_BINS)


def _calibration_gap(labels: Bools, scores: Floats) -> float:
    return float(scores.mean(dtype=np.float64) - labels.mean())


def find_alerts(
    thresholds: Thresholds,
    auc: float | None,
    brier: float | None,
    calibration_gap: float | None,
    drifts: Iterable[Drift],
) -> tuple[str, ...]:
    """One sentence per threshold that was passed: ``<what> <figure> is below|above <threshold>``.

    A figure or a threshold that is ``None`` never alerts. For drift the threshold that is shown is
    the one that counted (``drift.alert_above``).
    """
    gap = None if calibration_gap is None else abs(calibration_gap)
    found = [
        _below("AUC", auc, thresholds.auc_min),
        _above("Brier score", brier, thresholds.brier_max),
        _above("calibration gap", gap, thresholds.calibration_max),
    ]
    if thresholds.psi_max is not None:
        found += [
            _above(f"{drift.DRIFT_OF}{d.feature}", d.psi, drift.alert_above(d, thresholds.psi_max))
            for d in drifts
        ]
    return tuple(sentence for sentence in found if sentence is not None)


def _below(what: str, figure: float | None, limit: float | None) -> str | None:
    if figure is None or limit is None or figure >= limit:
        return None
    return "{} {} is below {}".format(what, *_distinct_texts(figure, limit))


def _above(what: str, figure: float | None, limit: float | None) -> str | None:
    if figure is None or limit is None or figure <= limit:
        return None
    return "{} {} is above {}".format(what, *_distinct_texts(figure, limit))


def _distinct_texts(figure: float, limit: float) -> tuple[str, str]:
    """Both with two decimals, or with as many as show which is larger."""
    pairs = ((f"{figure:.{digits}f}", f"{limit:.{digits}f}") for digits in range(2, 17))
    return next((pair for pair in pairs if pair[0] != pair[1]), (repr(figure), repr(limit)))
