"""What is known of the scored rows of a batch, counted part by part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from flagfall.concurrency import cache_last
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid
from flagfall.lake.output import Lake
from flagfall.lake.parquet import read_parquet
from flagfall.lake.records import Drift, Evaluation, Predicted, Staged
from flagfall.scoring.drift import Tally
from flagfall.scoring.evaluations import open_evaluator
from flagfall.scoring.evaluations.alerts import drift_alerts
from flagfall.scoring.feature_maker import feature_maker
from flagfall.scoring.labels import Says, no_labels, read_labels
from flagfall.scoring.model import scorer_of
from flagfall.scoring.model_folder import REFERENCE_FILE
from flagfall.scoring.own_figures import OwnFigures, own_figures
from flagfall.scoring.reference import NumberBins, Reference
from flagfall.stages.preprocess import keys


class ScoredPart(NamedTuple):
    """What names some rows, the rows, and their predictions in the same order."""

    key: pl.DataFrame
    rows: pl.DataFrame
    predictions: pl.DataFrame


def aligned(
    dataset: Dataset, lake: Lake, staged: Staged, predicted: Predicted, folder: Path
) -> Iterator[ScoredPart]:
    """Yield part i of both, with the same rows. Two folders: their parts have the same names.

    Args:
        dataset: Their dataset.
        lake: Where the parts are.
        staged: The rows.
        predicted: What the dataset's model says of them.
        folder: For local copies.
    """
    places = (folder / "staged", folder / "predictions")
    for place in places:
        place.mkdir()
    pairs = zip(lake.parts(staged, places[0]), lake.parts(predicted, places[1]), strict=True)
    for rows_file, predictions_file in pairs:
        rows, predictions = read_parquet(rows_file), read_parquet(predictions_file)
        key = keys(dataset, rows, rows_file.name)
        assert key.equals(predictions[key.columns]), "parts are not aligned"
        yield ScoredPart(key, rows, predictions)


class Gathered:
    """What is known of the parts that have been added.

    Args:
        dataset: Their dataset.
        predicted: Says what its model's predictions are.
    """

    def __init__(self, dataset: Dataset, predicted: Predicted) -> None:
        reference = Reference.find(scorer_of(dataset).path)
        self._dataset = dataset
        self._predicted = predicted
        self._says = Says(predicted.task, predicted.classes, predicted.positive, predicted.named)
        self._evaluator = open_evaluator(predicted, reference)
        self._drift = None if reference is None else _DriftOf(dataset, reference)
        self._own = None if dataset.evaluate is None else _Own(dataset, dataset.evaluate.python)
        self._rows = 0

    def add(self, part: ScoredPart) -> None:
        """Add a part."""
        if not part.predictions.height:
            return
        self._rows += part.predictions.height
        self._evaluator.add(part.predictions, self._labels(part))
        for more in (self._drift, self._own):
            if more is not None:
                more.add(part)

    def _labels(self, part: ScoredPart) -> pl.Series:
        if self._dataset.own_label is None:
            return no_labels(self._says, part.predictions.height)
        return read_labels(self._dataset, self._says, part.rows)

    def evaluation(self, batch_id: str) -> Evaluation:
        """How well the batch was scored."""
        thresholds = self._dataset.thresholds
        found = self._evaluator.findings(thresholds)
        drifts = self._drift.drifts() if self._drift else ()
        own = self._own.figures() if self._own else OwnFigures()
        return Evaluation(
            batch_id=batch_id,
            rows=self._rows,
            task=self._predicted.task,
            **found.record,
            own=own.figures,
            drift=drifts,
            alerts=(*found.alerts, *drift_alerts(thresholds.psi_max, drifts), *own.alerts),
            model_version=self._predicted.model_version,
        )


class _DriftOf:
    """Counts the features and scores of a batch beside the reference's."""

    def __init__(self, dataset: Dataset, reference: Reference) -> None:
        self._path = scorer_of(dataset).path
        self._reference = reference
        self._maker = _maker(dataset)
        self._tally = Tally(reference)

    def add(self, part: ScoredPart) -> None:
        raw = self._maker.raw(part.rows)
        self._check(raw, part.predictions)
        self._tally.add(raw, part.predictions)

    def _check(self, raw: pl.DataFrame, predictions: pl.DataFrame) -> None:
        """See that the reference is of this model's features; it may lack some."""
        expected = self._reference.features
        numbers = {name for name, bins in expected.items() if isinstance(bins, NumberBins)}
        texts = {name for name, kind in raw.schema.items() if kind == pl.String()}
        if not set(expected) <= set(raw.columns) or numbers & texts:
            found = f"{REFERENCE_FILE} has {list(expected)}, numbers among them {sorted(numbers)}"
            why = f"{found}; the features are {raw.columns}, texts among them {sorted(texts)}"
            raise ModelInvalid(self._path, f"{why}; {_AGAIN}")
        is_multiclass = predictions.schema.get("class") == pl.String()
        if self._reference.predicted is not None and not is_multiclass:
            why = f"{REFERENCE_FILE} is of a model of another task"
            raise ModelInvalid(self._path, f"{why}; {_AGAIN}")

    def drifts(self) -> tuple[Drift, ...]:
        return self._tally.drift()


_AGAIN = "run `flagfall model init` again"


_maker = cache_last(feature_maker)


class _Own:
    """Gathers all rows of a batch for the team's own function."""

    def __init__(self, dataset: Dataset, path: str) -> None:
        self._path = path
        self._columns = [column.name for column in dataset.table.fields]
        self._rows: list[pl.DataFrame] = []
        self._predictions: list[pl.DataFrame] = []

    def add(self, part: ScoredPart) -> None:
        self._rows.append(part.rows.select(self._columns))
        self._predictions.append(part.predictions)

    def figures(self) -> OwnFigures:
        """Its answer; nothing for a batch without rows."""
        if not self._rows:
            return OwnFigures()
        return own_figures(self._path, pl.concat(self._rows), pl.concat(self._predictions))
