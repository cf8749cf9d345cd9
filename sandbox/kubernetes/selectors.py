"""Selectors of labels and fields, as they come in a request."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
Selector = Callable[[Object], bool]

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<how>in|notin)\s+\((?P<values>[^)]*)\)$")
_BETWEEN = re.compile(r",(?![^(]*\))")
"""Commas, but not those in parentheses."""


def selector(labels: str = "", fields: str = "") -> Selector:
    """What both selectors ask for.

    Args:
        labels: Such as ``app=x,tier!=y,z,!w,v in (a, b)``; empty for all.
        fields: Such as ``status.phase!=Succeeded``; empty for all.
    """
    asked = [_on_label(one.strip()) for one in _BETWEEN.split(labels) if one.strip()]
    asked += [_on_field(one.strip()) for one in fields.split(",") if one.strip()]
    return lambda found: all(holds(found) for holds in asked)


def _on_label(text: str) -> Selector:
    if match := _SET.match(text):
        values = {value.strip() for value in match["values"].split(",")}
        key, wanted = match["key"], match["how"] == "in"
        return lambda found: (labels_of(found).get(key) in values) == wanted
    if text.startswith("!"):
        return lambda found: text[1:] not in labels_of(found)
    if "=" not in text:
        return lambda found: text in labels_of(found)
    key, value, equal = _compared(text)
    return lambda found: (labels_of(found).get(key) == value) == equal


def _on_field(text: str) -> Selector:
    key, value, equal = _compared(text)
    return lambda found: (_field(found, key) == value) == equal


def _compared(text: str) -> tuple[str, str, bool]:
    key, _, value = text.partition("=")
    return key.rstrip("!").strip(), value.lstrip("=").strip(), not key.endswith("!")


def labels_of(found: Object) -> dict[str, str]:
    """The labels of an object."""
    return found["metadata"].get("labels") or {}


def _field(found: Object, path: str) -> str:
    value: Any = found
    for name in path.split("."):
        value = (value or {}).get(name)
    return "" if value is None else str(value)
