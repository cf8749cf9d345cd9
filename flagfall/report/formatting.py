"""Text and numbers as a page shows them: safe, visible, short."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from flagfall.verdict.words import cut

TEXT_SHOWN = 300
"""Longest text of a producer that is shown, in characters."""

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


def visible(value: Any) -> Any:
    """Show characters that are invisible, or change the text's direction, as numbers.

    Line breaks and tabs become spaces. Values that are no text, and safe markup, stay as they are.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(map(_visible_character, re.sub(r"[\t\r\n]+", " ", value)))


def _visible_character(character: str) -> str:
    if unicodedata.category(character) in _UNSEEN:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def safe_text(text: str, length: int = TEXT_SHOWN) -> Markup:
    """Escape and shorten a producer's text, show invisible characters, keep dates on a line."""
    safe = str(escape(visible(cut(text, length))))
    return Markup(_DATE.sub(r'<span class="date">\g<0></span>', safe))  # safe: escaped just before


def count(number: float) -> str:
    """A whole number with thousands separated."""
    return f"{number:,.0f}"


def figure(number: float) -> str:
    """A figure with two decimals."""
    return f"{number:.2f}"


def number(value: float) -> str:
    """A figure of any size: three digits, or a whole number with thousands separated."""
    if 1000 <= abs(value) < 1e15:
        return _minus(f"{value:,.0f}")
    return _minus(f"{value:.3g}")


def signed(value: float) -> str:
    """The same, with its sign."""
    return number(value) if value < 0 else f"+{number(value)}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def share(part: float) -> str:
    """A share as a percentage; only exactly 0 and 1 are shown as 0% and 100%."""
    percent = 100 * part
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.5 <= percent < 100:
        return f"{min(percent, 99.9):.1f}%"
    return f"{percent:.1f}%" if 0 < percent < 9.95 else f"{percent:.0f}%"


def seconds(time: float) -> str:
    """A time span in the unit that suits it."""
    if time < 60:
        return f"{time:.1f} s"
    for unit, size, limit in (("min", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if time < limit:
            return f"{time / size:.1f} {unit}"
    return f"{time / 86400:.1f} days"


def moment(time: datetime) -> str:
    """A moment in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def environment_of(folder: Path) -> Environment:
    """Templates in which nothing is markup that a template does not write itself."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
