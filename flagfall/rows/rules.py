"""The rules of a dataset's columns for every row, as polars expressions.

The name of a rule is the text that a producer reads, such as ``temp: below minimum -40``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from flagfall.dataset.columns import polars_type
from flagfall.dataset.schema import Dataset
from flagfall.dataset.table import Column
from flagfall.errors import DatasetInvalid, Problem
from flagfall.rows.casting import cast_value, format_problem
from flagfall.rows.missing_values import is_missing
from flagfall.rows.sql_rules import judge_rows, rule_problems, rules_for_no_row

ROW = "row"
REASONS = "reasons"
REJECTED = pl.Schema({ROW: pl.UInt32(), REASONS: pl.List(pl.String())})
"""Columns of rejected rows."""
_NONE_REJECTED = pl.DataFrame(schema=REJECTED)

ENUM_SHOWN = 10
"""Values of an ``enum`` that a reason names."""

_READABLE = {
    "integer": "not an integer",
    "number": "not a number",
    "boolean": "not a boolean",
    "date": "not a date",
    "datetime": "not a datetime",
}


def value_of(index: int) -> str:
    """The column with the values of a column of the schema."""
    return f"value {index}"


def _given(index: int) -> str:
    return f"given {index}"


def kept_rule(index: int) -> str:
    """The column that says whether a row keeps a rule of the schema."""
    return f"rule {index}"


class Sifted(NamedTuple):
    """Rows, split by the rules; the column ``row`` is the position among all rows.

    Attributes:
        accepted: Rows that keep all rules that reject a row, with their values by position, and
            what each rule of the schema says of them (see ``kept_rule``).
        rejected: Rows that break some, with the list column ``reasons``.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame


class RowRules:
    """The rules of a dataset.

    Attributes:
        key: Columns of accepted rows that are the primary key.
        names: What a row may break, as ``reasons`` name it.

    Raises:
        DatasetInvalid: A column's format or pattern, or a rule's expression cannot be used.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._table = dataset.table
        self._columns = dataset.table.fields
        _check_columns(dataset)
        self._sql_names = [kept_rule(index) for index in range(len(self._table.rules))]
        rules = list(self._all_rules())
        self.names = [reason for reason, _ in rules]
        self._rules = [rule.alias(str(number)) for number, (_, rule) in enumerate(rules)]
        self._names = [column.name for column in self._columns]
        self._values = [value_of(index) for index in range(len(self._columns))]
        self.key = [value_of(self._names.index(name)) for name in dataset.table.primary_key]
        self._prepared: dict[tuple[pl.DataType, ...], list[pl.Expr]] = {}

    def split(self, rows: pl.DataFrame) -> Sifted:
        """Accept or reject every row; both keep the order. May be called by several threads."""
        # One after the other here: callers have a thread for each of several blocks.
        prepared = self._with_sql_rules(rows.select_seq(self._expressions(rows)))
        kept = prepared.select_seq(self._rules)
        broken = pl.DataFrame([~rule for rule in kept if not rule.all()])
        accepted = prepared[[ROW, *self._values, *self._sql_names]]
        if not broken.width:
            return Sifted(accepted, _NONE_REJECTED)
        bad = broken.select_seq(pl.any_horizontal(pl.all()).fill_null(False)).to_series()
        reasons = broken.filter(bad).select_seq(self._reasons(broken.columns).alias(REASONS))
        rejected = prepared[[ROW]].filter(bad).hstack(reasons)
        return Sifted(accepted.filter(~bad), rejected)

    def _reasons(self, broken: Sequence[str]) -> pl.Expr:
        """The names of the rules that a row breaks, in order, out of some that a row may break."""
        names = [pl.when(pl.col(at)).then(pl.lit(self.names[int(at)])) for at in broken]
        return pl.concat_list(names).list.drop_nulls()

    def values(self, accepted: pl.DataFrame) -> pl.DataFrame:
        """Accepted rows with exactly the dataset's columns."""
        values = accepted[self._values]
        values.columns = self._names
        return values

    def _expressions(self, rows: pl.DataFrame) -> list[pl.Expr]:
        """By position: whether there is a value, and the value or null where it cannot be read."""
        dtypes = tuple(rows.schema[name] for name in self._names)
        if dtypes not in self._prepared:
            self._prepared[dtypes] = list(self._prepare(dtypes))
        return self._prepared[dtypes]

    def _prepare(self, dtypes: Sequence[pl.DataType]) -> Iterator[pl.Expr]:
        yield pl.int_range(pl.len(), dtype=pl.UInt32).alias(ROW)
        for index, (column, dtype) in enumerate(zip(self._columns, dtypes, strict=True)):
            raw = pl.col(column.name)
            is_given = ~is_missing(column, dtype, raw, self._table.missing_values)
            yield is_given.alias(_given(index))
            value = cast_value(column, dtype, pl.when(is_given).then(raw))
            yield value.alias(value_of(index))

    def _with_sql_rules(self, prepared: pl.DataFrame) -> pl.DataFrame:
        if not self._sql_names:
            return prepared
        judged = judge_rows(self._table.rules, self._sql_names, self.values(prepared))
        return prepared.hstack(judged)

    def _all_rules(self) -> Iterator[tuple[str, pl.Expr]]:
        for index, column in enumerate(self._columns):
            required = column.constraints.required or column.name in self._table.primary_key
            value, given = pl.col(value_of(index)), pl.col(_given(index))
            for text, rule in _rules(column, required, value, given):
                yield f"{column.name}: {text}", rule
        for name, sql in zip(self._sql_names, self._table.rules, strict=True):
            if sql.severity == "drop":
                yield f"rule: {sql.name}", pl.col(name)


def _rules(
    column: Column, required: bool, value: pl.Expr, given: pl.Expr
) -> Iterator[tuple[str, pl.Expr]]:
    """Reasons, each with an expression that is true or null for a good row."""
    if required:
        yield "required", given
    if column.type in _READABLE:
        suffix = "" if column.format == "default" else f" as {column.format}"
        yield _READABLE[column.type] + suffix, value.is_not_null() | ~given
    if column.type == "number":
        yield "not a finite number", value.is_finite()
        value = pl.when(value.is_finite()).then(value)
    yield from _constraints(column, value)


def _constraints(column: Column, value: pl.Expr) -> Iterator[tuple[str, pl.Expr]]:
    limits = column.constraints
    if limits.minimum is not None:
        yield f"below minimum {limits.minimum}", value >= _comparable(limits.minimum)
    if limits.maximum is not None:
        yield f"above maximum {limits.maximum}", value <= _comparable(limits.maximum)
    if limits.enum is not None:
        yield f"not one of {_shown(limits.enum)}", value.is_in(_members(column).implode())
    if limits.pattern is not None:
        yield f"does not match {limits.pattern}", value.str.contains(_whole(limits.pattern))
    if limits.min_length is not None:
        yield f"shorter than {limits.min_length}", value.str.len_chars() >= limits.min_length
    if limits.max_length is not None:
        yield f"longer than {limits.max_length}", value.str.len_chars() <= limits.max_length


def _comparable(bound: Any) -> Any:
    """Times with an offset as the same time in UTC, without."""
    if isinstance(bound, datetime) and bound.tzinfo is not None:
        return bound.astimezone(UTC).replace(tzinfo=None)
    return bound


def _members(column: Column) -> pl.Series:
    values = [_comparable(value) for value in column.constraints.enum or ()]
    return pl.Series(values, dtype=polars_type(column.type), strict=False)


def _shown(values: Sequence[object]) -> str:
    more = f" and {len(values) - ENUM_SHOWN} more" if len(values) > ENUM_SHOWN else ""
    return ", ".join(str(value) for value in values[:ENUM_SHOWN]) + more


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


# ------------------------------------------------------- formats and patterns that cannot be used


def check_rules(dataset: Dataset) -> None:
    """See that rules can be used (see ``RowRules``), and that each works for some row.

    Raises:
        DatasetInvalid: One cannot, or does not.
    """
    RowRules(dataset)
    if problems := list(rules_for_no_row(dataset)):
        raise DatasetInvalid(f"datasets/{dataset.name}.yaml", problems)


def _check_columns(dataset: Dataset) -> None:
    problems = [
        Problem(f"schema.fields[{index}].{key}", None, message)
        for index, column in enumerate(dataset.table.fields)
        for key, message in _column_problems(column)
    ]
    problems += rule_problems(dataset)
    if problems:
        raise DatasetInvalid(f"datasets/{dataset.name}.yaml", problems)


def _column_problems(column: Column) -> Iterator[tuple[str, str]]:
    if problem := format_problem(column):
        yield "format", problem
    if column.constraints.pattern and (problem := _pattern_problem(column.constraints.pattern)):
        yield "constraints.pattern", problem


def _pattern_problem(pattern: str) -> str | None:
    """Why polars cannot match it: its engine takes linear time, and so lacks look-around."""
    try:
        pl.Series([""]).str.contains(_whole(pattern))
    except pl.exceptions.PolarsError as error:
        lines = str(error).splitlines()
        why = next((line for line in lines if line.startswith("error: ")), lines[0])
        return f"expected a pattern without what polars lacks, got {pattern!r}: {why}"
    return None
