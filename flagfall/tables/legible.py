"""Parquet files of the lake that are damaged or gone: which ones, and what brings them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from flagfall.errors import Damaged
from flagfall.stores.os_errors import disk_errors


@contextmanager
def legible(uri: str, remedy: str = "replay the batch") -> Iterator[None]:
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
