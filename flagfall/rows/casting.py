"""Casts the value that a producer wrote to the value that the lake keeps, or to null.

Null means missing or unreadable; ``rules`` distinguishes the two. Nothing is trimmed, rounded or
guessed: ``" 5"`` and ``"1.0"`` are not integers, and a time of nanoseconds is none of microseconds.
Only numbers become the nearest float64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import polars as pl

from flagfall.dataset.columns import polars_type
from flagfall.dataset.table import Column

_ISO_DATE = r"^\d{4}-\d{2}-\d{2}$"
_ISO_DATETIME = (
    r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:[0-5]\d(\.\d{1,6}0*)?)?(Z|[+-]\d{2}(:?\d{2})?)?$"
)
_PROBES = [datetime(year, 2, 3, 16, 5, 6, tzinfo=UTC) for year in (2001, 1969)]
_LAST_CENTURY = r"(?:69|[7-9]\d)"

_LAST_NS = 2**63 - 1
_NO_NS = "a time before 1678 or after 2262 in nanoseconds (INT96)"
"""What polars reads as the last time that nanoseconds can name."""

FLOAT_DIGITS: dict[pl.DataType, int] = {pl.Float16(): 11, pl.Float32(): 24, pl.Float64(): 53}
"""Binary digits of a float. From two to their power on, it may stand for several integers."""

_DIRECTIVE = re.compile(r"\.%f|%.|[^%]|%$", re.DOTALL)
_DIRECTIVES = {
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%m": r"\d{1,2}",
    "%d": r"\d{1,2}",
    "%j": r"\d{1,3}",
    "%H": r"\d{1,2}",
    "%I": r"\d{1,2}",
    "%M": r"\d{1,2}",
    "%S": r"[0-5]?\d",
    ".%f": r"\.\d{1,6}",
    "%p": r"[AaPp][Mm]",
    "%b": r"[A-Za-z]{3}",
    "%B": r"[A-Za-z]+",
    "%a": r"[A-Za-z]{3}",
    "%A": r"[A-Za-z]+",
    "%z": r"[+-]\d{2}:?\d{2}",
    "%%": "%",
}
_TIMES = frozenset({"%H", "%I", "%M", "%S", ".%f", "%p", "%z"})
_FULL_WIDTH = {
    **dict.fromkeys(("%m", "%d", "%H", "%I", "%M"), r"\d{2}"),
    "%j": r"\d{3}",
    "%S": r"[0-5]\d",
}
"""Directives that may have fewer digits, unless a digit stands beside them."""
_NUMBERS = frozenset({"%Y", "%y", *_FULL_WIDTH})


def can_cast(column: Column, dtype: pl.DataType) -> bool:
    """Whether values of a Parquet type can be values of the column."""
    return _native(column.type, dtype, pl.col("x")) is not None or isinstance(
        dtype, pl.String | pl.Null | pl.Categorical | pl.Enum
    )


def cast_value(column: Column, dtype: pl.DataType, raw: pl.Expr) -> pl.Expr:
    """The column's value, of ``polars_type``; null if it is missing or unreadable.

    Args:
        column: The column.
        dtype: Type of ``raw``, one that ``can_cast`` accepts.
        raw: The value as it was written; null where it is missing.
    """
    native = None if isinstance(dtype, pl.String) else _native(column.type, dtype, raw)
    if native is not None:
        return native
    if isinstance(dtype, pl.Null):
        return raw.cast(polars_type(column.type))
    return _from_text(column, raw)


def text_of(dtype: pl.DataType, raw: pl.Expr) -> pl.Expr:
    """Cast a value to text, for messages."""
    if not isinstance(dtype, pl.Date | pl.Datetime):
        return raw.cast(pl.String())
    # polars panics when it prints a date that no calendar has.
    text = _calendar(raw).cast(pl.String()).fill_null(raw.to_physical().cast(pl.String()))
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
        return pl.when(raw.to_physical() == _LAST_NS).then(pl.lit(_NO_NS)).otherwise(text)
    return text


def format_problem(column: Column) -> str | None:
    """Why the ``format`` of a date or datetime cannot be used; ``None`` if it can."""
    if column.type not in ("date", "datetime") or column.format == "default":
        return None
    unknown = [t for t in _DIRECTIVE.findall(column.format) if "%" in t and t not in _DIRECTIVES]
    if unknown:
        return f"expected directives out of {' '.join(_DIRECTIVES)}, got {' '.join(unknown)}"
    if not _is_read(column):
        return f"expected a format that names a whole {column.type}, got {column.format!r}"
    return None


def _is_read(column: Column) -> bool:
    """Whether probes that are written in its format are read as they are, as Python reads them."""
    try:
        probes = [_probe(column, moment) for moment in _PROBES]
        texts = [probe.strftime(column.format) for probe in probes]
        read = [_read_one(column, text) for text in texts]
        is_python = read == [_read_by_python(column, text) for text in texts]
        return is_python and all(map(_is_whole, read, probes))
    except (pl.exceptions.PolarsError, ValueError, re.error):  # two years, %I without %p, …
        return False


def _probe(column: Column, moment: datetime) -> datetime:
    if column.type == "date":
        return moment.replace(hour=0, minute=0, second=0)
    return moment


def _is_whole(read: object, probe: datetime) -> bool:
    """Whether all of a probe was read, down to some unit of time; the rest is 0."""
    minute = probe.replace(second=0, tzinfo=None)
    hour = minute.replace(minute=0)
    return read in [probe.date(), probe.replace(tzinfo=None), minute, hour, hour.replace(hour=0)]


def _read_one(column: Column, written: str) -> object:
    return pl.Series([written]).to_frame("x").select(_from_text(column, pl.col("x"))).item()


def _read_by_python(column: Column, written: str) -> date:
    read = datetime.strptime(written, column.format)
    naive = read if read.tzinfo is None else read.astimezone(UTC).replace(tzinfo=None)
    return naive.date() if column.type == "date" else naive


# --------------------------------------------------------------------------------------- from text


def _from_text(column: Column, raw: pl.Expr) -> pl.Expr:
    if column.type == "integer":
        return _plain_number(column, raw).cast(pl.Int64(), strict=False)
    if column.type == "number":
        return _plain_number(column, raw).cast(pl.Float64(), strict=False)
    if column.type == "boolean":
        return _boolean(column, raw)
    if column.type == "date" and _TIMES.isdisjoint(_DIRECTIVE.findall(column.format)):
        return _calendar(_date(column.format, raw))
    if column.type == "date":
        return _midnight(_datetime(column.format, raw))
    if column.type == "datetime":
        return _calendar(_datetime(column.format, raw))
    return raw


def _plain_number(column: Column, raw: pl.Expr) -> pl.Expr:
    """The text with a decimal point and without groups; null where it is not written so."""
    point, group = column.decimal_char, column.group_char or ""
    if (point, group) == (".", ""):
        return raw
    digits = rf"(\d*|[1-9]\d{{0,2}}({re.escape(group)}\d{{3}})+)" if group else r"\d*"
    if column.type == "number":
        digits += rf"({re.escape(point)}\d*)?([eE][+-]?\d+)?"
    text = _only(rf"^[+-]?{digits}$", raw).str.replace_all(group, "", literal=True)
    return text.str.replace(point, ".", literal=True)


def _boolean(column: Column, raw: pl.Expr) -> pl.Expr:
    is_true, is_false = raw.is_in(list(column.true_values)), raw.is_in(list(column.false_values))
    return pl.when(is_true).then(True).when(is_false).then(False)


def _calendar(value: pl.Expr) -> pl.Expr:
    """Only the years 0001 to 9999, as ISO 8601 and Python's datetime have them."""
    return _once(value, lambda read: pl.when(read.dt.year().is_between(1, 9999)).then(read))


def _once(value: pl.Expr, use: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """What is made of a value. polars computes what an expression names twice, twice."""
    return value.map_batches(
        lambda series: series.to_frame("x").select_seq(use(pl.col("x"))).to_series(),
        is_elementwise=True,
    )


def _only(pattern: str, raw: pl.Expr) -> pl.Expr:
    return pl.when(raw.str.contains(pattern)).then(raw)


def _date(form: str, raw: pl.Expr) -> pl.Expr:
    text, chrono = (
        (_only(_ISO_DATE, raw), "%Y-%m-%d") if form == "default" else _strptime(form, raw)
    )
    return text.str.to_date(chrono, strict=False)


def _datetime(form: str, raw: pl.Expr) -> pl.Expr:
    if form == "default":
        return _iso_datetime(raw)
    return _parse(*_strptime(form, raw))


def _parse(text: pl.Expr, chrono: str) -> pl.Expr:
    parsed = text.str.to_datetime(chrono, time_unit="us", strict=False)
    return parsed.dt.replace_time_zone(None)


def _iso_datetime(raw: pl.Expr) -> pl.Expr:
    """Convert to UTC; a time without an offset is in UTC already."""
    text = _only(_ISO_DATETIME, raw).str.replace(" ", "T", literal=True)
    text = text.str.replace(r"^(.{16})(Z|[+-].*)?$", "${1}:00${2}")
    text = text.str.replace("Z", "+00:00", literal=True)
    text = text.str.replace(r"([+-]\d{2})$", "${1}:00")
    return _once(text, _with_or_without_offset)


def _with_or_without_offset(text: pl.Expr) -> pl.Expr:
    naive = _parse(text, "%Y-%m-%dT%H:%M:%S%.f")
    return pl.coalesce(naive, _parse(text, "%Y-%m-%dT%H:%M:%S%.f%z"))


def _strptime(form: str, raw: pl.Expr) -> tuple[pl.Expr, str]:
    """Return the texts that Python's strptime accepts, and polars' format for them.

    polars alone would take ``1.2.13`` for ``%d.%m.%Y`` as the year 13, and 69 as 2069. Python takes
    ``2013111`` for ``%Y%m%d``, too; that may be one of two days.
    """
    tokens = _DIRECTIVE.findall(form)
    patterns = _patterns(tokens)
    text, chrono = _only(f"^{''.join(patterns)}$", raw), form.replace(".%f", "%.f")
    if "%y" not in tokens:
        return text, chrono
    place = tokens.index("%y")
    start, end = f"^({''.join(patterns[:place])})", f"({''.join(patterns[place + 1 :])})$"
    old = text.str.replace(f"{start}({_LAST_CENTURY}){end}", "${1}19${2}${3}")
    new = text.str.replace(f"{start}([0-6]\\d){end}", "${1}20${2}${3}")
    is_old = text.str.contains(f"{start}{_LAST_CENTURY}{end}")
    return pl.when(is_old).then(old).otherwise(new), chrono.replace("%y", "%Y", 1)


def _patterns(tokens: Sequence[str]) -> list[str]:
    """A regular expression for each part of a format."""
    beside = zip(("", *tokens), tokens, (*tokens[1:], ""), strict=False)
    return [_pattern(token, {before, after}) for before, token, after in beside]


def _pattern(token: str, beside: set[str]) -> str:
    if token in _FULL_WIDTH and any(other in _NUMBERS or other.isdigit() for other in beside):
        return _FULL_WIDTH[token]
    return _DIRECTIVES.get(token) or re.escape(token)


# ----------------------------------------------------------------------------- from Parquet's types


def _native(wanted: str, dtype: pl.DataType, raw: pl.Expr) -> pl.Expr | None:
    if wanted == "integer" and dtype.is_integer():
        return raw.cast(pl.Int64(), strict=False)
    if wanted == "integer" and dtype.is_float():
        return _whole(dtype, pl.when(raw.abs() < 2.0 ** FLOAT_DIGITS[dtype]).then(raw))
    if wanted == "integer" and dtype.is_numeric():
        return _whole(dtype, raw)
    if wanted == "number" and dtype.is_numeric():
        return raw.cast(pl.Float64())
    if wanted == "boolean" and isinstance(dtype, pl.Boolean):
        return raw
    if wanted == "date" and isinstance(dtype, pl.Date):
        return _calendar(raw)
    if wanted == "date" and isinstance(dtype, pl.Datetime):
        return _midnight(_utc(dtype, raw))
    if wanted == "datetime" and isinstance(dtype, pl.Datetime):
        return _calendar(_utc(dtype, raw))
    return None


def _whole(dtype: pl.DataType, raw: pl.Expr) -> pl.Expr:
    whole = raw.cast(pl.Int64(), strict=False)
    return pl.when(whole.cast(dtype) == raw).then(whole)


def _utc(dtype: pl.Datetime, raw: pl.Expr) -> pl.Expr:
    """Convert to UTC; a time without a zone is in UTC already. Null for parts of a microsecond."""
    utc = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if dtype.time_unit == "ns":
        utc = pl.when(utc.dt.nanosecond() % 1_000 == 0).then(utc)
    return utc.cast(pl.Datetime("us"), strict=False)


def _midnight(moment: pl.Expr) -> pl.Expr:
    day = _calendar(moment).dt.date()
    return pl.when(day.cast(pl.Datetime("us")) == moment).then(day)
