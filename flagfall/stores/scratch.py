"""Scratch folders that do not outlive their owner for long, however it ends.

A process holds a lock on the folder that it works in; the operating system releases it with the
process. The next process that makes a folder beside it first removes those that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from flagfall.stores.os_errors import disk_errors

_PREFIX = "flagfall-work-"


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
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what stays is swept with the next
            os.close(lock)


def _held_folder(root: Path) -> tuple[Path, int]:
    """A new folder and its lock; made again where another swept it before it was held."""
    while True:
        folder = Path(mkdtemp(dir=root, prefix=_PREFIX))
        with suppress(FileNotFoundError):
            lock = _opened(folder)
            with suppress(OSError):  # some network file systems have no locks: none is swept there
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def sweep(root: Path) -> None:
    """Remove the folders of processes that were killed; what cannot be removed is left alone."""
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    lock = _opened(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
