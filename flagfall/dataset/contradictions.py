"""What a column says of its values, and cannot hold: no value, or not the ones meant, can pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flagfall.dataset.table import Column

_LACKING = re.compile(r"\(\?<?[=!]|\\[1-9]|\(\?P=")
"""Look-around and back-references: the engine that matches rows takes linear time, without them."""


def contradictions(constraints: dict[str, Any]) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Where constraints of one column contradict each other, and why.

    Args:
        constraints: Those that are given, by their name in the file; each has the column's type.
    """
    for least, most in (("minimum", "maximum"), ("minLength", "maxLength")):
        if least in constraints and most in constraints:
            low, high = constraints[least], constraints[most]
            if _comparable(low) > _comparable(high):
                yield (
                    (least,),
                    f"expected no more than {most}, {high}, got {low}: no value can pass",
                )
                return
    for index, value in enumerate(constraints.get("enum", [])):
        if why := _why_it_cannot_pass(value, constraints):
            yield ("enum", index), f"expected a value that can pass, {value!r} {why}"


def vanishing(
    column: Column, missing: Sequence[str]
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Where a column names a value that is none, since it means "no value"; and why.

    Args:
        column: The column.
        missing: The texts that mean "no value".
    """
    for where, word in _words(column):
        if word in missing:
            yield where, f"expected words that are not in missingValues, too, got {word!r}"
    values = list(_values_of(column, missing))
    for index, value in enumerate(column.constraints.enum or ()):
        if _comparable(value) in values:
            where = ("constraints", "enum", index)
            yield where, f"expected a value that does not mean missing (missingValues), got {value}"


def _words(column: Column) -> Iterator[tuple[tuple[int | str, ...], str]]:
    if column.type == "boolean":
        for index, word in enumerate(column.true_values):
            yield ("trueValues", index), word
        for index, word in enumerate(column.false_values):
            yield ("falseValues", index), word


def _values_of(column: Column, texts: Sequence[str]) -> Iterator[Any]:
    """What texts are written for in a column; nothing for those that are no value of its type."""
    for text in texts:
        with suppress(ValueError, re.error):  # strptime's for a directive that stands twice
            yield _read(column, text)


def _read(column: Column, text: str) -> Any:
    """A text as a value of the column.

    Raises:
        ValueError: It is none.
    """
    if column.type == "string":
        return text
    if column.type in ("integer", "number"):
        grouped = text.replace(column.group_char or "", "") if column.group_char else text
        return float(grouped.replace(column.decimal_char, "."))
    if column.format == "default":
        return _comparable(datetime.fromisoformat(text))
    return _comparable(datetime.strptime(text, column.format))


def lacking_in_patterns(pattern: str) -> str:
    """What stands in a regular expression that rows cannot be matched with; else empty."""
    found = _LACKING.search(pattern)
    return found[0] if found else ""


def _why_it_cannot_pass(value: Any, constraints: dict[str, Any]) -> str:
    for name, fails in (
        ("minimum", lambda bound: _comparable(value) < _comparable(bound)),
        ("maximum", lambda bound: _comparable(value) > _comparable(bound)),
        ("minLength", lambda bound: len(value) < bound),
        ("maxLength", lambda bound: len(value) > bound),
        ("pattern", lambda bound: not re.fullmatch(bound, value)),
    ):
        if name in constraints and fails(constraints[name]):
            return f"does not keep {name} {constraints[name]}"
    return ""


def _comparable(value: Any) -> Any:
    """A date as its first moment, and a time without offset as UTC's."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value
