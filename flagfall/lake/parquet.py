"""Parquet files by name. Else polars takes ``[``, ``*`` and ``?`` in a path for a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl


def scan_parquet(files: Path | list[Path]) -> pl.LazyFrame:
    """The rows of a file, or of several with the same columns."""
    return pl.scan_parquet(files, glob=False)


def read_parquet(file: Path, columns: Sequence[str] = ()) -> pl.DataFrame:
    """The rows of a file; only some ``columns``, or all."""
    return pl.read_parquet(file, columns=list(columns) or None, glob=False)
