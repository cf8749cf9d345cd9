"""What a marker vouches for: the data files of its batch.

An empty marker vouches for the data files beside it, a marker with content for the files that it
names (see ``formats``), with the sizes and hashes that it gives. Where its producer may have
named only some, as Hadoop's committers do beyond a hundred, the files beside it belong to the
batch, too. Everything here comes from a producer and is not trusted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flagfall.errors import AccessDenied, BatchInvalid, NotAFile, StoreRefused
from flagfall.landing.formats import named_files
from flagfall.landing.formats.named import Expected
from flagfall.landing.limits import Limits
from flagfall.landing.marker import Marker, MarkerPattern, is_text
from flagfall.stores import Store

__all__ = ["Expected", "Manifest", "missing", "parse_marker", "read_manifest"]


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
    named = named_files(marker, _content(marker, store, limits), limits.files)
    files = {file.key: file for file in named.files} if named else {}
    if named is None or not named.complete:
        files |= {file.key: file for file in _listed(marker, pattern, store, limits.files)}
    if len(files) > limits.files:
        raise _too_many(marker, limits.files)
    _check_names(marker, files, limits.marker_bytes)
    return Manifest(tuple(sorted(files.values(), key=lambda file: file.key)))


def _check_names(marker: Marker, names: Iterable[str], most: int) -> None:
    """Receipts and records name every file, so all names together are bounded, too."""
    if sum(len(json.dumps(name, ensure_ascii=False).encode()) for name in names) > most:
        why = f"{marker.uri}: the names of its files have more than {most} bytes together"
        remedy = "use shorter ones, or several batches"
        raise BatchInvalid("names-too-long", f"{why} (limits.marker_bytes); {remedy}")


def _content(marker: Marker, store: Store, limits: Limits) -> bytes:
    try:
        return store.read(marker.key, limits.marker_bytes)
    except ValueError as error:
        why = (
            f"{marker.uri}: a marker may have {limits.marker_bytes} bytes (limits.marker_bytes),"
            " this one has more; write several batches, or an empty marker beside the files"
        )
        raise BatchInvalid("marker-too-large", why) from error
    except (AccessDenied, NotAFile) as refused:
        raise _not_readable(refused) from refused


def _listed(marker: Marker, pattern: MarkerPattern, store: Store, max_files: int) -> list[Expected]:
    try:
        return list(_beside(marker, pattern, store, max_files))
    except (AccessDenied, NotAFile) as refused:
        raise _not_readable(refused) from refused


def _not_readable(refused: StoreRefused) -> BatchInvalid:
    return BatchInvalid("not-readable", f"{refused}; then write the marker again")


def _too_many(marker: Marker, max_files: int) -> BatchInvalid:
    why = f"{marker.uri}: more than {max_files} files lie beside it (limits.files)"
    return BatchInvalid("too-many-files", f"{why}; write fewer and larger ones, or several batches")


def parse_marker(marker: Marker, content: bytes, max_files: int) -> list[Expected] | None:
    """The files that a marker's content names; ``None`` for an empty marker.

    Raises:
        BatchInvalid: The content is not understood, or names files that it must not.
    """
    named = named_files(marker, content, max_files)
    return None if named is None else list(named.files)


def _beside(
    marker: Marker, pattern: MarkerPattern, store: Store, max_files: int
) -> Iterator[Expected]:
    """The data files beside a marker, which an empty one vouches for.

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
            raise _too_many(marker, max_files)
        if not is_text(entry.key):
            why = f"{entry.key!r}: a file's name that is not UTF-8; rename it, then drop the marker"
            raise BatchInvalid("name-not-text", f"{why} again")
        if entry.size or store.stat(entry.key) is not None:  # S3 lists "folders" as empty files
            yield Expected(entry.key, entry.size, None)
    for key in store.not_files(folder, is_data):
        why = f"{marker.uri}: {key!r} beside it is a link, or not a regular file; write the file"
        hide = "itself, or hide it by a name that begins with '_' or '.'"
        raise BatchInvalid("not-a-file", f"{why} {hide}, then write the marker again")


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
