"""The script that a careful analyst would write for the flights: pandas, and the model as trained.

From a CSV file to predictions in Parquet, with the rules of ``datasets/flights.yaml`` and the
features of the model. It imports nothing of Flagfall to score, and knows the columns by heart.

What it does not do, and ``flagfall`` does: hash the file and compare it with the manifest, keep the
rejected rows with a reason for each, go on after a value that cannot be read (``read_csv`` stops at
it), write receipts, and find what it had finished when it is run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from analyst_rules import CONSTANTS, KEY, MODEL, PATTERNS, RANGES, REQUIRED, Times

WHOLE = {"flight": "int32", "sched_dep_time": "int16", "sched_arr_time": "int16"}
WHOLE |= {"distance": "int16"}
TEXTS = {"carrier": "category", "tailnum": "category", "origin": "category", "dest": "category"}
GAPPY = dict.fromkeys(["seats", "built", "temp", "humid", "wind_speed"], "float64")
GAPPY |= dict.fromkeys(["precip", "pressure", "visib", "arr_delay"], "float64")
TYPES = WHOLE | TEXTS | GAPPY


def chunks(path: Path, rows: int | None, engine: str) -> Iterator[pd.DataFrame]:
    """The file, whole or by that many rows."""
    options = {
        "usecols": ["date", *TYPES], "dtype": TYPES, "parse_dates": ["date"],
        "date_format": "%Y-%m-%d", "na_values": ["", "NA"], "keep_default_na": False,
    }  # fmt: skip
    if rows is None:
        yield pd.read_csv(path, engine=engine, **options)
    else:
        yield from pd.read_csv(path, engine=engine, chunksize=rows, **options)


def clean(flights: pd.DataFrame) -> pd.DataFrame:
    """The rows that keep all rules."""
    good = flights[REQUIRED].notna().all(axis="columns")
    for column, (lowest, highest) in RANGES.items():
        values = flights[column]
        good &= values.between(lowest, highest) | values.isna()
    for column, pattern in PATTERNS.items():
        categories = flights[column].cat.categories
        allowed = categories[categories.str.fullmatch(pattern)]
        good &= flights[column].isin(allowed)
    return flights[good]


class Seen:
    """Keys of the chunks before, by day: 8 bytes a row. Who reads the file whole needs none."""

    def __init__(self) -> None:
        self._by_day: dict[int, list[np.ndarray]] = {}

    def first(self, flights: pd.DataFrame) -> pd.DataFrame:
        """The rows whose key was not there before."""
        rest = flights[["carrier", "flight", "origin"]]
        keys = pd.util.hash_pandas_object(rest, index=False).to_numpy()
        new = np.ones(len(flights), bool)
        for day, rows in flights.groupby("date", sort=False).indices.items():
            before = self._by_day.setdefault(day, [])
            if before:
                new[rows] = ~np.isin(keys[rows], np.concatenate(before))
            before.append(keys[rows])
        return flights[new]


def features(flights: pd.DataFrame, constants: dict) -> np.ndarray:
    """The model's inputs, one row a flight."""
    made = np.empty((len(flights), len(constants["features"])), np.float32)
    departure = flights["sched_dep_time"].astype("int32")
    values = {
        "departure": departure // 100 * 60 + departure % 100,
        "weekday": flights["date"].dt.day_of_week + 1,
        "age": flights["date"].dt.year - flights["built"],
    }
    for place, name in enumerate(constants["features"]):
        column = values[name] if name in values else flights[name]
        if name in constants["codes"]:
            codes = column.cat.categories.map(constants["codes"][name])
            made[:, place] = np.append(codes.fillna(-1), -1)[column.cat.codes]
        else:
            made[:, place] = column.fillna(constants["fill"][name])
    return made


def predictions(flights: pd.DataFrame, scores: np.ndarray, constants: dict) -> pa.Table:
    """What is written."""
    found = flights[KEY].assign(
        score=scores.astype("float32"),
        **{"class": (scores >= 0.5).astype("int8"), "model_version": constants["version"]},
    )
    return pa.Table.from_pandas(found, preserve_index=False)


def score(
    source: Path, target: Path, model: Path, rows: int | None, engine: str, threads: int
) -> dict[str, float]:
    """Score a file; tells the seconds of each part."""
    times, seen, written = Times(), Seen(), None
    booster = lightgbm.Booster(model_file=model / MODEL)
    constants = json.loads((model / CONSTANTS).read_text())
    found, count = chunks(source, rows, engine), 0
    while True:
        with times.of("read"):
            flights = next(found, None)
        if flights is None:
            break
        with times.of("clean"):
            flights = clean(flights)
            flights = flights.drop_duplicates(KEY)
            flights = flights if rows is None else seen.first(flights)
        with times.of("features"):
            inputs = features(flights, constants)
        with times.of("infer"):
            scores = booster.predict(inputs, num_threads=threads)
        with times.of("write"):
            table = predictions(flights, scores, constants)
            written = written or pq.ParquetWriter(target, table.schema)
            written.write_table(table.cast(written.schema))
            count += len(flights)
    with times.of("write"):
        written.close()
    return {**times.seconds, "rows": count}


def main() -> None:
    """Score a file, and say in JSON how long each part took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="CSV file")
    parser.add_argument("target", type=Path, help="Parquet file")
    parser.add_argument("model", type=Path, help=f"folder with {MODEL} and {CONSTANTS}")
    parser.add_argument("--chunk", type=int, help="rows; all at once without")
    parser.add_argument("--engine", default="c", choices=["c", "pyarrow"])
    parser.add_argument("--threads", type=int, default=0, help="of LightGBM; 0: all cores")
    asked = parser.parse_args()
    print(json.dumps(score(*vars(asked).values())))


if __name__ == "__main__":
    main()
