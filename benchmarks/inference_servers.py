"""Rows a second through inference servers, beside the embedded engine: the same rows, one machine.

The servers are the tests' (``make servers``): MLServer and NVIDIA's Triton, each with
the shipped model on one thread of onnxruntime, on loopback.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from table import Column, Table, found

from flagfall.dataset.loader import find_dataset
from flagfall.dataset.model import Server
from flagfall.scoring.engines import Engine
from flagfall.scoring.engines.open_inference import OpenInferenceEngine
from flagfall.scoring.engines.outputs import Floats
from flagfall.scoring.features import Constants, feature_expressions
from flagfall.scoring.model import open_model, scorer_of
from flagfall.stages.infer import BATCH_ROWS
from sandbox.flights import all_flights

sys.path.append(str(Path(__file__).parents[1]))
from tests.servers import SERVERS

DATASET = find_dataset("flights")
MODEL = Path(scorer_of(DATASET).path)
CONSTANTS = Constants.read(str(MODEL))
NAMES = {"mlserver": "MLServer", "triton": "Triton"}


def features(rows: int) -> pl.DataFrame:
    """Inputs of the model: the year's flights, again and again if more are wanted."""
    flights = all_flights().drop_nulls("tailnum")
    made = flights.select(feature_expressions(DATASET, CONSTANTS))
    return pl.concat([made] * -(-rows // made.height)).head(rows).rechunk()


@contextmanager
def served(server: str, as_json: bool) -> Iterator[Engine]:
    """A running server; ``as_json`` has it spoken to so even where it announces binary tensors."""
    with TemporaryDirectory() as home, SERVERS[server](Path(home), MODEL) as url:
        settings = Server(url=url, rows=BATCH_ROWS)
        engine = OpenInferenceEngine(DATASET.name, MODEL.name, settings)
        engine.binary = engine.binary and not as_json
        yield engine


def scores(engine: Engine, rows: pl.DataFrame, at_once: int) -> Floats:
    """As the stage does: a batch of rows after the other."""
    return np.concatenate([engine.predict(part).scores for part in rows.iter_slices(at_once)])


def seconds(run: Callable[[], object], rounds: int) -> list[float]:
    """What it took, each round; one before is not counted."""
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return taken[1:]


def measured(what: str, engine: Engine, rows: pl.DataFrame, rounds: int) -> tuple[str | float, ...]:
    """A row of the table. Small requests are tried on a tenth of the rows."""
    large = seconds(lambda: scores(engine, rows, BATCH_ROWS), rounds)
    some = rows[: len(rows) // 10]
    small = seconds(lambda: scores(engine, some, 100), rounds)
    rates = [len(rows) / taken for taken in large]
    return what, median(rates), min(rates), max(rates), len(some) / median(small)


def main() -> None:
    """Measure all, and see that all give the same scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows = features(given.rows)
    embedded = open_model(DATASET).engine
    expected = scores(embedded, rows, BATCH_ROWS)
    lines = [measured("embedded, onnxruntime", embedded, rows, given.rounds)]
    for server, as_json in (("mlserver", True), ("triton", True), ("triton", False)):
        with served(server, as_json) as engine:
            assert np.array_equal(scores(engine, rows, BATCH_ROWS), expected), server
            what = f"{NAMES[server]}, {'JSON' if as_json else 'binary tensors'}"
            lines.append(measured(what, engine, rows, given.rounds))
    columns = (
        Column("engine"),
        Column("rows/s", ",.0f"),
        Column("slowest, rows/s", ",.0f"),
        Column("fastest, rows/s", ",.0f"),
        Column("rows/s, 100 at once", ",.0f"),
    )
    found(Table("inference_servers", columns, tuple(lines)))


if __name__ == "__main__":
    main()
