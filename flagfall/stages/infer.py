"""Infer: from the inputs of the model to a score and a class for every row.

Part i of the predictions has the rows of part i of the features, in their order. Rows go through
the engine in batches, and each of several threads scores a batch of its own. So scores do not
depend on the number of threads. Memory follows the size of two parts, not of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from flagfall.concurrency import cache_last, in_order, thread_count
from flagfall.dataset.model import Scorer
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.lake.output import Lake, part_name
from flagfall.lake.records import Featured, Part, Predicted
from flagfall.scoring.engines import Engine, open_engine, scorer_of
from flagfall.scoring.engines.scores import Floats
from flagfall.scoring.features import Constants
from flagfall.stages.preprocess import feature_columns

BATCH_ROWS = 10_000
"""Rows that the engine scores at once; more are not faster."""

AHEAD = 8
"""Batches that wait for a thread; they keep all threads busy while a part is read or written."""

_engine = cache_last(open_engine)


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
            returns something that is no probability.
    """
    if (done := lake.find(Predicted, batch_id)) is not None:
        return done
    scorer = scorer_of(dataset)
    featured = lake.find(Featured, batch_id)
    if featured is None:
        raise NotThere("features of batch", batch_id, "run preprocess first")
    engine = _engine(dataset)
    _check_version(scorer, engine, featured)
    scoring = _Scoring(scorer, engine, dataset.table.primary_key, _inputs(scorer))
    with lake.scratch() as sources, lake.scratch() as folder:
        targets = [folder / part_name(index) for index in range(len(featured.parts))]
        parts = zip(_scored(scoring, lake.parts(featured, sources)), targets, strict=True)
        sums = [_write_part(scoring, *scored, target) for scored, target in parts]
        return lake.finish(_record(featured, sums), targets)


@dataclass(frozen=True)
class _Scoring:
    """An engine, and the columns that it reads."""

    scorer: Scorer
    engine: Engine
    key: tuple[str, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class _Sums:
    """Totals of a part, for the record; ``score`` is the sum of its scores."""

    rows: int
    positives: int
    score: float


def _inputs(scorer: Scorer) -> tuple[str, ...]:
    return tuple(feature_columns(Constants.read(scorer.path)))


def _check_version(scorer: Scorer, engine: Engine, featured: Featured) -> None:
    if featured.model_version != engine.version:
        made = f"the features of {featured.batch_id} were made for {featured.model_version}"
        why = f"is version {engine.version}, {made}; `flagfall replay` hands the batch out again"
        raise ModelInvalid(scorer.path, why)


def _record(featured: Featured, sums: list[_Sums]) -> Predicted:
    rows = sum(part.rows for part in sums)
    return Predicted(
        batch_id=featured.batch_id,
        parts=tuple(Part(name=part_name(index), rows=part.rows) for index, part in enumerate(sums)),
        rows=rows,
        positives=sum(part.positives for part in sums),
        mean_score=sum(part.score for part in sums) / rows if rows else None,
        model_version=featured.model_version,
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
        features = pl.read_parquet(source)
        slices = features.iter_slices(BATCH_ROWS) if features.height else [features]
        yield from (_Slice(part, features, rows) for rows in slices)


def _scored(scoring: _Scoring, sources: Iterable[Path]) -> Iterator[tuple[pl.DataFrame, Floats]]:
    """Every part with its scores, in order; while one is written, threads score the next."""
    found = in_order(partial(_score, scoring), _slices(sources), thread_count(), AHEAD)
    for _, slices in groupby(found, lambda scored: scored[0].part):
        pieces, scores = zip(*slices, strict=True)
        yield pieces[0].features, np.concatenate(scores)


def _score(scoring: _Scoring, piece: _Slice) -> tuple[_Slice, Floats]:
    if not piece.rows.height:
        return piece, np.empty(0, np.float32)
    inputs = piece.rows.select(scoring.inputs).to_numpy(order="c")
    scores = scoring.engine.score(inputs)
    _check_probabilities(scoring.scorer, scores)
    return piece, scores


def _write_part(scoring: _Scoring, features: pl.DataFrame, scores: Floats, target: Path) -> _Sums:
    classes = (scores >= scoring.scorer.threshold).astype(np.int8)
    predictions = features.select(
        *scoring.key,
        pl.Series("score", scores),
        pl.Series("class", classes),
        pl.lit(scoring.engine.version).alias("model_version"),
    )
    predictions.write_parquet(target)
    return _Sums(len(scores), int(classes.sum()), float(scores.sum(dtype=np.float64)))


def _check_probabilities(scorer: Scorer, scores: Floats) -> None:
    wrong = scores[~((scores >= 0) & (scores <= 1))]  # NaN fails both comparisons
    if wrong.size:
        found = f"{wrong.size} of {scores.size} scores are no probabilities, such as {wrong[0]}"
        raise ModelInvalid(scorer.path, f"{found}; export it with probabilities from 0 to 1")
