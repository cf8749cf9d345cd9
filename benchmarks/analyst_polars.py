"""The script of ``analyst.py`` as one writes it with polars and LightGBM, the file whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import polars as pl
from analyst_rules import (
    COLUMNS,
    KEY,
    MISSING,
    PATTERNS,
    RANGES,
    REQUIRED,
    TEXTS,
    WHOLE,
    Times,
    main,
)


def dtype(name: str) -> pl.DataType:
    """Of a column."""
    if name == "date":
        return pl.Date()
    return pl.String() if name in TEXTS else pl.Int32() if name in WHOLE else pl.Float64()


def clean(source: Path) -> pl.DataFrame:
    """The rows that keep all rules, and each key once."""
    column = pl.col
    rules = [column(name).is_not_null() for name in REQUIRED]
    rules += [
        column(name).is_between(*ends) | column(name).is_null() for name, ends in RANGES.items()
    ]
    rules += [column(name).str.contains(f"^(?:{how})$") for name, how in PATTERNS.items()]
    schema = {name: dtype(name) for name in COLUMNS}
    flights = pl.scan_csv(source, schema=schema, null_values=MISSING).filter(*rules)
    return flights.unique(KEY, keep="first", maintain_order=True).collect()


def feature(name: str, constants: Mapping[str, Any]) -> pl.Expr:
    """One of the model's inputs."""
    departure = pl.col("sched_dep_time")
    made = {
        "departure": departure // 100 * 60 + departure % 100,
        "weekday": pl.col("date").dt.weekday(),
        "age": pl.col("date").dt.year() - pl.col("built"),
    }
    if codes := constants["codes"].get(name):
        return pl.col(name).replace_strict(codes, default=-1, return_dtype=pl.Float32())
    value = made.get(name, pl.col(name)).cast(pl.Float32())
    return value.fill_null(constants["fill"][name]).alias(name)


def score(
    source: Path, target: Path, booster: lightgbm.Booster, constants: dict[str, Any]
) -> Times:
    """Score a file."""
    times = Times()
    with times.of("read and clean"):
        flights = clean(source)
    with times.of("features"):
        features = [feature(name, constants) for name in constants["features"]]
        inputs = flights.select(features).to_numpy()
    with times.of("infer"):
        scores = booster.predict(inputs)
    with times.of("write"):
        found = flights.select(
            *KEY,
            pl.Series("score", scores, pl.Float32()),
            pl.Series("class", scores >= 0.5).cast(pl.Int8()),
            pl.lit(constants["version"]).alias("model_version"),
        )
        found.write_parquet(target)
    times.seconds["rows"] = found.height
    return times


if __name__ == "__main__":
    main(score, __doc__)
