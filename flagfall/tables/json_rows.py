"""JSON lines: one object per line, each value plain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from pydantic_core import from_json

from flagfall.dataset import Table
from flagfall.tables.source import (
    CLIP,
    LINE_LIMIT,
    Block,
    Broken,
    DataFile,
    Lines,
    line_blocks,
    missing_columns,
    too_long,
)


def json_rows(file: DataFile, table: Table) -> Iterator[Block]:
    """The rows of a file, as text, so that the same rules hold as for CSV.

    A key that a row lacks is a missing value, since some writers leave nulls out. A whole float is
    an integer; a number is not a string.

    Raises:
        BatchInvalid: ``columns`` where a required column is in no row, or as ``line_blocks`` does.
    """
    reader = _Reader(file, table)
    for lines in line_blocks(file):
        yield reader.block(lines)
    reader.finish()


class _Reader:
    def __init__(self, file: DataFile, table: Table) -> None:
        self._file = file
        self._types = {column.name: column.type for column in table.fields}
        self._wanted = [
            column.name
            for column in table.fields
            if column.constraints.required or column.name in table.primary_key
        ]
        self._found: set[str] = set()
        self._any_rows = False

    def block(self, lines: Lines) -> Block:
        texts: list[list[str | None]] = []
        places: list[int] = []
        broken: list[Broken] = []
        for place, line in enumerate(lines.data.split(b"\n"), start=lines.line):
            if len(line) > LINE_LIMIT:
                raise too_long(self._file, place)
            if not line.strip():
                continue
            row = self._row(line)
            if isinstance(row, str):
                clipped = line.decode()[: CLIP * len(self._types)]
                broken.append(Broken(place, row, clipped))
            else:
                texts.append(row)
                places.append(place)
        schema = dict.fromkeys(self._types, pl.String())
        rows = pl.DataFrame(texts, schema=schema, orient="row")
        return Block(rows, pl.Series(places, dtype=pl.Int64), broken)

    def _row(self, line: bytes) -> list[str | None] | str:
        """The texts of a row, or why there are none."""
        try:
            row = from_json(line, allow_inf_nan=False)
        except ValueError:
            return "row: not JSON"
        if not isinstance(row, dict):
            return "row: not a JSON object"
        self._any_rows = True
        self._found.update(row)
        return self._texts(row)

    def _texts(self, row: Mapping[str, Any]) -> list[str | None] | str:
        texts: list[str | None] = []
        for name, wanted in self._types.items():
            value = row.get(name)
            if isinstance(value, dict | list):
                return f"{name}: an object or a list"
            if wanted == "string" and not isinstance(value, str | None):
                return f"{name}: not a string"
            texts.append(_text(value, whole=wanted == "integer"))
        return texts

    def finish(self) -> None:
        if self._any_rows and set(self._wanted) - self._found:
            raise missing_columns(self._file, self._wanted, sorted(self._found))


def _text(value: str | bool | float | None, whole: bool) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if whole and isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value)
