"""Constraints of a column that contradict each other: no value, or not the ones meant, can pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any

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
