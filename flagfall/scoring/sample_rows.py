"""Rows that a dataset allows, made from its columns' constraints: to try a model without data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from flagfall.dataset.columns import polars_type
from flagfall.dataset.schema import Dataset
from flagfall.dataset.table import Column
from flagfall.scoring.reference import CategoryBins, NumberBins, Reference

ROWS = 24

_ANY: dict[str, Callable[[int], Any]] = {
    "string": lambda row: f"text {row}",
    "boolean": lambda row: row % 2 == 0,
    "date": lambda row: date(2024, 1, 1 + row % 28),
    "datetime": lambda row: datetime(2024, 1, 1 + row % 28, row % 24),
}


def sample_rows(dataset: Dataset, reference: Reference | None = None) -> pl.DataFrame:
    """``ROWS`` rows with the ends of what each column may have, and what training rows had.

    A column that need not have a value has none in every fourth row.

    Args:
        dataset: Says what its columns may have.
        reference: What the model's training rows had; ``None``: not known.
    """
    columns = {column.name: _column(column, reference) for column in dataset.table.fields}
    needed = {*dataset.table.primary_key}
    return pl.DataFrame(
        [
            pl.Series(
                column.name, _with_gaps(columns[column.name], column, needed), strict=False
            ).cast(polars_type(column.type))
            for column in dataset.table.fields
        ]
    )


def _with_gaps(values: Sequence[Any], column: Column, needed: set[str]) -> list[Any]:
    found = [values[row % len(values)] for row in range(ROWS)]
    if column.constraints.required or column.name in needed:
        return found
    return [None if row % 4 == 3 else value for row, value in enumerate(found)]


def _column(column: Column, reference: Reference | None) -> list[Any]:
    constraints = column.constraints
    if constraints.enum is not None:
        return list(constraints.enum)
    if seen := _seen(column, reference):
        return seen
    if column.type in ("integer", "number"):
        return _numbers(column)
    ends = [end for end in (constraints.minimum, constraints.maximum) if end is not None]
    return ends or [_ANY[column.type](row) for row in range(ROWS)]


def _numbers(column: Column) -> list[Any]:
    """From one end to the other, in even steps."""
    low, high = (
        None if end is None else float(end)  # type: ignore[arg-type]  # a number's are no dates
        for end in (column.constraints.minimum, column.constraints.maximum)
    )
    start = low if low is not None else (0.0 if high is None else high - ROWS)
    end = high if high is not None else start + ROWS
    steps = [start + (end - start) * row / (ROWS - 1) for row in range(ROWS)]
    return [round(step) for step in steps] if column.type == "integer" else steps


def _seen(column: Column, reference: Reference | None) -> list[Any]:
    """Values of the training rows, where a feature is the column itself."""
    bins = reference.features.get(column.name) if reference else None
    if isinstance(bins, CategoryBins) and column.type == "string":
        return list(bins.counts)
    if isinstance(bins, NumberBins) and column.type in ("integer", "number"):
        edges = bins.edges if column.type == "number" else map(round, bins.edges)
        return list(edges)
    return []


def unknown_texts(dataset: Dataset, reference: Reference | None) -> list[str]:
    """Columns of texts of which nobody has said what they may be."""
    return [
        column.name
        for column in dataset.table.fields
        if column.type == "string"
        and column.constraints.enum is None
        and not _seen(column, reference)
    ]
