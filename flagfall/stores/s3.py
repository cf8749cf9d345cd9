"""A prefix of an S3 bucket as a store, on obstore.

An object's version is its etag and its time of modification to the second: all that both a listing
and a look at one object tell. (A listing does not tell a version id, and the time is to the second
in one of the two answers.) The same bytes written again within one second are therefore the same
version; what is lost with that is nothing, since the bytes are the same.

*Landed at* is LastModified. For a multipart upload that is when it began, and for a replicated
object when it was written in the bucket that it comes from, so it may be earlier than when the
object could first be seen here (see ``Inbox.pending``).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from flagfall.errors import NotAFile, StoreError, StoreRefused, StoreUnavailable
from flagfall.stores import Entry, Fetched, Hint, everything, unheard
from flagfall.stores.copying import blocks_of, copy, digest_of, new_file

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, ObjectMeta
    from obstore.store import S3Store as ObjectStore

log = logging.getLogger(__name__)

PAGE = 1000
"""Objects that S3 tells in one answer, at most."""
ONE_BY_ONE = 10
"""Up to so many objects are looked at singly: a HEAD costs a twelfth of a LIST."""
LONGEST_KEY = 1024
"""Bytes that a key may have."""
_RANGE = 8 << 20
_RANGES_AHEAD = 3
_SHA256 = "sha256"

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f]")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_HTTP = re.compile(r"status code: (\d{3})")
_OTHER_REGION = re.compile(r"configured region|AuthorizationHeaderMalformed|PermanentRedirect")
_ANY = TypeVar("_ANY")

_NO_RIGHTS = (
    "access denied; the role needs s3:ListBucket on the bucket and s3:GetObject below the prefix"
    " (in the lake s3:PutObject and s3:DeleteObject, too)"
)
_BAD_KEYS = (
    "the credentials are not accepted; correct them in the Airflow connection or the environment"
)
_REFUSED = {
    "NoSuchBucket": "there is no such bucket; check the URI in the dataset file and the account",
    "AccessDenied": _NO_RIGHTS,
    "AllAccessDisabled": _NO_RIGHTS,
    "AccountProblem": "AWS says that there is a problem with the account",
    "InvalidAccessKeyId": _BAD_KEYS,
    "SignatureDoesNotMatch": _BAD_KEYS,
    "InvalidToken": _BAD_KEYS,
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "InvalidObjectState": "the object is archived; restore it first",
    "MethodNotAllowed": "the object is a delete marker, or may not be written",
    "403": _NO_RIGHTS,
}
_MAY_HEAL = {
    "SlowDown": "S3 asks to slow down (throttled)",
    "503": "S3 asks to slow down (throttled)",
    "ExpiredToken": "the credentials have expired; renew them in the connection or the environment",
    "TokenRefreshRequired": "the credentials have expired; renew them",
}


class S3Store:
    """A prefix of a bucket. Nothing is asked of S3, or of Airflow, before it is first used.

    Args:
        uri: ``s3://bucket/prefix``, or the bucket alone.
        conn_id: Airflow connection; empty for what the environment gives.
        queue: URL of an SQS queue that tells of new objects; empty for none.

    Raises:
        StoreRefused: The URI cannot be one.
    """

    metered = True

    def __init__(self, uri: str, conn_id: str = "", queue: str = "") -> None:
        self.uri = uri.rstrip("/")
        self.bucket, self.prefix = _parsed(self.uri)
        self.conn_id = conn_id
        self.queue = queue
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._connection: ObjectStore | None = None
        self._region = ""

    def identity(self) -> str:
        """See ``Store.identity``: a bucket that is made anew has newer objects anyway."""
        return ""

    @property
    def _store(self) -> ObjectStore:
        with self._lock:
            if self._connection is None:
                from flagfall.stores.aws import connect

                self._connection = connect(
                    self.uri, self.conn_id, self.bucket, self.prefix, self._region
                )
            return self._connection

    def _ask(self, key: str, request: Callable[[ObjectStore], _ANY]) -> _ANY:
        """Do one request; where the bucket turns out to be in another region, do it there."""
        try:
            with self._translated(key):
                return request(self._store)
        except _OtherRegion:
            self._move_to_its_region()
        with self._translated(key):
            return request(self._store)

    def _move_to_its_region(self) -> None:
        from flagfall.stores.aws import region_of

        found = region_of(self.conn_id, self.bucket)
        if not found or found == self._region:
            why = "the bucket is in another region; set region_name in the connection or the"
            raise StoreRefused(self.uri, f"{why} environment (AWS_DEFAULT_REGION)")
        with self._lock:
            self._region, self._connection = found, None

    @contextmanager
    def _translated(self, key: str = "") -> Iterator[None]:
        """Foreign errors, translated; absent stays ``FileNotFoundError``."""
        from botocore.exceptions import BotoCoreError, ClientError
        from obstore.exceptions import BaseError, InvalidPathError

        where = f"{self.uri}/{key}" if key else self.uri
        try:
            yield
        except InvalidPathError as error:
            raise _UnusableKey(where, "a key that cannot be told") from error
        except FileNotFoundError as error:
            if "<Code>NoSuchBucket<" in str(error):
                raise StoreRefused(self.uri, _REFUSED["NoSuchBucket"]) from None
            raise FileNotFoundError(where) from None
        except (BaseError, BotoCoreError, ClientError) as error:
            raise self._translation(where, str(error)) from error

    def _translation(self, where: str, said: str) -> StoreError:
        if _OTHER_REGION.search(said):
            return _OtherRegion(where, "the bucket is in another region")
        code = _first(_CODE, said) or _first(_HTTP, said)
        if code in ("ExpiredToken", "TokenRefreshRequired") or _REFUSED.get(code) == _BAD_KEYS:
            self._look_up_again()
        if "credential" in said and not code:
            self._look_up_again()
            return StoreUnavailable(where, f"no credentials for now: {_short(said)}")
        if code in _REFUSED:
            return StoreRefused(where, _REFUSED[code])
        return StoreUnavailable(where, _MAY_HEAL.get(code) or code or _short(said))

    def _look_up_again(self) -> None:
        """Look the connection up anew at the next request."""
        from flagfall.stores.aws import forget

        forget(self.conn_id)
        with self._lock:
            self._connection = None

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Callable[[str], bool] = everything,
        skip_unreadable: bool = False,
    ) -> Iterator[Entry]:
        """See ``Store.list``: a request for every ``PAGE`` objects after ``start_after``."""
        after: str | None = start_after
        while after is not None:
            before = after
            page, after = self._page(prefix, before)
            for meta in page:
                if meta["path"] > before and where(meta["path"]):
                    yield _entry(meta)

    def _page(self, prefix: str, after: str) -> tuple[Sequence[ObjectMeta], str | None]:
        """The next objects after a key, and the last of them; ``None`` for that at the end."""
        try:
            page = self._ask(prefix, lambda store: _first_page(store, prefix, after))
        except _UnusableKey:
            return self._page_without_unusable_keys(prefix, after)
        # A folder's placeholder ("a/" is told as "a") may stand after keys that sort behind it.
        return page, max(meta["path"] for meta in page) if len(page) == PAGE else None

    def _page_without_unusable_keys(
        self, prefix: str, after: str
    ) -> tuple[Sequence[ObjectMeta], str | None]:
        """The same page from boto3, which can tell every key, without those that obstore refuses.

        They cannot be read as files either; the rest of the sweep goes on.
        """
        from flagfall.stores.aws import client

        start = f"{self.prefix}/" if self.prefix else ""
        below = f"{start}{prefix}/" if prefix else start
        with self._translated(prefix):
            answer = client(self.conn_id, "s3").list_objects_v2(
                Bucket=self.bucket, Prefix=below, StartAfter=start + after
            )
        found = [(one["Key"].removeprefix(start), one) for one in answer.get("Contents", [])]
        page = [_meta(key, one) for key, one in found if self._tell_unless_usable(key)]
        return page, found[-1][0] if answer["IsTruncated"] else None

    def _tell_unless_usable(self, key: str) -> bool:
        if not (why := _unusable(key.removesuffix("/"))):
            return True
        if key not in self._told:
            self._told.add(key)
            log.warning("%s/%r: left out of the sweep: %s; rename it", self.uri, key, why)
        return False

    def _checked(self, key: str) -> str:
        if why := _unusable(key):
            raise NotAFile(f"{self.uri}/{key}", why)
        return key

    def stat(self, key: str) -> Entry | None:
        """See ``Store.stat``."""
        if len(f"{self.prefix}/{key}".encode()) > LONGEST_KEY:
            return None
        self._checked(key)
        try:
            return _entry(self._ask(key, lambda store: store.head(key)))
        except FileNotFoundError:
            return None

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        """See ``Store.find``: singly if they are few, else page by page, over what is between."""
        if len(keys) <= ONE_BY_ONE:
            yield from filter(None, map(self.stat, keys))
            return
        wanted = deque(sorted(keys))
        while wanted:
            page, last = self._page("", wanted[0][:-1])
            yield from (_entry(meta) for meta in page if meta["path"] in keys)
            while wanted and (last is None or wanted[0] <= last):
                wanted.popleft()

    def read(self, key: str, limit: int) -> bytes:
        """See ``Store.read``: what is too large is not transferred."""
        found = self._ask(self._checked(key), lambda store: store.get(key))
        if found.meta["size"] > limit:
            raise ValueError(f"{key} is larger than {limit} bytes")
        with self._translated(key):
            return bytes(found.bytes())

    async def read_async(self, key: str, limit: int) -> bytes:
        """See ``Store.read_async``."""
        return await asyncio.to_thread(self.read, key, limit)

    def create(self, key: str, data: bytes) -> bool:
        """See ``Store.create``: ``If-None-Match: *``."""
        from obstore.exceptions import AlreadyExistsError

        def create(store: ObjectStore) -> bool:
            try:
                store.put(key, data, mode="create", attributes=_attributes(key))
            except AlreadyExistsError:
                return False
            return True

        created = self._ask(self._checked(key), create)
        if not created and self.stat(key) is None:  # S3 answers 409 while another is under way
            raise StoreUnavailable(f"{self.uri}/{key}", "is being written by another")
        return created

    def put(self, key: str, data: bytes) -> None:
        """See ``Store.put``."""
        self._ask(
            self._checked(key), lambda store: store.put(key, data, attributes=_attributes(key))
        )

    def delete(self, key: str) -> None:
        """See ``Store.delete``."""
        self._ask(self._checked(key), lambda store: store.delete(key))

    def fetch(self, key: str, target: Path) -> Fetched:
        """See ``Store.fetch``: in ranges, a few ahead, all of the same version."""
        with new_file(target) as sink, closing(self._ranges(key)) as ranges:
            return copy(ranges, sink)

    def _ranges(self, key: str) -> Generator[memoryview]:
        meta = self._ask(self._checked(key), lambda store: store.head(key))
        starts = iter(range(0, meta["size"], _RANGE))
        with ThreadPoolExecutor(_RANGES_AHEAD) as pool:
            ahead = (pool.submit(self._range, key, meta, start) for start in starts)
            waiting = deque(islice(ahead, _RANGES_AHEAD))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(islice(ahead, 1))

    def _range(self, key: str, meta: ObjectMeta, start: int) -> memoryview:
        span = (start, min(start + _RANGE, meta["size"]))
        options: GetOptions = {"range": span, "if_match": meta["e_tag"]}
        found = self._ask(key, lambda store: store.get(key, options=options).bytes())
        return memoryview(found)

    def upload(self, source: Path, key: str, on_bytes: Callable[[int], None] = unheard) -> Fetched:
        """See ``Store.upload``. The hash goes with the object, so that ``holds`` knows it."""
        promised = digest_of(source)
        sent, digest = 0, hashlib.sha256()

        def blocks(file: BinaryIO) -> Iterator[bytes]:
            nonlocal sent
            for block in blocks_of(file, _part_size(promised.size)):
                digest.update(block)
                sent += len(block)
                yield block
                on_bytes(len(block))

        self._send(key, source, blocks, promised)
        if Fetched(sent, digest.hexdigest()) != promised:
            raise StoreUnavailable(str(source), "changed while it was uploaded; publish it again")
        return promised

    def _send(
        self,
        key: str,
        source: Path,
        blocks: Callable[[BinaryIO], Iterator[bytes]],
        content: Fetched,
    ) -> None:
        attributes: Attributes = {**_attributes(key), _SHA256: content.sha256}
        part = _part_size(content.size)

        def send(store: ObjectStore) -> None:
            with source.open("rb") as file:
                if content.size <= part:
                    whole = b"".join(blocks(file))
                    store.put(key, whole, attributes=attributes, use_multipart=False)
                else:
                    store.put(key, blocks(file), attributes=attributes, chunk_size=part)

        self._ask(self._checked(key), send)

    def holds(self, key: str, content: Fetched) -> bool:
        """See ``Store.holds``: as far as the hash that went with it says."""
        options: GetOptions = {"head": True}
        try:
            found = self._ask(self._checked(key), lambda store: store.get(key, options=options))
        except FileNotFoundError:
            return False
        return Fetched(found.meta["size"], str(found.attributes.get(_SHA256, ""))) == content

    def put_file(self, source: Path, key: str) -> None:
        """See ``Store.put_file``."""
        self._ask(
            self._checked(key), lambda store: store.put(key, source, attributes=_attributes(key))
        )
        source.unlink()

    def local(self, key: str, scratch: Path) -> Path:
        """See ``Store.local``: a copy."""
        folder = scratch / hashlib.sha256(key.encode()).hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        copied = folder / key.rpartition("/")[2]
        self.fetch(key, copied)
        return copied

    def scratch_root(self) -> Path | None:
        """See ``Store.scratch_root``: anywhere."""
        return None

    def link(self, key: str, expires: timedelta) -> str:
        """See ``Store.link``: a presigned URL, good no longer than the credentials that sign it."""
        import obstore

        return str(
            self._ask(self._checked(key), lambda store: obstore.sign(store, "GET", key, expires))
        )

    def hints(self) -> AsyncIterator[Hint]:
        """See ``Store.hints``: what the queue tells; without one, nothing ever."""
        from flagfall.stores.queue import queue_hints

        return queue_hints(self.queue, self.conn_id, self.bucket, self.prefix)


class _OtherRegion(StoreUnavailable):
    """The bucket is not in the region that was asked."""


class _UnusableKey(StoreRefused):
    """A listing has a key that obstore cannot tell."""


def _parsed(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise StoreRefused(uri, "expected s3://bucket/prefix with the name of a bucket")
    prefix = match[2] or ""
    if prefix and (why := _unusable(prefix)):
        raise StoreRefused(uri, why)
    return match[1], prefix


def _unusable(key: str) -> str:
    """Why obstore cannot tell a key; empty where it can."""
    if {"", ".", ".."} & set(key.split("/")):
        return "a part of its path is empty, '.' or '..'"
    return "its name has a control character" if _UNUSABLE.search(key) else ""


def _first_page(store: ObjectStore, prefix: str, after: str) -> Sequence[ObjectMeta]:
    """One request, unless S3 answers with less than it has."""
    return next(iter(store.list(prefix or None, offset=after or None, chunk_size=PAGE)), [])


def _meta(key: str, told: dict[str, Any]) -> ObjectMeta:
    """What boto3 tells of an object, in obstore's words."""
    return {
        "path": key.removesuffix("/"),
        "last_modified": told["LastModified"],
        "size": told["Size"],
        "e_tag": told["ETag"],
        "version": None,
    }


def _entry(meta: ObjectMeta) -> Entry:
    written = meta["last_modified"].astimezone(UTC).replace(microsecond=0)
    version = f"{(meta['e_tag'] or '').strip(chr(34))}-{written:%Y%m%dT%H%M%SZ}"
    return Entry(meta["path"], meta["size"], version, written, written)


def _attributes(key: str) -> Attributes:
    kind, _ = mimetypes.guess_type(key)
    text = f"{kind}; charset=utf-8" if kind in ("text/html", "application/json") else kind
    return {"Content-Type": text} if text else {}


def _part_size(size: int) -> int:
    """Bytes of a part: S3 takes 10,000 parts at most."""
    return max(_RANGE, -(-size // 9_000))


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _short(said: str) -> str:
    return said.split("\n\nDebug source", 1)[0].removeprefix("Generic S3 error: ")[:300]
