"""Stores: the one place that knows a storage API.

A store lists, reads and writes objects below one URI, by keys with ``/`` between their parts. It
knows nothing of markers. Foreign errors leave it translated: absent is ``FileNotFoundError``, what
an operator must change is ``StoreRefused``, what may heal by itself is ``StoreUnavailable``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from flagfall.errors import StoreRefused


@dataclass(frozen=True)
class Entry:
    """One object as a listing shows it.

    Attributes:
        key: Below the store's URI.
        size: Bytes.
        version: Changes whenever the object is written again.
        landed_at: When it was written or renamed (UTC).
        moved_at: Not before ``landed_at``: the latest time at which it can have come to be seen
            here, as when a directory above it was renamed into place (UTC).
    """

    key: str
    size: int
    version: str
    landed_at: datetime
    moved_at: datetime


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")
"""One slash is a slip of the pen: ``s3:/bucket`` must not become a directory."""


def everything(key: str) -> bool:
    """The filter that lets every key pass."""
    return True


def unheard(count: int) -> None:
    """Nobody wants to know how far a copy is."""


@dataclass(frozen=True)
class Fetched:
    """What was read while an object was copied."""

    size: int
    sha256: str


class Store(Protocol):
    """What the rest of Flagfall asks of storage."""

    uri: str

    def identity(self) -> str:
        """What tells this place from another that is given its name; empty where there is none."""

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Callable[[str], bool] = everything,
        skip_unreadable: bool = False,
    ) -> Iterator[Entry]:
        """Objects in the folder ``prefix``, in no particular order.

        Links and special files are left out. A store or folder that does not exist is empty.

        Args:
            prefix: A folder; empty for the whole store.
            start_after: Keys up to this one are left out.
            where: Which keys are wanted.
            skip_unreadable: Whether folders below ``prefix`` that cannot be read are left out, with
                a warning.

        Raises:
            StoreRefused: A folder cannot be read.
        """

    def stat(self, key: str) -> Entry | None:
        """One object, or ``None`` where there is none."""

    def read(self, key: str, limit: int) -> bytes:
        """The whole object.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is larger than ``limit`` bytes.
        """

    async def read_async(self, key: str, limit: int) -> bytes:
        """As ``read``, without holding the event loop."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; ``False`` where there was. Durable on return."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object, in the place of any there was, all or nothing. Durable on return."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing where there is none."""

    def fetch(self, key: str, target: Path) -> Fetched:
        """Copy an object to a local file and hash it on the way.

        Raises:
            FileNotFoundError: There is none.
        """

    def upload(self, source: Path, key: str, on_bytes: Callable[[int], None] = unheard) -> Fetched:
        """Copy a local file in, all or nothing, and hash it on the way. Durable on return.

        Args:
            source: The file.
            key: Its key.
            on_bytes: Told the size of each piece that has been copied.
        """

    def put_file(self, source: Path, key: str) -> None:
        """Move a local file in, in the place of any there was. Durable on return."""

    def local(self, key: str, scratch: Path) -> Path:
        """A local path from which the object can be read, in ``scratch`` if it must be fetched."""

    def scratch_root(self) -> Path | None:
        """Where temporary files should be so that ``put_file`` is a rename; ``None``: anywhere."""

    def hints(self) -> AsyncIterator[None]:
        """An item whenever something may have changed; may never yield, may yield for nothing."""


def open_store(uri: str) -> Store:
    """The store for a URI.

    Args:
        uri: A directory: a path, or ``file:///`` and a path.

    Raises:
        StoreRefused: No store knows this kind of URI.
    """
    from flagfall.stores.local import LocalStore

    scheme = _SCHEME.match(uri)
    if scheme is None and uri:
        return LocalStore(uri)
    if uri.startswith("file:///"):
        return LocalStore(uri.removeprefix("file://"))
    found = f"no store for {scheme[0]}" if scheme else "no place is named"
    raise StoreRefused(uri, f"{found}; a directory or file:///path is understood")
