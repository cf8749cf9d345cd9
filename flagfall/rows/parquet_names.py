"""Column names that a Parquet file has twice.

polars reads no file with two columns of one name, and no library here does. So the names are read
from the file's footer (https://parquet.apache.org/docs/file-format/metadata/, Thrift's compact
protocol). Where nobody wants the columns, all but the first get other names of the same length,
in the local copy: then polars reads the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from flagfall.errors import BatchInvalid

MAGIC = b"PAR1"
_ARROW_SCHEMA, _NO_SCHEMA = b"\x0cARROW:schema", b"\x0cARROW:twice "
"""Arrow's copy of the names, which polars would prefer; without it, it takes those of Parquet."""

FOOTER_BYTES = 64 << 20
"""A longer footer is not looked at."""

_LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyz"
_SCHEMA, _NAME, _CHILDREN = 2, 4, 5
_BINARY, _LIST, _STRUCT = 8, 9, 12


class _NoFooter(Exception):
    """The bytes are no footer."""


@dataclass(frozen=True)
class _Name:
    """A column's name, and where its bytes begin in the footer."""

    text: bytes
    place: int


def rename_twice(name: str, path: Path, wanted: Iterable[str]) -> None:
    """Give columns of one name, which are not wanted, names of their own.

    Args:
        name: The file's name, for the message.
        path: A local copy, which is changed. A file that is damaged is left as it is.
        wanted: Columns that will be read.

    Raises:
        BatchInvalid: ``columns``: a wanted column is there twice, or there are so many with short
            names that no other is free.
    """
    start, footer = _footer(path)
    names, wanted = _names(footer), set(wanted)
    found = Counter(one.text for one in names)
    twice = sorted(text.decode(errors="replace") for text, count in found.items() if count > 1)
    letters = len(_LETTERS) - sum(len(text) == 1 for text in wanted)
    has_room = len(names) < letters or all(len(text) > 3 for text in twice)
    if bad := [text for text in twice if text in wanted or not text or not has_room]:
        listed = ", ".join(text or "''" for text in bad)
        raise BatchInvalid("columns", f"{name}: columns found twice: {listed}; name each once")
    if twice:
        _write(path, start, _renamed(footer, names, {text.encode() for text in wanted}))


def column_names(path: Path) -> list[str]:
    """The names of a file's columns, with those that it has twice; none of a damaged file."""
    return [one.text.decode(errors="replace") for one in _names(_footer(path)[1])]


def _names(footer: bytes) -> list[_Name]:
    """The columns' names; none where the footer is damaged."""
    try:
        return list(_columns(footer))
    except (_NoFooter, IndexError, RecursionError):
        return []


def _footer(path: Path) -> tuple[int, bytes]:
    """Where it begins, and its bytes; none where the file has none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        end = file.read(8)
        start = size - 8 - int.from_bytes(end[:4], "little")
        if not end.endswith(MAGIC) or not len(MAGIC) <= start >= size - FOOTER_BYTES:
            return 0, b""
        file.seek(start)
        return start, file.read(size - 8 - start)


def _renamed(footer: bytes, names: list[_Name], wanted: Set[bytes]) -> bytes:
    found = {one.text for one in names}
    free = {length: _free(length, found | wanted) for length in {len(text) for text in found}}
    changed = bytearray(footer.replace(_ARROW_SCHEMA, _NO_SCHEMA))
    seen: set[bytes] = set()
    for one in names:
        if one.text in seen:
            changed[one.place : one.place + len(one.text)] = next(free[len(one.text)])
        seen.add(one.text)
    return bytes(changed)


def _free(length: int, taken: Container[bytes]) -> Iterator[bytes]:
    """Names of so many bytes that no column has, or is to have."""
    names = (bytes(letters) for letters in product(_LETTERS, repeat=length))
    return (name for name in names if name not in taken)


def _write(path: Path, start: int, footer: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(footer)


# ------------------------------------------------------------------------ Thrift's compact protocol


def _columns(footer: bytes) -> Iterator[_Name]:
    """The columns of the top level: the children of the first element of the schema."""
    reader = _Thrift(footer)
    for field, kind in reader.fields():
        if (field, kind) == (_SCHEMA, _LIST):
            break
        reader.skip(kind)
    else:
        return
    _, count = reader.list_header()
    if count:
        reader.element()
    remaining = count - 1
    while remaining > 0:
        name, children = reader.element()
        remaining -= 1
        yield name
        while children and remaining:
            _, more = reader.element()
            children += more - 1
            remaining -= 1


class _Thrift:
    """Reads what a footer needs; a type that it has none of ends the reading."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and the type of each field of a struct; its value has to be read next."""
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._signed()
            yield number, header & 15

    def element(self) -> tuple[_Name, int]:
        """The name of an element of the schema, and how many children it has."""
        name, children = _Name(b"", self._at), 0
        for field, kind in self.fields():
            if (field, kind) == (_NAME, _BINARY):
                length = self._number()
                name = _Name(self._data[self._at : self._at + length], self._at)
                self._at += length
            elif field == _CHILDREN:
                children = self._signed()
            else:
                self.skip(kind)
        return name, children

    def list_header(self) -> tuple[int, int]:
        """The type of a list's items, and how many there are."""
        header = self._byte()
        return header & 15, self._number() if header >> 4 == 15 else header >> 4

    def skip(self, kind: int) -> None:
        """Read a value of a type, and nothing of it."""
        if kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner)
        elif kind == _BINARY:
            self._at += self._number()
        elif kind in (3, 4, 5, 6):
            self._byte() if kind == 3 else self._number()
        elif kind not in (1, 2):
            raise _NoFooter

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _number(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise _NoFooter

    def _signed(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)
