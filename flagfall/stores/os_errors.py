"""Errors of the operating system, in words that name the remedy.

What may heal by itself, or by somebody who makes room or mounts a disk again, is
``StoreUnavailable``: it is tried again. What stays as it is until somebody changes a right or a
path is ``StoreRefused``.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flagfall.errors import (
    AccessDenied,
    FlagfallError,
    NameTooLong,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)

_REFUSED = {
    errno.EACCES: "permission denied; let the user that runs this read it (and write, in the lake)",
    errno.EPERM: "not permitted; let the user that runs this read it (and write, in the lake)",
    errno.ENOTDIR: "a part of the path is not a directory; check the URI in the dataset file",
    errno.EEXIST: "a file stands where a directory is needed; check the URI in the dataset file",
    errno.EISDIR: "a directory stands where a file is to be written; move it away",
    errno.ELOOP: "its links lead in a circle; correct them, or the URI in the dataset file",
    errno.ENAMETOOLONG: "a name or path is longer than the file system allows; shorten it",
}
_MAY_HEAL = {
    errno.ENOSPC: "no space left on the device; make room there",
    errno.EDQUOT: "the disk quota is used up; make room there",
    errno.EROFS: "the file system is read-only; mount it writable, or move the lake",
    errno.EIO: "the disk cannot be read or written (input/output error); check it and its mount",
    errno.ENOTCONN: "nobody serves this mount any more; mount it again",
    errno.ESTALE: "the share has changed on its server (stale file handle); mount it again",
    errno.ETIMEDOUT: "the share's server does not answer; check it and the network",
    errno.EHOSTDOWN: "the share's server does not answer; check it and the network",
}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How polars writes the number of an error of the operating system."""


def store_error(place: Path | str, number: int) -> StoreError:
    """What an error number says about a place."""
    if number in (errno.EACCES, errno.EPERM):
        return AccessDenied(str(place), _REFUSED[number])
    if number == errno.ENAMETOOLONG:
        return NameTooLong(str(place)[:200], _REFUSED[number])
    if number in _REFUSED:
        return StoreRefused(str(place), _REFUSED[number])
    return unavailable(place, number)


def named_error(error: OSError) -> StoreError:
    """The same of an error that reached nobody who knows the place.

    Raises:
        OSError: It, where it names no place either.
    """
    if error.filename is None:
        raise error
    return store_error(os.fsdecode(error.filename), error.errno or 0)


def unavailable(place: Path | str, number: int) -> StoreUnavailable:
    """The same where whatever it is may heal, as on a disk that is only for scratch."""
    return StoreUnavailable(str(place), _MAY_HEAL.get(number) or os.strerror(number))


@contextmanager
def translated(place: Path | str) -> Iterator[None]:
    """Foreign errors of the operating system, translated; absent stays ``FileNotFoundError``."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise store_error(place, error.errno or 0) from error


@contextmanager
def disk_errors(place: Path | str) -> Iterator[None]:
    """The same around work that writes files, also where polars hides the number in its words."""
    try:
        yield
    except (FlagfallError, FileNotFoundError):
        raise
    except Exception as error:
        number = _number(error)
        if number is None or number == errno.ENOENT:
            raise
        raise unavailable(place, number) from error


def _number(error: Exception) -> int | None:
    """The number of the operating system's error; ``None`` where it is none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else None
