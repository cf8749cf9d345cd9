"""Writes accepted rows as Parquet parts, and rejected rows as JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import polars as pl

from flagfall.lake.output import part_name
from flagfall.lake.records import Part
from flagfall.landing.limits import Limits
from flagfall.rows.casting import text_of
from flagfall.rows.rules import REASONS, ROW
from flagfall.rows.source import CLIP, Block, size_of

PART_ROWS = 250_000
"""Most rows of a part."""

PART_BYTES = 64 << 20
"""A part ends when its rows have this many bytes."""

ROWS_FILE = "rows.jsonl"

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

    def encode(self, block: Block, rejected: pl.DataFrame) -> pl.DataFrame:
        """The place of each rejected row, and its line of JSON."""
        rows = block.rows[rejected[ROW]]
        texts = rows.select(
            text_of(dtype, pl.col(name)).str.slice(0, CLIP).alias(name)
            for name, dtype in rows.schema.items()
        )
        place = pl.DataFrame({self.counted: block.lines[rejected[ROW]]})
        fields = place.with_columns(rejected[REASONS], texts.to_struct("row"))
        return fields.select(
            pl.col(self.counted).alias("at"), (self._opening + _json(pl.all())).alias("json")
        )

    def encode_broken(self, broken: pl.DataFrame) -> pl.DataFrame:
        """The same for rows that have no columns; ``text`` is the line as it stands."""
        reasons = pl.concat_list("reason").alias(REASONS)
        place = _json(pl.col("line").alias(self.counted), reasons).str.strip_suffix("}")
        line = pl.concat_str(self._opening, place, pl.lit(',"row":{},'), _json(pl.col("text")))
        return broken.select(pl.col("line").alias("at"), line.alias("json"))

    @property
    def _opening(self) -> pl.Expr:
        return pl.lit(f'{{"file":{json.dumps(self.file)},')


def _json(*columns: pl.Expr) -> pl.Expr:
    """The columns as an object of JSON, without the opening brace."""
    return pl.struct(*columns).struct.json_encode().str.slice(1)


class Placed(NamedTuple):
    """A block, and where it is."""

    place: Place
    block: Block


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
        if not rejected.height and not any(placed.block.broken.height for placed in group):
            return
        start = 0
        for placed in group:
            end = start + placed.block.rows.height
            own = rejected.filter(pl.col(ROW).is_between(start, end, closed="left"))
            self._add(placed, own.with_columns(pl.col(ROW) - start))
            start = end

    def _add(self, placed: Placed, rejected: pl.DataFrame) -> None:
        place, block = placed
        self.rows += rejected.height + block.broken.height
        for reasons in (block.broken["reason"], rejected[REASONS].explode()):
            found = sorted(reasons.value_counts().iter_rows(), key=lambda row: (-row[1], row[0]))
            for reason, count in found:
                self._count(reason, count)
        lines = pl.concat([place.encode(block, rejected), place.encode_broken(block.broken)])
        self._write(lines.sort("at", maintain_order=True)["json"])

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
