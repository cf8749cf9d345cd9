"""A dataset's columns as polars has them."""

from __future__ import annotations

import polars as pl

from flagfall.dataset.model import Task
from flagfall.dataset.schema import SOURCE, Dataset


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


def key_columns(dataset: Dataset) -> tuple[str, ...]:
    """What names a row in the lake: the primary key, or where the row comes from."""
    return dataset.table.primary_key or SOURCE


def staged_schema(dataset: Dataset) -> pl.Schema:
    """Columns of staged rows: the dataset's, and ``SOURCE`` where a model needs a key."""
    if dataset.model is None or dataset.table.primary_key:
        return polars_schema(dataset)
    return pl.Schema({**polars_schema(dataset), SOURCE[0]: pl.String(), SOURCE[1]: pl.Int64()})


def polars_schema(dataset: Dataset) -> pl.Schema:
    """The dataset's columns as ingest writes them."""
    return pl.Schema({column.name: polars_type(column.type) for column in dataset.table.fields})


OUTCOME_TYPES: dict[Task, pl.DataType] = {
    "binary": pl.Boolean(),
    "multiclass": pl.String(),
    "regression": pl.Float64(),
    "anomaly": pl.Boolean(),
}
"""Of a label or an outcome, by the model's task."""
