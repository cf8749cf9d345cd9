"""Makes HTML of pages. All text is escaped, and what does not print is shown as a number."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment
from markupsafe import Markup, escape

from flagfall.ledger.ledger import Day
from flagfall.pages.feeds import strip_label
from flagfall.pages.reports import name_of
from flagfall.report.formatting import count, environment_of, moment, safe_text, seconds, share
from flagfall.verdict.words import cut, plural

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'self'"
)
"""The pages' content security policy: styles and script of this server, and nothing inline."""
FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}
"""What the pages load, with its type."""
WORDS = {
    "normal": "Normal",
    "attention": "Attention",
    "failed": "Failed",
    "unknown": "Unknown",
    None: "Not judged",
}


def render(template: str, root: str, **values: Any) -> str:
    """HTML of a page.

    Args:
        template: Name of its template, without endings.
        root: Path of the pages on the server, such as ``/flagfall``.
        **values: What the template shows.
    """
    found = _environment().get_template(f"{template}.html.j2")
    return found.render(root=root, airflow=root.removesuffix("/flagfall"), **values)


@cache
def static(name: str) -> bytes:
    """The bytes of one of ``FILES``."""
    return (HERE / "static" / name).read_bytes()


@cache
def stamp() -> str:
    """Changes with the files, so that a browser keeps none that is old."""
    return hashlib.sha256(b"".join(map(static, FILES))).hexdigest()[:12]


@cache
def _environment() -> Environment:
    environment = environment_of(HERE / "templates")
    environment.globals |= {
        "href": href,
        "cell": cell,
        "day_title": day_title,
        "query": query,
        "stamp": stamp(),
        "strip": strip,
        "words": WORDS,
        "plural": plural,
    }
    environment.filters |= {
        "ago": ago,
        "bytes": size,
        "count": count,
        "cut": cut,
        "moment": moment,
        "name_of": name_of,
        "safe_text": safe_text,
        "seconds": seconds,
        "share": share,
        "when": when,
        "with_code": with_code,
    }
    return environment


def href(root: str, *parts: object) -> str:
    """A path on the server; nothing in a part is taken for anything but text."""
    return "/".join([root, *(quote(str(part), safe="") for part in parts)])


def cell(day: Day) -> str:
    """The class of a day's cell in a strip."""
    word = day.word or ("landed" if day.accepted else "none")
    return f"cell {word}{' bad' if day.rejected else ''}"


def day_title(day: Day) -> str:
    """A day in words."""
    text = f"{day.day}: {WORDS[day.word].lower()}"
    if not day.accepted and not day.rejected:
        return f"{text}, nothing landed"
    text += f", {plural(day.accepted, 'batch', 'batches')} accepted"
    text += f" with {plural(day.rows, 'row', 'rows')}"
    return text + (f", {day.rejected:,} rejected" if day.rejected else "")


def strip(days: Sequence[Day]) -> Markup:
    """A strip of cells, one for each day. Fifty of them are 1,500, too many for a macro each."""
    cells = (f'<i class="{cell(day)}" title="{escape(day_title(day))}"></i>' for day in days)
    label = escape(strip_label(days))
    # safe: dates, numbers and words of ours
    return Markup(f'<span class="strip" role="img" aria-label="{label}">{"".join(cells)}</span>')


def query(**values: object) -> str:
    """A query with the values that are set."""
    given = {name: value for name, value in values.items() if value not in ("", None, "all", 1)}
    return f"?{urlencode(given)}" if given else ""


def ago(then: datetime, now: datetime) -> str:
    """How long ago something was, in words."""
    gap = max((now - then).total_seconds(), 0)
    if gap < 60:
        return f"{gap:.0f} s ago"
    if gap < 3600:
        return f"{gap / 60:.0f} min ago"
    if gap < 48 * 3600:
        return f"{gap / 3600:.0f} h ago"
    return f"{gap / timedelta(days=1).total_seconds():.0f} days ago"


def when(then: datetime, now: datetime) -> Markup:
    """The same, with the moment itself for who points at it or listens."""
    utc = then.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        utc.isoformat(timespec="seconds"), moment(utc), escape(ago(then, now))
    )


def with_code(text: str, length: int) -> Markup:
    """Text of which what stands between backticks is shown as code."""
    parts = re.split(r"`([^`]*)`", cut(text, length))
    shown = [
        f"<code>{safe_text(one)}</code>" if n % 2 else safe_text(one) for n, one in enumerate(parts)
    ]
    return Markup("").join(map(Markup, shown))  # safe: each part is escaped


def size(number: int) -> str:
    """A size in bytes, in the unit that suits it."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number:,} B"
