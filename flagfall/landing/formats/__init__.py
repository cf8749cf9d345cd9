"""What producers write into their markers: a module for each format, and the door to all of them.

A format is a function that takes a marker and its content. It answers ``None`` where the content is
not of its kind, and raises ``BatchInvalid`` where it is and cannot be right. How many files there
may be, and that none stands twice, is seen to here. Everything comes from a producer and is not
trusted.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from flagfall.errors import BatchInvalid
from flagfall.landing.formats.data_package import data_package
from flagfall.landing.formats.hadoop import hadoop_success
from flagfall.landing.formats.named import Content, Named, shown
from flagfall.landing.formats.redshift import redshift_manifest
from flagfall.landing.formats.sha256sum import sha256sum, why_no_sums
from flagfall.landing.marker import Marker

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
    if not content.removeprefix(BOM_UTF8).strip():
        return None
    read = _content(marker, content)
    for known in _FORMATS.values():
        if (named := known(marker, read)) is not None:
            return _checked(marker, named, max_files)
    raise _not_understood(marker, why_no_sums(read) or read.not_json)


def _checked(marker: Marker, named: Named, max_files: int) -> Named:
    files = tuple(islice(named.files, max_files + 1))
    if len(files) > max_files:
        why = f"{marker.uri}: names more than {max_files} files (limits.files)"
        raise BatchInvalid(
            "too-many-files", f"{why}; write fewer and larger ones, or several batches"
        )
    if not files and named.complete:
        why = f"{marker.uri}: the marker names no data files; name them, then write it again"
        raise BatchInvalid("no-data", why)
    if twice := [key for key, times in Counter(file.key for file in files).items() if times > 1]:
        why = f"{marker.uri}: names {shown(twice[0])} twice; name every file once"
        raise BatchInvalid("manifest-invalid", why)
    return replace(named, files=files)


def _content(marker: Marker, content: bytes) -> Content:
    try:
        text = content.decode("utf-8-sig")
    except ValueError as error:
        raise _not_understood(marker, "not UTF-8") from error
    try:
        return Content(text, json.loads(text, object_pairs_hook=_no_repeats), "")
    except RecursionError:
        return Content(text, None, "not JSON: nested too deeply")
    except (json.JSONDecodeError, _Repeated) as error:
        return Content(text, None, f"not JSON: {error}")
    except ValueError:  # Python's words are for Python's users
        return Content(text, None, "not JSON: a number with thousands of digits")


class _Repeated(ValueError):
    """A key that stands twice in one object: nobody knows which value was meant."""


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise _Repeated(f"the key {shown(twice)} stands twice in one object")
    return found


def _not_understood(marker: Marker, detail: str) -> BatchInvalid:
    *others, last = _FORMATS
    why = f"{marker.uri}: expected an empty file, {', '.join(others)} or {last}"
    return BatchInvalid("marker-not-understood", f"{why} ({detail})" if detail else why)
