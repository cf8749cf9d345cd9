"""A directory as a store.

*Landed at* is the inode's ctime: ``mv``, ``rsync -t`` and ``cp -p`` keep an old mtime, and none can
set a ctime. A ctime says that something may be new, never that something is old: disks are mounted
and moved, and their clocks differ.

Writes go to a temporary name first, are flushed to the disk, and then get their name in one step:
a link for create-if-absent (it fails where the name is taken), a rename for replace. What a crash
leaves behind has a temporary name, which no listing shows.

Who writes here is not trusted. Reading opens one directory after the other, so that no link below
the root is followed, not even one that is put there meanwhile; and a listing goes on
past names that are too long, past a thousand nested directories and, in a sweep, past one that
cannot be read.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import aiofiles

from flagfall.errors import NotAFile, StoreUnavailable
from flagfall.logs import warnings_about
from flagfall.stores import (
    Entry,
    Fetched,
    Hint,
    IsOurs,
    Shape,
    everything,
    ignore_progress,
    nothing_is_ours,
)
from flagfall.stores.copying import BLOCK, blocks_of, copy, digest_of, new_file
from flagfall.stores.inotify import directory_hints
from flagfall.stores.local_walk import (
    TEMPORARY,
    Folder,
    Wanted,
    entry_of,
    folder_version_of,
    leave_out_if_gone,
    reaches,
    scan,
    version_of,
    walk,
    walk_shape,
)
from flagfall.stores.os_errors import translated
from flagfall.stores.shares import is_share

_UNREADABLE = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with translated(path), open(path, "rb") as file:
        yield file


@contextmanager
def _made(path: Path) -> Iterator[None]:
    """Errors of making something, where it is no answer that something is absent."""
    with translated(path):
        try:
            yield
        except FileNotFoundError as error:
            why = "its folder went away, or nothing can be made there, as in /proc; check the URI"
            raise StoreUnavailable(str(path), f"{why} in the dataset file") from error


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
        self._warnings = warnings_about(self.uri, __name__)

    @cached_property
    def is_remote(self) -> bool:
        """See ``Store.is_remote``: where it is on a share."""
        return is_share(self.uri)

    def is_empty(self) -> bool:
        """See ``Store.is_empty``."""
        return next(scan(self.uri, leave_out_if_gone), None) is None

    def names(self, prefix: str, start_after: str = "") -> Iterator[str]:
        """See ``Store.names``: looks at no file."""
        start = f"{prefix}/"
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            for entry in scan(str(self._path(folder)), leave_out_if_gone):
                key = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting += [f"{key}/"] if reaches(f"{key}/", start_after) else []
                elif key > start_after and not entry.name.startswith(TEMPORARY):
                    yield key

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
        temporary: bool = False,
    ) -> Iterator[Entry]:
        """See ``Store.list``. Symbolic links are not followed."""
        leave_out = self._leave_out_and_tell if skip_unreadable else leave_out_if_gone
        folder = self._path(prefix)
        key = f"{prefix}/" if prefix else ""
        with translated(folder):
            try:
                top = Folder(str(folder), key, self._folder_version(folder))
            except FileNotFoundError:
                return
            wanted = Wanted(start_after, where, leave_out, temporary)
            walks = [walk_shape(top, shape, wanted) for shape in shapes] or [walk(top, wanted)]
            yield from chain.from_iterable(walks)

    def not_files(self, prefix: str, where: Callable[[str], bool]) -> Iterator[str]:
        """See ``Store.not_files``."""
        waiting = [str(self._path(prefix))]
        while waiting:
            for entry in scan(waiting.pop(), leave_out_if_gone):
                key = os.path.relpath(entry.path, self.root)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and where(key):
                    yield key

    def _folder_version(self, folder: Path) -> str:
        """The version of a folder, below the root not reached through links, as in a listing."""
        version = folder_version_of(folder.stat())
        while folder != self.root:
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise FileNotFoundError(errno.ENOENT, "no such directory", str(folder))
            folder = folder.parent
        return version

    def _leave_out_and_tell(self, path: str, error: OSError) -> None:
        """Go on without what cannot be read; once it can be, the next sweep finds it."""
        if error.errno not in _UNREADABLE:
            leave_out_if_gone(path, error)
        else:
            self._warnings.warn(path, "%s: left out of the sweep: %s", path, error.strerror)

    def stat(self, key: str) -> Entry | None:
        """See ``Store.stat``."""
        path = self._name(key)
        with translated(path):
            try:
                folder = self._folder_version((self.root / key).parent)
                status = os.lstat(path)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG or self._is_blocked(error):
                    return None
                raise
        return entry_of(key, status, folder) if stat.S_ISREG(status.st_mode) else None

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
        temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        with _made(path):
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

    def remove_empty(self, prefix: str) -> None:
        """See ``Store.remove_empty``."""
        with suppress(OSError):  # it has something in it, or is gone
            self._path(prefix).rmdir()

    def fetch(
        self, key: str, target: Path, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """See ``Store.fetch``."""
        with self._opened_for_copy(key) as source, new_file(target) as sink:
            version = version_of(os.fstat(source.fileno()))
            with closing(self._blocks(key, source)) as blocks:
                return replace(copy(blocks, sink, on_bytes), version=version)

    def _opened_for_copy(self, key: str) -> BinaryIO:
        with translated(self._path(key)):
            return os.fdopen(self._descriptor(key), "rb")

    def _blocks(self, key: str, source: BinaryIO) -> Generator[bytes]:
        """A file piece by piece; only errors of reading it become errors of the store."""
        with translated(self._path(key)):
            while block := source.read(BLOCK):
                yield block

    def upload(
        self, source: Path, key: str, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """See ``Store.upload``."""
        with _opened(source) as data, self._temporary(key) as (sink, temporary, path):
            fetched = copy(blocks_of(data), sink, on_bytes)
            _flush(sink)
            os.replace(temporary, path)
        return fetched

    def put_file(self, source: Path, key: str) -> None:
        """See ``Store.put_file``. ``source`` must be on this file system (see ``scratch_root``)."""
        path = self._path(key)
        with _made(path):
            _make_directory(path.parent)
        with translated(path):
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
        """See ``Store.hints``: inotify, which reaches every process."""
        return directory_hints(self.root)


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
