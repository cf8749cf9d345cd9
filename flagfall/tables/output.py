"""What is written: accepted rows as Parquet parts, rejected rows as JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import polars as pl

from flagfall.lake import part_name
from flagfall.records import Part
from flagfall.tables.rules import REASONS, ROW
from flagfall.tables.source import CLIP, Block, Broken
from flagfall.tables.typed import text_of

PART_ROWS = 250_000
"""Most rows of a part."""

PART_BYTES = 256 << 20
"""A part is closed once its rows come to this many bytes, whatever their number."""

ROWS_FILE = "rows.jsonl"


class Parts:
    """Writes rows as they come to ``part-00000.parquet`` and so on, the same bytes every time.

    Args:
        folder: Where to.
        schema: Columns of the parts.
    """

    def __init__(self, folder: Path, schema: pl.Schema) -> None:
        self._folder = folder
        self._waiting = pl.DataFrame(schema=schema)
        self._bytes = 0
        self.parts: list[Part] = []
        self.files: list[Path] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Take some rows; full parts are written."""
        self._waiting.vstack(rows, in_place=True)
        self._bytes += _size(rows)
        while self._waiting.height >= PART_ROWS:
            self._write(PART_ROWS)
        if self._bytes >= PART_BYTES:
            self._write(self._waiting.height)

    def finish(self) -> None:
        """Write what is left."""
        self._write(self._waiting.height)

    def _write(self, count: int) -> None:
        if count == 0:
            return
        path = self._folder / part_name(len(self.parts))
        part = self._waiting.head(count).rechunk()
        part.write_parquet(path, compression="zstd", statistics=True, row_group_size=PART_ROWS)
        self._waiting = self._waiting.slice(count)
        self._bytes = _size(self._waiting)
        self.parts.append(Part(name=path.name, rows=count))
        self.files.append(path)


def _size(rows: pl.DataFrame) -> int:
    """Bytes of the values; unlike ``estimated_size``, the same however they lie in memory."""
    texts = rows.select(pl.col(pl.String()).str.len_bytes().sum())
    return 8 * rows.height * rows.width + sum(int(total or 0) for total in texts.rows()[0])


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
        fields = pl.DataFrame(
            [
                block.lines[rejected[ROW]].alias(self.counted),
                rejected[REASONS],
                texts.to_struct("row"),
            ]
        )
        json_text = pl.lit(self._opening) + pl.struct(pl.all()).struct.json_encode().str.slice(1)
        return fields.select(pl.col(self.counted).alias("at"), json_text.alias("json"))

    def encode_broken(self, broken: Sequence[Broken]) -> pl.DataFrame:
        """The same for rows that have no columns; ``text`` is the line as it stands."""
        lines = [
            {self.counted: row.line, "reasons": [row.reason], "row": {}, "text": row.text}
            for row in broken
        ]
        json_texts = [
            self._opening + json.dumps(line, ensure_ascii=False, separators=(",", ":"))[1:]
            for line in lines
        ]
        at = pl.Series("at", [row.line for row in broken], pl.Int64())
        return pl.DataFrame([at, pl.Series("json", json_texts, pl.String())])

    @property
    def _opening(self) -> str:
        return f'{{"file":{json.dumps(self.file)},'


class RejectedRows:
    """Writes rejected rows to ``rows.jsonl`` and counts their reasons.

    Args:
        folder: Where to.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ROWS_FILE
        self._file: BinaryIO | None = None
        self.rows = 0
        self.reasons: Counter[str] = Counter()

    @property
    def path(self) -> Path | None:
        """The file, or ``None`` where no row was rejected."""
        return self._path if self.rows else None

    def add(self, place: Place, block: Block, rejected: pl.DataFrame) -> None:
        """Take the rejected rows of one block.

        Args:
            place: Where the block is.
            block: As it was read.
            rejected: ``REJECTED``: places in the block, and why.
        """
        if not rejected.height and not block.broken:
            return
        self.rows += rejected.height + len(block.broken)
        self.reasons.update(row.reason for row in block.broken)
        counts = rejected[REASONS].explode().value_counts()
        self.reasons.update(dict(counts.iter_rows()))
        lines = pl.concat([place.encode(block, rejected), place.encode_broken(block.broken)])
        self._write(lines.sort("at", maintain_order=True)["json"])

    def _write(self, lines: pl.Series) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """No more rows."""
        if self._file is not None:
            self._file.close()
