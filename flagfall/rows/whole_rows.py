"""Where the last whole row of a block of CSV ends: not at a line feed within quotes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from flagfall.dataset.dialect import Dialect
from flagfall.errors import BatchInvalid
from flagfall.landing.limits import Limits
from flagfall.rows.quoting import Rewrite, rewriter
from flagfall.rows.source import Cut, DataFile, Places

QUOTE, LF, CR = b'"\n\r'

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def whole_rows_cut(file: DataFile, dialect: Dialect, limits: Limits) -> Cut:
    """Says where the last whole row of some lines of a file ends (see ``line_blocks``)."""
    cut = partial(_whole_rows, file, dialect.delimiter, limits)
    rewrite = rewriter(dialect)
    return partial(_rewritten, rewrite, cut) if rewrite else cut


def _rewritten(rewrite: Rewrite, cut: Cut, data: bytes, line: int) -> tuple[bytes, int]:
    """The whole rows as RFC 4180 has them, and where they end in ``data``."""
    written = rewrite(data)
    rows, used = cut(written, line)
    return rows, used if written is data else _end_of_line(data, written.count(b"\n", 0, used))


def _end_of_line(data: bytes, count: int) -> int:
    """Where so many lines end."""
    feeds = np.flatnonzero(np.frombuffer(data, np.uint8) == LF)
    return int(feeds[count - 1]) + 1 if count else 0


def _whole_rows(
    file: DataFile, separator: str, limits: Limits, data: bytes, line: int
) -> tuple[bytes, int]:
    """A ``Cut``: a line feed ends a row unless an odd number of quotes lies before it."""
    if b'"' not in data:
        return data, len(data)
    view = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(view == QUOTE)
    feeds = np.flatnonzero(view == LF)
    outside = feeds[np.searchsorted(quotes, feeds) % 2 == 0]
    end = int(outside[-1]) + 1 if len(outside) else 0
    if _regular(view, quotes, ord(separator)):
        return data[:end], end
    return _requoted(file, separator, limits, data, line)


def _regular(view: Bytes, quotes: Places, separator: int) -> bool:
    """Whether quotes only enclose whole fields, and are doubled inside them."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = view[opening - 1]
    opens = (opening == 0) | np.isin(before, [separator, LF, QUOTE])
    after, next_but_one = view[closing + 1], view[np.minimum(closing + 2, len(view) - 1)]
    closes = np.isin(after, [separator, LF, QUOTE]) | ((after == CR) & (next_but_one == LF))
    return bool(opens.all() and closes.all())


def _requoted(
    file: DataFile, separator: str, limits: Limits, data: bytes, line: int
) -> tuple[bytes, int]:
    """The same rows with every field in quotes, on the same lines."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    pieces = _PIECE.findall(data.decode())
    reader = csv.reader(pieces, delimiter=separator, strict=True)
    begin = done = 0
    limit = csv.field_size_limit(limits.row_bytes)
    try:
        for fields in reader:
            is_torn, done = begin < done, reader.line_num
            if pieces[done - 1].endswith("\n"):
                if is_torn:
                    written.write(_torn("".join(pieces[begin:done])))
                else:
                    writer.writerow(fields)
                begin = done
    except csv.Error as error:
        if str(error) != "unexpected end of data":
            first, last = _feeds(pieces[:done]), _feeds(pieces[: reader.line_num - 1])
            raise _badly_quoted(file, line + first, line + last, error) from error
    finally:
        csv.field_size_limit(limit)
    return written.getvalue().encode(), _end_of_line(data, _feeds(pieces[:begin]))


_PIECE = re.compile(r"[^\r\n]*(?:\n|\r+\n?)")
"""A line. Carriage returns that do not end one end a piece: Python's module takes no others."""


def _feeds(pieces: Sequence[str]) -> int:
    return sum(piece.endswith("\n") for piece in pieces)


def _torn(row: str) -> str:
    """A row that is torn by a carriage return: still torn, and its quotes enclose it."""
    return '"' + row.rstrip("\r\n").replace('"', '""') + '"\r""\n'


def _badly_quoted(file: DataFile, first: int, last: int, error: csv.Error) -> BatchInvalid:
    place = f"line {first}" if first == last else f"lines {first} to {last}"
    message = f"{file.name}: {place}: {error}; enclose fields in quotes and double those within"
    return BatchInvalid("quoting", message)
