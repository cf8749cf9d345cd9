"""Walking a directory: which files a listing gives, and what it leaves out.

Without recursion, since a producer may nest directories deeply; and not through links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from flagfall.stores import EPOCH, Entry, Shape
from flagfall.stores.os_errors import translated

TEMPORARY = ".tmp-"


_NO_FILE = OSError(errno.ELOOP, "a link, or not a regular file")


_AT_ONCE = 1000
"""Names that are read from a folder before they are looked at."""


def version_of(status: os.stat_result) -> str:
    """Of a file: neither ``cp -p`` nor ``tar`` can set a ctime. Inodes are each client's own."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def folder_version_of(status: os.stat_result) -> str:
    """Of a directory: a ctime changes with every name that comes or goes in it."""
    return str(status.st_ctime_ns)


def entry_of(key: str, status: os.stat_result, folder: str, moved_at: datetime = EPOCH) -> Entry:
    """The entry of a file; ``folder``: the version of the one that holds it."""
    return Entry(key, status.st_size, version_of(status), _changed_at(status), folder, moved_at)


def _changed_at(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_ctime_ns / 1e9, UTC)


LeaveOut = Callable[[str, OSError], None]
"""Told what cannot be listed; raises the error unless the listing is to go on without."""


def leave_out_if_gone(path: str, error: OSError) -> None:
    """Go on without what is no file, or was removed since it was listed."""
    if error is not _NO_FILE and not isinstance(error, FileNotFoundError):
        with translated(path):
            raise error


class Folder(NamedTuple):
    """A directory that is still to be listed.

    Attributes:
        path: Where it is.
        prefix: What the keys of its files begin with.
        version: Its version.
        moved_at: When it, or one above it and below the top, last changed (UTC).
    """

    path: str
    prefix: str
    version: str
    moved_at: datetime = EPOCH


class Wanted(NamedTuple):
    """Which files a walk is to give.

    Attributes:
        after: Keys up to this one are left out.
        where: Which keys are wanted.
        leave_out: Told what cannot be listed.
        temporary: Whether files under a temporary name are, too.
    """

    after: str
    where: Callable[[str], bool]
    leave_out: LeaveOut
    temporary: bool = False

    def is_key(self, name: str, key: str) -> bool:
        """Whether this is the key of a wanted file, if it is a file."""
        is_shown = self.temporary or not name.startswith(TEMPORARY)
        return is_shown and key > self.after and self.where(key)

    def at(self, folder: Folder, top: Folder) -> LeaveOut:
        """Told what cannot be listed in a folder: the top must be there to be read."""
        return leave_out_if_gone if folder is top else self.leave_out


def walk(top: Folder, wanted: Wanted) -> Iterator[Entry]:
    """Every wanted file below ``top``.

    Without recursion: a producer may nest directories deeply.
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        for entry in scan(folder.path, wanted.at(folder, top)):
            key = folder.prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if reaches(f"{key}/", wanted.after):
                    waiting.extend(_below(folder, entry, wanted.leave_out))
            elif wanted.is_key(entry.name, key) and (found := _file(folder, entry, wanted)):
                yield found


def walk_shape(top: Folder, shape: Shape, wanted: Wanted) -> Iterator[Entry]:
    """Every wanted file of a shape below ``top``: only folders that fit are looked into."""
    *folders, last = shape
    for folder in _folders(top, folders, wanted):
        for entry in _fitting(folder, last, wanted.at(folder, top)):
            key = folder.prefix + entry.name
            if entry.is_dir(follow_symlinks=False) or not wanted.is_key(entry.name, key):
                continue
            if found := _file(folder, entry, wanted):
                yield found


def _folders(top: Folder, shape: Shape, wanted: Wanted) -> Iterator[Folder]:
    """The folders of a shape."""
    if not shape:
        yield top
        return
    *above, last = shape
    for folder in _folders(top, above, wanted):
        for entry in _fitting(folder, last, wanted.at(folder, top)):
            if entry.is_dir(follow_symlinks=False):
                yield from _below(folder, entry, wanted.leave_out)
            elif _leads_to_folder(entry):
                wanted.leave_out(entry.path, _NO_FILE)


def _leads_to_folder(entry: _AnEntry) -> bool:
    """Whether it is a link to a folder, in a circle, or to what only others may look at."""
    try:
        return entry.is_dir(follow_symlinks=True)
    except OSError:
        return True


class _Named:
    """A name in a folder, as ``os.scandir`` would give it; there need be nothing."""

    __slots__ = ("_status", "name", "path")

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self.path = f"{folder}/{name}"
        self._status = os.lstat(self.path)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        """Whether it is a directory."""
        if follow_symlinks and stat.S_ISLNK(self._status.st_mode):
            return os.path.isdir(self.path)
        return stat.S_ISDIR(self._status.st_mode)

    def is_file(self, *, follow_symlinks: bool) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self._status.st_mode)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        """What was seen of it."""
        return self._status


_AnEntry = os.DirEntry[str] | _Named


def _fitting(
    folder: Folder, name: str | Callable[[str], bool], leave_out: LeaveOut
) -> Iterator[_AnEntry]:
    """What is in a folder and has a name that fits. A single name costs no listing."""
    if callable(name):
        yield from (entry for entry in scan(folder.path, leave_out) if name(entry.name))
        return
    try:
        found = _Named(folder.path, name)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            leave_out(folder.path, error)
    else:
        yield found


def _below(folder: Folder, entry: _AnEntry, leave_out: LeaveOut) -> Iterator[Folder]:
    """The folder at an entry, unless it cannot be listed."""
    if status := _status(entry, leave_out):
        prefix, moved_at = f"{folder.prefix}{entry.name}/", _changed_at(status)
        version = folder_version_of(status)
        yield Folder(entry.path, prefix, version, max(folder.moved_at, moved_at))


def _file(folder: Folder, entry: _AnEntry, wanted: Wanted) -> Entry | None:
    """The file at an entry; ``None`` where it is none."""
    if not entry.is_file(follow_symlinks=False):
        wanted.leave_out(entry.path, _NO_FILE)
        return None
    status = _status(entry, wanted.leave_out)
    key = folder.prefix + entry.name
    return status and entry_of(key, status, folder.version, folder.moved_at)


def reaches(prefix: str, start_after: str) -> bool:
    """Whether keys that begin with ``prefix`` can sort after ``start_after``."""
    return prefix > start_after or start_after.startswith(prefix)


def scan(folder: str, leave_out: LeaveOut) -> Iterator[os.DirEntry[str]]:
    """What is in a folder; a million names are not held at once."""
    try:
        with os.scandir(folder) as found:
            while some := list(islice(found, _AT_ONCE)):
                yield from some
    except OSError as error:
        leave_out(folder, error)


def _status(entry: _AnEntry, leave_out: LeaveOut) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        leave_out(entry.path, error)
        return None
