"""Parquet files of other writers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from flagfall.dataset import Table
from flagfall.errors import BatchInvalid
from flagfall.tables.source import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    BROKEN,
    LINE_LIMIT,
    Block,
    DataFile,
    Expansion,
    missing_columns,
)
from flagfall.tables.typed import understands

FIRST_ROWS = 1_000
"""Rows that are read first, to learn how large they are."""

_CELL_BYTES = 8


def parquet_rows(file: DataFile, table: Table) -> Iterator[Block]:
    """The rows of a file, in Parquet's own types; ``lines`` are row numbers, counted from 1.

    Rows are read by slices whose size follows from that of the rows before. Whole row groups, or
    polars' ``collect_batches``, take ten times the memory where a row group is large, and
    ``collect_batches`` ends early, without an error, where a page is damaged (polars 2.1).

    Raises:
        BatchInvalid: ``columns``, ``types``, ``expands``, ``long-line`` or ``parquet`` (damaged).
    """
    scan, rows = _open(file, table)
    expansion = Expansion(file)
    stored = file.path.stat().st_size
    expansion.add(rows * len(table.fields) * _CELL_BYTES, stored)
    offset, size = 0, FIRST_ROWS
    while offset < rows:
        with _damage(file):
            block = scan.slice(offset, size).collect(engine="streaming")
        if block.height != min(size, rows - offset):
            message = f"{file.name}: row {offset + block.height + 1} is missing; write it again"
            raise BatchInvalid("parquet", message)
        text_bytes = _check_texts(file, block, offset)
        expansion.add(text_bytes, stored)
        lines = pl.int_range(offset + 1, offset + block.height + 1, eager=True)
        yield Block(block, lines, BROKEN.to_frame())
        offset += block.height
        row_bytes = text_bytes // block.height + _CELL_BYTES * len(table.fields)
        size = max(1, min(BLOCK_ROWS, BLOCK_BYTES * 4 // row_bytes))


@contextmanager
def _damage(file: DataFile) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = f"{file.name}: cut short, damaged or not Parquet ({why}); write it again"
        raise BatchInvalid("parquet", message) from error


def _open(file: DataFile, table: Table) -> tuple[pl.LazyFrame, int]:
    with _damage(file):
        found = pl.read_parquet_schema(file.path)
    _check_types(file, table, found)
    names = [column.name for column in table.fields]
    labels = [name for name in names if isinstance(found[name], pl.Categorical | pl.Enum)]
    with _damage(file):
        scan = pl.scan_parquet(file.path, glob=False)
        rows = scan.select(pl.len()).collect().item()
    return scan.select(names).with_columns(pl.col(labels).cast(pl.String())), int(rows)


def _check_types(file: DataFile, table: Table, found: dict[str, pl.DataType]) -> None:
    names = [column.name for column in table.fields]
    if set(names) - set(found):
        raise missing_columns(file, names, list(found))
    wrong = [
        f"{column.name} is {str(found[column.name])[:60]}, expected {column.type}"
        for column in table.fields
        if not understands(column, found[column.name])
    ]
    if wrong:
        raise BatchInvalid("types", f"{file.name}: column {'; column '.join(wrong)}")


def _check_texts(file: DataFile, block: pl.DataFrame, offset: int) -> int:
    """Bytes of text in the block, none of it longer than ``LINE_LIMIT``."""
    lengths = block.select(pl.col(pl.String()).str.len_bytes())
    for column in lengths:
        longest = column.arg_max()
        if longest is not None and column[longest] > LINE_LIMIT:
            place = f"{file.name}: row {offset + longest + 1}: {column.name}"
            raise BatchInvalid("long-line", f"{place}: a text of more than {LINE_LIMIT} bytes")
    return sum(int(column.sum()) for column in lengths)
