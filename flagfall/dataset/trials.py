"""Tries expressions on rows with values.

polars says of a table without rows, and of nulls, that any cast works. What depends on the value is
not judged: whether a text is a number is known when it has come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import polars as pl

FAILED = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What an expression may raise."""

_TEXTS = ("1", "2020-01-31", "2020-01-31 12:00:00", "12:00:00", "true", "1 day", "a", "")
_VALUES: dict[pl.DataType, Any] = {
    pl.Int64(): 1,
    pl.Float64(): 1.5,
    pl.Boolean(): True,
    pl.Date(): date(2020, 1, 31),
    pl.Datetime("us"): datetime(2020, 1, 31, 12),
}
_OF_A_VALUE = "conversion from"
"""Begins polars' words for a value that cannot be cast; others could."""

_TEXT_TO_TIME = re.compile("casting from string to (date|datetime|time) ")
_TO_BOOLEAN = re.compile(r"casting from (utf8|str)\w* to Boolean ", re.IGNORECASE)

_GUESSED = "its format would be guessed from the first row; write it, as in DATE(x, '%d.%m.%Y')"

_MOMENT = datetime(2020, 11, 30, 16, 5, 6)


_TRIED = ("Cast", "Function")
"""Parts that are tried by themselves: a CASE may keep values from them."""


def why_it_never_works(expression: pl.Expr, columns: pl.Schema) -> str:
    """Why an expression, or a part of it, fails for every row of such columns; else empty.

    Args:
        expression: One that works on a table without rows.
        columns: The table's.
    """
    tree = json.loads(expression.meta.serialize(format="json"))
    formats = list(_formats(tree))
    texts = (*_TEXTS, *filter(None, map(_written, formats)))
    rows = [_ordinary(columns, text) for text in texts]
    nulls = pl.DataFrame({name: [None] for name in columns}, schema=columns)
    found = (
        *(_failure_of_format(form) for form in formats),
        *(_failure_of_types(part, rows) for part in (*_parts(tree), expression)),
        _failure_of_types(expression, [nulls]),
    )
    return next(filter(None, found), "")


def without_errors(expression: pl.Expr) -> pl.Expr:
    """The expression with TRY_CAST for each CAST."""
    strict = expression.meta.serialize(format="json")
    lenient = strict.replace('"options":"Strict"', '"options":"NonStrict"')
    return pl.Expr.deserialize(StringIO(lenient), format="json")


def reads_times(expression: pl.Expr) -> bool:
    """Whether there is a STRPTIME, which fails for a text that is no time."""
    return bool(list(_formats(json.loads(expression.meta.serialize(format="json")))))


def _failure_of_types(part: pl.Expr, rows: Sequence[pl.DataFrame]) -> str:
    """Why a part fails for each of the rows, if not for their values alone."""
    failures = []
    for row in rows:
        failures.append(_failure(part, row))
        if not failures[-1]:
            return ""
    why = next((why for why in failures if not why.startswith(_OF_A_VALUE)), "")
    return f"{why.rstrip('.')}{_remedy(why)}"


def _remedy(why: str) -> str:
    """What to write instead of a cast that polars has not."""
    if _TEXT_TO_TIME.match(why):
        return "; give the column a type of times and its format"
    return "; compare it, as in COLUMN = 'true'" if _TO_BOOLEAN.match(why) else ""


def _ordinary(columns: pl.Schema, text: str) -> pl.DataFrame:
    values = {name: [_VALUES.get(dtype, text)] for name, dtype in columns.items()}
    return pl.DataFrame(values, schema=columns)


def _failure(expression: pl.Expr, rows: pl.DataFrame) -> str:
    try:
        rows.select(expression)
    except FAILED as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def _parts(tree: Any) -> Iterator[pl.Expr]:
    """The casts and functions of an expression, the inner ones first."""
    for inner in _inner(tree):
        yield from _parts(inner)
    if isinstance(tree, dict) and not tree.keys().isdisjoint(_TRIED):
        yield pl.Expr.deserialize(StringIO(json.dumps(tree)), format="json")


def _inner(tree: Any) -> Iterable[Any]:
    if isinstance(tree, dict):
        return tree.values()
    return tree if isinstance(tree, list) else ()


def _formats(tree: Any) -> Iterator[str]:
    """The format of each STRPTIME; empty for a DATE, TIME or TIMESTAMP that has none."""
    if isinstance(tree, dict) and "Strptime" in tree:
        yield next(option["format"] or "" for option in tree["Strptime"] if "format" in option)
    for inner in _inner(tree):
        yield from _formats(inner)


def _failure_of_format(form: str) -> str:
    """Why a format reads no text, or none that is certain: what is written in it is not read."""
    if not form:
        return _GUESSED
    if (written := _written(form)) is not None and _is_read(form, written):
        return ""
    return f"STRPTIME cannot read what is written as {form!r}"


def _written(form: str) -> str | None:
    """A moment as a format has it; ``None`` where it has none."""
    for moment in (_MOMENT, _MOMENT.replace(tzinfo=UTC)):
        with suppress(*FAILED):
            return str(pl.Series([moment]).dt.strftime(form.replace("%#z", "%z")).item())
    return None


def _is_read(form: str, written: str) -> bool:
    row = pl.DataFrame({"x": [written]})
    return not _failure(pl.col("x").str.strptime(pl.Datetime("us"), form), row)
