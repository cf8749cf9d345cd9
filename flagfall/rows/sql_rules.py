"""The rules of a dataset over a whole row, which are SQL expressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.expressions import (
    TIME_WITH_NUMBER,
    asks_the_clock,
    compares_time_with_number,
    looks_at_other_rows,
    parse_expression,
)
from flagfall.dataset.rules import Rule
from flagfall.dataset.schema import Dataset
from flagfall.dataset.trials import FAILED, reads_times, why_it_never_works, without_errors
from flagfall.errors import BatchInvalid, Problem


def rule_problems(dataset: Dataset) -> Iterator[Problem]:
    """Why rules cannot be used on the dataset's columns."""
    empty = pl.DataFrame(schema=polars_schema(dataset))
    for index, rule in enumerate(dataset.table.rules):
        if problem := _problem(rule, empty):
            yield Problem(f"schema.rules[{index}].expr", None, problem)


def rules_for_no_row(dataset: Dataset) -> Iterator[Problem]:
    """Rules without another problem that fail for every row. Trying each takes milliseconds."""
    columns = pl.Schema(polars_schema(dataset))
    for index, rule in enumerate(dataset.table.rules):
        if why := why_it_never_works(parse_expression(rule.expr), columns):
            message = f"expected an expression that works for some row, got {rule.expr!r}: {why}"
            yield Problem(f"schema.rules[{index}].expr", None, message)


def _problem(rule: Rule, empty: pl.DataFrame) -> str | None:
    try:
        expression = parse_expression(rule.expr)
        if not expression.meta.root_names() or expression.meta.has_multiple_outputs():
            return f"expected an SQL expression with names of columns, got {rule.expr!r}"
        if asks_the_clock(rule.expr):
            return f"expected an expression with the same value tomorrow, got {rule.expr!r}"
        if looks_at_other_rows(expression):
            return f"expected an expression over one row, without aggregates, got {rule.expr!r}"
        (found,) = empty.select(expression).dtypes
        if compares_time_with_number(expression, empty.schema):
            return f"{TIME_WITH_NUMBER}, got {rule.expr!r}"
    except FAILED as error:
        return f"expected an SQL expression over the columns, got {rule.expr!r}: {_first(error)}"
    except RecursionError:
        return "expected a shorter expression, such as one with IN instead of many OR"
    if found != pl.Boolean():
        return f"expected an expression that is true or false, got {found} from {rule.expr!r}"
    return None


def _first(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def judge_rows(rules: Sequence[Rule], names: Sequence[str], values: pl.DataFrame) -> pl.DataFrame:
    """Whether each row keeps each rule; null where that is unknown.

    Args:
        rules: Rules without a problem.
        names: Of the columns of the result, one for each rule.
        values: Rows with the dataset's columns.

    Raises:
        BatchInvalid: ``rule``: one cannot be computed on these rows.
    """
    return pl.DataFrame(
        [_judged(rule, values).alias(name) for rule, name in zip(rules, names, strict=True)]
    )


def _judged(rule: Rule, values: pl.DataFrame) -> pl.Series:
    expression = parse_expression(rule.expr)
    try:
        return values.select(expression).to_series()
    except FAILED as error:
        why = f"the rule {rule.name!r} cannot be computed: {_first(error)[:200]}"
        remedy = _remedy(expression, values)
        raise BatchInvalid("rule", f"{why}; {remedy}, then replay the batch") from error


def _remedy(expression: pl.Expr, values: pl.DataFrame) -> str:
    try:
        values.select(without_errors(expression))
    except FAILED:
        if reads_times(expression):
            return "instead of STRPTIME give the column a type of times and its format"
        return "write the rule so that it works for every value of the columns' types"
    return "use TRY_CAST instead of CAST"
