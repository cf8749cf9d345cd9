"""Commits a second into one Delta table, by 1 and by 4 shards, on a disk and on S3.

Each shard is a process of its own, as a task is, and commits batches of ``ROWS`` rows: one batch in
a commit, or a hundred. S3 is the tests' (moto, over HTTP, in one process): look at its requests
rather than at its times.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from unittest.mock import patch

import polars as pl
from table import Cell, Column, Table, found

from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.tables.delta import Table as DeltaTable
from flagfall.tables.delta import Taken

sys.path.append(str(Path(__file__).parents[1]))
from tests.s3 import s3_server

ROWS = 100
SHARDS = (1, 4)
BATCHES = (1, 100)
COMMITS = {"disk": {1: 100, 100: 20}, "S3": {1: 25, 100: 5}}
"""Of each shard, by batches in a commit."""
LANDED = datetime(2026, 11, 1, tzinfo=UTC)


def taken(name: str) -> Taken:
    """A batch that counts."""
    marker = Marker(f"/landing/{name}", name, "v1", LANDED, 0, {})
    receipt = Receipt(
        batch_id=marker.batch_id,
        marker=marker,
        status="accepted",
        rows=ROWS,
        turn=1,
        received_at=LANDED,
    )
    return Taken(receipt, frozenset({LANDED.date()}))


def rows(deliveries: Sequence[Taken]) -> pl.LazyFrame:
    """The rows of some batches."""
    names = pl.LazyFrame({"marker": [one.marker.key for one in deliveries]})
    numbers = pl.LazyFrame({"id": range(ROWS), "score": [n / ROWS for n in range(ROWS)]})
    carried = pl.col("marker").alias("batch"), pl.lit(LANDED.date()).alias("landed_day")
    return names.join(numbers, how="cross").with_columns(*carried)


def shard(uri: str, number: int, batches: int, commits: int) -> None:
    """Commit when told to; print how long each commit took, and when it all ended."""
    table = DeltaTable(uri)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.time()
    for commit in range(commits):
        some = [taken(f"{number}-{commit}-{batch}") for batch in range(batches)]
        start = time.monotonic()
        assert table.commit(some, rows) == batches
        print(time.monotonic() - start)
    print(began, time.time())


def measure(uri: str, shards: int, batches: int, commits: int) -> tuple[float, float, float]:
    """Seconds of it all; median and longest of a commit."""
    arguments = [str(batches), str(commits)]
    command = [sys.executable, __file__, "--shard", uri]
    running = [
        subprocess.Popen(
            [*command, str(number), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(shards)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        out, _ = process.communicate()
        assert process.returncode == 0
        said.append(out.split())
    took = [float(one) for line in said for one in line[:-2]]
    began, ended = min(float(line[-2]) for line in said), max(float(line[-1]) for line in said)
    return ended - began, median(took), max(took)


def lines(storage: str) -> list[tuple[Cell, ...]]:
    """The lines of the table of one storage."""
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(s3_server()) if storage == "S3" else None
        if server is not None:
            stack.enter_context(patch.dict(os.environ, server.environment()))
            server.make_bucket("bucket")
            root = "s3://bucket"
        lines: list[tuple[Cell, ...]] = []
        for batches in BATCHES:
            for shards in SHARDS:
                each = COMMITS[storage][batches]
                uri, commits = f"{root}/{batches}-{shards}", each * shards
                if server is not None:
                    server.requests.clear()
                seconds, usual, longest = measure(uri, shards, batches, each)
                asked = len(server.requests) / commits if server is not None else None
                rates = commits / seconds, commits * batches / seconds
                lines.append((storage, batches, shards, commits, *rates, usual, longest, asked))
        return lines


def main() -> None:
    """Measure on both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.shard:
        uri, *numbers = arguments.shard
        shard(uri, *map(int, numbers))
        return
    columns = (
        Column("storage"),
        Column("batches in a commit", ",d"),
        Column("shards", ",d"),
        Column("commits", ",d"),
        Column("commits/s", ",.1f"),
        Column("batches/s", ",.0f"),
        Column("p50, s", ".3f"),
        Column("max, s", ".3f"),
        Column("requests a commit", ",.0f"),
    )
    found(Table("commits", columns, (*lines("disk"), *lines("S3"))))


if __name__ == "__main__":
    main()
