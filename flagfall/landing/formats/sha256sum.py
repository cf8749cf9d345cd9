r"""What ``sha256sum`` prints, in its own form and in BSD's (``--tag``).

A line that begins with a backslash has ``\\``, ``\n`` and ``\r`` in its name for what cannot stand
there: https://www.gnu.org/software/coreutils/manual/html_node/md5sum-invocation.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flagfall.errors import BatchInvalid
from flagfall.landing.formats.named import (
    Content,
    Expected,
    Named,
    below_marker,
    in_landing_zone,
    shown,
)
from flagfall.landing.marker import Marker

_LINE = re.compile(r"(?P<escaped>\\?)(?P<digest>[0-9A-Fa-f]{64}) [ *](?P<path>.+)")
_TAGGED = re.compile(r"(?P<escaped>\\?)SHA256 \((?P<path>.+)\) = (?P<digest>[0-9A-Fa-f]{64})")
_OTHER = re.compile(r"\\?[0-9A-Fa-f]{32,128}( [ *].*)?|[A-Z0-9/-]+ ?\(.+\) ?= ?[0-9A-Fa-f]{32,128}")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def sha256sum(marker: Marker, content: Content) -> Named | None:
    """The files of a list of hashes, or ``None`` where its first line is none.

    The marker itself is left out: it stands in the list, with the hash of nothing, where the shell
    emptied it before ``sha256sum *`` came to it.
    """
    lines = list(_lines(content.text))
    if not lines or _match(lines[0][1]) is None:
        return None
    files = (_file(marker, f"{marker.uri}: line {number}", line) for number, line in lines)
    return Named(file for file in files if file.key != marker.key)


def why_no_sums(content: Content) -> str:
    """Why a list of hashes is not read, or a hash alone; empty for anything else."""
    first = next((line for _, line in _lines(content.text)), "")
    return "hashes, but not as sha256sum prints them" if _OTHER.fullmatch(first.rstrip()) else ""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines and their numbers, without comments and empty ones, which ``sha256sum -c`` skips."""
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line and not line.startswith("#"):
            yield number, line


def _match(line: str) -> re.Match[str] | None:
    return _LINE.fullmatch(line) or _TAGGED.fullmatch(line)


def _file(marker: Marker, place: str, line: str) -> Expected:
    if "\0" in line:
        why = f"{place}: NUL characters, as of sha256sum --zero; write a line for each file instead"
        raise BatchInvalid("path-escapes", why)
    match = _match(line)
    if match is None:
        why = f"{place}: expected 64 hex digits, two spaces and a path, got {shown(line)}"
        raise BatchInvalid("manifest-invalid", why)
    path = _unescaped(place, match["path"]) if match["escaped"] else match["path"]
    return Expected(_key(marker, place, path), None, match["digest"].lower())


def _unescaped(place: str, path: str) -> str:
    def plain(escape: re.Match[str]) -> str:
        if escape[0] not in _ESCAPES:
            why = f"{place}: {escape[0]!r} is no escape of sha256sum in {shown(path)}"
            raise BatchInvalid("manifest-invalid", f"{why}; write what it prints")
        return _ESCAPES[escape[0]]

    return re.sub(r"\\.?", plain, path)


def _key(marker: Marker, place: str, path: str) -> str:
    if path.startswith("/"):
        return in_landing_zone(marker, place, path)
    return below_marker(marker, place, path)
