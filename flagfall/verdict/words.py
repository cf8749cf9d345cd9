"""Numbers, names and times in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

NAME_SHOWN = 40
"""Longest name in a reason, in characters."""
NAMES_SHOWN = 3


def cut(text: str, length: int = NAME_SHOWN) -> str:
    """The text, or its first ``length`` characters and an ellipsis."""
    return text if len(text) <= length else f"{text[:length]}…"


def plural(count: int, one: str, many: str) -> str:
    """A number and its noun."""
    return f"{count:,} {one if count == 1 else many}"


def listed(names: Sequence[str], shown: int = NAMES_SHOWN) -> str:
    """The first names, and how many more there are."""
    more = len(names) - shown
    tail = f" and {more:,} more" if more > 0 else ""
    return f"{', '.join(map(cut, names[:shown]))}{tail}"


def percent(share: float) -> str:
    """A share in percent, without decimals from 1% on."""
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"


def minute(moment: datetime) -> str:
    """A moment in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
