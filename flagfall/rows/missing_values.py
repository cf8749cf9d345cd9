"""Which values of a column mean "no value".

A text does so if it is one of ``missingValues``. A number or a time does so if such a text stands
for it: where ``-999`` means "no value", ``-999.0`` does, too, in every format; and where ``-999.9``
does, the float32 that is the nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from flagfall.dataset.table import Column
from flagfall.rows.casting import FLOAT_DIGITS, cast_value

_COUNTED = ("integer", "number")
_TYPES = (*_COUNTED, "date", "datetime")
"""Of columns whose values may be written in several ways."""

_EXACT = 2.0 ** FLOAT_DIGITS[pl.Float64()]


def is_missing(column: Column, dtype: pl.DataType, raw: pl.Expr, missing: Sequence[str]) -> pl.Expr:
    """Whether a value means that there is none; true or null where there is none at all.

    Args:
        column: The column.
        dtype: Type of ``raw``, one that ``can_cast`` accepts.
        raw: The value as it was written.
        missing: The texts that mean "no value".
    """
    absent = raw.is_null()
    if isinstance(dtype, pl.String):
        absent |= raw.is_in(list(missing))
    written = pl.Series([text for text in missing if text], dtype=pl.String())
    if column.type not in _TYPES or written.is_empty():
        return absent
    compared, stands_for = _compared(column, dtype, raw, written)
    if stands_for.is_empty():
        return absent
    return absent | compared.is_in(stands_for.implode()).fill_null(False)


def _compared(
    column: Column, dtype: pl.DataType, raw: pl.Expr, written: pl.Series
) -> tuple[pl.Expr, pl.Series]:
    """What is compared, and with which values; a number of Parquet before it is cast."""
    if column.type in _COUNTED and dtype.is_float():
        return raw, _nearest(_floats(column, written), dtype)
    if column.type in _COUNTED and dtype.is_integer():
        return raw, _integers(column, written).cast(dtype, strict=False).drop_nulls()
    values = _values(column, written)
    if column.type == "integer":
        values = _integers(column, written).cast(values.dtype, strict=False).drop_nulls()
    return cast_value(column, dtype, raw), values


def _values(column: Column, written: pl.Series) -> pl.Series:
    """What texts are as values of the column, a day as its midnight; nothing of others."""
    found = _cast(column, written)
    if column.type != "datetime":
        return found
    days = _cast(column.model_copy(update={"type": "date", "format": "default"}), written)
    return pl.concat([found, days.cast(found.dtype)])


def _cast(column: Column, written: pl.Series) -> pl.Series:
    cast = cast_value(column, pl.String(), pl.col("x"))
    return written.to_frame("x").select(cast).to_series().drop_nulls()


def _floats(column: Column, written: pl.Series) -> pl.Series:
    point = "," if column.group_char == "." else column.decimal_char
    number = column.model_copy(update={"type": "number", "decimal_char": point})
    return _values(number, written)


def _nearest(numbers: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The floats as which a writer stores numbers; nothing of those that become 0 or infinite."""
    stored = numbers.cast(dtype)
    is_one = (stored.is_infinite() == numbers.is_infinite()) & ((stored == 0) == (numbers == 0))
    return stored.filter(is_one)


def _integers(column: Column, written: pl.Series) -> pl.Series:
    """All whole numbers: those of more than 64 bits, and those that are written as floats, too."""
    grouped = _values(column.model_copy(update={"type": "integer"}), written)
    floats = _floats(column, written)
    exact = floats.filter((floats.abs() < _EXACT) & (floats == floats.floor()))
    every = [written, grouped, exact]
    return pl.concat(one.cast(pl.Int128(), strict=False) for one in every).drop_nulls()
