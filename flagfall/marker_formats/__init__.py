"""What producers write into their markers: a module for each format, and the door to all of them.

A format is a function that takes a marker and its content. It answers ``None`` where the content is
not of its kind, and raises ``BatchInvalid`` where it is and cannot be right. How many files there
may be, and that none stands twice, is seen to here. Everything comes from a producer and is not
trusted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from flagfall.errors import BatchInvalid
from flagfall.marker import Marker
from flagfall.marker_formats.common import Content, Named
from flagfall.marker_formats.data_package import data_package
from flagfall.marker_formats.hadoop import hadoop_success
from flagfall.marker_formats.redshift import redshift_manifest
from flagfall.marker_formats.sha256sum import sha256sum

_FORMATS: dict[str, Callable[[Marker, Content], Named | None]] = {
    "a Data Package descriptor with 'resources'": data_package,
    "the _SUCCESS of a Hadoop committer with 'filenames'": hadoop_success,
    "a Redshift manifest with 'entries'": redshift_manifest,
    "the output of sha256sum": sha256sum,
}
"""What is understood, in the words of the message that turns anything else away."""


def named_files(marker: Marker, content: bytes, max_files: int) -> Named | None:
    """The files that a marker's content names; ``None`` for an empty marker.

    Raises:
        BatchInvalid: The content is not understood, or names files that it must not.
    """
    if not content.strip():
        return None
    read = _content(marker, content)
    for known in _FORMATS.values():
        if (named := known(marker, read)) is not None:
            return _checked(marker, named, max_files)
    raise _not_understood(marker, read.not_json)


def _checked(marker: Marker, named: Named, max_files: int) -> Named:
    files = tuple(islice(named.files, max_files + 1))
    if len(files) > max_files:
        why = f"{marker.uri}: names more than {max_files} files (limits.files)"
        raise BatchInvalid("too-many-files", why)
    if not files:
        raise BatchInvalid("no-data", f"{marker.uri}: the marker names no data files")
    if len({file.key for file in files}) < len(files):
        raise BatchInvalid("manifest-invalid", f"{marker.uri}: names a file twice")
    return replace(named, files=files)


def _content(marker: Marker, content: bytes) -> Content:
    try:
        text = content.decode("utf-8-sig")
    except ValueError as error:
        raise _not_understood(marker, f"not UTF-8: {error}") from error
    try:
        return Content(text, json.loads(text, object_pairs_hook=_no_repeats), "")
    except (ValueError, RecursionError) as error:
        return Content(text, None, f"not JSON: {error}")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _not_understood(marker: Marker, detail: str) -> BatchInvalid:
    *others, last = _FORMATS
    why = f"{marker.uri}: expected an empty file, {', '.join(others)} or {last}"
    return BatchInvalid("marker-not-understood", f"{why} ({detail})" if detail else why)
