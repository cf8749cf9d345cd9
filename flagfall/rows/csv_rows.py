"""CSV (RFC 4180) with a header, and what a dialect says instead.

polars splits rows fast, but one bad row fails the whole file, and short rows are padded silently.
So numpy locates separators, quotes and line ends first. Rows with another number of fields than the
header are kept apart, and polars reads the others (see ``csv_columns``).

A quote inside an unquoted field (``5" pipe``) is part of the value, as in Python's csv module. That
module reads blocks with such fields, about ten times slower.

Exports that were concatenated have their header again in the middle. Such a line is no row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice

import numpy as np
import polars as pl

from flagfall.concurrency import in_order, thread_count
from flagfall.dataset.dialect import Dialect
from flagfall.dataset.table import Table
from flagfall.errors import BatchInvalid
from flagfall.landing.limits import Limits
from flagfall.rows.csv_columns import CsvColumns
from flagfall.rows.source import (
    BLOCK_ROWS,
    BROKEN,
    CLIP,
    NONE_BROKEN,
    Block,
    Bounds,
    DataFile,
    Lines,
    Places,
    line_blocks,
    missing_columns,
    too_long,
)
from flagfall.rows.swallowed import RowsWithin, fields_of
from flagfall.rows.whole_rows import CR, LF, QUOTE, Bytes, Mask, whole_rows_cut

_FEW = 50
"""Where there are fewer rows than one in so many, each is cut out by itself."""

_TORN = "row: a carriage return outside quotes"
_SWALLOWED = "row: within a quoted field that holds whole rows"
_AGAIN = "row: the header again"
_OTHER_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def csv_rows(file: DataFile, table: Table, dialect: Dialect, bounds: Bounds) -> Iterator[Block]:
    """The rows of a file: text, and numbers where that is certain.

    Blank lines are skipped. ``lines`` are lines of the file: a line break within quotes counts.

    Args:
        file: The file; unpacked if its name ends with ``.gz``.
        table: Columns to read; others in the file are skipped.
        dialect: How the file is written.
        bounds: Of its batch.

    Raises:
        BatchInvalid: ``columns``, ``empty``, ``quoting``, or as ``line_blocks`` does.
    """

    def block(piece: tuple[_Layout, _Records]) -> Block:
        layout, records = piece
        return layout.block(file, records)

    pieces = _pieces(file, table, dialect, bounds)
    yield from map(block, islice(pieces, 1))  # alone: see ``CsvColumns``
    yield from in_order(block, pieces, thread_count())


def _pieces(
    file: DataFile, table: Table, dialect: Dialect, bounds: Bounds
) -> Iterator[tuple[_Layout, _Records]]:
    layout = None if dialect.header else _layout_of(file, table, dialect.delimiter)
    limits, separator = bounds.limits, dialect.delimiter
    for lines in line_blocks(file, bounds, dialect, whole_rows_cut(file, dialect, limits)):
        records = _split(file, lines, separator, limits)
        if layout is None and len(records.start):
            layout = _layout(file, records, table, separator, bounds)
            records = records.take(slice(1, None))
        if layout is not None:
            for piece in records.pieces():
                yield layout, piece
    if layout is None:
        raise BatchInvalid("empty", f"{file.name}: empty; expected a header with the column names")


# ------------------------------------------------------------------------------ where the rows are


@dataclass(frozen=True)
class _Records:
    """Rows of a block that are not blank.

    Attributes:
        lines: The block.
        start: Where each row begins in ``data``.
        end: Where its line feed is.
        line: Line of the file at which it begins.
        fields: How many it has.
        torn: Whether it has a carriage return outside quotes that does not end a line.
        line_ends: Carriage returns in ``data`` that belong to a line end; ``None``: there are none.
    """

    lines: Lines
    start: Places
    end: Places
    line: Places
    fields: Places
    torn: Mask
    line_ends: Mask | None

    @property
    def data(self) -> bytes:
        """The block's bytes."""
        return self.lines.data

    def pieces(self) -> Iterator[_Records]:
        for first in range(0, len(self.start), BLOCK_ROWS):
            yield self.take(slice(first, first + BLOCK_ROWS))

    def take(self, which: Mask | Places | slice) -> _Records:
        return _Records(
            self.lines,
            self.start[which],
            self.end[which],
            self.line[which],
            self.fields[which],
            self.torn[which],
            self.line_ends,
        )

    def have(self, text: str) -> bool:
        """Whether a text is in the rows, or between them."""
        if not len(self.start):
            return False
        return self.data.find(text.encode(), self.start[0], self.end[-1]) >= 0

    def text(self, index: int, most: int) -> str:
        """A row's text, cut to ``most`` characters."""
        return _clipped(self.data, self.start[index], self.end[index], most)

    def whole_text(self, index: int) -> str:
        """A row's text."""
        return self.text(index, int(self.end[index] - self.start[index]))

    def given(self, most: int | None = None) -> list[str]:
        """The text of each row as it stands in the file, cut to ``most`` characters."""
        data = self.lines.given
        if data is self.data:
            starts, ends = self.start, self.end
        else:
            feeds = np.flatnonzero(np.frombuffer(data, np.uint8) == LF)
            first = self.line - self.lines.line
            starts = np.concatenate([[0], feeds + 1])[first]
            ends = feeds[first + self._line_breaks()]
        return [_clipped(data, start, end, most) for start, end in zip(starts, ends, strict=True)]

    def _line_breaks(self) -> Places:
        """How many line feeds are within each row."""
        places = zip(self.start.tolist(), self.end.tolist(), strict=True)
        return np.array([self.data.count(b"\n", *place) for place in places], np.int64)

    def with_line_breaks(self) -> list[int]:
        """Rows that are longer than a line."""
        begins_later = np.diff(self.line, append=np.iinfo(np.int64).max) > 1
        places = np.flatnonzero(begins_later).tolist() if b'"' in self.data else []
        return [row for row in places if self.data.find(b"\n", self.start[row], self.end[row]) >= 0]

    def joined(self) -> bytes:
        """The rows without blank lines and carriage returns between them."""
        if not len(self.start):
            return b""
        first, last = self.start[0], self.end[-1] + 1
        kept = int((self.end - self.start + 1).sum())
        if kept == last - first and self.line_ends is None:
            return self.data[first:last]
        if kept < (last - first) // _FEW:
            return b"".join(map(self._joined_one, self.start.tolist(), self.end.tolist()))
        edges = np.zeros(last - first + 1, np.int8)
        edges[self.start - first] += 1
        edges[self.end + 1 - first] -= 1
        inside = np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)
        if self.line_ends is not None:
            inside &= ~self.line_ends[first:last]
        return np.frombuffer(self.data, np.uint8)[first:last][inside].tobytes()

    def _joined_one(self, start: int, end: int) -> bytes:
        row = self.data[start : end + 1]
        if self.line_ends is None:
            return row
        return np.frombuffer(row, np.uint8)[~self.line_ends[start : end + 1]].tobytes()


def _clipped(data: bytes, start: int, end: int, most: int | None) -> str:
    """A row's text without its line end."""
    last = end if most is None else min(end, start + 4 * most)
    return data[start:last].decode(errors="ignore").rstrip("\r")[:most]


def _split(file: DataFile, lines: Lines, separator: str, limits: Limits) -> _Records:
    view = np.frombuffer(lines.data, np.uint8)
    feeds, separators, returns = view == LF, view == ord(separator), None
    end = line_feeds = np.flatnonzero(feeds)
    if b"\r" in lines.data:
        returns = view == CR
    if b'"' in lines.data:
        outside = _outside_quotes(view)
        end = np.flatnonzero(feeds & outside)
        separators &= outside
        returns = None if returns is None else returns & outside
    start = np.concatenate([[0], end[:-1] + 1])
    line = np.arange(len(end)) if end is line_feeds else np.searchsorted(line_feeds, start)
    longest = int((end - start).argmax())
    if end[longest] - start[longest] > limits.row_bytes:
        raise too_long(file, lines.line + int(line[longest]), limits)
    fields = np.add.reduceat(separators, start, dtype=np.int32) + 1
    return _without_blanks(lines, start, end, line, fields, returns)


def _without_blanks(
    lines: Lines, start: Places, end: Places, line: Places, fields: Places, returns: Mask | None
) -> _Records:
    torn, line_ends = np.zeros(len(start), np.bool_), None
    blank = end == start
    if returns is not None:
        line_ends = _line_ends(returns, end)
        torn = np.add.reduceat(returns & ~line_ends, start, dtype=np.int32) > 0
        blank = np.add.reduceat(~line_ends, start, dtype=np.int32) == 1
    records = _Records(lines, start, end, lines.line + line, fields, torn, line_ends)
    return records.take(~blank) if blank.any() else records


def _outside_quotes(view: Bytes) -> Mask:
    """False from an opening quote to the byte before the closing one."""
    inside = np.bitwise_xor.accumulate((view == QUOTE).view(np.uint8))
    outside: Mask = inside == 0
    return outside


def _line_ends(returns: Mask, end: Places) -> Mask:
    """The carriage returns of CR LF, and of CR CR LF, as text mode on Windows makes of it."""
    mask = np.zeros(len(returns), np.bool_)
    once = end[returns[end - 1]]
    mask[once - 1] = True
    mask[once[returns[once - 2]] - 2] = True
    return mask


# ---------------------------------------------------------------------------- from rows to columns


@dataclass(frozen=True)
class _Layout:
    """The columns of a file, from its header.

    Attributes:
        width: Columns of the file.
        header: Names of the columns; empty for a file without a header.
        places: Where the wanted ones are, by name; absent ones are in folders' names, or left out.
        wanted: The dataset's columns.
        columns: Reads the columns.
        within: Recognises quoted fields with rows in them.
    """

    width: int
    header: list[str]
    places: dict[str, int]
    wanted: tuple[str, ...]
    separator: str
    columns: CsvColumns
    within: RowsWithin

    @classmethod
    def of(cls, table: Table, header: list[str], separator: str) -> _Layout:
        wanted = tuple(column.name for column in table.fields)
        places = {name: header.index(name) for name in wanted if name in header}
        columns = CsvColumns(table, places, header, separator)
        within = RowsWithin(table, places, len(header), separator)
        return cls(len(header), header, places, wanted, separator, columns, within)

    def block(self, file: DataFile, records: _Records) -> Block:
        good = (records.fields == self.width) & ~records.torn
        swallowed = self._swallowed(records, good)
        kept = records if good.all() else records.take(good)
        rows = self._columns(file, kept, self.columns.read)
        broken = []
        if not good.all():
            broken = [
                self._broken(records.take(~good & ~swallowed)),
                self._lines_of(records, swallowed),
            ]
        if again := self._headers(file, kept, rows):
            broken.append(self._headers_of_one_column(kept, again))
            first = ~pl.int_range(rows.height, eager=True).is_in(again)
            rows, kept = rows.filter(first), kept.take(first.to_numpy())
        lines = pl.Series(kept.line, dtype=pl.Int64)
        texts = (
            partial(self._texts, file, kept)
            if any(dtype.is_numeric() for dtype in rows.dtypes)
            else None
        )
        return Block(rows, lines, pl.concat(broken) if broken else NONE_BROKEN, texts)

    def _texts(self, file: DataFile, records: _Records, places: Places) -> pl.DataFrame:
        """Rows at some places as they stand in the file."""
        return self._columns(file, records.take(places), self.columns.texts)

    def _swallowed(self, records: _Records, good: Mask) -> Mask:
        """Rows that a quoted field holds whole rows in; they are taken out of ``good``."""
        mask = np.zeros(len(good), np.bool_)
        long = [row for row in records.with_line_breaks() if good[row]]
        if long:
            mask[long] = self.within.are_in([records.whole_text(row) for row in long])
            good &= ~mask
        return mask

    def _lines_of(self, records: _Records, which: Mask) -> pl.DataFrame:
        """Each line for itself, as it would be a row if nothing were in quotes."""
        found = [
            (int(records.line[row]) + number, _SWALLOWED, text.rstrip("\r")[: CLIP * self.width])
            for row, given in zip(np.flatnonzero(which), records.take(which).given(), strict=True)
            for number, text in enumerate(given.split("\n"))
        ]
        return pl.DataFrame(found, schema=BROKEN, orient="row")

    def _headers(self, file: DataFile, records: _Records, rows: pl.DataFrame) -> list[int]:
        """Rows that are the header again.

        Raises:
            BatchInvalid: ``columns``: one has the wanted columns in other places, so that the
                rows after it cannot be those of the first header.
        """
        headers: list[int] = []
        for row in self._with_names(records, rows):
            fields = fields_of(records.whole_text(row), self.separator)
            if fields == self.header or self._has_wanted_names(fields):
                headers.append(row)
            elif self._is_another_header(fields):
                place = f"{file.name}: line {records.line[row]}: another header, in another order"
                why = f"{place} of the columns; write one file for each header"
                raise BatchInvalid("columns", why)
        return headers

    def _with_names(self, records: _Records, rows: pl.DataFrame) -> list[int]:
        """Rows with the name of a column for a value; most blocks lack some name altogether."""
        plain = filter(str.isidentifier, self.places)
        if not all(map(records.have, sorted(plain, key=len, reverse=True))):  # soonest found out
            return []
        is_name = pl.col(pl.String()).is_in(self.header)
        found = rows.select_seq(pl.any_horizontal(pl.lit(False), is_name)).to_series()
        return found.arg_true().to_list()

    def _has_wanted_names(self, fields: Sequence[str]) -> bool:
        """Whether each wanted column has its name for a value; one name may well be a value."""
        named = (fields[at : at + 1] == [name] for name, at in self.places.items())
        return len(self.places) > 1 and all(named)

    def _is_another_header(self, fields: Sequence[str]) -> bool:
        same = sorted(fields) == sorted(self.header)
        return same or (len(self.places) > 1 and self.places.keys() <= set(fields))

    def _headers_of_one_column(self, records: _Records, rows: Sequence[int]) -> pl.DataFrame:
        """Rejected, since a text of one column may be a value, too; others are certain."""
        rows = rows if self.width == 1 else []
        again = records.take(np.array(rows, np.int64))
        found = [
            (line, _AGAIN, text)
            for line, text in zip(again.line.tolist(), again.given(CLIP), strict=True)
        ]
        return pl.DataFrame(found, schema=BROKEN, orient="row")

    def _columns(
        self, file: DataFile, records: _Records, read: Callable[[bytes], pl.DataFrame]
    ) -> pl.DataFrame:
        try:
            rows = read(records.joined())
        except pl.exceptions.PolarsError as error:
            raise _not_rows(file, records) from error
        if rows.height != len(records.start):
            raise _not_rows(file, records)
        return file.completed(rows, self.wanted)

    def _broken(self, records: _Records) -> pl.DataFrame:
        texts = records.given(CLIP * self.width)
        counts = zip(records.fields.tolist(), records.torn.tolist(), strict=True)
        reasons = [_TORN if torn else _count(fields, self.width) for fields, torn in counts]
        return pl.DataFrame([records.line, reasons, texts], schema=BROKEN)


def _not_rows(file: DataFile, records: _Records) -> BatchInvalid:
    message = f"{file.name}: from line {records.line[0]}: cannot be split into rows"
    return BatchInvalid("quoting", f"{message}; write it as RFC 4180 says")


@lru_cache
def _count(fields: int, width: int) -> str:
    """The reason for a wrong number of fields; the number of different reasons is limited."""
    if fields > 2 * width:
        return f"row: more than {2 * width} fields, expected {width}"
    return f"row: {fields} field{'s' if fields > 1 else ''}, expected {width}"


def _layout_of(file: DataFile, table: Table, separator: str) -> _Layout:
    """The columns of a file without a header: those that its folders' names do not say."""
    names = [column.name for column in table.fields]
    found = [name for name in names if name not in file.constants]
    return _Layout.of(table, found, separator)


def _layout(
    file: DataFile, records: _Records, table: Table, separator: str, bounds: Bounds
) -> _Layout:
    if records.torn[0]:
        message = f"{file.name}: line {records.line[0]}: carriage returns alone as line ends"
        raise BatchInvalid("columns", f"{message}; write line feeds")
    found = _header(file, records, separator, bounds.limits)
    names = [column.name for column in table.fields]
    if file.lacks(table.needed, found):
        hint = _separator_hint(found, separator) or _quotes_hint(found, names)
        raise missing_columns(file, table.needed, found, hint)
    if twice := sorted(name for name in names if found.count(name) > 1):
        raise BatchInvalid(
            "columns", f"{file.name}: columns found twice: {', '.join(twice)}; name each once"
        )
    if len(found) > (most := bounds.limits.columns):
        why = f"{file.name}: more than {most} columns (limits.columns)"
        raise BatchInvalid("columns", f"{why}; write one row per observation")
    wanted = set(names)
    bounds.unexpected.add(file.name, table, (name for name in found if name not in wanted))
    return _Layout.of(table, found, separator)


def _header(file: DataFile, records: _Records, separator: str, limits: Limits) -> list[str]:
    try:
        return _fields(records.text(0, limits.row_bytes), separator)
    except csv.Error as error:
        why = f"{file.name}: line {records.line[0]}: the header cannot be read: {error}"
        raise BatchInvalid("columns", f"{why}; write it as RFC 4180 says") from error


def _fields(text: str, separator: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))


def _quotes_hint(found: Sequence[str], names: Sequence[str]) -> str:
    if set(names) <= {name.strip('"') for name in found}:
        return "a quote is a character like others here, so write the names without quotes"
    return ""


def _separator_hint(found: Sequence[str], separator: str) -> str:
    if len(found) > 1:
        return ""
    for other, words in _OTHER_SEPARATORS.items():
        if other != separator and other in found[0]:
            wanted = _OTHER_SEPARATORS.get(separator, repr(separator))
            return f"the separator seems to be {words}; expected {wanted}"
    return ""
