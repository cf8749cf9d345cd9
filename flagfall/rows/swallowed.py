"""Rows that a quote has swallowed: a field begins with one, and the next quote is rows later.

The file is valid RFC 4180, and so is a text of several lines. What is in the field shows which of
them it is: lines of the header's width, whose fields are of the columns' types.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from flagfall.dataset.table import Column, Table
from flagfall.rows.casting import cast_value

LINES_OF_TEXTS = 2
"""Where all columns are texts, a field with fewer lines that look like rows is taken for a text."""


def fields_of(text: str, separator: str) -> list[str]:
    """The fields of a row; none for one that Python's csv module cannot read."""
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error:
        return []


class RowsWithin:
    """Recognises quoted fields with whole rows in them.

    Args:
        table: The dataset's columns.
        places: Where they are in the file.
        width: Columns of the file.
        separator: Between fields.
    """

    def __init__(self, table: Table, places: Mapping[str, int], width: int, separator: str) -> None:
        self._places = places
        self._width = width
        self._separator = separator
        self._missing = list(table.missing_values)
        self._typed = [
            column for column in table.fields if column.type != "string" and column.name in places
        ]

    def are_in(self, texts: Sequence[str]) -> list[bool]:
        """Whether most lines of a record, but for its first, are rows of their own."""
        if self._width == 1:
            return [False] * len(texts)
        lines = [[line for line in text.split("\n")[1:] if line.strip()] for text in texts]
        split = [(n, self._fields(line)) for n, found in enumerate(lines) for line in found]
        likely = [(n, fields) for n, fields in split if fields is not None]
        fit = self._fit([fields for _, fields in likely])
        rows = Counter(n for (n, _), fits in zip(likely, fit, strict=True) if fits)
        least = 1 if self._typed else LINES_OF_TEXTS
        return [rows[n] >= least and 2 * rows[n] > len(found) for n, found in enumerate(lines)]

    def _fields(self, line: str) -> list[str] | None:
        if line.count(self._separator) < self._width - 1:
            return None
        fields = fields_of(line, self._separator)
        is_prose = any(field.startswith(" ") for field in fields)
        return fields if len(fields) == self._width and not is_prose else None

    def _fit(self, rows: Sequence[Sequence[str]]) -> list[bool]:
        """Whether the values are of the columns' types, and not all of them missing."""
        if not self._typed or not rows:
            return [True] * len(rows)
        texts = pl.DataFrame(
            {
                column.name: [row[self._places[column.name]] for row in rows]
                for column in self._typed
            },
            schema={column.name: pl.String() for column in self._typed},
        )
        given = [~pl.col(column.name).is_in(self._missing) for column in self._typed]
        fits = [self._fits(column) for column in self._typed]
        return (
            texts.select(pl.all_horizontal(fits) & pl.any_horizontal(given)).to_series().to_list()
        )

    def _fits(self, column: Column) -> pl.Expr:
        raw = pl.col(column.name)
        return raw.is_in(self._missing) | cast_value(column, pl.String(), raw).is_not_null()
