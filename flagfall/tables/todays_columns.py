"""Rows with the columns that their dataset has today, which may be others than it had then.

A column that is new is empty. A value of a column whose type changed stays where the new type can
hold it: a number as text, an integer as a number, a day as its midnight. Else it is empty, as is an
integer of which a number holds only a neighbour, and a text such as ``nan`` that is no number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import polars as pl

from flagfall.dataset.columns import staged_schema
from flagfall.dataset.schema import Dataset

_DATE, _TIME = pl.Date(), pl.Datetime("us")
_SCORE = pl.Float32()
_INTEGER, _NUMBER, _TEXT = pl.Int64(), pl.Float64(), pl.String()


def in_form(
    dataset: Dataset,
    part: pl.LazyFrame,
    unchanged: Collection[str] = (),
    beside: Collection[str] = (),
) -> pl.LazyFrame:
    """Rows with today's columns.

    Args:
        dataset: Their dataset.
        part: As they were staged.
        unchanged: Columns that keep the type that they had.
        beside: Further columns, which are none of the dataset's.
    """
    there = part.collect_schema()
    formed = (
        pl.col(name)
        if name in there and name in unchanged
        else _as(there.get(name), kind, pl.col(name)).alias(name)
        for name, kind in staged_schema(dataset).items()
    )
    return part.select(*formed, *beside)


def of_types(part: pl.LazyFrame, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Rows with the columns that they have, those that are named as these types."""
    there = part.collect_schema()
    return part.with_columns(
        _as(there[name], kind, pl.col(name)).alias(name)
        for name, kind in types.items()
        if name in there and there[name] != kind
    )


def _as(there: pl.DataType | None, wanted: pl.DataType, values: pl.Expr) -> pl.Expr:
    """Values as another type has them; ``there`` is ``None`` where the column is new."""
    if there == wanted:
        return values
    kept = _KEPT.get((there, wanted)) if there is not None else None
    if there is not None and wanted == _TEXT:
        return values.cast(_TEXT)
    return pl.lit(None, dtype=wanted) if kept is None else kept(values)


def _finite(values: pl.Expr) -> pl.Expr:
    return pl.when(values.is_finite()).then(values)


def _exactly(values: pl.Expr) -> pl.Expr:
    """Integers as numbers, without those of which a number holds only a neighbour."""
    numbers = values.cast(_NUMBER)
    return pl.when(numbers.cast(_INTEGER, strict=False) == values).then(numbers)


def _whole(values: pl.Expr) -> pl.Expr:
    return pl.when(values == values.round(0)).then(values.cast(_INTEGER, strict=False))


def _midnight(values: pl.Expr) -> pl.Expr:
    return pl.when(values == values.dt.truncate("1d")).then(values.cast(_DATE))


_KEPT: dict[tuple[pl.DataType, pl.DataType], Callable[[pl.Expr], pl.Expr]] = {
    (_INTEGER, _NUMBER): _exactly,
    (_NUMBER, _INTEGER): _whole,
    (_DATE, _TIME): lambda values: values.cast(_TIME),
    (_TIME, _DATE): _midnight,
    (_TEXT, _INTEGER): lambda values: values.cast(_INTEGER, strict=False),
    (_TEXT, _NUMBER): lambda values: _finite(values.cast(_NUMBER, strict=False)),
    (_SCORE, _NUMBER): lambda values: values.cast(_NUMBER),
    (_NUMBER, _SCORE): lambda values: _finite(values.cast(_SCORE)),
}
