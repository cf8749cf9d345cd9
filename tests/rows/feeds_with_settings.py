"""Datasets with settings, for the tests of what a setting does to the rows."""

from __future__ import annotations

import io
from typing import Any

import polars as pl

from flagfall.dataset.schema import Dataset


def column(name: str, type_: str = "string", **settings: Any) -> dict[str, Any]:
    """A field with settings of its own, such as ``optional``."""
    return {"name": name, "type": type_, **settings}


def dataset(
    *columns: dict[str, Any], dialect: dict[str, Any] | None = None, **table: Any
) -> Dataset:
    """A dataset with these columns; ``table`` has further keys of its schema."""
    return Dataset.model_validate(
        {
            "name": "trips",
            "title": "Trips",
            "landing": {"uri": "/landing", "marker": "{day}/_SUCCESS"},
            "lake": {"uri": "/lake"},
            "schema": {"fields": list(columns), **table},
            "dialect": dialect or {},
        }
    )


def parquet(frame: pl.DataFrame) -> bytes:
    """The bytes of a Parquet file."""
    written = io.BytesIO()
    frame.write_parquet(written)
    return written.getvalue()
