"""Infer: from the inputs of the model to a score and a class for every row.

Part i of the predictions has the rows of part i of the features, in their order. Rows go through
the engine in batches, so memory follows the size of one part, not of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from flagfall.dataset import Dataset, Scorer
from flagfall.engines import Engine, open_engine, scorer_of
from flagfall.engines.scores import Floats
from flagfall.errors import ModelInvalid, NotThere
from flagfall.features import Constants
from flagfall.kept import kept
from flagfall.lake import Lake, part_name
from flagfall.records import Featured, Part, Predicted
from flagfall.stages.preprocess import feature_columns

BATCH_ROWS = 10_000
"""Rows that the engine is given at once; more do not make it faster."""
_engine = kept(open_engine)


def infer(dataset: Dataset, lake: Lake, batch_id: str) -> Predicted:
    """Score a batch, once.

    Args:
        dataset: Its dataset, with a model.
        lake: The dataset's lake, with the batch's features.
        batch_id: The batch.

    Returns:
        Its record; the earlier one where the stage had been finished already.

    Raises:
        NotThere: The dataset has no model, or the batch has no features.
        ModelInvalid: The model cannot be used, is not the one that the features were made for, or
            gives something that is no probability.
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
        sums = [
            _write_part(scoring, source, target)
            for source, target in zip(lake.parts(featured, sources), targets, strict=True)
        ]
        return lake.finish(_record(featured, sums), targets)


@dataclass(frozen=True)
class _Scoring:
    """A model at work, and the columns that it works on."""

    scorer: Scorer
    engine: Engine
    key: tuple[str, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class _Sums:
    """What the record needs to know of a part; ``score`` is the sum of its scores."""

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


def _write_part(scoring: _Scoring, source: Path, target: Path) -> _Sums:
    features = pl.read_parquet(source)
    scores = np.concatenate([np.empty(0, np.float32), *_scores(scoring, features)])
    classes = (scores >= scoring.scorer.threshold).astype(np.int8)
    predictions = features.select(
        *scoring.key,
        pl.Series("score", scores),
        pl.Series("class", classes),
        pl.lit(scoring.engine.version).alias("model_version"),
    )
    predictions.write_parquet(target)
    return _Sums(len(scores), int(classes.sum()), float(scores.sum(dtype=np.float64)))


def _scores(scoring: _Scoring, features: pl.DataFrame) -> Iterator[Floats]:
    for rows in features.iter_slices(BATCH_ROWS):
        if rows.height:
            scores = scoring.engine.score(rows.select(scoring.inputs).to_numpy(order="c"))
            _check_probabilities(scoring.scorer, scores)
            yield scores


def _check_probabilities(scorer: Scorer, scores: Floats) -> None:
    wrong = scores[~((scores >= 0) & (scores <= 1))]  # NaN fails both comparisons
    if wrong.size:
        found = f"{wrong.size} of {scores.size} scores are no probabilities, such as {wrong[0]}"
        raise ModelInvalid(scorer.path, f"{found}; export it with probabilities from 0 to 1")
