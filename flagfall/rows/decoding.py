"""Text files of other encodings, as UTF-8: block by block, and nothing is replaced or left out."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from flagfall.dataset.dialect import UTF8, Dialect
from flagfall.errors import BatchInvalid

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_LONGEST_MARK = 3


def decoded(file: str, blocks: Iterable[bytes], dialect: Dialect) -> Iterator[bytes]:
    """The blocks of a file as UTF-8 without a byte order mark; as before the last one is empty.

    Args:
        file: Its name, for messages.
        blocks: Its bytes, in blocks of any size; the last is empty.
        dialect: Its encoding is not UTF-8.

    Raises:
        BatchInvalid: ``encoding``: bytes that are none of the encoding's, with their line.
    """
    decoder: _Decoder | None = None
    head = b""
    for data in blocks:
        if decoder is None:
            head += data
            if data and len(head) < _LONGEST_MARK:
                continue
            codec, mark = _codec(file, head, dialect)
            decoder, data = _Decoder(file, dialect.encoding, codec), head[len(mark) :]
        if text := decoder.decode(data):
            yield text
    if decoder is not None and (rest := decoder.decode(b"", final=True)):
        yield rest
    yield b""


def is_utf8(dialect: Dialect) -> bool:
    """Whether files need no decoding."""
    return dialect.codec == UTF8


def _codec(file: str, head: bytes, dialect: Dialect) -> tuple[str, bytes]:
    """The encoding, with the order of bytes, and the byte order mark that a file begins with."""
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    marked = _MARKS.get(mark, "")
    if dialect.codec == "utf-16" and head and not marked.startswith("utf-16"):
        why = f"{file}: line 1: no byte order mark of UTF-16"
        remedy = "write one, or write the file as the dataset says (dialect.encoding: utf-16-le)"
        raise BatchInvalid("encoding", f"{why}; {remedy}")
    if marked and not marked.startswith(dialect.codec):
        why = f"{file}: line 1: the byte order mark of {marked}; expected {dialect.encoding}"
        raise BatchInvalid("encoding", f"{why}; write the file so")
    return marked or dialect.codec, mark


class _Decoder:
    def __init__(self, file: str, encoding: str, codec: str) -> None:
        self._file = file
        self._encoding = encoding
        self._codec = codec
        self._decoder = codecs.getincrementaldecoder(codec)("strict")
        self._line = 1

    def decode(self, data: bytes, final: bool = False) -> bytes:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            raise self._refused(error) from error
        self._line += text.count("\n")
        return text.encode()

    def _refused(self, error: UnicodeDecodeError) -> BatchInvalid:
        before = error.object[: error.start].decode(self._codec, "ignore")
        found = " ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end][:4])
        why = f"line {self._line + before.count(chr(10))}: not {self._encoding} (byte {found})"
        message = f"{self._file}: {why}; write the file as {self._encoding}"
        return BatchInvalid("encoding", message)
