"""A directory as a store.

*Landed at* is the inode's ctime: ``mv``, ``rsync -t`` and ``cp -p`` keep an old mtime, and none can
set a ctime. Renaming a directory into place leaves the ctime of the files in it alone, so an entry
also carries ``moved_at``, the latest ctime of the file and of the directories above it, before
which it cannot have been seen here. What lies on a file system that is mounted below the root can
have come at any time.

Writes go to a temporary name first, are flushed to the disk, and then get their name in one step:
a link for create-if-absent (it fails where the name is taken), a rename for replace. What a crash
leaves behind has a temporary name, which no listing shows.

Who writes here is not trusted. Reading opens one directory after the other, so that no link below
the root is followed, not even one that is put there meanwhile; and neither names too long nor a
thousand nested directories nor, in a sweep, one that cannot be read stop a listing.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import aiofiles

from flagfall.errors import NotAFile
from flagfall.stores import (
    EPOCH,
    Entry,
    Fetched,
    Hint,
    IsOurs,
    Shape,
    everything,
    nothing_is_ours,
    unheard,
)
from flagfall.stores.copying import BLOCK, blocks_of, copy, digest_of, new_file
from flagfall.stores.inotify import directory_hints
from flagfall.stores.os_errors import translated

log = logging.getLogger(__name__)

_TEMPORARY = ".tmp-"
_ABSENT = (FileNotFoundError,)
_NO_FILE = OSError(errno.ELOOP, "a link, or not a regular file")
_AT_ONCE = 1000
"""Names that are read from a folder before they are looked at."""
_ROUNDING = 1_000_000
"""Nanoseconds by which a time may have been rounded, and more."""
_UNREADABLE = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with translated(path), open(path, "rb") as file:
        yield file


def _version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def _time(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


def _entry(key: str, status: os.stat_result, moved_ns: int) -> Entry:
    moved = _time(max(moved_ns, status.st_ctime_ns))
    return Entry(key, status.st_size, _version(status), _time(status.st_ctime_ns), moved)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _make_directory(folder: Path) -> None:
    """Make a directory and those above it, each durable before there is anything in it."""
    if folder.is_dir():
        return
    _make_directory(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_directory(folder.parent)


def _flush_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LocalStore:
    """A directory, which need not exist yet.

    Args:
        root: Its path.
    """

    metered = False

    def __init__(self, root: str) -> None:
        self.root = Path(root).absolute()
        self.uri = str(self.root)
        self._told: set[str] = set()

    def identity(self) -> str:
        """See ``Store.identity``: device and inode."""
        with translated(self.root):
            try:
                status = self.root.stat()
            except _ABSENT:
                return ""
        return f"{status.st_dev}-{status.st_ino}"

    def _path(self, key: str) -> Path:
        self._name(key)
        return self.root / key

    def _name(self, key: str) -> str:
        """Where a key is, as text: ten times cheaper than a ``Path``."""
        name = f"{self.uri}/{key}" if key else self.uri
        if (".." in key and ".." in key.split("/")) or key.startswith("/"):
            raise NotAFile(name, "leads out of the store")
        return name

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Callable[[str], bool] = everything,
        skip_unreadable: bool = False,
        shapes: Collection[Shape] = (),
        moved_since: datetime = EPOCH,
    ) -> Iterator[Entry]:
        """See ``Store.list``. Symbolic links are not followed."""
        leave_out = self._leave_out_and_tell if skip_unreadable else _leave_out_if_gone
        folder = self._path(prefix)
        key = f"{prefix}/" if prefix else ""
        with translated(folder):
            try:
                device = self.root.stat().st_dev
                moved = self._moved_ns(folder, device)
            except _ABSENT:
                return
            top = _Folder(str(folder), key, moved, device)
            since = _nanoseconds(moved_since) - _ROUNDING
            wanted = _Wanted(start_after, where, since, leave_out)
            for walk in [_shaped(top, shape, wanted) for shape in shapes] or [_walk(top, wanted)]:
                yield from walk

    def not_files(self, prefix: str, where: Callable[[str], bool]) -> Iterator[str]:
        """See ``Store.not_files``."""
        waiting = [str(self._path(prefix))]
        while waiting:
            for entry in _scan(waiting.pop(), _leave_out_if_gone):
                key = os.path.relpath(entry.path, self.root)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and where(key):
                    yield key

    def _moved_ns(self, folder: Path, device: int) -> int:
        """When ``folder`` or one above it, below the root, last came; 0 for the root itself."""
        latest = 0
        while folder != self.root:
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode):  # as in a listing, no link is followed
                raise FileNotFoundError(errno.ENOENT, "no such directory", str(folder))
            latest = max(latest, _came_ns(status, device))
            folder = folder.parent
        return latest

    def _leave_out_and_tell(self, path: str, error: OSError) -> None:
        """Go on without what cannot be read.

        It is not lost: when it is made readable, the ctime of a directory on the way changes, and
        with it ``moved_at``.
        """
        if error.errno not in _UNREADABLE:
            _leave_out_if_gone(path, error)
        elif path not in self._told:
            self._told.add(path)
            log.warning("%s: left out of the sweep: %s", path, error.strerror)

    def stat(self, key: str) -> Entry | None:
        """See ``Store.stat``."""
        path = self._name(key)
        with translated(path):
            try:
                status = os.lstat(path)
                moved = self._moved_ns((self.root / key).parent, self.root.stat().st_dev)
            except _ABSENT:
                return None
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG or self._is_blocked(error):
                    return None
                raise
        return _entry(key, status, moved) if stat.S_ISREG(status.st_mode) else None

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        """See ``Store.find``."""
        return filter(None, map(self.stat, keys))

    def _is_blocked(self, error: OSError) -> bool:
        """Whether a file or link below the root stands where a directory was expected."""
        return error.errno == errno.ENOTDIR and self.root.is_dir()

    def _descriptor(self, key: str) -> int:
        """Open a regular file for reading; never wait for a FIFO, never follow a link."""
        path = str(self._path(key))
        *folders, name = key.split("/")
        here = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                below = _open_below(here, folder, path, os.O_RDONLY | os.O_DIRECTORY)
                os.close(here)
                here = below
            descriptor = _open_below(here, name, path, os.O_RDONLY | os.O_NONBLOCK)
        finally:
            os.close(here)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotAFile(path, "not a regular file")
        return descriptor

    @contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        with translated(self._path(key)), os.fdopen(self._descriptor(key), "rb") as file:
            yield file

    def read(self, key: str, limit: int) -> bytes:
        """See ``Store.read``."""
        with self._open(key) as file:
            data = file.read(limit + 1)
        return _within(limit, data, key)

    async def read_async(self, key: str, limit: int) -> bytes:
        """See ``Store.read_async``."""
        path = self._path(key)
        with translated(path):
            async with aiofiles.open(path, "rb", opener=lambda *_: self._descriptor(key)) as file:
                data = await file.read(limit + 1)
        return _within(limit, data, key)

    def create(self, key: str, data: bytes) -> bool:
        """See ``Store.create``."""
        with self._temporary(key) as (file, temporary, path):
            file.write(data)
            _flush(file)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        return True

    def put(self, key: str, data: bytes) -> None:
        """See ``Store.put``."""
        with self._temporary(key) as (file, temporary, path):
            file.write(data)
            _flush(file)
            os.replace(temporary, path)

    @contextmanager
    def _temporary(self, key: str) -> Iterator[tuple[BinaryIO, Path, Path]]:
        """A file under a temporary name beside ``key``'s; gone or renamed afterwards."""
        path = self._path(key)
        temporary = path.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
        with translated(path):
            _make_directory(path.parent)
            try:
                with open(temporary, "xb") as file:
                    yield file, temporary, path
            finally:
                temporary.unlink(missing_ok=True)
            _flush_directory(path.parent)

    def delete(self, key: str) -> None:
        """See ``Store.delete``."""
        with translated(self._path(key)):
            self._path(key).unlink(missing_ok=True)

    def fetch(self, key: str, target: Path, on_bytes: Callable[[int], None] = unheard) -> Fetched:
        """See ``Store.fetch``."""
        with new_file(target) as sink, closing(self._blocks(key)) as blocks:
            return copy(blocks, sink, on_bytes)

    def _blocks(self, key: str) -> Generator[bytes]:
        """An object piece by piece; only errors of reading it are told as errors of the store."""
        with self._open(key) as source:
            while block := source.read(BLOCK):
                yield block

    def upload(self, source: Path, key: str, on_bytes: Callable[[int], None] = unheard) -> Fetched:
        """See ``Store.upload``."""
        with _opened(source) as data, self._temporary(key) as (sink, temporary, path):
            fetched = copy(blocks_of(data), sink, on_bytes)
            _flush(sink)
            os.replace(temporary, path)
        return fetched

    def put_file(self, source: Path, key: str) -> None:
        """See ``Store.put_file``. ``source`` must be on this file system (see ``scratch_root``)."""
        path = self._path(key)
        with translated(path):
            _make_directory(path.parent)
            with open(source, "rb") as file:
                os.fsync(file.fileno())
            os.replace(source, path)
            _flush_directory(path.parent)

    def holds(self, key: str, content: Fetched) -> bool:
        """See ``Store.holds``: reads the file."""
        entry = self.stat(key)
        if entry is None or entry.size != content.size:
            return False
        with translated(self._path(key)):
            return digest_of(self._path(key)) == content

    def link(self, key: str, expires: timedelta) -> str:
        """See ``Store.link``: it does not expire."""
        return self._path(key).as_uri()

    def local(self, key: str, scratch: Path) -> Path:
        """See ``Store.local``: the file itself."""
        return self._path(key)

    def scratch_root(self) -> Path | None:
        """See ``Store.scratch_root``: a hidden folder of the store, hence on its file system."""
        return self.root / ".scratch"

    def hints(self, is_ours: IsOurs = nothing_is_ours) -> AsyncIterator[Hint]:
        """See ``Store.hints``: inotify, which tells every process."""
        return directory_hints(self.root)


LeaveOut = Callable[[str, OSError], None]
"""Told what cannot be listed; raises the error unless the listing is to go on without."""


def _leave_out_if_gone(path: str, error: OSError) -> None:
    """Go on without what is no file, or was removed since it was listed."""
    if error is not _NO_FILE and not isinstance(error, _ABSENT):
        with translated(path):
            raise error


class _Folder(NamedTuple):
    """A directory that is still to be listed.

    Attributes:
        path: Where it is.
        prefix: What the keys of its files begin with.
        moved_ns: When it, or one of those above, last came.
        device: The root's.
    """

    path: str
    prefix: str
    moved_ns: int
    device: int


def _came_ns(status: os.stat_result, device: int) -> int:
    """The latest time at which a directory can have come to where it is.

    That is its ctime; for one of another file system, now: mounting leaves no trace.
    """
    return status.st_ctime_ns if status.st_dev == device else time.time_ns()


class _Wanted(NamedTuple):
    """Which files a walk is to give.

    Attributes:
        after: Keys up to this one are left out.
        where: Which keys are wanted.
        since_ns: What moved here before is left out.
        leave_out: Told what cannot be listed.
    """

    after: str
    where: Callable[[str], bool]
    since_ns: int
    leave_out: LeaveOut

    def is_key(self, name: str, key: str) -> bool:
        """Whether this is the key of a wanted file, if it is a file."""
        return not name.startswith(_TEMPORARY) and key > self.after and self.where(key)

    def at(self, folder: _Folder, top: _Folder) -> LeaveOut:
        """Told what cannot be listed in a folder: the top must be there to be read."""
        return _leave_out_if_gone if folder is top else self.leave_out


def _walk(top: _Folder, wanted: _Wanted) -> Iterator[Entry]:
    """Every wanted file below ``top``.

    Without recursion: a producer may nest directories deeply.
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        for entry in _scan(folder.path, wanted.at(folder, top)):
            key = folder.prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if _reaches(f"{key}/", wanted.after):
                    waiting.extend(_below(folder, entry, wanted.leave_out))
            elif wanted.is_key(entry.name, key) and (found := _file(folder, entry, wanted)):
                yield found


def _shaped(top: _Folder, shape: Shape, wanted: _Wanted) -> Iterator[Entry]:
    """Every wanted file of a shape below ``top``: only folders that fit are looked into."""
    *folders, last = shape
    for folder in _folders(top, folders, wanted):
        for entry in _fitting(folder, last, wanted.at(folder, top)):
            if entry.is_dir(follow_symlinks=False):
                continue
            found = _file(folder, entry, wanted)
            if found and wanted.is_key(entry.name, found.key):
                yield found


def _folders(top: _Folder, shape: Shape, wanted: _Wanted) -> Iterator[_Folder]:
    """The folders of a shape."""
    if not shape:
        yield top
        return
    *above, last = shape
    for folder in _folders(top, above, wanted):
        for entry in _fitting(folder, last, wanted.at(folder, top)):
            if entry.is_dir(follow_symlinks=False):
                yield from _below(folder, entry, wanted.leave_out)


class _Named:
    """A name in a folder, as ``os.scandir`` would give it; there need be nothing."""

    __slots__ = ("_status", "name", "path")

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self.path = f"{folder}/{name}"
        self._status = os.lstat(self.path)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self._status.st_mode)

    def is_file(self, *, follow_symlinks: bool) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self._status.st_mode)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        """What was seen of it."""
        return self._status


_AnEntry = os.DirEntry[str] | _Named


def _fitting(
    folder: _Folder, name: str | Callable[[str], bool], leave_out: LeaveOut
) -> Iterator[_AnEntry]:
    """What is in a folder and has a name that fits. A single name costs no listing."""
    if callable(name):
        yield from (entry for entry in _scan(folder.path, leave_out) if name(entry.name))
        return
    try:
        found = _Named(folder.path, name)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            leave_out(folder.path, error)
    else:
        yield found


def _below(folder: _Folder, entry: _AnEntry, leave_out: LeaveOut) -> Iterator[_Folder]:
    """The folder at an entry, unless it cannot be listed."""
    if status := _status(entry, leave_out):
        moved_ns = max(folder.moved_ns, _came_ns(status, folder.device))
        yield _Folder(entry.path, f"{folder.prefix}{entry.name}/", moved_ns, folder.device)


def _file(folder: _Folder, entry: _AnEntry, wanted: _Wanted) -> Entry | None:
    """The file at an entry; ``None`` where it is none, or was here before what is wanted."""
    if not entry.is_file(follow_symlinks=False):
        wanted.leave_out(entry.path, _NO_FILE)
        return None
    status = _status(entry, wanted.leave_out)
    if status is None or max(status.st_ctime_ns, folder.moved_ns) < wanted.since_ns:
        return None
    return _entry(folder.prefix + entry.name, status, folder.moved_ns)


def _reaches(prefix: str, start_after: str) -> bool:
    """Whether keys that begin with ``prefix`` can sort after ``start_after``."""
    return prefix > start_after or start_after.startswith(prefix)


def _scan(folder: str, leave_out: LeaveOut) -> Iterator[os.DirEntry[str]]:
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


def _open_below(folder: int, name: str, path: str, flags: int) -> int:
    """Open a name in an open directory; ``path`` is for messages.

    Raises:
        FileNotFoundError: There is none, or it is longer than any name can be.
        NotAFile: A link, a socket, or a file instead of a directory.
    """
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise FileNotFoundError(errno.ENOENT, error.strerror, name) from error
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise NotAFile(path, "a link, or not a regular file below directories") from error
        raise


def _within(limit: int, data: bytes, key: str) -> bytes:
    if len(data) > limit:
        raise ValueError(f"{key} is larger than {limit} bytes")
    return data
