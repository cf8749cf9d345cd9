"""Reads Parquet files of other writers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from flagfall.dataset.table import Column, Table
from flagfall.errors import BatchInvalid
from flagfall.lake.parquet import scan_parquet
from flagfall.landing.limits import Limits
from flagfall.rows.casting import can_cast
from flagfall.rows.packed import HEAD_BYTES, kind_of
from flagfall.rows.parquet_names import rename_twice
from flagfall.rows.parquet_sandbox import (
    CELL_BYTES,
    MOST_DIGITS,
    SandboxEnded,
    Slicing,
    count_rows,
    is_readable,
    read_in_sandbox,
    slices,
    text_bytes,
)
from flagfall.rows.source import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    BROKEN,
    Block,
    Bounds,
    DataFile,
    Expansion,
    may_unpack_to,
    missing_columns,
)


def check_parquet(files: Sequence[DataFile], table: Table, limits: Limits) -> None:
    """Read the files in the sandbox first, because a damaged file may end its reader.

    Args:
        files: Local copies; names of columns that nobody wants may be changed in them.
        table: The columns that are wanted.
        limits: The dataset's.

    Raises:
        BatchInvalid: ``parquet``: a file is of another kind, ends the sandbox, or takes too much
            memory or time. ``columns``: it has a wanted column twice.
    """
    if not files:
        return
    for file in files:
        _check_kind(file)
        rename_twice(file.name, file.path, [column.name for column in table.fields])
    sizes = [file.path.stat().st_size for file in files]
    most = [
        (str(file.path), min(limits.batch_bytes, may_unpack_to(limits, size)))
        for file, size in zip(files, sizes, strict=True)
    ]
    try:
        read_in_sandbox(most, _slicing(table), limits.parquet_memory)
    except SandboxEnded as ended:
        why = f"{files[ended.number].name}: damaged, or its pages are too large ({ended})"
        message = f"{why}; write it again, with smaller pages (limits.parquet_memory)"
        raise BatchInvalid("parquet", message) from ended


def _check_kind(file: DataFile) -> None:
    with file.path.open("rb") as stored:
        kind = kind_of(stored.read(HEAD_BYTES))
    if kind not in (None, "Parquet"):
        message = f"{file.name}: {kind} data, not Parquet that can be read; write plain Parquet"
        raise BatchInvalid("parquet", message)


def parquet_rows(file: DataFile, table: Table, bounds: Bounds) -> Iterator[Block]:
    """The rows of a file, in Parquet's own types; ``lines`` are row numbers, counted from 1.

    Raises:
        BatchInvalid: ``columns``, ``types``, ``expands``, ``long-line`` or ``parquet`` (damaged).
    """
    path, stored = str(file.path), file.path.stat().st_size
    names = [column.name for column in table.fields]
    found = parquet_types(file)
    _check_types(file, table, found)
    bounds.unexpected.add(file.name, table, (name for name in found if name not in names))
    expansion = Expansion(file, bounds)
    first = 1
    with _damage(file):
        rows = count_rows(path)
        expansion.add(rows * len(table.fields) * CELL_BYTES, stored)
        for block in slices(path, rows, _slicing(table)):
            _check_lengths(file, block, first, bounds.limits.row_bytes)
            expansion.add(text_bytes(block), stored)
            lines = pl.int_range(first, first + block.height, eager=True)
            rows_of_all = file.completed(_labels_as_text(block), names)
            yield Block(rows_of_all, lines, BROKEN.to_frame())
            first += block.height


def parquet_types(file: DataFile) -> dict[str, pl.DataType]:
    """The types of a file's columns.

    Raises:
        BatchInvalid: ``parquet``: it is damaged.
    """
    with _damage(file):
        return dict(scan_parquet(file.path).collect_schema())


def _slicing(table: Table) -> Slicing:
    names = [column.name for column in table.fields]
    return Slicing(names, most_rows=BLOCK_ROWS, most_bytes=4 * BLOCK_BYTES)


def _labels_as_text(block: pl.DataFrame) -> pl.DataFrame:
    labels = [n for n, dtype in block.schema.items() if isinstance(dtype, pl.Categorical | pl.Enum)]
    return block.with_columns(pl.col(labels).cast(pl.String()))


@contextmanager
def _damage(file: DataFile) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = f"{file.name}: cut short, damaged or not Parquet that can be read ({why})"
        raise BatchInvalid("parquet", f"{message}; write it again") from error


def _check_types(file: DataFile, table: Table, found: dict[str, pl.DataType]) -> None:
    if file.lacks(table.needed, found):
        raise missing_columns(file, table.needed, list(found))
    wrong = [
        f"{column.name} is {str(found[column.name])[:60]}, expected {expected}"
        for column in table.fields
        if column.name in found and (expected := _expected(column, found[column.name]))
    ]
    if wrong:
        raise BatchInvalid("types", f"{file.name}: column {'; column '.join(wrong)}; write them so")


def _expected(column: Column, dtype: pl.DataType) -> str:
    """What a file should have, where its type does not do; else empty."""
    if not is_readable(dtype):
        return f"{column.type}, in Parquet of at most {MOST_DIGITS} digits"
    return "" if can_cast(column, dtype) else column.type


def _check_lengths(file: DataFile, block: pl.DataFrame, first: int, most: int) -> None:
    for column in block.select(pl.col(pl.String()).str.len_bytes()):
        longest = column.arg_max()
        if longest is not None and column[longest] > most:
            place = f"{file.name}: row {first + longest}: {column.name}"
            why = f"{place}: a text of more than {most} bytes (limits.row_bytes)"
            raise BatchInvalid("long-line", f"{why}; leave it out, or shorten it")
