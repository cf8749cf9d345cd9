"""What a marker vouches for: the data files of its batch.

An empty marker vouches for the data files beside it, a marker with content for the files that it
names (see ``formats``), with the sizes and hashes that it gives. Where its producer may have
named only some, as Hadoop's committers do beyond a hundred, the files beside it belong to the
batch, too. Everything here comes from a producer and is not trusted.

No file counts in two batches, and none that looks like the batch's is left out without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from flagfall.errors import AccessDenied, BatchInvalid, NameTooLong, NotAFile, StoreRefused
from flagfall.landing.beside import Beside, Folders, Item
from flagfall.landing.commits import table_log, uncommitted
from flagfall.landing.file_names import data_format, is_called_like_data
from flagfall.landing.formats import named_files
from flagfall.landing.formats.named import Expected, Named
from flagfall.landing.limits import Limits
from flagfall.landing.marker import Marker, MarkerPattern, is_text
from flagfall.landing.one_batch import check_forms, check_places, is_disputable
from flagfall.stores import Store

__all__ = ["Expected", "Manifest", "missing", "parse_marker", "read_manifest", "with_left_out"]

NOT_NAMED = "the marker does not name it"


@dataclass(frozen=True)
class Manifest:
    """The data files of one batch.

    Attributes:
        files: Sorted by key.
        left_out: Files that look like the batch's and do not count, with the reason; of a marker
            that names its files only after ``with_left_out``.
        disputable: Keys of files that another marker could vouch for, too.
        named: Whether the marker names all of its files.
    """

    files: tuple[Expected, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    disputable: frozenset[str] = frozenset()
    named: bool = False


def read_manifest(
    marker: Marker,
    pattern: MarkerPattern,
    store: Store,
    limits: Limits,
    folders: Folders | None = None,
) -> Manifest:
    """Read what ``marker`` vouches for.

    Args:
        marker: The marker.
        pattern: The feed's.
        store: The landing zone's.
        limits: The feed's.
        folders: Shared by all who read manifests of this landing zone; ``None`` to look anew.

    Raises:
        BatchInvalid: The marker cannot be read, is too large, not understood, or names files that
            it must not; or it is not clear which of the files beside it count.
        FileNotFoundError: The marker is gone.
    """
    named = _named(marker, pattern, _content(marker, store, limits), limits)
    files = {file.key: file for file in named.files} if named else {}
    check_places(marker, files, pattern, store)
    found = Manifest((), named=named is not None and named.complete)
    if not found.named:
        found = _listed(marker, folders or Folders(store, pattern), limits)
    files |= {file.key: file for file in found.files}
    if len(files) > limits.files:
        raise _too_many(marker, limits.files)
    _check_names(marker, files, limits.marker_bytes)
    check_forms(marker, files)
    return replace(
        found,
        files=tuple(sorted(files.values(), key=lambda file: file.key)),
        left_out={key: why for key, why in found.left_out.items() if key not in files},
        disputable=frozenset(key for key in files if is_disputable(marker, pattern, key)),
    )


def with_left_out(manifest: Manifest, marker: Marker, limits: Limits, folders: Folders) -> Manifest:
    """The same, with what lies beside a marker that does not name it.

    It costs a listing. A folder that cannot be listed is no fault of the batch.
    """
    if not manifest.named:
        return manifest
    files = {file.key for file in manifest.files}
    try:
        beside = folders.beside(marker, 2 * limits.files)
    except StoreRefused:
        return manifest
    items = (item for item in beside.data if item.size >= 0 and item.key not in files)
    data = (item for item in items if data_format(item.key, folders.otherwise))
    keys = sorted(item.key for item in data if _is_there(item, folders))
    others = {key: why for key, why in beside.left_out.items() if key not in files}
    return replace(manifest, left_out={**dict.fromkeys(keys, NOT_NAMED), **others})


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
    except (AccessDenied, NameTooLong, NotAFile) as refused:
        raise not_readable(refused) from refused


def _named(marker: Marker, pattern: MarkerPattern, content: bytes, limits: Limits) -> Named | None:
    """The files that a marker names; a data file that the pattern fits is said to be one."""
    try:
        return named_files(marker, content, limits.files)
    except BatchInvalid as invalid:
        if invalid.reason != "marker-not-understood" or not is_called_like_data(marker.key):
            raise
        why = f"{marker.uri}: called like data, and a marker: landing.marker {pattern.text!r} fits"
        remedy = f"end the pattern in a word, as in {pattern.text}.ready"
        raise BatchInvalid(invalid.reason, f"{why}; {remedy}") from invalid


def _listed(marker: Marker, folders: Folders, limits: Limits) -> Manifest:
    """The data files beside a marker, which an empty one vouches for.

    Every file in its folder and below, hidden and ``_``-files left out. Where the marker's own name
    carries a field (``{day}.ready``), several batches share the folder, and only files of the same
    stem belong to it: ``2013-05-01.ready`` vouches for ``2013-05-01.csv``.
    """
    try:
        beside = folders.beside(marker, limits.files)
        _check_clear(marker, beside)
        files = {
            item.key: _expected(marker, item, folders.store.metered)
            for item in beside.data
            if _is_there(item, folders)
        }
        read = partial(folders.store.read, limit=limits.marker_bytes)
        uncounted = uncommitted(files, [note.key for note in beside.notes], read)
    except (AccessDenied, NameTooLong, NotAFile) as refused:
        raise not_readable(refused) from refused
    if len(beside.data) > limits.files:
        raise _too_many(marker, limits.files)
    counted = tuple(file for key, file in files.items() if key not in uncounted)
    return Manifest(counted, {**beside.left_out, **uncounted})


def _check_clear(marker: Marker, beside: Beside) -> None:
    """Whether it is clear what counts."""
    if beside.logs:
        raise table_log(marker.uri, beside.logs[0].key)
    if beside.on_their_way:
        why = f"{marker.uri}: {beside.on_their_way[0].key!r} beside it is being written still"
        remedy = "when it has its name, or is removed, write the marker again"
        raise BatchInvalid("incomplete", f"{why}, by its name; {remedy}")


def _is_there(item: Item, folders: Folders) -> bool:
    """Whether it is a file: S3 lists "folders" as empty files."""
    return item.size != 0 or folders.store.stat(item.key) is not None


def _expected(marker: Marker, item: Item, is_on_s3: bool) -> Expected:
    if item.size < 0 and is_on_s3:
        why = f"{marker.uri}: {item.key!a} beside it is no name of a file: a part of it is empty,"
        why = f"{why} '.' or '..', or has a control character; rename it"
        raise BatchInvalid("not-a-file", f"{why}, then write the marker again")
    if item.size < 0:
        why = (
            f"{marker.uri}: {item.key!r} beside it is a link, or not a regular file; write the file"
        )
        hide = "itself, or hide it by a name that begins with '_' or '.'"
        raise BatchInvalid("not-a-file", f"{why} {hide}, then write the marker again")
    if not is_text(item.key):
        why = f"{item.key!r}: a file's name that is not UTF-8; rename it, then drop the marker"
        raise BatchInvalid("name-not-text", f"{why} again")
    return Expected(item.key, item.size, None, item.came_at)


def not_readable(refused: StoreRefused) -> BatchInvalid:
    """What to say of a file of a batch that is refused: mending it changes no marker."""
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
