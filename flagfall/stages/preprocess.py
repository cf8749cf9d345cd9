"""Preprocess: from staged rows to the inputs of the model.

Part i of the features has the rows of part i of the staged output, in their order. The constants
come from the model's folder, so that scoring cannot differ from training.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl

from flagfall.concurrency import cache_last, in_order, thread_count
from flagfall.dataset.columns import key_columns
from flagfall.dataset.schema import SOURCE, Dataset
from flagfall.errors import NotThere
from flagfall.lake.output import Lake, below, part_name
from flagfall.lake.parquet import read_parquet
from flagfall.lake.records import Featured, Part, Staged
from flagfall.logs import logger
from flagfall.scoring.feature_maker import FeatureMaker, feature_maker
from flagfall.scoring.features import infinite_expression
from flagfall.scoring.model import scorer_of
from flagfall.scoring.model_folder import ModelFolder
from flagfall.scoring.own_code import CodeInvalid

log = logger(__name__)

FEATURE_PREFIX = "feature."
"""Stands before a feature's name in the Parquet parts: a feature may have a key column's name."""

PARTS_AT_ONCE = 2
"""Parts in memory at the same time; polars uses all cores for each of them."""


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
        CodeInvalid: The team's own function fails on them.
    """
    if (done := lake.find(Featured, batch_id)) is not None:
        return done
    version, maker = _prepared(dataset)
    staged = lake.find(Staged, batch_id)
    if staged is None:
        raise NotThere("staged output of batch", batch_id, "run ingest first")
    with lake.scratch() as folder:
        targets = [folder / part_name(index) for index in range(len(staged.parts))]
        pairs = zip(lake.parts(staged, below(folder)), targets, strict=True)
        write = partial(_write_part, dataset, maker)
        names = list(in_order(write, pairs, min(thread_count(), PARTS_AT_ONCE)))
        return lake.finish(_record(staged, version, _the_same(dataset, staged, names)), targets)


@cache_last
def _prepared(dataset: Dataset) -> tuple[str, FeatureMaker]:
    """The model's version, and what makes its features."""
    return ModelFolder(scorer_of(dataset).path).version, feature_maker(dataset)


def _the_same(
    dataset: Dataset, staged: Staged, names: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    """The features' names, which are those of every part with rows.

    Raises:
        CodeInvalid: The team's own function returns others for other parts.
    """
    found = [of for of, part in zip(names, staged.parts, strict=True) if part.rows] or names
    for other in found[1:]:
        if other != found[0]:
            why = (
                f"features() returned {list(other)} for some rows, and {list(found[0])} for others"
            )
            raise CodeInvalid(dataset.features_python, f"{why}; it has to return the same columns")
    return found[0] if found else ()


def _record(staged: Staged, version: str, names: tuple[str, ...]) -> Featured:
    return Featured(
        batch_id=staged.batch_id,
        parts=tuple(
            Part(name=part_name(index), rows=part.rows) for index, part in enumerate(staged.parts)
        ),
        rows=staged.rows,
        features=names,
        model_version=version,
    )


def _write_part(dataset: Dataset, maker: FeatureMaker, files: tuple[Path, Path]) -> tuple[str, ...]:
    """Write the features of a part, and return their names.

    Written for speed, not for size: features are read once.
    """
    source, target = files
    rows = read_parquet(source)
    features = maker.make(rows)
    names = tuple(features.columns)
    key = keys(dataset, rows, source.name)
    named = [column.alias(f"{FEATURE_PREFIX}{column.name}") for column in features]
    key.hstack(named).write_parquet(target, compression="lz4", statistics=False)
    _name_infinite(dataset, rows, source.name, key)
    return names


def keys(dataset: Dataset, rows: pl.DataFrame, part: str) -> pl.DataFrame:
    """What names each staged row.

    Rows that an older release staged without a key have their part and their number in it.
    """
    if dataset.table.primary_key or SOURCE[0] in rows.columns:
        return rows[list(key_columns(dataset))]
    number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(SOURCE[1])
    return rows.select(pl.lit(part).alias(SOURCE[0]), number)


def _name_infinite(dataset: Dataset, rows: pl.DataFrame, part: str, key: pl.DataFrame) -> None:
    """Log how many rows are infinite, and the first of them, by feature."""
    numbers = [feature for feature in dataset.features if feature.encode == "number"]
    found = [infinite_expression(feature) for feature in numbers]
    infinite = rows.select_seq(
        pl.struct(one.sum().alias("rows"), one.arg_true().first().alias("first")).alias(
            feature.name
        )
        for feature, one in zip(numbers, found, strict=True)
    )
    for column in infinite:
        first = column[0]
        if first["rows"]:
            log.warning(
                "%s: feature %s: infinite as float32 in %d rows, first in row %d of %s, %s;"
                " counted as missing",
                dataset.name, column.name, first["rows"], first["first"] + 1, part,
                key.row(first["first"], named=True),
            )  # fmt: skip
