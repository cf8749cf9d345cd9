"""Writes accepted rows as Parquet parts, and rejected rows as JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import polars as pl

from flagfall.lake.output import part_name
from flagfall.lake.records import Part
from flagfall.landing.limits import Limits
from flagfall.rows.casting import text_of
from flagfall.rows.rules import REASONS, ROW
from flagfall.rows.source import CLIP, Block, Places, size_of

PART_ROWS = 250_000
"""Most rows of a part."""

PART_BYTES = 64 << 20
"""A part ends when its rows have this many bytes."""

ROWS_FILE = "rows.jsonl"

_BLOCK, _AT = "block", "at"

OTHER_REASONS = "other reasons"
"""Counts rows with further reasons, once there are ``limits.reasons`` different ones."""


class Parts:
    """Writes rows as they come to ``part-00000.parquet`` and so on, the same bytes every time.

    While a full part is written, rows of the next may come.

    Args:
        folder: The folder of the parts.
        schema: Columns of the parts.
        thread: Writes full parts.
    """

    def __init__(self, folder: Path, schema: pl.Schema, thread: Executor) -> None:
        self._folder = folder
        self.schema = schema
        self._waiting = pl.DataFrame(schema=schema)
        self._bytes = 0
        self._thread = thread
        self._writing: Future[None] | None = None
        self.parts: list[Part] = []
        self.files: list[Path] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows, and write the parts that are full."""
        self._waiting.vstack(rows, in_place=True)
        self._bytes += size_of(rows)
        while self._waiting.height >= PART_ROWS:
            self._write_aside(PART_ROWS)
        if self._bytes >= PART_BYTES:
            self._write_aside(self._waiting.height)

    def finish(self) -> None:
        """Write the last part."""
        self._wait()
        if self._waiting.height:
            write_rows(*self._taken(self._waiting.height))

    def _write_aside(self, count: int) -> None:
        self._wait()
        self._writing = self._thread.submit(write_rows, *self._taken(count))

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _taken(self, count: int) -> tuple[pl.DataFrame, Path]:
        """The next part, and where it is written."""
        path = self._folder / part_name(len(self.parts))
        part, self._waiting = self._waiting.head(count), self._waiting.slice(count)
        self._bytes = size_of(self._waiting)
        self.parts.append(Part(name=path.name, rows=count))
        self.files.append(path)
        return part, path


def write_rows(part: pl.DataFrame, path: Path) -> None:
    """Write a part of staged rows."""
    part.rechunk().write_parquet(
        path,
        compression="zstd",
        compression_level=1,  # a hundredth larger than at 3, in nine tenths of the time
        statistics=True,
        row_group_size=PART_ROWS,
    )


@dataclass(frozen=True)
class Place:
    """Where rejected rows come from.

    Attributes:
        file: The data file's name.
        counted: ``line``, or ``row_number`` for Parquet.
    """

    file: str
    counted: Literal["line", "row_number"]

    @property
    def opening(self) -> str:
        """Begins an object of JSON; the number follows."""
        return f'{{"file":{json.dumps(self.file)},"{self.counted}":'


class Placed(NamedTuple):
    """A block, and where it is."""

    place: Place
    block: Block


class RejectedLines(NamedTuple):
    """Lines of ``rows.jsonl``, for the rejected rows of some blocks.

    Attributes:
        lines: In the order of the files.
        counts: Rows by reason, in the order in which reasons are counted one by one.
    """

    lines: pl.Series
    counts: Sequence[tuple[str, int]]


def rejected_lines(group: Sequence[Placed], rejected: pl.DataFrame) -> RejectedLines | None:
    """What is told of the rejected rows of some blocks; ``None`` where there are none.

    Args:
        group: The blocks.
        rejected: Of the schema ``REJECTED``: positions in the rows of all blocks, and reasons.
    """
    found = []
    if any(placed.block.broken.height for placed in group):
        found.append(_without_columns(group))
    if rejected.height:
        found.append(_with_columns(group, rejected))
    if not found:
        return None
    counted = [
        (block, kind, -n, reason)
        for kind, lines in enumerate(found)
        for block, reason, n in _counts(lines).iter_rows()
    ]
    lines = pl.concat(reversed(found)).sort(_BLOCK, _AT, maintain_order=True)
    return RejectedLines(lines["json"], [(reason, -n) for _, _, n, reason in sorted(counted)])


def _counts(lines: pl.DataFrame) -> pl.DataFrame:
    reasons = lines[[_BLOCK, REASONS]].lazy().explode(REASONS)
    return reasons.group_by(_BLOCK, REASONS).len().collect()


def _with_columns(group: Sequence[Placed], rejected: pl.DataFrame) -> pl.DataFrame:
    """Rejected rows of some blocks: number of the block, line, reasons, and the line of JSON."""
    rejected = rejected.sort(ROW)
    rows = rejected[ROW].cast(pl.Int64()).to_numpy()
    starts = np.cumsum([0, *(placed.block.rows.height for placed in group)])
    edges = np.searchsorted(rows, starts)
    found = pl.concat(
        _as_written(placed.block, rows[begin:end] - start)
        for placed, start, begin, end in zip(group, starts, edges, edges[1:], strict=False)
        if begin < end
    )
    block = pl.Series(_BLOCK, np.repeat(np.arange(len(group)), np.diff(edges)))
    return _lines(group, found.hstack([block, rejected[REASONS]]), _json(REASONS, "row"))


def _as_written(block: Block, places: Places) -> pl.DataFrame:
    """Some rows of a block: line, and the clipped text by column."""
    rows = block.written(places)
    others = [(name, dtype) for name, dtype in rows.schema.items() if dtype != pl.String()]
    rows = rows.with_columns_seq(text_of(dtype, pl.col(name)).alias(name) for name, dtype in others)
    texts = rows.select_seq(pl.struct(pl.all().str.slice(0, CLIP)).alias("row"))
    return texts.hstack([block.lines[places].alias(_AT)])


def _without_columns(group: Sequence[Placed]) -> pl.DataFrame:
    """The same of rows that have no columns; ``text`` is the line as it stands."""
    broken = pl.concat(placed.block.broken for placed in group)
    heights = [placed.block.broken.height for placed in group]
    block = pl.Series(_BLOCK, np.repeat(np.arange(len(group)), heights))
    found = broken.hstack([block]).with_columns_seq(pl.concat_list("reason").alias(REASONS))
    text = _json(REASONS).str.strip_suffix("}") + pl.lit(',"row":{},') + _json("text")
    return _lines(group, found.rename({"line": _AT}), text)


def _lines(group: Sequence[Placed], found: pl.DataFrame, rest: pl.Expr) -> pl.DataFrame:
    openings = pl.Series("opening", [placed.place.opening for placed in group])[found[_BLOCK]]
    line = pl.concat_str("opening", pl.col(_AT), pl.lit(","), rest)
    return found.hstack([openings]).select_seq(_BLOCK, _AT, REASONS, line.alias("json"))


def _json(*columns: str) -> pl.Expr:
    """The columns as an object of JSON, without the opening brace."""
    return pl.struct(*columns).struct.json_encode().str.slice(1)


class RejectedRows:
    """Writes rejected rows to ``rows.jsonl`` and counts their reasons.

    Args:
        folder: The folder of the file.
        limits: Most bytes of the file, and most reasons that are counted one by one.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._limits = limits
        self._path = folder / ROWS_FILE
        self._file: BinaryIO | None = None
        self._kept = 0
        self.rows = 0
        self.reasons: Counter[str] = Counter()

    @property
    def path(self) -> Path | None:
        """The file, or ``None`` where no row was rejected."""
        return self._path if self.rows else None

    def add(self, found: RejectedLines) -> None:
        """Add the rejected rows of some blocks."""
        self.rows += len(found.lines)
        for reason, count in found.counts:
            self._count(reason, count)
        self._write(found.lines)

    def _count(self, reason: str, count: int) -> None:
        is_known = reason in self.reasons or len(self.reasons) < self._limits.reasons
        self.reasons[reason if is_known else OTHER_REASONS] += count

    def _write(self, lines: pl.Series) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        for line in lines:
            data = f"{line}\n".encode()
            self._kept += len(data)
            if self._kept > self._limits.rejected_bytes:
                return
            self._file.write(data)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
