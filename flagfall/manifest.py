"""What a marker vouches for: the data files of its batch.

An empty marker vouches for the data files beside it; a Data Package descriptor
(https://datapackage.org/standard/data-package/) for its resources, with sizes and hashes.
Everything here comes from a producer and is not trusted.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flagfall.dataset import Limits
from flagfall.errors import BatchInvalid, StoreRefused
from flagfall.marker import Marker, MarkerPattern, is_text
from flagfall.stores import Store

_SHA256 = re.compile(r"(?:sha-?256:)?([0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True)
class Expected:
    """A data file that a marker vouches for.

    Attributes:
        key: Below the landing zone.
        bytes: Its size; ``None`` where the marker does not say.
        sha256: Hex digest in lower case; ``None`` where the marker does not say.
    """

    key: str
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """The data files of one batch, sorted by key."""

    files: tuple[Expected, ...]


def read_manifest(marker: Marker, pattern: MarkerPattern, store: Store, limits: Limits) -> Manifest:
    """Read what ``marker`` vouches for.

    Raises:
        BatchInvalid: The marker cannot be read, is too large, not understood, or names files that
            it must not.
        FileNotFoundError: The marker is gone.
    """
    try:
        content = store.read(marker.key, limits.marker_bytes)
    except ValueError as error:
        why = (
            f"{marker.uri}: a marker may have {limits.marker_bytes} bytes (limits.marker_bytes),"
            " this one has more"
        )
        raise BatchInvalid("marker-too-large", why) from error
    except StoreRefused as refused:
        raise _not_readable(refused) from refused
    files = parse_marker(marker, content, limits.files)
    if files is None:
        files = _listed(marker, pattern, store, limits.files)
    return Manifest(tuple(sorted(files, key=lambda file: file.key)))


def _listed(marker: Marker, pattern: MarkerPattern, store: Store, max_files: int) -> list[Expected]:
    try:
        return list(_beside(marker, pattern, store, max_files))
    except StoreRefused as refused:
        raise _not_readable(refused) from refused


def _not_readable(refused: StoreRefused) -> BatchInvalid:
    return BatchInvalid("not-readable", f"{refused}; then write the marker again")


def parse_marker(marker: Marker, content: bytes, max_files: int) -> list[Expected] | None:
    """The files that a marker's content names; ``None`` for an empty marker.

    Raises:
        BatchInvalid: The content is not understood, or names files that it must not.
    """
    if not content.strip():
        return None
    descriptor = _json(marker, content)
    for known in _FORMATS:
        if (files := known(marker, descriptor, max_files)) is not None:
            return files
    why = f"{marker.uri}: expected an empty file or a Data Package descriptor with 'resources'"
    raise BatchInvalid("marker-not-understood", why)


def _json(marker: Marker, content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        why = f"{marker.uri}: expected an empty file or JSON in UTF-8: {error}"
        raise BatchInvalid("marker-not-understood", why) from error


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _data_package(marker: Marker, descriptor: Any, max_files: int) -> list[Expected] | None:
    """The files of a Data Package descriptor, or ``None`` where it is none."""
    if not isinstance(descriptor, dict) or "resources" not in descriptor:
        return None
    resources = descriptor["resources"]
    if not isinstance(resources, list) or not resources:
        raise BatchInvalid("manifest-invalid", f"{marker.uri}: resources: expected a list of files")
    found = (
        file for n, resource in enumerate(resources) for file in _resource(marker, n, resource)
    )
    files = list(islice(found, max_files + 1))
    if len(files) > max_files:
        why = f"{marker.uri}: names more than {max_files} files (limits.files)"
        raise BatchInvalid("too-many-files", why)
    if len({file.key for file in files}) < len(files):
        raise BatchInvalid("manifest-invalid", f"{marker.uri}: names a file twice")
    return files


_FORMATS: tuple[Callable[[Marker, Any, int], list[Expected] | None], ...] = (_data_package,)


def _resource(marker: Marker, index: int, resource: Any) -> Iterator[Expected]:
    place = f"{marker.uri}: resources[{index}]"
    if not isinstance(resource, dict):
        raise BatchInvalid("manifest-invalid", f"{place}: expected an object")
    path, size, digest = resource.get("path"), resource.get("bytes"), resource.get("hash")
    listed = path if isinstance(path, list) else [path]
    paths = [one for one in listed if isinstance(one, str) and one]
    if not paths or len(paths) < len(listed):
        raise BatchInvalid(
            "manifest-invalid", f"{place}.path: expected a file's path, got {path!r}"
        )
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise BatchInvalid("manifest-invalid", f"{place}.bytes: expected a count, got {size!r}")
    if len(paths) > 1 and (size is not None or digest is not None):
        why = f"{place}: bytes and hash cannot be checked for several paths; one resource per file"
        raise BatchInvalid("manifest-invalid", why)
    for one in paths:
        yield Expected(_inside(marker, place, one), size, _sha256(place, digest))


def _sha256(place: str, digest: Any) -> str | None:
    if digest is None:
        return None
    match = _SHA256.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        why = f"{place}.hash: expected 'sha256:' and 64 hex digits, got {str(digest)[:100]!r}"
        raise BatchInvalid("manifest-invalid", why)
    return match[1].lower()


def _inside(marker: Marker, place: str, path: str) -> str:
    """The key of a path that is relative to the marker's folder, and stays below it."""
    parts = re.split(r"[/\\]", path)
    if not parts[0] or "://" in path or ".." in parts or "\0" in path:
        why = f"{place}.path: {path[:200]!r} leaves the marker's folder; use a path below it"
        raise BatchInvalid("path-escapes", why)
    if not is_text(path) or posixpath.normpath(path) == ".":
        why = f"{place}.path: expected a file's path, got {path[:200]!r}"
        raise BatchInvalid("manifest-invalid", why)
    return posixpath.normpath(posixpath.join(posixpath.dirname(marker.key), path))


def _beside(
    marker: Marker, pattern: MarkerPattern, store: Store, max_files: int
) -> Iterator[Expected]:
    """The data files that an empty marker vouches for.

    Every file in its folder and below, hidden and ``_``-files left out. Where the marker's own name
    carries a field (``{day}.ready``), several batches share the folder, and only files of the same
    stem belong to it: ``2013-05-01.ready`` vouches for ``2013-05-01.csv``.
    """
    folder = marker.key.rpartition("/")[0]
    stem = pattern.stem(marker.key)
    start = f"{folder}/" if folder else ""

    def is_data(key: str) -> bool:
        parts = key[len(start) :].split("/")
        hidden = any(part.startswith((".", "_")) for part in parts)
        of_batch = not stem or parts[0] == stem or parts[0].startswith(f"{stem}.")
        return not hidden and of_batch and pattern.match(key) is None

    for index, entry in enumerate(store.list(folder, where=is_data)):
        if index >= max_files:
            why = f"{marker.uri}: more than {max_files} files lie beside it (limits.files)"
            raise BatchInvalid("too-many-files", why)
        if not is_text(entry.key):
            why = f"{entry.key!r}: a file's name that is not UTF-8; rename it, then drop the marker"
            raise BatchInvalid("name-not-text", f"{why} again")
        yield Expected(entry.key, entry.size, None)


def missing(manifest: Manifest, marker: Marker, store: Store) -> str | None:
    """What a batch lacks, in words; ``None`` where all files are there in full."""
    if not manifest.files:
        return f"{marker.uri}: there are no data files beside the marker"
    for file in manifest.files:
        try:
            entry = store.stat(file.key)
        except StoreRefused as refused:
            return str(refused)
        if entry is None:
            return f"{file.key}: the marker names this file, it is not there"
        if file.bytes is not None and entry.size != file.bytes:
            return f"{file.key}: {file.bytes} bytes expected, {entry.size} found"
    return None
