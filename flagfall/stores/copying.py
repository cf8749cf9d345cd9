"""Copying bytes to a local file and hashing them on the way, in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flagfall.stores import Fetched, ignore_progress
from flagfall.stores.os_errors import disk_errors, unavailable

BLOCK = 1 << 20
"""Bytes that are read from a file at once."""


def copy(
    blocks: Iterable[bytes | memoryview],
    sink: BinaryIO,
    on_bytes: Callable[[int], None] = ignore_progress,
) -> Fetched:
    """Write blocks to a file; return their size and sha256."""
    size, digest = 0, hashlib.sha256()
    for block in blocks:
        digest.update(block)
        sink.write(block)
        size += len(block)
        on_bytes(len(block))
    return Fetched(size, digest.hexdigest())


def blocks_of(file: BinaryIO, size: int = BLOCK) -> Iterator[bytes]:
    """A file, block by block."""
    return iter(lambda: file.read(size), b"")


def digest_of(path: Path) -> Fetched:
    """Size and sha256 of a local file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Fetched(file.tell(), digest.hexdigest())


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to copy into. That it cannot be made or written to is not the source's fault.

    Raises:
        StoreUnavailable: It cannot be made, or not be written to.
    """
    try:
        file = open(path, "wb")  # noqa: SIM115  closed below
    except OSError as error:
        raise unavailable(path, error.errno or 0) from error
    with disk_errors(path), file:
        yield file
