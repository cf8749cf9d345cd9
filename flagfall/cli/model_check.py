"""``flagfall model check``: whether a model scores what its dataset allows, always the same."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from flagfall.cli.deadline import answering
from flagfall.cli.model_init import said
from flagfall.dataset.columns import key_columns, staged_schema
from flagfall.dataset.schema import PROBABILITY, Dataset
from flagfall.errors import InputError, ModelInvalid, NotThere
from flagfall.lake.parquet import read_parquet
from flagfall.scoring.feature_maker import FeatureMaker, feature_maker
from flagfall.scoring.model import Model, open_model, scorer_of
from flagfall.scoring.own_code import CodeInvalid
from flagfall.scoring.own_figures import OwnFigures, own_figures
from flagfall.scoring.reading import Reading
from flagfall.scoring.reference import Reference
from flagfall.scoring.sample_rows import sample_rows, unknown_texts
from flagfall.stores.places import is_file

ALIKE = 1e-5
"""Most that a score may change with the number of rows that are scored at once; of a score above 1,
its share."""
SPEED_ROWS = 20_000
SLICES = (1, 7)
"""Rows at once, beside all of them."""

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": read_parquet,
    ".csv": lambda file: pl.read_csv(file, glob=False),
    ".jsonl": lambda file: pl.read_ndjson(file.read_bytes()),
}


class NotAsExpected(InputError):
    """A model's scores are not those that somebody expects."""


@dataclass(frozen=True)
class Tried:
    """A model that has scored some rows.

    Attributes:
        model: The model.
        rows: The rows, with the dataset's columns.
        features: What the model was given.
        predictions: What it said.
    """

    model: Model
    rows: pl.DataFrame
    features: pl.DataFrame
    predictions: pl.DataFrame

    @property
    def reading(self) -> Reading:
        """How its outputs are read."""
        assert self.model.reading is not None, "it has scored rows"
        return self.model.reading

    def own_figures(self, dataset: Dataset) -> OwnFigures:
        """What the team's own evaluation says of the rows.

        Raises:
            CodeInvalid: It fails on them.
        """
        assert dataset.evaluate is not None, "only for datasets with an evaluation of their own"
        rows = self.rows.select(column.name for column in dataset.table.fields)
        predictions = self.model.keyed(self.rows.select(key_columns(dataset)), self.predictions)
        return own_figures(dataset.evaluate.python, rows, predictions)

    @property
    def says(self) -> str:
        """What it says of a row, in words."""
        return said(self.reading.task, self.reading.classes, self.reading.positive)


def try_model(dataset: Dataset, rows: pl.DataFrame | None = None) -> Tried:
    """Have a dataset's model score rows: all at once, and a few at a time.

    Args:
        dataset: The dataset.
        rows: The rows; ``None`` for some that the dataset allows.

    Raises:
        ModelInvalid: It does not score them, or not always the same.
        FeatureInvalid: A feature's expression fails on them.
    """
    scorer = scorer_of(dataset)
    maker, model = feature_maker(dataset), open_model(dataset)
    given = _sample(dataset) if rows is None else rows
    try:
        features = maker.make(given)
    except CodeInvalid as invalid:
        if rows is None and (made_up := _made_up(dataset)):
            why = f"{str(invalid).removeprefix(f'{dataset.features_python}: ')}; {made_up}"
            raise CodeInvalid(dataset.features_python, why) from invalid
        raise
    model.check(features.columns)
    try:
        with answering(scorer.path):
            predictions = model.predict(features)
    except ModelInvalid as invalid:
        if rows is None and (made_up := _made_up(dataset)):
            why = f"{str(invalid).removeprefix(f'model {scorer.path}: ')}; {made_up}"
            raise ModelInvalid(scorer.path, why) from invalid
        raise
    for size in SLICES:
        _check_features_alike(dataset, maker, given, features, size)
        _check_alike(model, features, predictions, size)
    return Tried(model, given, features, predictions)


def _made_up(dataset: Dataset) -> str:
    """Of which columns texts were made up, and what helps; empty for none."""
    names = ", ".join(unknown_texts(dataset, Reference.find(scorer_of(dataset).path)))
    remedy = "run `flagfall model init`, or check it with --train"
    return f"it was tried with rows made up for {names}: {remedy}" if names else ""


def _sample(dataset: Dataset) -> pl.DataFrame:
    made = sample_rows(dataset, Reference.find(scorer_of(dataset).path))
    return made.select(
        pl.col(name) if name in made.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in staged_schema(dataset).items()
    )


def _check_features_alike(
    dataset: Dataset, maker: FeatureMaker, rows: pl.DataFrame, whole: pl.DataFrame, size: int
) -> None:
    """See that what a function makes of a row does not depend on the rows beside it."""
    if not dataset.features_python:
        return
    for first in range(0, min(5 * size, rows.height), size):
        found = maker.make(rows[first : first + size])
        if found.columns != whole.columns:
            why = f"features() returned {found.columns} for {found.height} rows"
            why += f" and {whole.columns} for {whole.height}; it has to return the same columns"
            raise CodeInvalid(dataset.features_python, why)
        for name in found.columns:
            if not _are_alike(found[name], whole[name][first : first + size]):
                why = f"features() returned other values of {name!r} for {size} rows at once"
                why += ": a row's features must not depend on others"
                raise CodeInvalid(dataset.features_python, why)


def _are_alike(ours: pl.Series, theirs: pl.Series) -> bool:
    if not (ours.dtype.is_float() and theirs.dtype.is_float()):
        return ours.to_list() == theirs.to_list()
    left, right = ours.fill_null(float("nan")).to_numpy(), theirs.fill_null(float("nan")).to_numpy()
    return bool(np.allclose(left, right, ALIKE, ALIKE, equal_nan=True))


def _check_alike(model: Model, features: pl.DataFrame, whole: pl.DataFrame, size: int) -> None:
    """See that a row's prediction does not depend on the rows beside it."""
    some = features.head(5 * size)
    pieces = pl.concat([model.predict(piece) for piece in some.iter_slices(size)])
    difference = _difference(pieces, whole.head(some.height))
    if difference.largest > ALIKE or difference.others:
        why = f"scores differ by {difference.largest:.2g} with {size} rows at once"
        raise ModelInvalid(model.scorer.path, f"{why}: a row's score must not depend on others")


@dataclass(frozen=True)
class Difference:
    """How two tables of predictions differ.

    Attributes:
        columns: That both have.
        largest: Of all numbers, the largest difference; of those above 1, as a share of them.
        others: Rows with another class or label.
    """

    columns: tuple[str, ...]
    largest: float
    others: int


def _difference(
    ours: pl.DataFrame, theirs: pl.DataFrame, undecided: pl.Series | None = None
) -> Difference:
    """How they differ; rows that are ``undecided`` may have another class."""
    both = [name for name in ours.columns if name in theirs.columns]
    largest, others = 0.0, 0
    for name in both:
        if name in ("class", "label"):
            differs = ours[name].cast(pl.String()).ne_missing(_text(theirs[name]))
            others += int((differs if undecided is None else differs & ~undecided).sum())
        else:
            largest = max(largest, _gap(ours[name], theirs[name]))
    return Difference(tuple(both), largest, others)


def _gap(ours: pl.Series, theirs: pl.Series) -> float:
    expected = theirs.cast(pl.Float64())
    gaps = (ours.cast(pl.Float64()) - expected).abs() / pl.select(
        pl.max_horizontal(expected.abs(), 1.0)
    ).to_series()
    return float("inf") if gaps.has_nulls() or gaps.is_nan().any() else float(gaps.max() or 0.0)  # type: ignore[arg-type]


def _text(column: pl.Series) -> pl.Series:
    return column.cast(pl.Int64() if column.dtype.is_float() else column.dtype).cast(pl.String())


def compare(dataset: Dataset, tried: Tried, expected: Path, tolerance: float) -> str:
    """Compare a model's predictions with those of its framework.

    Args:
        dataset: The dataset.
        tried: The model, and what it said of the training rows.
        expected: A table with columns as predictions have them, row by row, or with the key's.
        tolerance: Most that a number may differ.

    Returns:
        A sentence.

    Raises:
        NotAsExpected: They differ by more, or cannot be compared.
    """
    ours, theirs = _by_class(tried), _read(expected)
    key = list(dataset.table.primary_key)
    if key and set(key) <= set(theirs.columns):
        keyed = tried.rows.select(key).hstack(ours)
        theirs = keyed.select(key).join(theirs, on=key, how="left", maintain_order="left")
    if theirs.height != ours.height:
        why = f"{expected}: expected {ours.height:,} rows, as many as are accepted"
        raise NotAsExpected(f"{why}, or the columns of primaryKey; got {theirs.height:,}")
    found = _difference(ours, theirs, _undecided(tried, tolerance))
    if not found.columns:
        raise NotAsExpected(f"{expected}: expected some of {ours.columns}, got {theirs.columns}")
    said = f"{ours.height:,} rows, columns {', '.join(found.columns)}: the largest difference is"
    said += f" {found.largest:.2g}, other classes in {found.others:,} rows"
    if not found.largest <= tolerance or found.others:
        raise NotAsExpected(f"{expected}: {said}; expected at most {tolerance:g} and none")
    return f"as expected: {said}"


def _undecided(tried: Tried, tolerance: float) -> pl.Series | None:
    """Rows of a binary model as near to the threshold as scores may differ."""
    if tried.reading.task != "binary":
        return None
    cut = tried.model.scorer.cut
    return (tried.predictions["score"] - cut).abs() <= tolerance


def _by_class(tried: Tried) -> pl.DataFrame:
    """The predictions; of a binary model the classes by name, as frameworks give them."""
    reading = tried.reading
    if reading.task != "binary":
        return tried.predictions
    other = next(name for name in reading.classes if name != reading.positive)
    score = pl.col("score")
    return tried.predictions.with_columns(
        pl.when(pl.col("class") == 1)
        .then(pl.lit(reading.positive))
        .otherwise(pl.lit(other))
        .alias("class"),
        score.alias(f"{PROBABILITY}{reading.positive}"),
        (1 - score).alias(f"{PROBABILITY}{other}"),
    )


def _read(path: Path) -> pl.DataFrame:
    if not is_file(path):
        raise NotThere("file", str(path))
    if path.suffix not in _READERS:
        raise NotAsExpected(f"{path}: expected {', '.join(_READERS)}")
    return _READERS[path.suffix](path)


def measured(tried: Tried) -> Iterator[str]:
    """How fast the model is on one thread, and what memory the process has taken, in words."""
    times = -(-SPEED_ROWS // tried.features.height)
    rows = pl.concat([tried.features] * times).head(SPEED_ROWS)
    began = time.perf_counter()
    tried.model.predict(rows)
    speed = rows.height / (time.perf_counter() - began)
    yield f"speed: {speed:,.0f} rows/s, {rows.height:,} at once on one thread"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield f"memory: {peak / (1 << (20 if sys.platform == 'darwin' else 10)):,.0f} MiB at most"
