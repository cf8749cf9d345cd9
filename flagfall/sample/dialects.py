"""How the text files of a sample are written, in the words of ``dialect``."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from flagfall.dataset.dialect import Dialect
from flagfall.landing.limits import Limits
from flagfall.rows import DataFile
from flagfall.rows.source import Bounds, byte_blocks, text_blocks
from flagfall.sample.files import Sample

HEAD_BYTES = 256 << 10
"""Bytes of the first file that show its delimiter and quotes."""

HEAD_LINES = 500

_DELIMITERS = ",;\t|"
_ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "windows-1252")
"""Tried in this order. The next one, iso-8859-1, reads any bytes."""

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_QUOTED = re.compile(r'(?:^|\t)"[^"]*"(?:\t|\r?$)')

_ESCAPED = re.compile(r'(?:^|[,;\t|])"[^"]*\\"[^,;\t|"\r\n]')
_EXCEL = re.compile(r"(?i)sep=.\s*")

_FEW_NULS = 0.4
"""Other text than UTF-16 has no NUL at all; UTF-16 of a European language has one in two bytes."""


def dialect_of(sample: Sample) -> Dialect:
    """The dialect in which the files can be read; only what differs from the default is set.

    Raises:
        BatchInvalid: A file is packed or damaged, or is no text.
    """
    if sample.format == "parquet":
        return Dialect()
    encoding = _encoding(sample)
    said: dict[str, Any] = {} if encoding == "utf-8" else {"encoding": encoding}
    if sample.format == "jsonl":
        return Dialect.model_validate(said)
    head = _head(sample.files[0], Dialect.model_validate(said))
    if sample.format == "tsv":
        return Dialect.model_validate({**said, **_quotes_of_tsv(head), **_skipped(head, "\t")})
    delimiter = _delimiter(head)
    said |= {} if delimiter == "," else {"delimiter": delimiter}
    return Dialect.model_validate({**said, **_escapes(head), **_skipped(head, delimiter)})


def _encoding(sample: Sample) -> str:
    heads = [_bytes_of(file, sample.bytes_of_each) for file in sample.files]
    fitting = (name for name in _ENCODINGS if all(_reads(name, head) for head in heads))
    return next(fitting, "iso-8859-1")


def _bytes_of(file: DataFile, most: int) -> bytes:
    held = bytearray()
    for block in byte_blocks(file, Bounds(Limits())):
        held += block
        if len(held) >= most:
            break
    return bytes(held[:most])


def _reads(encoding: str, data: bytes) -> bool:
    if encoding == "utf-16":
        return data.startswith(_MARKS)
    if encoding.startswith("utf-16") and not _has_nuls(data, first=int(encoding == "utf-16-le")):
        return False
    if encoding == "utf-8" and data.startswith(_MARKS):
        return False
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(data)
    except UnicodeDecodeError:
        return False
    # NULs are valid UTF-8; where they are every other byte, the text is UTF-16.
    return encoding != "utf-8" or not (_has_nuls(data, 0) or _has_nuls(data, 1))


def _has_nuls(data: bytes, first: int) -> bool:
    """Whether many of every second byte are NUL, from the first or second one."""
    every_other = data[first:4096:2]
    return every_other.count(0) > _FEW_NULS * len(every_other)


def _head(file: DataFile, dialect: Dialect) -> list[str]:
    """The first lines, with their line ends."""
    held = b""
    for block in text_blocks(file, Bounds(Limits()), dialect):
        held += block
        if len(held) > HEAD_BYTES:
            break
    whole = held[: held.rfind(b"\n") + 1] if len(held) > HEAD_BYTES else held
    text = io.StringIO(whole[:HEAD_BYTES].decode(errors="ignore"), newline="\n")
    return list(islice(text, HEAD_LINES))


class _Row(NamedTuple):
    line: int
    fields: list[str]


def _split(lines: Iterable[str], delimiter: str) -> list[_Row]:
    """Rows and the line at which each begins; those that can be read."""
    reader = csv.reader(lines, delimiter=delimiter)
    rows: list[_Row] = []
    begin = 1
    try:
        for fields in reader:
            rows.append(_Row(begin, fields))
            begin = reader.line_num + 1
    except csv.Error:
        return rows
    return rows


def _delimiter(head: Sequence[str]) -> str:
    """The one with which the header and most rows have the same number of fields, and the most."""
    return max(_DELIMITERS, key=lambda one: _regularity(_split(head, one)))


def _regularity(rows: Sequence[_Row]) -> tuple[bool, float, int]:
    width = _usual_width(rows)
    if width < 2:
        return False, 0.0, 0
    same = [len(row.fields) == width for row in rows]
    return same[0], round(sum(same) / len(same), 1), width


def _usual_width(rows: Sequence[_Row]) -> int:
    widths = Counter(len(row.fields) for row in rows if row.fields)
    return widths.most_common(1)[0][0] if widths else 0


def _skipped(head: Sequence[str], delimiter: str) -> dict[str, Any]:
    """How many lines stand before the header: titles of one field, or Excel's ``sep=;``."""
    if head and _EXCEL.fullmatch(head[0]):
        return {"skipRows": 1}
    rows = _split(head, delimiter)
    if _usual_width(rows) < 2:
        return {}
    first = next(row.line for row in rows if len(row.fields) > 1)
    return {"skipRows": first - 1} if any(row.fields for row in rows if row.line < first) else {}


def _escapes(head: Sequence[str]) -> dict[str, Any]:
    """Whether quotes within quotes have a backslash, as Spark and PostgreSQL write them."""
    return {"escapeChar": "\\"} if any(map(_ESCAPED.search, head)) else {}


def _quotes_of_tsv(head: Sequence[str]) -> dict[str, Any]:
    """Quotes around whole fields of a TSV file are no part of the values."""
    return {"quoteChar": '"'} if any(map(_QUOTED.search, head)) else {}
