"""Checks all files of a batch; the package's docstring shows the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from flagfall.concurrency import cache_last, in_order, thread_count
from flagfall.dataset.columns import staged_schema
from flagfall.dataset.schema import SOURCE, Dataset
from flagfall.dataset.table import Table
from flagfall.errors import BatchInvalid
from flagfall.lake.records import Part
from flagfall.landing.file_names import UNDERSTOOD, DataFormat, data_format, folder_values
from flagfall.rows.batch_rules import BatchRules
from flagfall.rows.csv_rows import csv_rows
from flagfall.rows.json_rows import json_rows
from flagfall.rows.output import (
    Parts,
    Place,
    Placed,
    RejectedLines,
    RejectedRows,
    rejected_lines,
)
from flagfall.rows.parquet_rows import check_parquet, parquet_rows
from flagfall.rows.repeated_keys import Flags, Hashed, KeyLog, find_repeats
from flagfall.rows.rules import REASONS, REJECTED, ROW, RowRules, Sifted
from flagfall.rows.source import Block, Bounds, DataFile, is_empty

REPEATED = "primaryKey: repeats an earlier row"

GROUP_ROWS = 5_000
GROUP_BYTES = 1 << 20
"""Blocks of no more rows are checked together, up to this size."""

_SCRATCH = "keys.log"
_rules = cache_last(RowRules)


@dataclass(frozen=True)
class Checked:
    """The accepted and the rejected rows of a batch.

    Attributes:
        parts: Typed rows in Parquet, of at most ``PART_ROWS`` each; none for a batch without rows.
        files: The same, as local paths.
        rejected: One JSON object per rejected row, with ``file``; ``line``, counted from 1 with the
            header, or for Parquet ``row_number``; ``reasons``; ``row``, the text by column, each
            clipped to 200 characters. A row that could not be split into columns has an empty
            ``row``, and its line in ``text``. ``None`` where no row is rejected. After
            ``limits.rejected_bytes`` of them, further rows are only counted.
        rows: Rows in ``parts``.
        rejected_rows: Rows that are rejected.
        reasons: Rejected rows by reason, most frequent first; a row may have several. Beyond
            ``limits.reasons`` different ones, they are counted together as ``OTHER_REASONS``.
        warnings: Rows by what is remarkable about them, although they are accepted.
        unexpected: Columns of the files that the dataset does not name (see ``Unexpected``).
        refusal: Why the batch is to be rejected although its files can be read; ``None`` if not.
    """

    parts: tuple[Part, ...]
    files: tuple[Path, ...]
    rejected: Path | None
    rows: int
    rejected_rows: int
    reasons: dict[str, int]
    warnings: dict[str, int]
    unexpected: tuple[str, ...]
    refusal: BatchInvalid | None


def check_files(files: Sequence[DataFile], dataset: Dataset, folder: Path) -> Checked:
    """Read the data files of a batch, and accept the rows that fit the dataset's columns.

    The same files in the same order give the same bytes. If a key repeats in another block (of
    about 40,000 rows), the files are read a second time to reject the repeats.

    Args:
        files: All files of the batch; the name of each says its format, or ``landing.format`` does.
            ``name=value`` folders are columns that the file need not have.
        dataset: Its ``table`` says what is checked.
        folder: Parts and ``rows.jsonl`` are written here. After an error they are incomplete.

    Raises:
        BatchInvalid: A file cannot be read reliably; the message names the file, and the line
            if it is known. Reasons: ``format``, ``columns``, ``empty``, ``encoding``,
            ``nul-byte``, ``gzip``, ``quoting``, ``open-quote``, ``long-line``, ``expands``,
            ``parquet``, ``types``, ``rule`` (one cannot be computed).
        DatasetInvalid: A column's format or constraints, or a rule cannot be used.
    """
    files = [_with_constants(file, dataset.table) for file in _not_empty(files, dataset)]
    formats = [_format(file, dataset) for file in files]
    named = list(zip(files, formats, strict=True))
    readers = [_reader(file, kind, dataset) for file, kind in named]
    batch = _Batch(dataset, _rules(dataset), readers)
    parquet = [file for file, kind in named if kind == "parquet"]
    check_parquet(parquet, dataset.table, dataset.limits)
    checked = batch.check(folder)
    repeats = batch.find_repeats(checked, folder)
    if repeats is not None:
        for path in (*checked.files, *filter(None, [checked.rejected])):
            path.unlink()
        checked = batch.check(folder, repeats)
    for path in folder.glob("keys.*"):
        path.unlink()
    return checked


def _not_empty(files: Sequence[DataFile], dataset: Dataset) -> list[DataFile]:
    """Files that are read: all, unless the dataset takes those without a byte as without rows."""
    if dataset.landing.empty_files == "reject":
        return list(files)
    texts = ("csv", "tsv", "jsonl")
    return [f for f in files if not (_format(f, dataset) in texts and is_empty(f))]


def check_copies(files: Sequence[DataFile], digests: Sequence[str], dataset: Dataset) -> None:
    """Refuse rows that a batch has twice, in two files with the same bytes.

    Files without rows may well be the same, and so may files whose folders are columns.

    Args:
        files: Those that ``check_files`` has read.
        digests: Of each.
        dataset: Their dataset.

    Raises:
        BatchInvalid: ``same-content``.
    """
    seen: dict[tuple[str, frozenset[tuple[str, str | None]]], DataFile] = {}
    digest_of = dict(zip((file.name for file in files), digests, strict=True))
    for file in _not_empty(files, dataset):
        digest = digest_of[file.name]
        constants = _with_constants(file, dataset.table).constants
        first = seen.setdefault((digest, frozenset(constants.items())), file)
        if first is not file and _has_rows(file, dataset):
            why = f"{first.name} and {file.name} have the same bytes: their rows would count twice"
            raise BatchInvalid("same-content", f"{why}; write them once, then the marker again")


def _has_rows(file: DataFile, dataset: Dataset) -> bool:
    return any(block.rows.height or block.broken.height for block in blocks_of(file, dataset))


def blocks_of(file: DataFile, dataset: Dataset) -> Iterator[Block]:
    """The rows of one file as ``check_files`` reads them; a damaged Parquet file is not kept apart.

    Raises:
        BatchInvalid: As ``check_files`` does.
    """
    completed = _with_constants(file, dataset.table)
    reader = _reader(completed, _format(file, dataset), dataset)
    return reader.blocks(Bounds(dataset.limits))


@dataclass(frozen=True)
class _Reader:
    place: Place
    blocks: Callable[[Bounds], Iterator[Block]]


def _with_constants(file: DataFile, table: Table) -> DataFile:
    columns = {column.name for column in table.fields}
    return replace(file, constants=folder_values(file.name, columns))


def _format(file: DataFile, dataset: Dataset) -> DataFormat:
    if found := data_format(file.name, dataset.landing.format):
        return found
    why = f"{file.name}: format not known; understood are {UNDERSTOOD}"
    raise BatchInvalid("format", f"{why}; landing.format says what files without an ending are")


def _reader(file: DataFile, kind: DataFormat, dataset: Dataset) -> _Reader:
    table, dialect = dataset.table, dataset.dialect
    if kind == "parquet":
        return _Reader(Place(file.name, "row_number"), partial(parquet_rows, file, table))
    if kind == "jsonl":
        return _Reader(Place(file.name, "line"), partial(json_rows, file, table, dialect))
    spoken = dialect.of_tsv() if kind == "tsv" else dialect
    return _Reader(Place(file.name, "line"), partial(csv_rows, file, table, spoken))


class _Judged(NamedTuple):
    """Some blocks, after all that can be said of them without the blocks before.

    Attributes:
        sifted: Their rows.
        keys: Of the accepted ones.
        lines: Of the rejected ones.
    """

    group: Sequence[Placed]
    sifted: Sifted
    keys: Hashed | None
    lines: RejectedLines | None


@dataclass(frozen=True)
class _Batch:
    dataset: Dataset
    rules: RowRules
    readers: Sequence[_Reader]

    def check(self, folder: Path, repeats: Flags | None = None) -> Checked:
        bounds = Bounds(self.dataset.limits)
        whole = BatchRules(self.dataset)
        with (
            ThreadPoolExecutor(max_workers=1) as writer,
            closing(RejectedRows(folder, self.dataset.limits)) as rejected,
            closing(KeyLog(self.rules.key, folder / _SCRATCH, repeats)) as keys,
        ):
            parts = Parts(folder, staged_schema(self.dataset), writer)
            for judged in in_order(
                partial(self._judge, keys), _grouped(_ahead(self._blocks(bounds))), thread_count()
            ):
                kept = self._take(judged, keys, parts, rejected)
                whole.add(kept, partial(_place, judged.group))
            keys.finish()
            parts.finish()
        rows = sum(part.rows for part in parts.parts)
        findings = whole.findings(rows + rejected.rows)
        return Checked(
            parts=tuple(parts.parts),
            files=tuple(parts.files),
            rejected=rejected.path,
            rows=rows,
            rejected_rows=rejected.rows,
            reasons=dict(sorted(rejected.reasons.items(), key=lambda item: (-item[1], item[0]))),
            warnings={one.text: one.rows for one in findings if one.severity == "warn"},
            unexpected=bounds.unexpected.names,
            refusal=next((one.refusal for one in findings if one.severity == "reject"), None),
        )

    def _blocks(self, bounds: Bounds) -> Iterator[Placed]:
        for reader in self.readers:
            for block in reader.blocks(bounds):
                yield Placed(reader.place, block)

    def _judge(self, keys: KeyLog, group: Sequence[Placed]) -> _Judged:
        sifted = self.rules.split(pl.concat(placed.block.rows for placed in group))
        lines = rejected_lines(group, sifted.rejected)
        return _Judged(group, sifted, keys.hashed(sifted.accepted), lines)

    def _take(
        self, judged: _Judged, keys: KeyLog, parts: Parts, rejected: RejectedRows
    ) -> pl.DataFrame:
        """Write rows, and return the accepted ones."""
        group, sifted, hashed, lines = judged
        kept, repeated = keys.split(sifted.accepted, hashed)
        parts.add(_with_source(self.rules.values(kept), group, kept[ROW], parts.schema))
        if repeated.height:
            reasons = pl.lit([REPEATED], REJECTED[REASONS]).alias(REASONS)
            bad = pl.concat([sifted.rejected, repeated.select(ROW, reasons)])
            lines = rejected_lines(group, bad)
        if lines is not None:
            rejected.add(lines)
        return kept

    def find_repeats(self, checked: Checked, folder: Path) -> Flags | None:
        key = self.dataset.table.primary_key
        rows = [part.rows for part in checked.parts]
        return find_repeats(folder / _SCRATCH, checked.files, rows, key) if key else None


def _with_source(
    rows: pl.DataFrame, group: Sequence[Placed], positions: pl.Series, schema: pl.Schema
) -> pl.DataFrame:
    """The rows, with file and line where the schema adds these; ``positions`` as in ``_place``."""
    if rows.width == len(schema):
        return rows
    every = pl.concat(
        pl.DataFrame({SOURCE[1]: placed.block.lines}).select(
            pl.lit(placed.place.file).alias(SOURCE[0]), pl.col(SOURCE[1]).cast(pl.Int64())
        )
        for placed in group
    )
    return rows.hstack(every[positions])


def _place(group: Sequence[Placed], row: int) -> str:
    """File and line of a row, by its position in the rows of some blocks."""
    for placed in group:
        if row < placed.block.rows.height:
            counted = placed.place.counted.removesuffix("_number")
            return f"{placed.place.file}: {counted} {placed.block.lines[row]}"
        row -= placed.block.rows.height
    raise IndexError(f"row {row} is beyond the last block")


def _ahead(blocks: Iterator[Placed]) -> Iterator[Placed]:
    """The same blocks; while a large one is checked, a thread reads the next."""
    for block in blocks:
        if _size_if_small(block.block) >= GROUP_BYTES:
            yield from _threaded(block, blocks)
        else:
            yield block  # starting a thread takes longer than reading a small block


def _threaded(block: Placed | None, blocks: Iterator[Placed]) -> Iterator[Placed]:
    with ThreadPoolExecutor(max_workers=1) as thread:
        while block is not None:
            coming = thread.submit(next, blocks, None)
            yield block
            block = coming.result()


def _grouped(blocks: Iterator[Placed]) -> Iterator[list[Placed]]:
    """Group small blocks: each check takes about 10 ms, even for a few rows."""
    group: list[Placed] = []
    total = 0
    for placed in blocks:
        rows, size = placed.block.rows, _size_if_small(placed.block)
        if group and (total + size > GROUP_BYTES or rows.schema != group[0].block.rows.schema):
            yield group
            group, total = [], 0
        group.append(placed)
        total += size
    if group:
        yield group


def _size_if_small(block: Block) -> int:
    if block.rows.height + block.broken.height > GROUP_ROWS:
        return GROUP_BYTES
    return block.size
