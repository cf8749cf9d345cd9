"""A prefix of a bucket: the connection to it, and single requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from flagfall.errors import NotAFile, StoreRefused, StoreUnavailable
from flagfall.stores import Entry
from flagfall.stores.s3_errors import NO_ANSWER, BadRequest, OtherRegion, translated
from flagfall.stores.s3_keys import unusable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from obstore import ObjectMeta
    from obstore.store import S3Store as ObjectStore

    from flagfall.stores.aws import Account

LONGEST_KEY = 1024
"""Bytes that a key may have."""

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_ANY = TypeVar("_ANY")


class Bucket:
    """A prefix of a bucket. Nothing is asked of S3, or of Airflow, before it is first used.

    Args:
        uri: ``s3://bucket/prefix``, or the bucket alone.
        conn_id: Airflow connection; empty for what the environment gives.

    Raises:
        StoreRefused: The URI cannot be one.
    """

    def __init__(self, uri: str, conn_id: str = "") -> None:
        self.uri = uri.rstrip("/")
        self.name, self.prefix = _parsed(self.uri)
        self.conn_id = conn_id
        self._lock = threading.Lock()
        self._account: Account | None = None
        self._connection: ObjectStore | None = None
        self._region = ""

    @property
    def _store(self) -> ObjectStore:
        from flagfall.stores.aws import account, connect

        with self._lock:
            if self._connection is None:
                found = account(self.conn_id)
                self._account = found
                self._connection = connect(found, self.uri, self.name, self.prefix, self._region)
            return self._connection

    def ask(self, key: str, request: Callable[[ObjectStore], _ANY]) -> _ANY:
        """Do one request; where the bucket turns out to be in another region, do it there."""
        asked_in = self._region
        try:
            with self.translated(key):
                return request(self._store)
        except (OtherRegion, BadRequest):
            if not self._has_moved_from(asked_in):
                self._look_up_again()
                raise
        with self.translated(key):
            return request(self._store)

    def _has_moved_from(self, region: str) -> bool:
        """Turn to the bucket's region; whether that is another than the one that was asked."""
        from flagfall.stores.aws import region_of

        with self.translated():
            found = region_of(self.conn_id, self.name)
        with self._lock:
            if found and found != self._region:
                self._region, self._connection = found, None
        return found not in ("", region)

    def translated(self, key: str = "") -> AbstractContextManager[None]:
        """Translate errors of a request for ``key`` (see ``s3_errors``)."""
        return translated(self.uri, key, self._look_up_again)

    def _look_up_again(self) -> None:
        """Look the connection up anew at the next request."""
        from flagfall.stores.aws import forget

        with self._lock:
            used, self._account, self._connection = self._account, None, None
        forget(self.conn_id, used)

    def checked(self, key: str) -> str:
        """The key.

        Raises:
            NotAFile: It cannot be used.
        """
        if why := unusable(key):
            raise NotAFile(f"{self.uri}/{key!a}", why)
        return key

    def fits(self, key: str) -> bool:
        """Whether S3 takes a key that long."""
        return len(f"{self.prefix}/{self.checked(key)}".removeprefix("/").encode()) <= LONGEST_KEY

    def stat(self, key: str) -> Entry | None:
        """The object at ``key``; ``None`` where there is none."""
        if not self.fits(key):
            return None
        try:
            return entry_of(self.head(key))
        except FileNotFoundError:
            return None

    def head(self, key: str) -> ObjectMeta:
        """What S3 says of an object."""
        return self.with_etag(key, self.ask(key, lambda store: store.head(key)))

    def with_etag(self, key: str, meta: ObjectMeta) -> ObjectMeta:
        """What S3 says of an object. A proxy's error page has no ETag.

        Raises:
            StoreUnavailable: It has none.
        """
        if not meta["e_tag"]:
            raise StoreUnavailable(f"{self.uri}/{key}", f"{NO_ANSWER} (an object without ETag)")
        return meta


def _parsed(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise StoreRefused(uri, "expected s3://bucket/prefix with the name of a bucket")
    prefix = match[2] or ""
    if prefix and (why := unusable(prefix)):
        raise StoreRefused(uri, why)
    return match[1], prefix


def entry_of(meta: ObjectMeta) -> Entry:
    """The entry of an object (see ``s3``)."""
    seconds = int(meta["last_modified"].timestamp())
    version = f"{(meta['e_tag'] or '').strip(chr(34))}-{seconds}"
    written = datetime.fromtimestamp(seconds, UTC)
    return Entry(meta["path"], meta["size"], version, written)
