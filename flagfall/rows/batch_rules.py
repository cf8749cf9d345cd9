"""What the rules of a dataset find in a batch whose rows are accepted: warnings, or a refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import polars as pl

from flagfall.dataset.rules import RowCount
from flagfall.dataset.schema import Dataset
from flagfall.dataset.table import Column
from flagfall.errors import BatchInvalid
from flagfall.rows.rules import ROW, kept_rule, value_of


class Finding(NamedTuple):
    """What is remarkable about a batch.

    Attributes:
        severity: ``warn`` or ``reject``.
        text: As a receipt has it, such as ``rule: gross is more``.
        rows: Rows that it concerns.
        refusal: The error for ``reject``.
    """

    severity: str
    text: str
    rows: int
    refusal: BatchInvalid


class BatchRules:
    """Counts over the rows of a batch, as they are accepted."""

    def __init__(self, dataset: Dataset) -> None:
        self._table = dataset.table
        self._rules = [
            (kept_rule(index), rule)
            for index, rule in enumerate(dataset.table.rules)
            if rule.severity != "drop"
        ]
        self._limited = [
            (value_of(index), column)
            for index, column in enumerate(dataset.table.fields)
            if column.missing
        ]
        self._rows = 0
        self._broken: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._missing: Counter[str] = Counter()

    def add(self, kept: pl.DataFrame, place: Callable[[int], str]) -> None:
        """Count some more accepted rows.

        Args:
            kept: The rows, as in ``Sifted``.
            place: File and line of a position, for a message.
        """
        self._rows += kept.height
        for name, rule in self._rules:
            broken = kept.filter(~pl.col(name))[ROW]
            self._broken[rule.name] += len(broken)
            if len(broken):
                self._first.setdefault(rule.name, place(broken[0]))
        for name, column in self._limited:
            self._missing[column.name] += kept[name].null_count()

    def findings(self, rows: int) -> list[Finding]:
        """What was found in a batch of so many rows, good and bad ones."""
        return [*self._of_rules(), *self._of_rows(rows), *self._of_values()]

    def _of_rules(self) -> Iterator[Finding]:
        for _, rule in self._rules:
            if count := self._broken[rule.name]:
                why = (
                    f"{self._first[rule.name]}: the row breaks the rule {rule.name!r}, as {count}"
                    f" of {self._rows} rows do; correct them"
                )
                refusal = BatchInvalid("rule", why)
                yield Finding(rule.severity, f"rule: {rule.name}", count, refusal)

    def _of_rows(self, rows: int) -> Iterator[Finding]:
        wanted = self._table.rows
        for reason, text, bound in _bounds_passed(wanted, rows):
            why = f"the batch has {rows} rows, expected {bound} (schema.rows); write it whole"
            yield Finding(wanted.severity, f"rows: {text}", rows, BatchInvalid(reason, why))

    def _of_values(self) -> Iterator[Finding]:
        for _, column in self._limited:
            yield from _too_much_missing(column, self._missing[column.name], self._rows)


def _bounds_passed(wanted: RowCount, rows: int) -> Iterator[tuple[str, str, str]]:
    if rows < wanted.minimum:
        yield "too-few-rows", f"fewer than {wanted.minimum}", f"at least {wanted.minimum}"
    if wanted.maximum is not None and rows > wanted.maximum:
        yield "too-many-rows", f"more than {wanted.maximum}", f"at most {wanted.maximum}"


def _too_much_missing(column: Column, missing: int, rows: int) -> Iterator[Finding]:
    assert column.missing is not None, "only for columns with a bound"
    if missing > column.missing.maximum * rows:
        most = f"more than {column.missing.maximum * 100:g}%"
        why = f"{column.name}: {missing} of {rows} rows have no value, {most}"
        refusal = BatchInvalid("missing-values", f"{why}; write the values, too")
        yield Finding(column.missing.severity, f"{column.name}: {most} missing", missing, refusal)
