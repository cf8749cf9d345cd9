"""SQL expressions over a dataset's columns, as polars has them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import polars as pl

_READ = re.compile(r"\bread_\w+", re.IGNORECASE)

_CLOCK = re.compile(
    r"(?<!['\"])\b(?:current_(?:date|time|timestamp)|localtime(?:stamp)?|(?:now|today)\s*\()",
    re.IGNORECASE,
)

_OVER_ROWS = frozenset(
    {"Agg", "Correlation", "Explode", "Filter", "Gather", "Len", "NullCount", "Over", "Quantile"}
    | {"Rolling", "Shift", "Slice", "Sort", "SortBy", "SubPlan"}
)
"""Parts of an expression that look at other rows than their own."""

_NAMES_AND_VALUES = ("Column", "Literal", "StringExpr")
"""Parts whose content is none, or a function of text: its ``Slice`` is one of the text."""

TIME_WITH_NUMBER = (
    "expected a date or time to be compared with one, such as DATE '2020-01-31', and a duration"
    " with one such as INTERVAL '5 days'"
)
"""What is wrong where ``compares_time_with_number``."""

_COMPARISONS = frozenset({"Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq"})


def parse_expression(text: str) -> pl.Expr:
    """Parse an SQL expression. It reads no file and runs no code.

    Raises:
        pl.exceptions.PolarsError: It is none.
    """
    for word in _READ.findall(text):
        # polars reads the file of `x IN (FROM read_csv('…'))` while it parses.
        if hasattr(pl, word.lower()):
            why = f"expected no function that reads a file, got {word!r}"
            raise pl.exceptions.SQLInterfaceError(why)
    try:
        return pl.sql_expr(text)
    except pl.exceptions.PanicException as panic:
        raise pl.exceptions.SQLInterfaceError(str(panic)) from panic


def asks_the_clock(text: str) -> bool:
    """Whether an SQL expression has another value tomorrow."""
    return bool(_CLOCK.search(text))


def looks_at_other_rows(expression: pl.Expr) -> bool:
    """Whether its value for a row depends on other rows: an aggregate, a window, a subquery."""
    return _has_part(json.loads(expression.meta.serialize(format="json")))


def compares_time_with_number(expression: pl.Expr, columns: pl.Schema) -> bool:
    """Whether a date, a time or a duration meets a number, which polars takes for days or ticks.

    ``day >= 2020-01-01`` without quotes is such a comparison: with 2018.
    """
    empty = pl.LazyFrame(schema=columns)

    def type_of(tree: Any) -> pl.DataType:
        part = pl.Expr.deserialize(StringIO(json.dumps(tree)), format="json")
        return empty.select(part).collect_schema().dtypes()[0]

    for compared in _comparisons(json.loads(expression.meta.serialize(format="json"))):
        types = [type_of(compared[side]) for side in ("left", "right")]
        if any(t.is_temporal() for t in types) and any(t.is_numeric() for t in types):
            return True
    return False


def _comparisons(tree: Any) -> Iterator[Any]:
    """The parts of an expression that compare two others."""
    if isinstance(tree, dict) and tree.get("op") in _COMPARISONS:
        yield tree
    if isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _comparisons(part)


def _has_part(tree: Any) -> bool:
    if isinstance(tree, dict):
        inner = (value for name, value in tree.items() if name not in _NAMES_AND_VALUES)
        return not _OVER_ROWS.isdisjoint(tree) or any(map(_has_part, inner))
    if isinstance(tree, list):
        return any(map(_has_part, tree))
    return isinstance(tree, str) and tree in _OVER_ROWS
