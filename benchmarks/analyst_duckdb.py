"""The script of ``analyst.py`` as one writes it with DuckDB and LightGBM, the file whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import lightgbm
import numpy as np
import pyarrow as pa
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


def kind(name: str) -> str:
    """SQL's type of a column."""
    if name == "date":
        return "DATE"
    return "VARCHAR" if name in TEXTS else "INTEGER" if name in WHOLE else "DOUBLE"


def rules() -> Iterator[str]:
    """What a row has to keep."""
    for name in REQUIRED:
        yield f"{name} is not null"
    for name, (low, high) in RANGES.items():
        most = "'infinity'::double" if high == math.inf else high
        yield f"({name} is null or {name} between {low} and {most})"
    for name, how in PATTERNS.items():
        yield f"regexp_full_match({name}, '{how}')"


def cleaned(source: Path) -> str:
    """The query for the rows that keep all rules, and each key once."""
    kinds = {name: kind(name) for name in COLUMNS}
    options = f"header=true, nullstr={MISSING}, columns={kinds}, hive_partitioning=false"
    read = f"read_csv('{source}', {options})"  # else the folder's date replaces that of each row
    return f"select distinct on ({', '.join(KEY)}) * from {read} where {' and '.join(rules())}"


def feature(name: str, constants: Mapping[str, Any]) -> str:
    """One of the model's inputs."""
    made = {
        "departure": "sched_dep_time // 100 * 60 + sched_dep_time % 100",
        "weekday": "isodow(date)",
        "age": "year(date) - built",
    }
    if codes := constants["codes"].get(name):
        whens = " ".join(f"when '{text}' then {code}" for text, code in codes.items())
        return f"(case {name} {whens} else -1 end)::float as {name}"
    return f"coalesce(({made.get(name, name)})::float, {constants['fill'][name]}::float) as {name}"


def score(
    source: Path, target: Path, booster: lightgbm.Booster, constants: dict[str, Any]
) -> Times:
    """Score a file."""
    times, db = Times(), duckdb.connect()
    with times.of("read and clean"):
        db.execute(f"create table flights as {cleaned(source)}")
    with times.of("features"):
        features = ", ".join(feature(name, constants) for name in constants["features"])
        columns = db.sql(f"select {features} from flights").fetchnumpy()
        inputs = np.column_stack(list(columns.values()))
    with times.of("infer"):
        scores = booster.predict(inputs)
    with times.of("write"):
        kept = {"score": scores.astype(np.float32), "class": (scores >= 0.5).astype(np.int8)}
        db.register("scored", pa.table(kept))
        columns = f"{', '.join(KEY)}, scored.*, '{constants['version']}' as model_version"
        rows = f"select {columns} from flights positional join scored"
        db.execute(f"copy ({rows}) to '{target}' (format parquet)")
    times.seconds["rows"] = len(scores)
    return times


if __name__ == "__main__":
    main(score, __doc__)
