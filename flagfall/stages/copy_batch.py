"""Copying a batch's files to this machine: all of one delivery, as its marker promises them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from flagfall.dataset.schema import Dataset
from flagfall.errors import AccessDenied, BatchInvalid, NotAFile, StoreRefused, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import LeftOut, SourceFile, listing_of
from flagfall.landing.beside import batch_name
from flagfall.landing.formats.named import shown
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import Expected, Manifest, not_readable, with_left_out
from flagfall.landing.marker import Marker
from flagfall.rows import DataFile
from flagfall.stages.counted_once import check_counted_once
from flagfall.stores import Fetched, Store

REFUSALS = 6
"""A file is unreadable if it is refused this often, while its marker can be read each time."""
_ANY = TypeVar("_ANY")


@dataclass(frozen=True)
class Copied:
    """The files of a batch, as they were copied.

    Attributes:
        files: What was read.
        copies: The same, here.
        versions: The version of each, by its key, when it was opened.
        left_out: What looks like the batch's and does not count.
    """

    files: tuple[SourceFile, ...]
    copies: list[DataFile]
    versions: dict[str, str]
    left_out: LeftOut

    @property
    def content(self) -> dict[str, str]:
        """Identifies the content: sha256 by file."""
        return {file.path: file.sha256 for file in self.files}

    @property
    def listing(self) -> str:
        """Identifies what was read, without its content (see ``listing_of``)."""
        return listing_of(self.versions)


def expected_of(dataset: Dataset, inbox: Inbox, marker: Marker) -> Manifest:
    """What a batch has to hold, and what is left out of it.

    Raises:
        BatchInvalid: Its marker cannot be used, or there are no data.
        StoreUnavailable: The marker vanished.
    """
    try:
        manifest = _retry_refusals(
            partial(inbox.manifest, marker, dataset.limits), partial(_check_there, inbox, marker)
        )
    except FileNotFoundError as gone:
        raise _vanished(marker) from gone
    manifest = with_left_out(manifest, marker, dataset.limits, inbox.landing.folders)
    if not manifest.files:
        name = batch_name(inbox.landing.pattern, marker.key)
        raise _no_data(marker, name, LeftOut.of(manifest.left_out))
    return manifest


def _no_data(marker: Marker, name: str, left_out: LeftOut) -> BatchInvalid:
    called = f" whose names begin with {shown(name)}" if name else ""
    why = f"{marker.uri}: there are no data files beside the marker{called}"
    others = f" ({left_out.sentence()})" if left_out.files else ""
    remedy = "write them, then the marker again"
    if name.startswith((".", "_")):
        remedy = "such files are hidden, and no data: give files and marker a name without it"
    return BatchInvalid("no-data", f"{why}{others}; {remedy}")


def copy_batch(
    dataset: Dataset, inbox: Inbox, marker: Marker, manifest: Manifest, folder: Path
) -> Copied:
    """Copy a batch's files to a folder, checking each against its marker on the way.

    Raises:
        BatchInvalid: A file is missing, is not as promised or counts in another batch.
        StoreUnavailable: There is no room for them, or the storage fails.
    """
    check_counted_once(inbox, marker, manifest)
    copied = list(_copies(inbox, marker, manifest.files, folder, dataset.limits))
    files = tuple(file for file, _, _ in copied)
    versions = {file.path: version for file, _, version in copied}
    left_out = LeftOut.of(manifest.left_out)
    return Copied(files, [copy for _, copy, _ in copied], versions, left_out)


def why_changed(inbox: Inbox, marker: Marker, batch: Copied) -> str | None:
    """Why what was copied may be a mixture of two deliveries; ``None`` where it is not."""
    store = inbox.landing.store
    are_there = _are_there(store, [marker.key, *batch.versions])
    if (gone := inbox.gone(marker)) is not None:
        return gone
    now = {entry.key: (entry.version, entry.size) for entry in store.find(batch.versions)}
    then = {file.path: (batch.versions[file.path], file.bytes) for file in batch.files}
    if are_there and now == then:
        return None
    return f"{marker.uri}: its files were written again while they were read; the next run goes on"


def _are_there(store: Store, keys: Iterable[str]) -> bool:
    """Whether files on a share are there, as their server says and not this client's cache.

    A client asks the server when a file is opened; one of NFS looks at its attributes anew then.
    """
    if not store.is_remote or store.metered:
        return True
    for key in keys:
        try:
            store.read(key, limit=0)
        except FileNotFoundError:
            return False
        except (ValueError, StoreRefused):
            continue  # larger than nothing; or what is wrong is seen by the look that follows
    return True


def _copies(
    inbox: Inbox, marker: Marker, expected: tuple[Expected, ...], folder: Path, limits: Limits
) -> Iterator[tuple[SourceFile, DataFile, str]]:
    total = 0
    for index, file in enumerate(expected):
        target = folder / f"source-{index:05d}"
        fetched = _retry_refusals(
            partial(_fetch, inbox, file, target, limits.batch_bytes - total, limits),
            partial(_check_readable, inbox, marker),
        )
        total += fetched.size
        source = SourceFile(path=file.key, bytes=fetched.size, sha256=fetched.sha256)
        yield source, DataFile(file.key, target), fetched.version


def _retry_refusals(read: Callable[[], _ANY], check: Callable[[], None]) -> _ANY:
    """Retries a read that was refused. Storage sometimes refuses everything for a moment.

    Args:
        read: What may be refused.
        check: Called before each retry. It raises where other reads are refused, too: then the
            producer is not to blame.

    Raises:
        BatchInvalid: This read alone is refused, each time.
    """
    for _ in range(1, REFUSALS):
        try:
            return read()
        except BatchInvalid as error:
            if error.reason != "not-readable":
                raise
        check()
    return read()


def _check_there(inbox: Inbox, marker: Marker) -> None:
    if inbox.gone(marker) is not None:
        raise _vanished(marker)


def _vanished(marker: Marker) -> StoreUnavailable:
    return StoreUnavailable(marker.uri, "the marker vanished while its batch was read")


def _check_readable(inbox: Inbox, marker: Marker) -> None:
    _check_there(inbox, marker)
    try:
        inbox.landing.store.read(marker.key, marker.size)
    except FileNotFoundError as gone:
        raise _vanished(marker) from gone


def _fetch(inbox: Inbox, file: Expected, target: Path, most: int, limits: Limits) -> Fetched:
    """Copy a file, and stop once it has more bytes than are left to its batch."""
    left = most

    def count(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise _too_large(file, limits)

    try:
        _check_room(inbox, file, target, most, limits)
        fetched = inbox.landing.store.fetch(file.key, target, count)
    except FileNotFoundError as absent:
        why = f"{file.key}: the marker names this file, it is not there; write it, then the marker"
        raise BatchInvalid("file-missing", f"{why} again") from absent
    except NotAFile as refused:
        why = f"{refused}; write a file there, then the marker again"
        raise BatchInvalid("not-a-file", why) from refused
    except AccessDenied as refused:
        raise not_readable(refused) from refused
    _check_promise(file, fetched)
    return fetched


def _too_large(file: Expected, limits: Limits) -> BatchInvalid:
    why = f"{file.key}: with this file the batch has too many bytes ({limits.why_batch_bytes})"
    return BatchInvalid("batch-too-large", f"{why}; write several batches")


def _check_room(inbox: Inbox, file: Expected, target: Path, most: int, limits: Limits) -> None:
    """Whether there is room for a file, before the disk is filled for all others. S3 has no holes.

    Raises:
        BatchInvalid: With it the batch has too many bytes.
        StoreUnavailable: The disk has no room for it.
    """
    entry = None if inbox.landing.store.metered else inbox.landing.store.stat(file.key)
    if entry is None:
        return
    if entry.size > most:
        raise _too_large(file, limits)
    free = shutil.disk_usage(target.parent).free
    if entry.size > free:
        why = "no space left on the device; make room there: it is to take in"
        why = f"{why} {file.key} with {entry.size:,} bytes, and {free:,} are free"
        raise StoreUnavailable(str(target.parent), why)


def _check_promise(file: Expected, fetched: Fetched) -> None:
    """Compare size and hash with the marker's, if it has them. A listing's promise nothing."""
    is_promised = file.bytes is not None and file.came_at is None
    if is_promised and fetched.size != file.bytes:
        why = f"{file.key}: the marker promises {file.bytes} bytes, the file has {fetched.size}"
        raise BatchInvalid("size-differs", f"{why}; write it again, then the marker")
    if file.sha256 is not None and fetched.sha256 != file.sha256:
        why = f"{file.key}: its sha256 is not the one that the marker promises"
        raise BatchInvalid("hash-differs", f"{why}; write it again, then the marker")
