"""Rows whose quotes and escapes are not those of RFC 4180, written as RFC 4180 has them.

Line feeds stay where they are, so that lines are counted in the same way. A field that is not
closed yet is left open: its row ends in a later block.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from flagfall.dataset.dialect import Dialect

_QUOTE = b'"'

Rewrite = Callable[[bytes], bytes]


def rewriter(dialect: Dialect) -> Rewrite | None:
    """What writes whole lines that begin with a row as RFC 4180 has them; ``None``: they are so."""
    quote, escape = _bytes(dialect.quote_char), _bytes(dialect.escape_char)
    if quote == _QUOTE and not escape:
        return None
    delimiter = dialect.delimiter.encode()
    rewrite = _quoted(delimiter, quote, escape) if quote else _unquoted(delimiter, escape)
    unlike = {escape} if quote == _QUOTE else {_QUOTE, quote, escape} - {b""}
    return lambda data: rewrite(data) if any(byte in data for byte in unlike) else data


def _bytes(character: str | None) -> bytes:
    return character.encode() if character else b""


def _enclosed(text: bytes, is_closed: bool = True) -> bytes:
    doubled = text.replace(_QUOTE, _QUOTE + _QUOTE)
    return _QUOTE + doubled + (_QUOTE if is_closed else b"")


def _quoted(delimiter: bytes, quote: bytes, escape: bytes) -> Rewrite:
    """Fields in quotes; others have no escapes."""
    begin, plain, q, e = _begin(delimiter), _plain(delimiter), re.escape(quote), re.escape(escape)
    escaped = rb"|%s[%s%s]|%s" % (e, e, q, e) if escape else b""
    inner = rb"(?:[^%s%s]++|%s%s%s)*+" % (e, q, q, q, escaped)
    field = re.compile(
        rb"%s(?:%s(?P<inner>%s)(?P<close>%s|\Z)|%s)" % (begin, q, inner, q, plain),
        re.DOTALL,
    )
    pair = re.compile(rb"%s%s%s" % (q, q, rb"|%s([%s%s])" % (e, e, q) if escape else b""))

    def written(match: re.Match[bytes]) -> bytes:
        if match["plain"] is not None:
            return _enclosed(match["plain"])
        text = pair.sub(lambda found: found[0][-1:], match["inner"])
        return _enclosed(text, is_closed=bool(match["close"]))

    return lambda data: field.sub(written, data)


def _unquoted(delimiter: bytes, escape: bytes) -> Rewrite:
    """No field is in quotes; a delimiter or a line end in it is escaped."""
    begin, plain, d, e = (
        _begin(delimiter),
        _plain(delimiter),
        re.escape(delimiter),
        re.escape(escape),
    )
    if not escape:
        field = re.compile(begin + plain, re.DOTALL)
        return lambda data: field.sub(lambda match: _enclosed(match["plain"]), data)
    inner = rb"[^%s\r\n%s]*+(?:%s(?:\r\n|.)[^%s\r\n%s]*+)++" % (d, e, e, d, e)
    field = re.compile(rb"%s(?:(?P<inner>%s)|%s)" % (begin, inner, plain), re.DOTALL)
    pair = re.compile(rb"%s([%s%s\r\n])" % (e, d, e))

    def written(match: re.Match[bytes]) -> bytes:
        if match["plain"] is not None:
            return _enclosed(match["plain"])
        is_open = match.end() == len(match.string)  # whole lines: the last line feed is escaped
        return _enclosed(pair.sub(rb"\1", match["inner"]), is_closed=not is_open)

    return lambda data: field.sub(written, data)


def _begin(delimiter: bytes) -> bytes:
    return rb"(?<![^%s\n])" % re.escape(delimiter)


def _plain(delimiter: bytes) -> bytes:
    """A field that is not in quotes and has a quote of RFC 4180 in it."""
    return rb"(?P<plain>[^%s\r\n\"]*+\"[^%s\r\n]*+)" % (re.escape(delimiter), re.escape(delimiter))
