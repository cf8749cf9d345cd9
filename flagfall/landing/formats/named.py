"""What formats share: the files that a marker names, and where they lie."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flagfall.errors import BatchInvalid
from flagfall.landing.marker import Marker, is_text

_SEPARATORS = re.compile(r"[/\\]")
LONGEST_NAME = 1024
"""Bytes of a file's URI: as many as a key may have on S3."""


@dataclass(frozen=True)
class Expected:
    """A data file that a marker vouches for.

    Attributes:
        key: Below the landing zone.
        bytes: Its size; ``None`` where the marker does not say.
        sha256: Hex digest in lower case; ``None`` where the marker does not say.
        came_at: When it came, as a listing shows it (UTC); ``None`` where none was made.
    """

    key: str
    bytes: int | None
    sha256: str | None
    came_at: datetime | None = None


@dataclass(frozen=True)
class Content:
    """What stands in a marker.

    Attributes:
        text: All of it, without a byte order mark.
        json: Its value; ``None`` where it is not JSON.
        not_json: Why it is not JSON; empty where it is.
    """

    text: str
    json: Any
    not_json: str


@dataclass(frozen=True)
class Named:
    """The files that a marker's content names.

    Attributes:
        files: In the order in which they stand.
        complete: ``False`` where the producer may have left some out: the data files beside the
            marker then belong to the batch, too.
    """

    files: Iterable[Expected]
    complete: bool = True


def shown(value: Any) -> str:
    """A JSON value for a message: a scalar, cut short, or what it is a kind of."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return repr(value)[:200]


def count(place: str, value: Any) -> int | None:
    """A number of bytes, or ``None`` where there is none.

    Raises:
        BatchInvalid: It is something else.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise BatchInvalid("manifest-invalid", f"{place}: expected a count, got {shown(value)}")


def below_marker(marker: Marker, place: str, path: str) -> str:
    """The key of a path that is relative to the marker's folder, and stays below it.

    Raises:
        BatchInvalid: It does not, or is no file's name.
    """
    _check_no_nul(place, path)
    if re.match(r"[/\\]|$", path) or "://" in path or _climbs_out(path):
        why = f"{place}: {shown(path)} leaves the marker's folder; use a path below it"
        raise BatchInvalid("path-escapes", why)
    _check_no_dots(place, path)
    if not is_text(path) or posixpath.normpath(path) == ".":
        why = f"{place}: expected a file's path, got {shown(path)}"
        raise BatchInvalid("manifest-invalid", why)
    key = posixpath.normpath(posixpath.join(posixpath.dirname(marker.key), path))
    return _short_enough(marker, place, key)


def _check_no_nul(place: str, path: str) -> None:
    if "\0" in path:
        why = f"{place}: {shown(path)} has a NUL character, as no file's name; write the name alone"
        raise BatchInvalid("path-escapes", why)


def _check_no_dots(place: str, path: str) -> None:
    """Refuse ``x/../a.csv``, too: there is one way to name a file."""
    if ".." in _SEPARATORS.split(path):
        why = f"{place}: {shown(path)} has '..' in it; write the path without it"
        raise BatchInvalid("path-escapes", why)


def _climbs_out(path: str) -> bool:
    """Whether a relative path leads out of where it begins."""
    return posixpath.normpath(_SEPARATORS.sub("/", path)).split("/")[0] == ".."


def landing_uri(marker: Marker) -> str:
    """The landing zone of a marker as a URI with one spelling: ``s3://…`` or ``file:///…``."""
    return _one_spelling(marker.uri.removesuffix(marker.key).rstrip("/"))


def in_landing_zone(marker: Marker, place: str, uri: str) -> str:
    """The key of a file that is named by its URI or its absolute path.

    Raises:
        BatchInvalid: It does not lie in the landing zone, or is no file's name.
    """
    zone = f"{landing_uri(marker)}/"
    _check_no_nul(place, uri)
    found = _one_spelling(uri)
    key = found[len(zone) :] if found.startswith(zone) else ""
    if not key or key.startswith("/") or _climbs_out(key):
        why = f"{place}: {shown(uri)} lies outside the landing zone {shown(zone)}"
        raise BatchInvalid("path-escapes", f"{why}; write the batch there")
    _check_no_dots(place, key)
    if {"", "."} & set(key.split("/")):
        why = f"{place}: {shown(uri)} has an empty part or '.' in its path; write it without"
        raise BatchInvalid("path-escapes", why)
    if not is_text(key):
        why = f"{place}: expected a name in UTF-8, got {shown(uri)}"
        raise BatchInvalid("manifest-invalid", why)
    return _short_enough(marker, place, key)


def _short_enough(marker: Marker, place: str, key: str) -> str:
    """A key that a store can have: S3 answers a longer one with an error of its own."""
    if len(marker.uri) - len(marker.key) + len(key.encode()) > LONGEST_NAME:
        why = f"{place}: {shown(key)} and more: a name of more than {LONGEST_NAME} bytes"
        raise BatchInvalid("manifest-invalid", f"{why}; use a shorter one")
    return key


def _one_spelling(uri: str) -> str:
    if uri.startswith("/") or not uri:
        return f"file://{uri}"
    return re.sub(r"^s3[an]:(?=//)", "s3:", re.sub(r"^file:(?=/(?!/))", "file://", uri))
