"""Reads a file in blocks of whole lines, within limits.

No file of a producer may fill memory or disk. The dataset's ``limits`` set the bounds.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast
from unicodedata import is_normalized, normalize

import numpy as np
import numpy.typing as npt
import polars as pl

from flagfall.dataset.dialect import Dialect
from flagfall.errors import BatchInvalid
from flagfall.landing.file_names import is_packed
from flagfall.landing.limits import Limits
from flagfall.rows.decoding import decoded, is_utf8
from flagfall.rows.packed import HEAD_BYTES, kind_of, remedy
from flagfall.rows.unexpected import NAME_SHOWN, Unexpected

BLOCK_BYTES = 4 << 20
"""Bytes of text that are held and checked at a time."""

BLOCK_ROWS = 50_000
"""Most rows that are checked at a time, however short they are."""

CLIP = 200
"""Characters of a rejected value that are kept."""

COLUMNS_SHOWN = 40
"""Columns of a file that a message names."""

_LF = b"\n"

Places = npt.NDArray[np.signedinteger]
"""Positions of rows or bytes, in order."""


@dataclass(frozen=True)
class DataFile:
    """A data file of a batch.

    Attributes:
        name: Path below the landing zone, for messages; its ending says the format.
        path: A local copy, already verified.
        constants: Columns that the file need not have, since its folders say what they are in every
            row; ``None`` for no value. What stands in the file goes first.
    """

    name: str
    path: Path
    constants: Mapping[str, str | None] = field(default_factory=dict)

    def lacks(self, wanted: Sequence[str], found: Collection[str]) -> bool:
        """Whether columns are in neither the file nor its folders, or none is in the file."""
        missing = set(wanted) - set(found)
        return bool(missing - set(self.constants)) or len(missing) == len(wanted)

    def completed(self, rows: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
        """Rows with all of the dataset's columns in its order: from its folders' names, or null."""
        absent = [name for name in wanted if name not in rows.columns]
        constants = (pl.lit(self.constants.get(name), pl.String()).alias(name) for name in absent)
        return rows.with_columns(constants).select(wanted) if absent else rows


BROKEN = pl.Schema({"line": pl.Int64(), "reason": pl.String(), "text": pl.String()})
"""Rows that could not be split into columns: where, why, and the clipped line as it stands."""
NONE_BROKEN = pl.DataFrame(schema=BROKEN)


@dataclass(frozen=True)
class Block:
    """Some rows of a file.

    Attributes:
        rows: The dataset's columns in its order: text, or types that ``can_cast`` accepts.
        lines: Where each row begins: line of the file, or row of a Parquet file, counted from 1.
        broken: ``BROKEN``: rows that lie between them.
        texts: Reads rows at some places as they stand in the file; ``None``: ``rows`` are so.
    """

    rows: pl.DataFrame
    lines: pl.Series
    broken: pl.DataFrame
    texts: Callable[[Places], pl.DataFrame] | None = None

    def written(self, places: Places) -> pl.DataFrame:
        """The rows at some places, in order, as they stand in the file."""
        return self.texts(places) if self.texts else self.rows[places]

    @cached_property
    def size(self) -> int:
        """Bytes of the values (see ``size_of``)."""
        return size_of(self.rows) + size_of(self.broken)


@dataclass(frozen=True)
class Lines:
    """Whole lines.

    Attributes:
        data: Valid UTF-8 that ends with a line feed.
        line: Line of the file at which it begins, counted from 1.
        given: The same lines as the file has them; other bytes where quotes were written anew.
    """

    data: bytes
    line: int
    given: bytes


def size_of(rows: pl.DataFrame) -> int:
    """Bytes of the values; unlike ``estimated_size``, the same however they lie in memory."""
    if not rows.height:
        return 0
    texts = rows.select_seq(pl.col(pl.String()).str.len_bytes().sum())
    return 8 * rows.height * rows.width + sum(
        int(total or 0) for row in texts.rows() for total in row
    )


Cut = Callable[[bytes, int], tuple[bytes, int]]
"""Takes whole lines and their first line number. Returns whole rows, and the bytes used up."""


def may_unpack_to(limits: Limits, stored: int) -> int:
    """Return how many bytes ``stored`` bytes of a file may unpack to."""
    return max(limits.expand_bytes, limits.expand_ratio * stored)


class Bounds:
    """The limits of a batch, and what its files have used; each pass over them has a new one.

    Args:
        limits: The dataset's.

    Attributes:
        unpacked: Bytes to which all files have unpacked so far.
        unexpected: Columns of the files that the dataset does not name.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.unpacked = 0
        self.unexpected = Unexpected()


class Expansion:
    """Counts the bytes to which a file unpacks."""

    def __init__(self, file: DataFile, bounds: Bounds) -> None:
        self._file = file
        self._bounds = bounds
        self._total = 0

    def add(self, count: int, stored: int) -> None:
        """Count some more bytes.

        Args:
            count: Unpacked bytes.
            stored: Bytes of the file that have been read so far.

        Raises:
            BatchInvalid: ``expands``: the file or the batch unpacks to too many bytes.
        """
        self._total += count
        self._bounds.unpacked += count
        if self._total > may_unpack_to(self._bounds.limits, stored):
            raise BatchInvalid(
                "expands",
                f"{self._file.name}: {stored} bytes of it unpack to {self._total} or more"
                " (limits.expand_bytes, limits.expand_ratio); split the file, or write it with less"
                " repetition",
            )
        if self._bounds.unpacked > (most := self._bounds.limits.batch_bytes):
            why = f"{self._file.name}: with this file the batch unpacks to more than {most} bytes"
            because = self._bounds.limits.why_batch_bytes
            raise BatchInvalid("expands", f"{why} ({because}); split the batch")


def is_empty(file: DataFile) -> bool:
    """Whether a file has no bytes, or none when it is unpacked."""
    with file.path.open("rb") as stored:
        try:
            return not _unpacked(file, stored).read(1)
        except (OSError, EOFError, zlib.error):  # a reader says what is wrong
            return not file.path.stat().st_size


def _unpacked(file: DataFile, stored: BinaryIO) -> BinaryIO:
    if is_packed(file.name):
        return cast(BinaryIO, gzip.open(stored, "rb"))
    return stored


def _read(file: DataFile, stream: BinaryIO) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except EOFError as error:
        message = f"{file.name}: the gzip data is cut short; write the file again"
        raise BatchInvalid("gzip", message) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        detail = str(error).partition(" (")[0]  # Python shows the bytes that it found
        raise BatchInvalid("gzip", f"{file.name}: {_no_gzip(file, detail)}") from error


def _no_gzip(file: DataFile, detail: str) -> str:
    """What is wrong with a file that is not gzip, or not to its end."""
    with file.path.open("rb") as stored:
        kind = kind_of(stored.read(HEAD_BYTES))
    if kind == "gzip":
        return f"not valid gzip to its end ({detail}); write it again"
    if kind:
        return f"{kind} data, not gzip; {remedy(file.name, kind)}"
    return f"not valid gzip ({detail}); write it again, or name it without .gz"


def _check_kind(file: DataFile, data: bytes) -> None:
    if kind := kind_of(data[:HEAD_BYTES]):
        within = " within gzip" if file.name.lower().endswith(".gz") else ""
        message = f"{file.name}: {kind} data{within}, not text; {remedy(file.name, kind)}"
        raise BatchInvalid("format", message)


def _without_mark(file: DataFile, data: bytes) -> bytes:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BatchInvalid("encoding", f"{file.name}: line 1: UTF-16; write the file as UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def _without_marks(lines: bytes) -> bytes:
    """Lines without byte order marks before them, which files that were concatenated have."""
    if lines.isascii():  # ten times as fast as to search
        return lines
    return lines.removeprefix(codecs.BOM_UTF8).replace(_LF + codecs.BOM_UTF8, _LF)


def text_blocks(file: DataFile, bounds: Bounds, dialect: Dialect) -> Iterator[bytes]:
    """A file as UTF-8, unpacked, without a byte order mark; the last block is empty.

    Raises:
        BatchInvalid: ``gzip``, ``format``, ``expands`` or ``encoding``.
    """
    blocks = byte_blocks(file, bounds)
    if not is_utf8(dialect):
        yield from decoded(file.name, blocks, dialect)
        return
    yield _without_mark(file, next(blocks))
    yield from blocks


def byte_blocks(file: DataFile, bounds: Bounds) -> Iterator[bytes]:
    """The bytes of a file, unpacked; the last block is empty.

    Raises:
        BatchInvalid: ``gzip`` or ``expands``.
    """
    expansion = Expansion(file, bounds)
    with file.path.open("rb") as stored, _unpacked(file, stored) as stream:
        data = _read(file, stream)
        _check_kind(file, data)
        while data:
            expansion.add(len(data), stored.tell())
            yield data
            data = _read(file, stream)
    yield b""


def _without_lines(blocks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The blocks without so many lines at their beginning; the last is empty."""
    for data in blocks:
        start = 0
        while count and (end := data.find(_LF, start) + 1):
            start, count = end, count - 1
        if not count and start < len(data):
            yield data[start:]
    yield b""


def _whole_lines(data: bytes, at_end: bool) -> bytes:
    if at_end and data and not data.endswith(_LF):
        return data + _LF
    return data[: data.rfind(_LF) + 1]


def _check_text(file: DataFile, data: bytes, line: int) -> None:
    nul = data.find(b"\0")
    if nul >= 0:
        place = f"{file.name}: line {line + data.count(_LF, 0, nul)}"
        message = f"{place}: a NUL byte; the file is damaged, or is not UTF-8 text: write it again"
        raise BatchInvalid("nul-byte", message)
    if data.isascii():
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"{file.name}: line {line + data.count(_LF, 0, error.start)}"
        message = f"{place}: not UTF-8 (byte 0x{data[error.start]:02x}); write the file as UTF-8"
        raise BatchInvalid("encoding", message) from error


def _count_lines(data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == _LF[0]))


def too_long(file: DataFile, line: int, limits: Limits) -> BatchInvalid:
    """The error for a row of more than ``limits.row_bytes``."""
    return BatchInvalid(
        "long-line",
        f"{file.name}: line {line}: a row of more than {limits.row_bytes} bytes (limits.row_bytes);"
        " is a quote left open, or are the line ends missing?",
    )


def everything(data: bytes, line: int) -> tuple[bytes, int]:
    """The ``Cut`` for formats in which every line is a row."""
    return data, len(data)


def line_blocks(
    file: DataFile, bounds: Bounds, dialect: Dialect, cut: Cut = everything
) -> Iterator[Lines]:
    """The rows of a text file, in blocks of about ``BLOCK_BYTES``.

    Args:
        file: The file.
        bounds: Of its batch.
        dialect: Says its encoding, and how many lines at the beginning are left out.
        cut: Says where the last whole row of some lines ends.

    Raises:
        BatchInvalid: ``encoding``, ``nul-byte``, ``long-line`` or ``open-quote`` with the line;
            ``gzip``, ``format`` or ``expands``.
    """
    rest, line = b"", 1 + dialect.skip_rows
    for data in _without_lines(text_blocks(file, bounds, dialect), dialect.skip_rows):
        rest = _without_marks(rest + data)
        whole = _whole_lines(rest, at_end=not data)
        _check_text(file, whole, line)
        rows, used = cut(whole, line)
        if rows:
            yield Lines(rows, line, rows if whole.startswith(rows) else whole[:used])
        line += _count_lines(whole[:used])
        rest = rest[used:]
        if len(rest) > bounds.limits.row_bytes:
            raise too_long(file, line, bounds.limits)
    if rest:
        raise _never_ends(f"{file.name}: line {line}", dialect)


def _never_ends(place: str, dialect: Dialect) -> BatchInvalid:
    """The error for a last row that goes on where the file ends."""
    if dialect.quote_char is None:
        why = f"{place}: the row ends in an escape, at the end of the file"
        return BatchInvalid("quoting", f"{why}; is the file cut short? Else escape the escape")
    message = f"{place}: a quote is opened and never closed; close or double it"
    return BatchInvalid("open-quote", message)


def missing_columns(
    file: DataFile, wanted: Sequence[str], found: Sequence[str], remedy: str = ""
) -> BatchInvalid:
    """The error for a file that lacks columns."""
    absent = [name for name in wanted if name not in found]
    missing = ", ".join(name for name in absent if name not in file.constants) or ", ".join(absent)
    shown = ", ".join(repr(name[:NAME_SHOWN]) for name in found[:COLUMNS_SHOWN]) or "none"
    more = f" and {len(found) - COLUMNS_SHOWN} more" if len(found) > COLUMNS_SHOWN else ""
    message = f"{file.name}: columns missing: {missing}; found: {shown}{more}"
    hint = remedy or _form_hint(absent, found) or "write the missing ones, too"
    return BatchInvalid("columns", f"{message}; {hint}")


def _form_hint(absent: Sequence[str], found: Sequence[str]) -> str:
    """What to do where a name that is missing only has other bytes than one that is there."""
    same = {normalize("NFC", name): name for name in found}
    twin = next((name for name in absent if normalize("NFC", name) in same), None)
    if twin is None:
        return ""
    form = "NFC" if is_normalized("NFC", twin) else "NFD"
    why = f"{twin!r} has other bytes than the file's: one is in Unicode's form NFC, one is not"
    return f"{why}; write the file's names in {form}"
