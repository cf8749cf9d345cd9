"""A prefix of an S3 bucket as a store, on obstore.

An object's version is its etag and its time of modification to the second: all that both a listing
and a look at one object have. (A listing has no version id, and one of the two has the time to the
second only.) The same bytes written again within one second are therefore the same version; nothing
is lost by that, since the bytes are the same.

*Landed at* is LastModified. For a multipart upload that is when it began, and for a replicated
object when it was written in the bucket that it comes from, so it may be earlier than when the
object could first be seen here (see ``Inbox.pending``).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from flagfall.errors import StoreUnavailable
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
from flagfall.stores.s3_bucket import Bucket
from flagfall.stores.s3_listing import Listing
from flagfall.stores.s3_transfer import Transfers, attributes_of

if TYPE_CHECKING:
    from obstore.store import S3Store as ObjectStore

LONGEST_LINK = timedelta(days=7)
"""For how long S3 lets a URL be signed."""
_LONGEST_NAME = 60
"""Characters, of up to four bytes each, of the name of a local copy."""


class S3Store:
    """A prefix of a bucket.

    Args:
        uri: ``s3://bucket/prefix``, or the bucket alone.
        conn_id: Airflow connection; empty for what the environment gives.
        sqs_queue: URL of an SQS queue that hears of new objects; empty for none.

    Raises:
        StoreRefused: The URI cannot be one.
    """

    metered = True
    is_remote = True

    def __init__(self, uri: str, conn_id: str = "", sqs_queue: str = "") -> None:
        self._bucket = Bucket(uri, conn_id)
        self._listing = Listing(self._bucket)
        self._transfers = Transfers(self._bucket)
        self.uri = self._bucket.uri
        self.conn_id = conn_id
        self.sqs_queue = sqs_queue

    def is_empty(self) -> bool:
        """See ``Store.is_empty``: no; a bucket that is away answers with an error."""
        return False

    def names(self, prefix: str, start_after: str = "") -> Iterator[str]:
        """See ``Store.names``."""
        return (entry.key for entry in self.list(prefix, start_after))

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Callable[[str], bool] = everything,
        skip_unreadable: bool = False,
        shapes: Collection[Shape] = (),
        temporary: bool = False,
    ) -> Iterator[Entry]:
        """See ``Store.list``: a request for every 1,000 objects after ``start_after``."""
        if shapes and not prefix:
            return self._listing.list_with_folders(start_after, where)
        return self._listing.list(prefix, start_after, where, skip_unreadable)

    def not_files(self, prefix: str, where: Callable[[str], bool]) -> Iterator[str]:
        """See ``Store.not_files``: keys that obstore cannot represent."""
        return self._listing.unusable(prefix, where)

    def stat(self, key: str) -> Entry | None:
        """See ``Store.stat``."""
        return self._bucket.stat(key)

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        """See ``Store.find``: page by page, or singly where keys are far apart."""
        return self._listing.find(keys)

    def read(self, key: str, limit: int) -> bytes:
        """See ``Store.read``: what is too large is not transferred."""
        found = self._bucket.ask(self._bucket.checked(key), lambda store: store.get(key))
        if self._bucket.with_etag(key, found.meta)["size"] > limit:
            raise ValueError(f"{key} is larger than {limit} bytes")
        with self._bucket.translated(key):
            return bytes(found.bytes())

    async def read_async(self, key: str, limit: int) -> bytes:
        """See ``Store.read_async``."""
        return await asyncio.to_thread(self.read, key, limit)

    def create(self, key: str, data: bytes) -> bool:
        """See ``Store.create``: ``If-None-Match: *``."""
        from obstore.exceptions import AlreadyExistsError

        def create(store: ObjectStore) -> bool:
            try:
                store.put(key, data, mode="create", attributes=attributes_of(key))
            except AlreadyExistsError:
                return False
            return True

        created = self._bucket.ask(self._bucket.checked(key), create)
        if not created and self.stat(key) is None:  # S3 answers 409 while another is under way
            raise StoreUnavailable(f"{self.uri}/{key}", "is being written by another")
        return created

    def put(self, key: str, data: bytes) -> None:
        """See ``Store.put``."""
        self._bucket.ask(
            self._bucket.checked(key),
            lambda store: store.put(key, data, attributes=attributes_of(key)),
        )

    def delete(self, key: str) -> None:
        """See ``Store.delete``."""
        with suppress(FileNotFoundError):
            self._bucket.ask(self._bucket.checked(key), lambda store: store.delete(key))

    def remove_empty(self, prefix: str) -> None:
        """See ``Store.remove_empty``: S3 has no folders."""

    def fetch(
        self, key: str, target: Path, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """See ``Store.fetch``: in ranges, a few ahead, all of the same version."""
        return self._transfers.fetch(key, target, on_bytes)

    def upload(
        self, source: Path, key: str, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """See ``Store.upload``. The hash goes with the object, so that ``holds`` knows it."""
        return self._transfers.upload(source, key, on_bytes)

    def holds(self, key: str, content: Fetched) -> bool:
        """See ``Store.holds``: as far as the hash that went with it says."""
        return self._transfers.holds(key, content)

    def put_file(self, source: Path, key: str) -> None:
        """See ``Store.put_file``."""
        self._bucket.ask(
            self._bucket.checked(key),
            lambda store: store.put(key, source, attributes=attributes_of(key)),
        )
        source.unlink()

    def local(self, key: str, scratch: Path) -> Path:
        """See ``Store.local``: a copy."""
        folder = scratch / hashlib.sha256(key.encode()).hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        copied = folder / key.rpartition("/")[2][-_LONGEST_NAME:]
        self.fetch(key, copied)
        return copied

    def scratch_root(self) -> Path | None:
        """See ``Store.scratch_root``: anywhere."""
        return None

    def link(self, key: str, expires: timedelta) -> str:
        """See ``Store.link``: a presigned URL, good no longer than the credentials that sign it."""
        import obstore

        good_for = min(expires, LONGEST_LINK)
        return str(
            self._bucket.ask(
                self._bucket.checked(key), lambda store: obstore.sign(store, "GET", key, good_for)
            )
        )

    def hints(self, is_ours: IsOurs = nothing_is_ours) -> AsyncIterator[Hint]:
        """See ``Store.hints``: what the queue brings; without one, nothing ever."""
        from flagfall.stores.sqs import queue_hints

        return queue_hints(
            self.sqs_queue, self.conn_id, self._bucket.name, self._bucket.prefix, is_ours
        )
