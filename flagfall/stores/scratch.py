"""Scratch folders that do not outlive their owner for long, however it ends.

A process holds a lock on the folder that it works in; the operating system releases it with the
process. The next process that makes a folder beside it first removes those that nobody holds.

On a file system that several hosts mount, a lock may be each host's own affair (sshfs, NFS without
locks). So the name of a folder says under which kernel and mount it was made: only there does the
lock say something. A folder that was made elsewhere, or before this machine started, is removed
when nothing in it has changed for days.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from uuid import getnode

from flagfall.stores.os_errors import disk_errors

_PREFIX = "flagfall-work-"
ABANDONED = 3 * 24 * 3600.0
"""Seconds after which a folder that was made elsewhere, and does not change, has no owner."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def scratch_folder(root: Path | None) -> Iterator[Path]:
    """A temporary folder, gone afterwards.

    Args:
        root: Where it is made; ``None`` for where the system keeps temporary files.

    Raises:
        StoreUnavailable: It cannot be made or written to, as on a disk that is full.
    """
    root = Path(gettempdir()) if root is None else root
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        folder, lock = _held_folder(root)
        try:
            sweep_abandoned(root, now=folder.stat().st_mtime)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what stays is swept with the next
            os.close(lock)


def _held_folder(root: Path) -> tuple[Path, int]:
    """A new folder and its lock; made again where another swept it before it was held."""
    while True:
        folder = Path(mkdtemp(dir=root, prefix=_prefix(root)))
        with suppress(FileNotFoundError):
            lock = _opened(folder)
            with suppress(OSError):  # some network file systems have no locks: none is swept there
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _prefix(root: Path) -> str:
    """What folders are called whose locks can be seen from here.

    The kernel keeps a lock with the mounted file system. So containers with the same mount see each
    other's locks, whatever their host names; and two mounts of one share do not.
    """
    place = f"{_kernel()} {root.stat().st_dev}"
    return f"{_PREFIX}{hashlib.sha256(place.encode()).hexdigest()[:12]}-"


@cache
def _kernel() -> str:
    """Differs from host to host, and from one start of a host to the next where Linux says it."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return str(getnode())


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def sweep(root: Path) -> None:
    """Remove the folders of processes that were killed; what cannot be removed is left alone."""
    for folder in root.glob(f"{_prefix(root)}*"):
        with suppress(OSError):
            _remove_unless_held(folder)


def sweep_abandoned(root: Path, now: float) -> None:
    """Remove folders that were made elsewhere, and in which nothing has changed for days.

    Args:
        root: Where they are.
        now: By the clock of the file system, which may not be this host's.
    """
    ours = _prefix(root)
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if not folder.name.startswith(ours) and now - _changed_at(folder) > ABANDONED:
                _remove_unless_held(folder)


def _changed_at(folder: Path) -> float:
    return max(one.lstat().st_mtime for one in (folder, *folder.rglob("*")))


def _remove_unless_held(folder: Path) -> None:
    lock = _opened(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
