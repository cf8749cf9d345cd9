"""Stores: the one place that knows a storage API.

A store lists, reads and writes objects below one URI, by keys with ``/`` between their parts. It
knows nothing of markers. Foreign errors leave it translated: absent is ``FileNotFoundError``, what
an operator must change is ``StoreRefused``, what may heal by itself is ``StoreUnavailable``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

from flagfall.errors import StoreRefused
from flagfall.extras import require
from flagfall.stores.uri import why_no_store

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """One object as a listing shows it.

    Attributes:
        key: Below the store's URI.
        size: Bytes.
        version: Changes whenever the object is written again.
        landed_at: When it was written or renamed (UTC).
        folder: On a disk, changes whenever something is added to the folder that holds it, or
            removed. On S3, in a sweep, where something else in that folder, or below, may have
            come later: changes with all that is there. Else empty.
        moved_at: In the listing of a folder on a disk, when one of the folders between it and the
            object last changed or was renamed (UTC); the epoch where there is none.
    """

    key: str
    size: int
    version: str
    landed_at: datetime
    folder: str = ""
    moved_at: datetime = EPOCH

    @property
    def came_at(self) -> datetime:
        """When it was written, or came with a folder (UTC): ``mv`` changes only the folder."""
        return max(self.landed_at, self.moved_at)


Hint = frozenset[str] | None
"""Keys that may have changed; ``None``: anything may have."""

IsOurs = Callable[[str], bool]
"""Whether nobody in another process needs to hear of a key; called from any thread."""

Shape = Sequence[str | Callable[[str], bool]]
"""What a key looks like, one part of its path after the other: a name, or which names."""


def everything(key: str) -> bool:
    """The filter that lets every key pass."""
    return True


def nothing_is_ours(key: str) -> bool:
    """The process that waits for a key may be another one."""
    return False


def ignore_progress(count: int) -> None:
    """Ignores progress."""


@dataclass(frozen=True)
class Fetched:
    """What was read while an object was copied.

    Attributes:
        size: Bytes.
        sha256: Hex digest.
        version: The object's, as it was when it was opened; empty for a local file.
    """

    size: int
    sha256: str
    version: str = field(default="", compare=False)


class Store(Protocol):
    """What the rest of Flagfall asks of storage.

    Attributes:
        uri: Where it is.
        metered: Whether every look costs requests, so that it pays to list only what is new.
        is_remote: Whether times are another machine's, and a look may show what was a moment ago.
    """

    uri: str
    metered: bool

    @property
    def is_remote(self) -> bool:
        """See above."""

    def is_empty(self) -> bool:
        """Whether nothing is there, as where a share is not mounted; costs next to nothing."""

    def names(self, prefix: str, start_after: str = "") -> Iterator[str]:
        """Keys in the folder ``prefix``, as ``list`` gives them, where no more is needed."""

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Callable[[str], bool] = everything,
        skip_unreadable: bool = False,
        shapes: Collection[Shape] = (),
        temporary: bool = False,
    ) -> Iterator[Entry]:
        """Objects in the folder ``prefix``, in no particular order.

        Links and special files are left out. A store or folder that does not exist is empty.

        Args:
            prefix: A folder; empty for the whole store.
            start_after: Keys up to this one are left out.
            where: Which keys are wanted.
            skip_unreadable: Whether folders below ``prefix`` that cannot be read, and objects whose
                names cannot be used, are left out, with a warning.
            shapes: All that the keys which are wanted can look like, so that a store that can need
                not look elsewhere; empty where they can look like anything. One that fits two may
                be given twice. They count from ``prefix``.
            temporary: Whether objects that a store is about to write, under a name of its own, are
                shown, too. S3 has none.

        Raises:
            StoreRefused: A folder cannot be read, or the name of a wanted object cannot be used.
        """

    def not_files(self, prefix: str, where: Callable[[str], bool]) -> Iterator[str]:
        """Keys in a folder that no listing shows: of links, of special files, or of no file."""

    def stat(self, key: str) -> Entry | None:
        """One object, or ``None`` where there is none."""

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        """Those of these objects that there are, in as few requests as may be."""

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

    def remove_empty(self, prefix: str) -> None:
        """Remove a folder that has nothing in it; else, and where there are no folders, nothing."""

    def fetch(
        self, key: str, target: Path, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """Copy an object to a local file and hash it on the way.

        Args:
            key: Its key.
            target: The local file.
            on_bytes: Told the size of each piece that has been copied; what it raises ends it.

        Raises:
            FileNotFoundError: There is none.
        """

    def upload(
        self, source: Path, key: str, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """Copy a local file in, all or nothing, and hash it on the way. Durable on return.

        Args:
            source: The file.
            key: Its key.
            on_bytes: Told the size of each piece that has been copied.
        """

    def put_file(self, source: Path, key: str) -> None:
        """Move a local file in, in the place of any there was. Durable on return."""

    def holds(self, key: str, content: Fetched) -> bool:
        """Whether there is an object with just this content."""

    def link(self, key: str, expires: timedelta) -> str:
        """A URL at which a browser finds the object.

        Args:
            key: Its key.
            expires: How long the URL is good for, where it is one that lets anybody read who has
                it.
        """

    def local(self, key: str, scratch: Path) -> Path:
        """A local path from which the object can be read, in ``scratch`` if it must be fetched."""

    def scratch_root(self) -> Path | None:
        """Where temporary files should be so that ``put_file`` is a rename; ``None``: anywhere."""

    def hints(self, is_ours: IsOurs = nothing_is_ours) -> AsyncIterator[Hint]:
        """An item whenever something may have changed; may never yield, may yield for nothing.

        Args:
            is_ours: What is not is left for other processes, where a hint reaches one only.
        """


def open_store(uri: str, conn_id: str = "", sqs_queue: str = "") -> Store:
    """The store for a URI.

    Args:
        uri: A directory (a path, or ``file:///`` and a path) or ``s3://bucket/prefix``.
        conn_id: Airflow connection with the rights to it; empty for what the environment gives.
        sqs_queue: URL of an SQS queue that hears of new objects; empty for none.

    Raises:
        StoreRefused: No store knows this kind of URI.
    """
    if why := why_no_store(uri):
        raise StoreRefused(uri, why)
    if uri.startswith("s3://"):
        return _s3(uri, conn_id, sqs_queue)
    return _local(uri.removeprefix("file://"))


def _local(root: str) -> Store:
    from flagfall.stores.local import LocalStore

    return LocalStore(root)


def why_no_hints(uri: str) -> str:
    """Why hints of a directory do not come, though somebody here waits for them; else empty."""
    from flagfall.stores import inotify

    return "" if "://" in uri else inotify.why_no_hints(uri)


def forget_stores() -> None:
    """Open each store anew the next time: who a connection leads to has changed."""
    _s3.cache_clear()


@lru_cache(maxsize=256)
def _s3(uri: str, conn_id: str, sqs_queue: str) -> Store:
    """All users share it: 10,000 sensors have its connections in common."""
    require("s3")
    from flagfall.stores.s3 import S3Store

    return S3Store(uri, conn_id, sqs_queue)
