"""JSON lines: one object per line, each value plain."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from types import NoneType
from typing import Any

import polars as pl
from pydantic_core import from_json

from flagfall.dataset.dialect import Dialect
from flagfall.dataset.table import Column, Table
from flagfall.rows.casting import FLOAT_DIGITS
from flagfall.rows.source import (
    BLOCK_ROWS,
    BROKEN,
    CLIP,
    COLUMNS_SHOWN,
    Block,
    Bounds,
    DataFile,
    Lines,
    line_blocks,
    missing_columns,
    too_long,
)


def json_rows(file: DataFile, table: Table, dialect: Dialect, bounds: Bounds) -> Iterator[Block]:
    """The rows of a file, as text or plain numbers; the same rules hold as for CSV.

    A key that a row lacks is a missing value, since some writers leave nulls out. A whole float is
    an integer, unless it is so large that it may stand for several; a number is not a string.

    Raises:
        BatchInvalid: ``columns`` where a column is in no row, or as ``line_blocks`` does.
    """
    reader = _Reader(file, table, bounds)
    for lines in line_blocks(file, bounds, dialect.of_json()):
        yield from reader.blocks(lines)
    reader.finish()


_Broken = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class _Object:
    line: int
    text: bytes
    values: dict[str, Any]


class _Reader:
    def __init__(self, file: DataFile, table: Table, bounds: Bounds) -> None:
        self._file = file
        self._table = table
        self._limits = bounds.limits
        self._unexpected = bounds.unexpected
        self._types = {column.name: column.type for column in table.fields}
        self._columns = {column.name: column for column in table.fields}
        self._found: set[str] = set()
        self._needed = [name for name in table.needed if name not in file.constants]
        self._never_seen = set(self._needed)
        self._any_rows = False

    def blocks(self, lines: Lines) -> Iterator[Block]:
        texts = lines.data.split(b"\n")
        for first in range(0, len(texts), BLOCK_ROWS):
            yield self._block(texts[first : first + BLOCK_ROWS], lines.line + first)

    def finish(self) -> None:
        """Raise if a column is in no row."""
        if self._any_rows and self._never_seen:
            raise missing_columns(self._file, self._needed, sorted(self._found))

    def _block(self, texts: Sequence[bytes], first_line: int) -> Block:
        objects, broken = self._objects(texts, first_line)
        faults: dict[int, str] = {}
        rows = pl.DataFrame(
            {name: self._column(name, self._values(name, objects), faults) for name in self._types}
        )
        lines = pl.Series([row.line for row in objects], dtype=pl.Int64)
        if faults:
            good = ~pl.int_range(len(objects), eager=True).is_in(list(faults))
            rows, lines = rows.filter(good), lines.filter(good)
            broken += [
                self._broken(objects[index].line, reason, objects[index].text)
                for index, reason in faults.items()
            ]
        return Block(rows, lines, pl.DataFrame(broken, schema=BROKEN, orient="row"))

    def _objects(
        self, texts: Sequence[bytes], first_line: int
    ) -> tuple[list[_Object], list[_Broken]]:
        objects: list[_Object] = []
        broken: list[_Broken] = []
        for line, text in enumerate(texts, start=first_line):
            if len(text) > self._limits.row_bytes:
                raise too_long(self._file, line, self._limits)
            if not text.strip():
                continue
            values = _object(text, self._types)
            if isinstance(values, str):
                broken.append(self._broken(line, values, text))
            else:
                objects.append(_Object(line, text, values))
                self._note(values)
        return objects, broken

    def _values(self, name: str, objects: Sequence[_Object]) -> list[Any]:
        absent = self._file.constants.get(name)
        values = [row.values.get(name, absent) for row in objects]
        if self._types[name] != "integer" or float not in set(map(type, values)):
            return values
        point = "," if self._columns[name].group_char == "." else "."
        return [
            _whole(name, row, point) if isinstance(value, float) else value
            for row, value in zip(objects, values, strict=True)
        ]

    def _column(self, name: str, values: list[Any], faults: dict[int, str]) -> pl.Series:
        wanted = self._types[name]
        if wanted in ("integer", "number") and (numbers := _numbers(wanted, values)) is not None:
            return numbers
        return _column(name, wanted, _in_words(self._columns[name], values), faults)

    def _note(self, values: Mapping[str, Any]) -> None:
        self._any_rows = True
        if self._never_seen:
            self._never_seen.difference_update(values)
        if not values.keys() <= self._types.keys():
            more = (name for name in values if name not in self._types)
            self._unexpected.add(self._file.name, self._table, more)
        if len(self._found) <= COLUMNS_SHOWN:
            self._found.update(values)

    def _broken(self, line: int, reason: str, text: bytes) -> _Broken:
        most = CLIP * len(self._types)
        return line, reason, text[: 4 * most].decode(errors="ignore")[:most]


_KEY = re.compile(rb'"[ \t\r]*:')
"""Every key ends so, and perhaps some more texts."""


def _object(text: bytes, wanted: Iterable[str]) -> dict[str, Any] | str:
    """The object, or the reason why there is none."""
    try:
        values = from_json(text, allow_inf_nan=False)
    except ValueError:
        return "row: not JSON"
    if not isinstance(values, dict):
        return "row: not a JSON object"
    if _may_have_more_keys(text, len(values)) and (twice := _found_twice(text, wanted)):
        return f"row: the key {twice!r} stands twice"
    return values


def _may_have_more_keys(text: bytes, keys: int) -> bool:
    return text.count(b":") > keys and len(_KEY.findall(text)) > keys


def _found_twice(text: bytes, wanted: Iterable[str]) -> str | None:
    """The first of the wanted keys that an object has twice; a parser takes the last."""
    pairs = json.loads(text, object_pairs_hook=list, parse_int=str)
    found = Counter(key for key, _ in pairs)
    return next((name for name in wanted if found[name] > 1), None)


_DIGITS = bytes.maketrans(b"123456789.E", b"0000000000e")
_MANY_DIGITS = b"0" * 17
_EXACT = 2 ** FLOAT_DIGITS[pl.Float64()]


def _whole(name: str, row: _Object, point: str) -> int | str:
    """A float as the integer that it certainly is, or as text with a point that parts no groups."""
    value: float = row.values[name]
    text = str(value)
    if _may_be_rounded(row.text.translate(_DIGITS)):
        text = json.loads(row.text, parse_float=str, parse_int=str)[name]
    exact = Decimal(text, Context(traps=[]))
    is_whole = value.is_integer() and abs(value) < _EXACT and exact == value
    return int(value) if is_whole else text.replace(".", point)


def _may_be_rounded(digits: bytes) -> bool:
    """Whether there is a number of so many digits that a parser may round it to an integer."""
    return _MANY_DIGITS in digits or b"e-" in digits


def _in_words(column: Column, values: list[Any]) -> list[Any]:
    """Floats of a number and booleans as the column has them in text files."""
    if column.type == "number" and column.decimal_char != ".":
        point = column.decimal_char
        return [str(v).replace(".", point) if isinstance(v, float) else v for v in values]
    if column.type == "boolean":
        words = {True: column.true_values[0], False: column.false_values[0]}
        return [words[v] if isinstance(v, bool) else v for v in values]
    return values


def _column(name: str, wanted: str, values: list[Any], faults: dict[int, str]) -> pl.Series:
    """A column as text; ``faults`` gets rows with a value that has no text form."""
    if set(map(type, values)) <= {str, NoneType}:
        return pl.Series(values, dtype=pl.String)
    texts: list[str | None] = []
    for index, value in enumerate(values):
        texts.append(None)
        if isinstance(value, dict | list):
            faults.setdefault(index, f"{name}: an object or a list")
        elif wanted == "string" and not isinstance(value, str | None):
            faults.setdefault(index, f"{name}: not a string")
        elif value is not None:
            texts[-1] = _text(value)
    return pl.Series(texts, dtype=pl.String)


def _numbers(wanted: str, values: list[Any]) -> pl.Series | None:
    """A column of plain numbers; casting text to numbers would be slower."""
    kinds = set(map(type, values)) - {NoneType}
    if kinds == {int}:
        return _series(values, pl.Int64())
    if wanted == "number" and kinds and kinds <= {int, float}:
        return _series(values, pl.Float64())
    return None


def _series(values: list[Any], dtype: pl.DataType) -> pl.Series | None:
    try:
        return pl.Series(values, dtype=dtype)
    except (TypeError, OverflowError):  # an integer of more than 64 bits
        return None


def _text(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
