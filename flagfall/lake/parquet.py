"""Parquet files by name. Else polars takes ``[``, ``*`` and ``?`` in a path for a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl


def scan_parquet(files: Path | list[Path], path: str | None = None) -> pl.LazyFrame:
    """The rows of a file, or of several with the same columns.

    Args:
        files: Which.
        path: Name of a further column, with the path of each row's file; ``None`` for none.
    """
    return pl.scan_parquet(files, glob=False, include_file_paths=path)


def parquet_schema(file: Path) -> dict[str, pl.DataType]:
    """The columns of a file and their types."""
    return dict(scan_parquet(file).collect_schema())


def read_parquet(file: Path, columns: Sequence[str] = ()) -> pl.DataFrame:
    """The rows of a file; only some ``columns``, or all."""
    return pl.read_parquet(file, columns=list(columns) or None, glob=False)
