"""Columns from whole rows of CSV: numbers as such where that is certain, everything else as text.

polars reads a number from a file as fast as a text, and to make numbers of texts takes longer than
that. Its reader takes what ``casting`` takes, for the same number, and blanks before it, too. So
rows with such blanks are read as text; and so are rows with a value that is no number, since a
reason is to say which. What a block is read as follows from it and the first, never from which
thread came first: a file that is read again has the same blocks.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from functools import lru_cache

import polars as pl

from flagfall.dataset.table import Column, Table

_NUMBERS: dict[str, pl.DataType] = {"integer": pl.Int64(), "number": pl.Float64()}
_BLANKS = " \t"
"""What polars skips before a number."""


class CsvColumns:
    """Reads the columns of a file. One is always text, so that a header within it is seen.

    Args:
        table: The dataset's columns.
        places: Where they are in the file, by name.
        header: Names of all columns of the file.
        separator: Between fields.
    """

    def __init__(
        self, table: Table, places: Mapping[str, int], header: Sequence[str], separator: str
    ) -> None:
        self._places = places
        self._width = len(header)
        self._separator = separator
        self._missing = list(table.missing_values)
        plain = {c.name: _NUMBERS[c.type] for c in table.fields if _is_plain_number(c)}
        text = next((name for name in places if name not in plain), next(iter(places)))
        may_be_a_row = _may_be_a_row(tuple(header), tuple(self._missing))
        is_certain = "" in self._missing and not may_be_a_row
        names = [name for name in places if name in plain and name != text]
        self._numbers = {name: plain[name] for name in names if is_certain}
        self._is_first = True

    def read(self, rows: bytes) -> pl.DataFrame:
        """Columns, numbers among them where all values of these rows are such or missing.

        The first call is made alone; the others may come from several threads.

        Raises:
            PolarsError: These are no rows.
        """
        is_first, self._is_first = self._is_first, False
        if not rows or not self._numbers or self._has_blanks(rows):
            return self.texts(rows)
        try:
            return self._read(rows, self._numbers, self._missing)
        except pl.exceptions.PolarsError:
            texts = self.texts(rows)
            if is_first:
                self._distrust(texts)
            return texts

    def texts(self, rows: bytes) -> pl.DataFrame:
        """The same columns, all as text.

        Raises:
            PolarsError: These are no rows.
        """
        return self._read(rows, {}, None)

    def _has_blanks(self, rows: bytes) -> bool:
        """Whether a field may begin with a blank."""
        found = [blank for blank in _BLANKS if blank != self._separator and blank.encode() in rows]
        before = (self._separator, "\n", '"')
        return rows.startswith(tuple(blank.encode() for blank in found)) or any(
            (one + blank).encode() in rows for blank in found for one in before
        )

    def _distrust(self, texts: pl.DataFrame) -> None:
        """Read a column as text from now on if a value of it is no number."""
        given = texts.with_columns(pl.when(~pl.all().is_in(self._missing)).then(pl.all()))
        bad = [name for name, dtype in self._numbers.items() if _no_number_in(given[name], dtype)]
        self._numbers = {
            name: dtype for name, dtype in self._numbers.items() if bad and name not in bad
        }

    def _read(
        self, rows: bytes, numbers: Mapping[str, pl.DataType], missing: list[str] | None
    ) -> pl.DataFrame:
        schema: dict[str, pl.DataType] = {str(place): pl.String() for place in range(self._width)}
        schema |= {str(self._places[name]): dtype for name, dtype in numbers.items()}
        read = pl.read_csv(
            # Without a mark, polars takes what begins with "x^" for compressed data.
            codecs.BOM_UTF8 + rows,
            has_header=False,
            schema=schema,
            columns=sorted(self._places.values()),
            separator=self._separator,
            quote_char='"' if b'"' in rows else None,
            null_values=missing,
            empty_string_is_null=False,
        )
        found = read[[str(place) for place in self._places.values()]]
        found.columns = list(self._places)
        return found


@lru_cache
def _may_be_a_row(header: tuple[str, ...], missing: tuple[str, ...]) -> bool:
    """Whether a header again may pass for one: two of its names are numbers, or missing."""
    names = pl.Series(header, dtype=pl.String())
    numbers = names.cast(pl.Float64(), strict=False).is_not_null()
    return int((numbers | names.is_in(missing)).sum()) > 1


def _is_plain_number(column: Column) -> bool:
    return column.type in _NUMBERS and (column.decimal_char, column.group_char or "") == (".", "")


def _no_number_in(texts: pl.Series, dtype: pl.DataType) -> bool:
    return texts.cast(dtype, strict=False).null_count() > texts.null_count()
