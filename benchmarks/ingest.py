"""Ingest of a CSV of 2 GB: rows a second and peak memory, in a process that does only that."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import polars as pl

from flagfall.dataset import find_dataset
from flagfall.flights import all_flights
from flagfall.inbox import Feed, Inbox
from flagfall.publish import publish
from flagfall.stages.ingest import ingest

GIGABYTE = 1_000_000_000


def write_csv(path: Path, size: int) -> int:
    """Repeat the year's flights, each time a year later so that no key repeats; gives the rows."""
    flights = all_flights().drop_nulls("tailnum")
    rows, year = 0, 0
    with path.open("wb") as file:
        while file.tell() < size:
            shifted = flights.with_columns(pl.col("date") + timedelta(days=366 * year))
            shifted.write_csv(file, null_value="NA", include_header=year == 0)
            rows, year = rows + flights.height, year + 1
    return rows


def make(folder: Path, size: int) -> None:
    """Write and publish the file."""
    source = folder / "made"
    source.mkdir()
    print(f"{write_csv(source / 'flights.csv', size):,} rows written")
    dataset = find_dataset("flights")
    publish(source, f"{dataset.landing.uri}/date=2013-01-01")
    (source / "flights.csv").unlink()


def measure() -> None:
    """Ingest it."""
    dataset = find_dataset("flights")
    inbox = Inbox(Feed.of(dataset))
    marker = inbox.landing.markers()[0]
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    receipt = ingest(dataset, inbox, marker)
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rows = receipt.rows + receipt.rejected_rows
    print(
        f"{receipt.status} {receipt.message}: {receipt.bytes / GIGABYTE:.2f} GB, {rows:,} rows in"
        f" {seconds:.1f} s ({cpu:.1f} s of CPU): {rows / seconds:,.0f} rows/s"
    )
    print(f"peak memory {after.ru_maxrss / 1024:.0f} MiB, {before.ru_maxrss / 1024:.0f} before")


def main() -> None:
    """Make the data here, ingest in a fresh process."""
    if len(sys.argv) > 1 and sys.argv[1] == "measure":
        measure()
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        os.environ["FLAGFALL_DATA"] = folder
        child = os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", _MAKE, folder)
        assert child == 0, "the data could not be made"
        os.spawnl(os.P_WAIT, sys.executable, sys.executable, __file__, "measure")


_MAKE = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from ingest import make; from pathlib import Path; make(Path(sys.argv[1]), {2 * GIGABYTE})
"""

if __name__ == "__main__":
    main()
