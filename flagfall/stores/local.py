"""A directory as a store.

*Landed at* is the inode's ctime: ``mv``, ``rsync -t`` and ``cp -p`` keep an old mtime, and none can
set a ctime. Renaming a directory into place leaves the ctime of the files in it alone, so an entry
also carries ``moved_at``, the latest ctime of the file and of the directories above it, before
which it cannot have been seen here.

Writes go to a temporary name first, are flushed to the disk, and then get their name in one step:
a link for create-if-absent (it fails where the name is taken), a rename for replace.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import aiofiles

from flagfall.errors import NotAFile, StoreRefused, StoreUnavailable
from flagfall.stores import Entry, Fetched, everything
from flagfall.stores.hints import directory_hints

_BLOCK = 1 << 20
_REFUSED = {
    errno.EACCES: "permission denied; let the user that runs this read it (and write, in the lake)",
    errno.EPERM: "not permitted; let the user that runs this read it (and write, in the lake)",
    errno.ENOTDIR: "a part of the path is not a directory; check the URI in the dataset file",
    errno.EROFS: "the file system is read-only; mount it writable or move the lake",
    errno.ENAMETOOLONG: "the name is longer than the file system allows",
}
_ABSENT = (FileNotFoundError,)


@contextmanager
def _translated(path: Path | str) -> Iterator[None]:
    """Foreign errors of the operating system, translated; absent stays ``FileNotFoundError``."""
    try:
        yield
    except _ABSENT:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAFile(str(path), "a symbolic link, not a regular file") from error
        if error.errno in _REFUSED:
            raise StoreRefused(str(path), _REFUSED[error.errno]) from error
        raise StoreUnavailable(str(path), error.strerror or str(error)) from error


def _version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def _time(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _entry(key: str, status: os.stat_result, moved_ns: int) -> Entry:
    moved = _time(max(moved_ns, status.st_ctime_ns))
    return Entry(key, status.st_size, _version(status), _time(status.st_ctime_ns), moved)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _copy(source: BinaryIO, sink: BinaryIO) -> Fetched:
    size, digest = 0, hashlib.sha256()
    while block := source.read(_BLOCK):
        digest.update(block)
        sink.write(block)
        size += len(block)
    return Fetched(size, digest.hexdigest())


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

    def __init__(self, root: str) -> None:
        self.root = Path(root).absolute()
        self.uri = str(self.root)

    def _path(self, key: str) -> Path:
        return self.root / key

    def list(
        self, prefix: str = "", start_after: str = "", where: Callable[[str], bool] = everything
    ) -> Iterator[Entry]:
        """See ``Store.list``. Symbolic links are not followed."""
        folder = self._path(prefix)
        key = f"{prefix}/" if prefix else ""
        with _translated(folder):
            try:
                moved = self._moved_ns(folder)
            except _ABSENT:
                return
            yield from self._walk(folder, key, moved, start_after, where)

    def _moved_ns(self, folder: Path) -> int:
        """Latest ctime of ``folder`` and those above it, below the root; 0 for the root itself."""
        if folder == self.root:
            return 0
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):  # as in a listing, no link is followed
            raise FileNotFoundError(errno.ENOENT, "no such directory", str(folder))
        return max(status.st_ctime_ns, self._moved_ns(folder.parent))

    def _walk(
        self, folder: Path, prefix: str, moved: int, start_after: str, where: Callable[[str], bool]
    ) -> Iterator[Entry]:
        try:
            with os.scandir(folder) as found:
                entries = list(found)
        except _ABSENT:
            return
        for entry in entries:
            key = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._descend(entry, f"{key}/", moved, start_after, where)
            elif key > start_after and where(key) and entry.is_file(follow_symlinks=False):
                with suppress(*_ABSENT):  # removed between the listing and now
                    yield _entry(key, entry.stat(follow_symlinks=False), moved)

    def _descend(
        self,
        entry: os.DirEntry[str],
        prefix: str,
        moved: int,
        start_after: str,
        where: Callable[[str], bool],
    ) -> Iterator[Entry]:
        if prefix < start_after and not start_after.startswith(prefix):
            return
        with suppress(*_ABSENT):
            moved = max(moved, entry.stat(follow_symlinks=False).st_ctime_ns)
            yield from self._walk(Path(entry.path), prefix, moved, start_after, where)

    def stat(self, key: str) -> Entry | None:
        """See ``Store.stat``."""
        path = self._path(key)
        with _translated(path):
            try:
                status = path.lstat()
                moved = self._moved_ns(path.parent)
            except (*_ABSENT, NotADirectoryError):
                return None
        return _entry(key, status, moved) if stat.S_ISREG(status.st_mode) else None

    @contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        """Open a regular file for reading; never wait for a FIFO, never follow a link out."""
        path = self._path(key)
        with _translated(path):
            real = os.path.realpath(path)
            if not real.startswith(os.path.realpath(self.root) + os.sep):
                raise NotAFile(str(path), "a symbolic link leads out of the store")
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise NotAFile(str(path), "not a regular file")
                yield file

    def read(self, key: str, limit: int) -> bytes:
        """See ``Store.read``."""
        with self._open(key) as file:
            data = file.read(limit + 1)
        return _within(limit, data, key)

    async def read_async(self, key: str, limit: int) -> bytes:
        """See ``Store.read_async``."""
        path = self._path(key)
        with _translated(path):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            async with aiofiles.open(path, "rb", opener=lambda p, _: os.open(p, flags)) as file:
                data = await file.read(limit + 1)
        return _within(limit, data or b"", key)

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
        temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "xb") as file:
                    yield file, temporary, path
            finally:
                temporary.unlink(missing_ok=True)
            _flush_directory(path.parent)

    def delete(self, key: str) -> None:
        """See ``Store.delete``."""
        with _translated(self._path(key)):
            self._path(key).unlink(missing_ok=True)

    def fetch(self, key: str, target: Path) -> Fetched:
        """See ``Store.fetch``."""
        with self._open(key) as source, open(target, "wb") as sink:
            return _copy(source, sink)

    def upload(self, source: Path, key: str) -> Fetched:
        """See ``Store.upload``."""
        with open(source, "rb") as data, self._temporary(key) as (sink, temporary, path):
            fetched = _copy(data, sink)
            _flush(sink)
            os.replace(temporary, path)
        return fetched

    def put_file(self, source: Path, key: str) -> None:
        """See ``Store.put_file``. ``source`` must be on this file system (see ``scratch_root``)."""
        path = self._path(key)
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(source, "rb") as file:
                os.fsync(file.fileno())
            os.replace(source, path)
            _flush_directory(path.parent)

    def local(self, key: str, scratch: Path) -> Path:
        """See ``Store.local``: the file itself."""
        return self._path(key)

    def scratch_root(self) -> Path | None:
        """See ``Store.scratch_root``: a hidden folder of the store, hence on its file system."""
        return self.root / ".scratch"

    def hints(self) -> AsyncIterator[None]:
        """See ``Store.hints``: inotify."""
        return directory_hints(self.root)


def _within(limit: int, data: bytes, key: str) -> bytes:
    if len(data) > limit:
        raise ValueError(f"{key} is larger than {limit} bytes")
    return data
