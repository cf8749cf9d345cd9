"""Selectors of labels and fields, as they come in a request."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
Selector = Callable[[Object], bool]

_KEY = "[A-Za-z0-9][-A-Za-z0-9_./]*"
_VALUE = r"[^\s,=!()]*"
_EXISTS = re.compile(rf"(?P<not>!?)\s*(?P<key>{_KEY})")
_COMPARED = re.compile(rf"(?P<key>{_KEY})\s*(?P<how>!=|==?)\s*(?P<value>{_VALUE})")
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<how>in|notin)\s+\((?P<values>[^()]*)\)")
_BETWEEN = re.compile(r",(?![^(]*\))")
"""Commas, but not those in parentheses."""


def selector(labels: str = "", fields: str = "") -> Selector:
    """What both selectors ask for.

    Args:
        labels: Such as ``app=x,tier!=y,z,!w,v in (a, b)``; empty for all.
        fields: Such as ``status.phase!=Succeeded``; empty for all.

    Raises:
        ValueError: One is malformed.
    """
    asked = [_on_label(one.strip()) for one in _BETWEEN.split(labels) if one.strip()]
    asked += [_on_field(one.strip()) for one in fields.split(",") if one.strip()]
    return lambda found: all(holds(found) for holds in asked)


def _on_label(text: str) -> Selector:
    if match := _SET.fullmatch(text):
        values = {value.strip() for value in match["values"].split(",")}
        key, wanted = match["key"], match["how"] == "in"
        return lambda found: (labels_of(found).get(key) in values) == wanted
    if match := _EXISTS.fullmatch(text):
        key, wanted = match["key"], not match["not"]
        return lambda found: (key in labels_of(found)) == wanted
    key, value, equal = _compared(text)
    return lambda found: (labels_of(found).get(key) == value) == equal


def _on_field(text: str) -> Selector:
    key, value, equal = _compared(text)
    return lambda found: (_field(found, key) == value) == equal


def _compared(text: str) -> tuple[str, str, bool]:
    match = _COMPARED.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match["key"], match["value"], match["how"] != "!="


def labels_of(found: Object) -> dict[str, str]:
    """The labels of an object."""
    return found["metadata"].get("labels") or {}


def _field(found: Object, path: str) -> str:
    value: Any = found
    for name in path.split("."):
        value = (value or {}).get(name)
    return "" if value is None else str(value)
