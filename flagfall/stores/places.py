"""What stands at a path of this machine, where the answer may be an error.

``Path.exists`` and its like raise what the file system answers, and those of ``os.path`` take every
error for "nothing is there": a folder that may not be entered, a share that is gone.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from flagfall.errors import NameTooLong
from flagfall.stores.os_errors import translated


def is_there(path: Path | str) -> bool:
    """Whether something is there, which a link may lead to.

    Raises:
        StoreError: The file system does not say.
    """
    return _mode(path) is not None


def is_folder(path: Path | str) -> bool:
    """Whether a folder is there. Raises as ``is_there``."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_file(path: Path | str) -> bool:
    """Whether a regular file is there. Raises as ``is_there``."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_made(folder: Path | str) -> bool:
    """Whether a folder is there; where it is not, it can be made.

    Raises:
        StoreError: It can never be there, or the file system does not say.
    """
    if is_there(folder):
        return True
    nearest(Path(folder))
    return False


def nearest(folder: Path) -> Path:
    """A folder itself, or the nearest above it that is there, below which it can be made.

    Raises:
        StoreError: It can never be there, or the file system does not say.
    """
    with translated(folder):
        found = next(one for one in (folder, *folder.parents) if _is_named(one))
    _check_names(folder, found)
    return found


def _mode(path: Path | str) -> int | None:
    with translated(path):
        try:
            return os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None


def _is_named(path: Path) -> bool:
    """Whether something has this name, if only a link that leads nowhere."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _check_names(folder: Path, found: Path) -> None:
    """See that what is to be made can have its names, where the file system says what it takes."""
    names = folder.relative_to(found).parts
    with suppress(OSError):
        most = os.pathconf(found, "PC_NAME_MAX")
        if any(len(os.fsencode(name)) > most for name in names):
            why = f"a name has more than {most} bytes, which the file system allows; shorten it"
            raise NameTooLong(str(folder)[:200], why)
