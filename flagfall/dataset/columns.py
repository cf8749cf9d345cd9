"""A dataset's columns as polars has them."""

from __future__ import annotations

import polars as pl

from flagfall.dataset.schema import Dataset


def polars_type(column_type: str) -> pl.DataType:
    """The polars type of a Table Schema type."""
    return {
        "string": pl.String(),
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "boolean": pl.Boolean(),
        "date": pl.Date(),
        "datetime": pl.Datetime("us"),
    }[column_type]


def polars_schema(dataset: Dataset) -> pl.Schema:
    """The dataset's columns as ingest writes them."""
    return pl.Schema({column.name: polars_type(column.type) for column in dataset.table.fields})
