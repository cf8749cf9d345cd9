"""Reports as they lie in the lake, to be shown where nothing in them can run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flagfall.lake.output import RECORD_LIMIT
from flagfall.pages.feeds import FeedRef
from flagfall.pages.lakes import Known, Lakes, Place
from flagfall.stores import Store

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'; sandbox"
)
"""A report's content security policy: its own styles and pictures; no script, no form, no frame,
and an origin of its own, so that it reaches nothing of Airflow's."""
_NAME = re.compile(r"latest|[A-Za-z0-9_=-]+\.[0-9a-f]{10}")


@dataclass(frozen=True)
class Report:
    """A report in the lake: HTML."""

    html: bytes


def is_report(name: str) -> bool:
    """Whether a report can have this name: no other path is made of it."""
    return bool(_NAME.fullmatch(name))


def report(lakes: Lakes, feed: FeedRef, name: str) -> Known[Report | None]:
    """Read a report; its value is ``None`` where there is none of that name."""
    return lakes.read(Place(feed.lake, feed.name, f"report/{name}", lambda s: _read(s, name)))


def _read(store: Store, name: str) -> Report | None:
    try:
        return Report(store.read(f"reports/{name}.html", RECORD_LIMIT))
    except FileNotFoundError:
        return None


def name_of(key: str) -> str:
    """The name of the report with this key."""
    return key.rpartition("/")[2].removesuffix(".html")
