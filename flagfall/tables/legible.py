"""Parquet files of the lake that are damaged or gone: which ones, and what brings them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from flagfall.errors import Damaged
from flagfall.lake.output import Lake
from flagfall.lake.parquet import scan_parquet
from flagfall.lake.records import Challenged, Featured, LateEvaluation, Predicted, Staged
from flagfall.stores.os_errors import disk_errors

REPLAY = "replay the batch"


@contextmanager
def legible(uri: str, remedy: str = REPLAY) -> Iterator[None]:
    """Say of rows that are damaged or gone where they are; a full disk is not their fault.

    Args:
        uri: Where they are.
        remedy: What somebody can do.

    Raises:
        Damaged: They are damaged or gone.
        StoreUnavailable: The disk is full, or cannot be read or written.
    """
    try:
        with disk_errors(uri):
            yield
    except (pl.exceptions.PolarsError, FileNotFoundError) as error:
        why = f"its rows cannot be read ({str(error).splitlines()[0]}); {remedy}"
        raise Damaged(uri, why) from error


def read_through(rows: pl.LazyFrame) -> None:
    """Read all values, and keep none."""
    rows.select(pl.all().count()).collect(engine="streaming")


def check_parts(
    lake: Lake,
    record: Staged | Featured | Predicted | Challenged | LateEvaluation,
    scratch: Path,
    remedy: str = REPLAY,
) -> None:
    """Read all rows of a record, file by file: polars does not say which one is damaged.

    Args:
        lake: Where they are.
        record: Names its files.
        scratch: Folder for local copies.
        remedy: As in ``legible``.

    Raises:
        Damaged: A file is damaged or gone.
        StoreUnavailable: The disk is full, or cannot be read or written.
    """
    uri, folder = lake.uri(type(record), record.batch_id), scratch / record.batch_id
    folder.mkdir(exist_ok=True)
    files = lake.parts(record, folder)
    for part in record.parts:
        with legible(f"{uri}/{part.name}", remedy):
            read_through(scan_parquet(next(files)))
