"""Challenge: a second model scores the same rows, beside the one that counts.

Its predictions, how well it did and where it differs are kept apart. Whatever happens to it, the
feed goes on: a failure is a record, too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from flagfall.concurrency import cache_last
from flagfall.dataset.schema import PROBABILITY, Dataset
from flagfall.errors import ModelInvalid, StoreError
from flagfall.lake.output import Lake, part_name
from flagfall.lake.records import Apart, Challenged, Part, Predicted, Staged
from flagfall.logs import logger
from flagfall.scoring.drift import scores_of
from flagfall.scoring.feature_maker import feature_maker
from flagfall.scoring.model import Model, challenger_of, open_model
from flagfall.stages.gathered import Gathered, aligned
from flagfall.stages.infer import BATCH_ROWS

log = logger(__name__)

FURTHEST = 10
"""Rows with the largest differences that are kept."""
_BEGUN = "begun"
"""Stands beside the record while a challenger scores; one that is found says that it died."""

_challenger = cache_last(challenger_of)
_model = cache_last(open_model)
_maker = cache_last(feature_maker)


def challenge(dataset: Dataset, lake: Lake, batch_id: str) -> Challenged:
    """Have the challenger score a batch, once.

    Args:
        dataset: Its dataset, with a challenger.
        lake: The dataset's lake, with the batch's rows and predictions.
        batch_id: The batch.

    Raises:
        StoreError: The lake cannot be read or written to.
    """
    if (done := lake.find(Challenged, batch_id)) is not None:
        return done
    begun = f"{lake.folder(Challenged, batch_id)}/{_BEGUN}"
    with lake.scratch() as sources, lake.scratch() as folder:
        if lake.store.create(begun, b"") is False:
            record = _failed(batch_id, "its process died as it scored the batch")
            return lake.finish(record)
        try:
            record, files = _challenged(dataset, lake, batch_id, sources, folder)
        except StoreError:
            lake.store.delete(begun)
            raise
        except Exception as error:  # whatever it is, the model that counts has done its work
            log.exception("%s: the challenger failed on %s", dataset.name, batch_id)
            record, files = _failed(batch_id, str(error) or type(error).__name__), []
        done = lake.finish(record, files)
        lake.store.delete(begun)
        return done


def _failed(batch_id: str, why: str) -> Challenged:
    return Challenged(batch_id=batch_id, error=why)


def _challenged(
    dataset: Dataset, lake: Lake, batch_id: str, sources: Path, folder: Path
) -> tuple[Challenged, list[Path]]:
    staged, ours = lake.find(Staged, batch_id), lake.find(Predicted, batch_id)
    assert staged is not None, "the batch was taken in"
    assert ours is not None, "and scored"
    theirs = _challenger(dataset)
    model = _model(theirs)
    apart, gathered = _Differences(), None
    files = [folder / part_name(index) for index in range(len(staged.parts))]
    empty = []  # parts without rows come last: the others tell the columns of their predictions
    for part, file in zip(aligned(dataset, lake, staged, ours, sources), files, strict=True):
        if not part.key.height:
            empty.append((part.key, file))
            continue
        predictions = _predictions(theirs, model, part.rows)
        gathered = gathered or Gathered(theirs, _as_predicted(ours, model))
        gathered.add(part._replace(predictions=predictions))
        apart.add(part.key, part.predictions, predictions)
        model.keyed(part.key, predictions).write_parquet(file)
    for key, file in empty:
        model.keyed(key, model.no_predictions()).write_parquet(file)
    record = Challenged(
        batch_id=batch_id,
        parts=tuple(
            Part(name=file.name, rows=part.rows)
            for file, part in zip(files, staged.parts, strict=True)
        ),
        rows=ours.rows,
        evaluation=gathered.evaluation(batch_id) if gathered else None,
        other_class=apart.other_class,
        mean_difference=apart.total / ours.rows if ours.rows else None,
        furthest=tuple(apart.furthest()),
        model_version=model.version,
        model_sha256=model.folder.sha256,
    )
    return record, files


def _predictions(theirs: Dataset, model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    features = _maker(theirs).make(rows)
    model.check(features.columns)
    return pl.concat(model.predict(piece) for piece in features.iter_slices(BATCH_ROWS))


def _as_predicted(ours: Predicted, model: Model) -> Predicted:
    """What the challenger's predictions are.

    A model of another task is no challenger, nor is one whose score is of the other class.
    """
    reading = model.reading
    assert reading is not None, "it has scored rows"
    if reading.task != ours.task:
        why = f"its task is {reading.task}, that of the model is {ours.task}"
        raise ModelInvalid(model.scorer.path, f"{why}; correct model.challenger")
    if reading.positive != ours.positive and reading.positive in ours.classes and reading.is_named:
        why = f"its score is of the class {reading.positive!r}, that of the model of"
        raise ModelInvalid(model.scorer.path, f"{why} {ours.positive!r}; set model.positive_class")
    said = {
        "classes": reading.classes,
        "positive": reading.positive,
        "named": reading.is_named,
        "model_version": model.version,
    }
    return ours.model_copy(update=said)


class _Apart(NamedTuple):
    """A row by how far apart two models are; ``number`` keeps rows from being compared."""

    difference: float
    number: int
    row: Apart


@dataclass
class _Differences:
    """Where two models differ, over the parts that have been added."""

    total: float = 0.0
    other_class: int | None = None
    _rows: int = 0
    _furthest: list[_Apart] = field(default_factory=list)

    def add(self, key: pl.DataFrame, ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
        size = _sizes(ours, theirs)
        self.total += float(size.sum())
        for name in ("class", "label"):
            if name in ours.columns and name in theirs.columns:
                found = int((ours[name] != theirs[name]).sum())
                self.other_class = (self.other_class or 0) + found
        for row in size.arg_sort(descending=True).head(FURTHEST):
            apart = _apart(key[row], ours[row], theirs[row])
            self._furthest.append(_Apart(size[row], self._rows + row, apart))
        self._furthest = heapq.nlargest(FURTHEST, self._furthest, key=lambda one: one.difference)
        self._rows += key.height

    def furthest(self) -> Iterator[Apart]:
        """The rows with the largest differences, if any."""
        return (one.row for one in self._furthest if one.difference > 0)


def _sizes(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.Series:
    """How far apart the predictions of each row are.

    Of several classes, half the sum of the differences of their probabilities (total variation): 0
    for the same, 1 where both are sure of another class.
    """
    shares = [n for n in ours.columns if n.startswith(PROBABILITY) and n in theirs.columns]
    if not shares:
        mine, its = (scores_of(one).cast(pl.Float64()) for one in (ours, theirs))
        return (mine - its).abs()
    gaps = [(ours[name].cast(pl.Float64()) - theirs[name]).abs() for name in shares]
    return pl.DataFrame(gaps).sum_horizontal() / 2


def _apart(key: pl.DataFrame, ours: pl.DataFrame, theirs: pl.DataFrame) -> Apart:
    """One row of which they say different things."""
    both = [one for one in (ours, theirs) if one.schema.get("class") == pl.String()]
    classes = [str(one["class"].item()) for one in both] or ["", ""]
    return Apart(
        key={name: str(value) for name, value in key.row(0, named=True).items()},
        ours=scores_of(ours).item(),
        theirs=scores_of(theirs).item(),
        our_class=classes[0],
        their_class=classes[-1],
    )
