"""Writes accepted rows as Parquet parts, and rejected rows as JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
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

    Args:
        folder: The folder of the parts.
        schema: Columns of the parts.
    """

    def __init__(self, folder: Path, schema: pl.Schema) -> None:
        self._folder = folder
        self.schema = schema
        self._waiting = pl.DataFrame(schema=schema)
        self._bytes = 0
        self.parts: list[Part] = []
        self.files: list[Path] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows, and write the parts that are full."""
        self._waiting.vstack(rows, in_place=True)
        self._bytes += size_of(rows)
        while self._waiting.height >= PART_ROWS:
            self._write(PART_ROWS)
        if self._bytes >= PART_BYTES:
            self._write(self._waiting.height)

    def finish(self) -> None:
        """Write the last part."""
        self._write(self._waiting.height)

    def _write(self, count: int) -> None:
        if count == 0:
            return
        path = self._folder / part_name(len(self.parts))
        part = self._waiting.head(count).rechunk()
        part.write_parquet(path, compression="zstd", statistics=True, row_group_size=PART_ROWS)
        self._waiting = self._waiting.slice(count)
        self._bytes = size_of(self._waiting)
        self.parts.append(Part(name=path.name, rows=count))
        self.files.append(path)


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


def _rejected_lines(group: Sequence[Placed], rejected: pl.DataFrame) -> pl.DataFrame:
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
    texts = rows.select_seq(
        pl.struct(
            text_of(dtype, pl.col(name)).str.slice(0, CLIP).alias(name)
            for name, dtype in rows.schema.items()
        ).alias("row")
    )
    return texts.hstack([block.lines[places].alias(_AT)])


def _broken_lines(group: Sequence[Placed]) -> pl.DataFrame:
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

    def add(self, group: Sequence[Placed], rejected: pl.DataFrame) -> None:
        """Add the rejected rows of some blocks.

        Args:
            group: The blocks.
            rejected: Of the schema ``REJECTED``: positions in the rows of all blocks, and reasons.
        """
        found = []
        if any(placed.block.broken.height for placed in group):
            found.append(_broken_lines(group))
        if rejected.height:
            found.append(_rejected_lines(group, rejected))
        if found:
            self._add(found)

    def _add(self, found: Sequence[pl.DataFrame]) -> None:
        counted = []
        for kind, lines in enumerate(found):
            self.rows += lines.height
            reasons = lines[[_BLOCK, REASONS]].lazy().explode(REASONS)
            counts = reasons.group_by(_BLOCK, REASONS).len().collect()
            counted += [(block, kind, -n, reason) for block, reason, n in counts.iter_rows()]
        for _, _, count, reason in sorted(counted):
            self._count(reason, -count)
        self._write(pl.concat(reversed(found)).sort(_BLOCK, _AT, maintain_order=True)["json"])

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
