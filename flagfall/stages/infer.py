"""Infer: from the inputs of the model to a prediction for every row.

Part i of the predictions has the rows of part i of the features, in their order. Rows go through
the model in batches, and each of several threads scores a batch of its own. So scores do not
depend on the number of threads. Memory follows the size of two parts, not of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import polars as pl

from flagfall.concurrency import cache_last, in_order, thread_count
from flagfall.dataset.columns import key_columns
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.lake.output import Lake, below, part_name
from flagfall.lake.parquet import read_parquet
from flagfall.lake.records import Featured, Part, Predicted
from flagfall.scoring.features import Constants
from flagfall.scoring.model import Model, open_model, scorer_of
from flagfall.stages.preprocess import FEATURE_PREFIX

BATCH_ROWS = 10_000
"""Rows that the model scores at once; more are not faster."""

AHEAD = 8
"""Batches that wait for a thread; they keep all threads busy while a part is read or written."""

_model = cache_last(open_model)


def infer(dataset: Dataset, lake: Lake, batch_id: str) -> Predicted:
    """Score a batch, once.

    Args:
        dataset: Its dataset, with a model.
        lake: The dataset's lake, with the batch's features.
        batch_id: The batch.

    Returns:
        Its record, which may be from an earlier run.

    Raises:
        NotThere: The dataset has no model, or the batch has no features.
        ModelInvalid: The model cannot be used, is another version than that of the features, or
            returns what its task does not allow.
        ModelCrashed: The process that runs it died.
    """
    if (done := lake.find(Predicted, batch_id)) is not None:
        return done
    scorer_of(dataset)
    featured = lake.find(Featured, batch_id)
    if featured is None:
        raise NotThere("features of batch", batch_id, "run preprocess first")
    model = _model(dataset)
    _check_version(model, featured)
    scoring = _Scoring(model, key_columns(dataset), _names(featured, model))
    if featured.rows:
        model.check(scoring.names)
    with lake.scratch() as folder:
        targets = [folder / part_name(index) for index in range(len(featured.parts))]
        sums = {
            part: _write_part(scoring, features, predicted, targets[part])
            for part, features, predicted in _scored(scoring, lake.parts(featured, below(folder)))
        }
        in_order_of_parts = [sums[part] for part in range(len(targets))]
        return lake.finish(_record(dataset, featured, model, in_order_of_parts), targets)


@dataclass(frozen=True)
class _Scoring:
    """A model, the columns that name a row, and its features."""

    model: Model
    key: tuple[str, ...]
    names: tuple[str, ...]


@dataclass
class _Sums:
    """Totals of a part, for the record; ``score`` is the sum of its scores or values."""

    rows: int
    score: float
    positives: int = 0
    by_class: Counter[str] = field(default_factory=Counter)


def _names(featured: Featured, model: Model) -> tuple[str, ...]:
    """The features' names; older releases left them to the model's folder."""
    if featured.features or not featured.rows:
        return featured.features
    return Constants.read(model.scorer.path).features


def _check_version(model: Model, featured: Featured) -> None:
    if featured.model_version != model.version:
        made = f"the features of {featured.batch_id} were made for {featured.model_version}"
        why = f"is version {model.version}, {made}; `flagfall replay` hands the batch out again"
        raise ModelInvalid(model.scorer.path, why)


def _record(dataset: Dataset, featured: Featured, model: Model, sums: list[_Sums]) -> Predicted:
    rows, reading = sum(part.rows for part in sums), model.reading
    by_class = sum((part.by_class for part in sums), Counter[str]())
    return Predicted(
        batch_id=featured.batch_id,
        parts=tuple(Part(name=part_name(index), rows=part.rows) for index, part in enumerate(sums)),
        rows=rows,
        task=reading.task if reading else model.expected_task,
        classes=reading.classes if reading else (),
        positive=reading.positive if reading else "",
        named=reading.is_named if reading else False,
        threshold=reading.threshold if reading else None,
        positives=sum(part.positives for part in sums),
        by_class=dict(sorted(by_class.items())),
        mean_score=sum(part.score for part in sums) / rows if rows else None,
        model_version=featured.model_version,
        model_sha256=model.folder.sha256,
        dataset_sha256=dataset.sha256,
    )


class _Slice(NamedTuple):
    """Some rows of a part.

    Attributes:
        part: The part's number.
        features: The whole part.
        rows: The rows.
    """

    part: int
    features: pl.DataFrame
    rows: pl.DataFrame


def _slices(sources: Iterable[Path]) -> Iterator[_Slice]:
    for part, source in enumerate(sources):
        features = read_parquet(source)
        slices = features.iter_slices(BATCH_ROWS) if features.height else iter([features])
        yield from (_Slice(part, features, rows) for rows in slices)


def _scored(
    scoring: _Scoring, sources: Iterable[Path]
) -> Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]:
    """Every part's number, features and predictions; while one is written, threads score the next.

    Parts without rows come last: the others tell the columns of their predictions.
    """
    found = in_order(partial(_score, scoring), _slices(sources), thread_count(), AHEAD)
    empty = []
    for part, slices in groupby(found, lambda scored: scored[0].part):
        pieces, predictions = zip(*slices, strict=True)
        if pieces[0].features.height:
            yield part, pieces[0].features, pl.concat(predictions)
        else:
            empty.append((part, pieces[0].features))
    for part, features in empty:
        yield part, features, scoring.model.no_predictions()


def _score(scoring: _Scoring, piece: _Slice) -> tuple[_Slice, pl.DataFrame]:
    if not piece.rows.height:
        return piece, scoring.model.no_predictions()
    inputs = piece.rows[[f"{FEATURE_PREFIX}{name}" for name in scoring.names]]
    inputs.columns = list(scoring.names)
    return piece, scoring.model.predict(inputs)


def _write_part(
    scoring: _Scoring, features: pl.DataFrame, predicted: pl.DataFrame, target: Path
) -> _Sums:
    scoring.model.keyed(features[list(scoring.key)], predicted).write_parquet(target)
    return _sums(predicted)


def _sums(predicted: pl.DataFrame) -> _Sums:
    values = predicted["value" if "value" in predicted.columns else "score"]
    sums = _Sums(predicted.height, float(values.cast(pl.Float64()).sum()))
    for decided in ("class", "label"):
        if decided in predicted.columns and predicted[decided].dtype == pl.Int8:
            sums.positives = int(predicted[decided].cast(pl.Int64()).sum())
        elif decided in predicted.columns:
            sums.by_class = Counter(dict(predicted[decided].value_counts().iter_rows()))
    return sums
