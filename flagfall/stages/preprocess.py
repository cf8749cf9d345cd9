"""Preprocess: from staged rows to the inputs of the model.

Part i of the features has the rows of part i of the staged output, in their order. The constants
come from the model's folder, so that scoring cannot differ from training.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl

from flagfall.concurrency import in_order, thread_count
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere
from flagfall.lake.output import Lake, part_name
from flagfall.lake.records import Featured, Part, Staged
from flagfall.logs import logger
from flagfall.scoring.engines import scorer_of
from flagfall.scoring.features import (
    Constants,
    FeatureInvalid,
    feature_expressions,
    infinite_expression,
    raw_expression,
)

log = logger(__name__)

FEATURE_PREFIX = "feature."
"""Stands before a feature's name in the Parquet parts: a feature may have a key column's name."""

PARTS_AT_ONCE = 2
"""Parts in memory at the same time; polars uses all cores for each of them."""


def feature_columns(constants: Constants) -> list[str]:
    """The features' columns in the Parquet parts, in the model's order."""
    return [f"{FEATURE_PREFIX}{name}" for name in constants.features]


def preprocess(dataset: Dataset, lake: Lake, batch_id: str) -> Featured:
    """Compute the features of a batch, once.

    Args:
        dataset: Its dataset, with a model.
        lake: The dataset's lake, with the batch's staged output.
        batch_id: The batch.

    Returns:
        Its record, which may be from an earlier run.

    Raises:
        NotThere: The dataset has no model, or the batch is not staged.
        ModelInvalid: The model was trained on other features, or its folder lacks constants.
        FeatureInvalid: A feature's expression fails on the batch's values.
    """
    if (done := lake.find(Featured, batch_id)) is not None:
        return done
    constants = Constants.read(scorer_of(dataset).path)
    expressions = _expressions(dataset, constants)
    staged = lake.find(Staged, batch_id)
    if staged is None:
        raise NotThere("staged output of batch", batch_id, "run ingest first")
    with lake.scratch() as sources, lake.scratch() as folder:
        targets = [folder / part_name(index) for index in range(len(staged.parts))]
        pairs = zip(lake.parts(staged, sources), targets, strict=True)
        write = partial(_write_part, dataset, expressions)
        list(in_order(write, pairs, min(thread_count(), PARTS_AT_ONCE)))
        return lake.finish(_record(staged, constants), targets)


def _record(staged: Staged, constants: Constants) -> Featured:
    return Featured(
        batch_id=staged.batch_id,
        parts=tuple(
            Part(name=part_name(index), rows=part.rows) for index, part in enumerate(staged.parts)
        ),
        rows=staged.rows,
        model_version=constants.version,
    )


def _expressions(dataset: Dataset, constants: Constants) -> list[pl.Expr]:
    features = feature_expressions(dataset, constants)
    named = zip(feature_columns(constants), features, strict=True)
    return [pl.col(*dataset.table.primary_key), *(made.alias(name) for name, made in named)]


def _write_part(dataset: Dataset, expressions: list[pl.Expr], files: tuple[Path, Path]) -> None:
    """Written for speed, not for size: features are read once."""
    source, target = files
    rows = pl.scan_parquet(source)
    try:
        features, infinite = pl.collect_all([rows.select(expressions), _infinite(dataset, rows)])
    except pl.exceptions.PolarsError as error:
        raise _culprit(dataset, rows, error) from error
    features.write_parquet(target, compression="lz4", statistics=False)
    _name_infinite(dataset, source, infinite)


def _infinite(dataset: Dataset, rows: pl.LazyFrame) -> pl.LazyFrame:
    """How many rows are infinite, and the first of them, by feature."""
    numbers = [feature for feature in dataset.features if feature.encode == "number"]
    found = [infinite_expression(feature) for feature in numbers]
    return rows.select(
        pl.struct(one.sum().alias("rows"), one.arg_true().first().alias("first")).alias(
            feature.name
        )
        for feature, one in zip(numbers, found, strict=True)
    )


def _name_infinite(dataset: Dataset, source: Path, infinite: pl.DataFrame) -> None:
    for feature in infinite:
        found = feature[0]
        if found["rows"]:
            log.warning(
                "%s: feature %s: infinite as float32 in %d rows, first in row %d of %s, %s;"
                " counted as missing",
                dataset.name, feature.name, found["rows"], found["first"] + 1, source.name,
                _key(dataset, source, found["first"]),
            )  # fmt: skip


def _key(dataset: Dataset, source: Path, row: int) -> dict[str, object]:
    key = pl.scan_parquet(source).select(dataset.table.primary_key).slice(row, 1)
    return key.collect().row(0, named=True) if dataset.table.primary_key else {}


def _culprit(
    dataset: Dataset, rows: pl.LazyFrame, error: pl.exceptions.PolarsError
) -> pl.exceptions.PolarsError | FeatureInvalid:
    """The feature that fails on these rows; ``error`` itself where none does."""
    for feature in dataset.features:
        try:
            rows.select(raw_expression(feature)).collect(engine="streaming")
        except pl.exceptions.PolarsError as why:
            expr = feature.expr or feature.name
            return FeatureInvalid(dataset.name, feature.name, expr, str(why).splitlines()[0])
    return error
