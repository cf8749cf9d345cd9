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
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flagfall.errors import AccessDenied, NotAFile, StoreError, StoreRefused, StoreUnavailable
from flagfall.stores import (
    EPOCH,
    Entry,
    Fetched,
    Hint,
    IsOurs,
    Shape,
    everything,
    ignore_progress,
    nothing_is_ours,
)
from flagfall.stores.copying import blocks_of, copy, digest_of, new_file
from flagfall.stores.s3_keys import unusable

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, ObjectMeta
    from obstore.store import S3Store as ObjectStore

    from flagfall.stores.aws import Account

log = logging.getLogger(__name__)

PAGE = 1000
"""Objects that S3 tells in one answer, at most."""
ONE_BY_ONE = 10
"""Up to so many objects are looked at singly: a HEAD costs a twelfth of a LIST."""
SPARSE = 3
"""So many pages with no more than that show that keys are far apart."""
LONGEST_KEY = 1024
"""Bytes that a key may have."""
LONGEST_LINK = timedelta(days=7)
"""For how long S3 lets a URL be signed."""
_RANGE = 8 << 20
_RANGES_AHEAD = 3
_LONGEST_NAME = 60
"""Characters, of up to four bytes each, of the name of a local copy."""
_SHA256 = "sha256"

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_CODE = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
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
    "KeyTooLongError": "the key is longer than 1,024 bytes; use shorter names",
    "403": f"{_NO_RIGHTS}, or {_BAD_KEYS}",
}
_OF_THE_OBJECT = ("AccessDenied", "403", "InvalidObjectState", "MethodNotAllowed")
"""What may concern one object alone: another account's, or one that is archived."""
_THROTTLED = "S3 asks to slow down (throttled); it is asked again later"
_EXPIRED = "the credentials have expired; renew them in the Airflow connection or the environment"
_MAY_HEAL = {
    "SlowDown": _THROTTLED,
    "503": _THROTTLED,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "PreconditionFailed": "the object was written again while it was read",
}
_LOOK_UP_AGAIN = {"401", "403"} | {
    code for code, why in (_REFUSED | _MAY_HEAL).items() if why in (_BAD_KEYS, _EXPIRED)
}
"""What the credentials may be to blame for; a HEAD is answered with nothing but a number."""
_ELSEWHERE = (
    "the bucket is in another region; set region_name in the Airflow connection or"
    " AWS_DEFAULT_REGION in the environment"
)
_NO_CREDENTIALS = (
    "no AWS credentials for now; see what the Airflow connection, the environment or the role says"
)
_UPLOAD_GONE = (
    "S3 knows the upload no more: it is complete, or was broken off; it is done once more"
)
_NO_ANSWER = "S3 does not answer as it should; check the network, the proxy and the endpoint"


LeaveOut = Callable[[str, str], None]
"""Told a key that cannot be used, and why; raises an error unless the listing is to go on."""


def _is_usable(key: str, leave_out: LeaveOut) -> bool:
    why = unusable(key)
    if why:
        leave_out(key, why)
    return not why


class S3Store:
    """A prefix of a bucket. Nothing is asked of S3, or of Airflow, before it is first used.

    Args:
        uri: ``s3://bucket/prefix``, or the bucket alone.
        conn_id: Airflow connection; empty for what the environment gives.
        sqs_queue: URL of an SQS queue that tells of new objects; empty for none.

    Raises:
        StoreRefused: The URI cannot be one.
    """

    metered = True

    def __init__(self, uri: str, conn_id: str = "", sqs_queue: str = "") -> None:
        self.uri = uri.rstrip("/")
        self.bucket, self.prefix = _parsed(self.uri)
        self.conn_id = conn_id
        self.sqs_queue = sqs_queue
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        self._account: Account | None = None
        self._connection: ObjectStore | None = None
        self._region = ""

    def identity(self) -> str:
        """See ``Store.identity``: a bucket that is made anew has newer objects anyway."""
        return ""

    @property
    def _store(self) -> ObjectStore:
        from flagfall.stores.aws import account, connect

        with self._lock:
            if self._connection is None:
                found = account(self.conn_id)
                self._account = found
                self._connection = connect(found, self.uri, self.bucket, self.prefix, self._region)
            return self._connection

    def _ask(self, key: str, request: Callable[[ObjectStore], _ANY]) -> _ANY:
        """Do one request; where the bucket turns out to be in another region, do it there."""
        asked_in = self._region
        try:
            with self._translated(key):
                return request(self._store)
        except (_OtherRegion, _BadRequest):
            if not self._has_moved_from(asked_in):
                self._look_up_again()
                raise
        with self._translated(key):
            return request(self._store)

    def _has_moved_from(self, region: str) -> bool:
        """Turn to the bucket's region; whether that is another than the one that was asked."""
        from flagfall.stores.aws import region_of

        with self._translated():
            found = region_of(self.conn_id, self.bucket)
        with self._lock:
            if found and found != self._region:
                self._region, self._connection = found, None
        return found not in ("", region)

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
            if "<Code>NoSuchUpload<" in str(error):
                raise StoreUnavailable(where, _UPLOAD_GONE) from None
            raise FileNotFoundError(where) from None
        except (BaseError, BotoCoreError, ClientError) as error:
            raise self._translation(where, error) from error

    def _translation(self, where: str, error: Exception) -> StoreError:
        from flagfall.stores.aws import is_misconfigured

        said = str(error)
        if _OTHER_REGION.search(said):
            return _OtherRegion(where, _ELSEWHERE)
        if is_misconfigured(error):
            self._look_up_again()
            return StoreRefused(where, said)
        code = _code_of(error)
        if code in _LOOK_UP_AGAIN or _is_without_credentials(error):
            self._look_up_again()
        if code in _OF_THE_OBJECT:
            return AccessDenied(where, _REFUSED[code])
        if code in _REFUSED:
            return StoreRefused(where, _REFUSED[code])
        if code == "400":
            return _BadRequest(where, f"{_NO_ANSWER} (HTTP status 400)")
        return StoreUnavailable(where, _MAY_HEAL.get(code) or _excuse(error, code))

    def _look_up_again(self) -> None:
        """Look the connection up anew at the next request."""
        from flagfall.stores.aws import forget

        with self._lock:
            used, self._account, self._connection = self._account, None, None
        forget(self.conn_id, used)

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Callable[[str], bool] = everything,
        skip_unreadable: bool = False,
        shapes: Collection[Shape] = (),
        moved_since: datetime = EPOCH,
    ) -> Iterator[Entry]:
        """See ``Store.list``: a request for every ``PAGE`` objects after ``start_after``."""
        if prefix:
            self._checked(prefix)
        after: str | None = start_after
        leave_out = self._tell if skip_unreadable else self._refuse_if(where)
        while after is not None:
            before = after
            page, after = self._page(prefix, before, leave_out)
            yield from self._files(page, before, where)

    def not_files(self, prefix: str, where: Callable[[str], bool]) -> Iterator[str]:
        """See ``Store.not_files``: there are none."""
        return iter(())

    def _files(
        self, page: Sequence[ObjectMeta], before: str, where: Callable[[str], bool]
    ) -> Iterator[Entry]:
        """The objects of a page, without the placeholders of folders.

        obstore tells ``a/`` as ``a``. It is a folder's where it is told behind what sorts after
        ``a``; where keys below ``a`` follow, only a look tells.

        Args:
            page: What was told.
            before: The key that the page was to start after.
            where: Which keys are wanted.
        """
        for meta, after in zip_longest(page, page[1:]):
            key, told_before, before = meta["path"], before, max(before, meta["path"])
            if key <= told_before or not where(key):
                continue
            is_above = after is not None and after["path"].startswith(f"{key}/")
            if meta["size"] or not is_above or self.stat(key) == _entry(meta):
                yield _entry(meta)

    def _page(
        self, prefix: str, after: str, leave_out: LeaveOut
    ) -> tuple[Sequence[ObjectMeta], str | None]:
        """The next objects after a key, and the last of them; ``None`` for that at the end."""
        if unusable(after.removesuffix("/") or "all"):
            return self._page_without_unusable_keys(prefix, after, leave_out)
        try:
            page = self._ask(prefix, lambda store: _first_page(store, prefix, after))
        except _UnusableKey:
            return self._page_without_unusable_keys(prefix, after, leave_out)
        except AccessDenied as refused:  # which concerns no single object
            why = str(refused).removeprefix(f"{refused.uri}: ")
            raise StoreRefused(refused.uri, why) from refused
        if len(page) < PAGE:
            return page, None
        if not page[-1]["size"]:  # what follows tells whether it is a folder's placeholder
            page = page[:-1]
        return page, max(meta["path"] for meta in page)

    def _page_without_unusable_keys(
        self, prefix: str, after: str, leave_out: LeaveOut
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
        files = [(key, one) for key, one in found if not key.endswith("/")]
        page = [_meta(key, one) for key, one in files if _is_usable(key, leave_out)]
        return page, found[-1][0] if answer["IsTruncated"] else None

    def _tell(self, key: str, why: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            log.warning("%s/%r: left out of the sweep: %s; rename it", self.uri, key, why)

    def _refuse_if(self, wanted: Callable[[str], bool]) -> LeaveOut:
        """Who asks for all files of a folder must not be given fewer."""

        def refuse(key: str, why: str) -> None:
            if wanted(key):
                raise NotAFile(f"{self.uri}/{key!a}", f"{why}; rename it")

        return refuse

    def _checked(self, key: str) -> str:
        if why := unusable(key):
            raise NotAFile(f"{self.uri}/{key!a}", why)
        return key

    def _fits(self, key: str) -> bool:
        return len(f"{self.prefix}/{self._checked(key)}".removeprefix("/").encode()) <= LONGEST_KEY

    def stat(self, key: str) -> Entry | None:
        """See ``Store.stat``."""
        if not self._fits(key):
            return None
        try:
            return _entry(self._head(key))
        except FileNotFoundError:
            return None

    def _head(self, key: str) -> ObjectMeta:
        return self._told(key, self._ask(key, lambda store: store.head(key)))

    def _told(self, key: str, meta: ObjectMeta) -> ObjectMeta:
        """What S3 tells of an object; a page of somebody between here and there has no ETag."""
        if not meta["e_tag"]:
            raise StoreUnavailable(f"{self.uri}/{key}", f"{_NO_ANSWER} (an object without ETag)")
        return meta

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        """See ``Store.find``: page by page, over what is between; singly where they are far apart.

        Some pages with few of them show that the next ones are far apart, too: of those, more and
        more are looked at singly before another page is tried.
        """
        wanted = deque(sorted(filter(self._fits, keys)))
        sparse, singly = 0, len(wanted) if len(keys) <= ONE_BY_ONE else 0
        last: str | None = ""
        while wanted:
            some = [wanted.popleft() for _ in range(min(singly, len(wanted)))]
            yield from filter(None, map(self.stat, some))
            if not wanted:
                return
            start = max(last or "", _just_before(wanted[0]))
            page, last = self._page("", start, self._tell)
            yield from self._files(page, start, keys.__contains__)
            before = len(wanted)
            while wanted and (last is None or wanted[0] <= last):
                wanted.popleft()
            sparse = 0 if before - len(wanted) > ONE_BY_ONE else sparse + 1
            singly = ONE_BY_ONE * 2 ** (sparse - SPARSE) if sparse >= SPARSE else 0

    def read(self, key: str, limit: int) -> bytes:
        """See ``Store.read``: what is too large is not transferred."""
        found = self._ask(self._checked(key), lambda store: store.get(key))
        if self._told(key, found.meta)["size"] > limit:
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
        with suppress(FileNotFoundError):
            self._ask(self._checked(key), lambda store: store.delete(key))

    def fetch(
        self, key: str, target: Path, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """See ``Store.fetch``: in ranges, a few ahead, all of the same version."""
        meta = self._head(self._checked(key))
        with new_file(target) as sink, closing(self._ranges(key, meta)) as ranges:
            return copy(ranges, sink, on_bytes)

    def _ranges(self, key: str, meta: ObjectMeta) -> Generator[memoryview]:
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
        found = memoryview(self._ask(key, lambda store: store.get(key, options=options).bytes()))
        if len(found) != span[1] - start:
            why = f"{len(found)} bytes came of the {span[1] - start} that were asked for"
            raise StoreUnavailable(f"{self.uri}/{key}", f"{_NO_ANSWER} ({why})")
        return found

    def upload(
        self, source: Path, key: str, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        """See ``Store.upload``. The hash goes with the object, so that ``holds`` knows it."""
        promised = digest_of(source)
        attributes: Attributes = {**_attributes(key), _SHA256: promised.sha256}
        part = _part_size(promised.size)

        def send(store: ObjectStore) -> None:
            with source.open("rb") as file:
                blocks = _unchanged(blocks_of(file, part), source, promised, on_bytes)
                if promised.size <= part:
                    whole = b"".join(blocks)
                    store.put(key, whole, attributes=attributes, use_multipart=False)
                else:
                    store.put(key, blocks, attributes=attributes, chunk_size=part)

        self._ask(self._checked(key), send)
        return promised

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
            self._ask(self._checked(key), lambda store: obstore.sign(store, "GET", key, good_for))
        )

    def hints(self, is_ours: IsOurs = nothing_is_ours) -> AsyncIterator[Hint]:
        """See ``Store.hints``: what the queue tells; without one, nothing ever."""
        from flagfall.stores.sqs import queue_hints

        return queue_hints(self.sqs_queue, self.conn_id, self.bucket, self.prefix, is_ours)


class _OtherRegion(StoreRefused):
    """The bucket is not in the region that was asked."""


class _BadRequest(StoreUnavailable):
    """400 and no word why: a proxy, expired credentials, or a HEAD in another region."""


class _UnusableKey(StoreRefused):
    """A listing has a key that obstore cannot tell."""


def _parsed(uri: str) -> tuple[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise StoreRefused(uri, "expected s3://bucket/prefix with the name of a bucket")
    prefix = match[2] or ""
    if prefix and (why := unusable(prefix)):
        raise StoreRefused(uri, why)
    return match[1], prefix


def _just_before(key: str) -> str:
    """A string with hardly any key between it and ``key``."""
    near = f"{key[:-1]}{chr(ord(key[-1]) - 1)}~"
    return key[:-1].removesuffix("/") if unusable(near) else near


def _unchanged(
    blocks: Iterator[bytes], source: Path, promised: Fetched, on_bytes: Callable[[int], None]
) -> Iterator[bytes]:
    """The blocks of a file; raises before the end, so that nothing is written, if it changed."""
    size, digest = 0, hashlib.sha256()
    for block in blocks:
        size += len(block)
        digest.update(block)
        if size > promised.size:
            break
        yield block
        on_bytes(len(block))
    if Fetched(size, digest.hexdigest()) != promised:
        raise StoreUnavailable(str(source), "changed while it was uploaded; publish it again")


def _first_page(store: ObjectStore, prefix: str, after: str) -> Sequence[ObjectMeta]:
    """One request, unless S3 answers with less than it has."""
    if after.endswith("/"):  # which obstore would strip
        after = f"{after[:-1]}.~"
    return next(iter(store.list(prefix or None, offset=after or None, chunk_size=PAGE)), [])


def _meta(key: str, told: dict[str, Any]) -> ObjectMeta:
    """What boto3 tells of an object, in obstore's words."""
    return {
        "path": key,
        "last_modified": told["LastModified"],
        "size": told["Size"],
        "e_tag": told["ETag"],
        "version": None,
    }


def _entry(meta: ObjectMeta) -> Entry:
    seconds = int(meta["last_modified"].timestamp())
    version = f"{(meta['e_tag'] or '').strip(chr(34))}-{seconds}"
    written = datetime.fromtimestamp(seconds, UTC)
    return Entry(meta["path"], meta["size"], version, written, written)


def _attributes(key: str) -> Attributes:
    kind, _ = mimetypes.guess_type(key)
    text = f"{kind}; charset=utf-8" if kind in ("text/html", "application/json") else kind
    return {"Content-Type": text} if text else {}


def _part_size(size: int) -> int:
    """Bytes of a part: S3 takes 10,000 parts at most."""
    return max(_RANGE, -(-size // 9_000))


def _code_of(error: Exception) -> str:
    """What S3 calls an error, or the HTTP status; empty where there was no answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    found = _CODE.search(str(error)) or _HTTP.search(str(error))
    return next(filter(None, found.groups())) if found else ""


def _is_without_credentials(error: Exception) -> bool:
    from botocore.exceptions import CredentialRetrievalError, NoCredentialsError
    from obstore.exceptions import UnauthenticatedError

    return isinstance(error, UnauthenticatedError | CredentialRetrievalError | NoCredentialsError)


def _excuse(error: Exception, code: str) -> str:
    """What to say of an error that may heal; of the answer itself, at most its status."""
    if _is_without_credentials(error) and not code:
        return f"{_NO_CREDENTIALS} ({_short(str(error))})"
    if code.isdecimal():
        return f"{_NO_ANSWER} (HTTP status {code})"
    return f"S3 says {code}" if code else f"{_NO_ANSWER} ({_short(str(error))})"


def _short(said: str) -> str:
    return said.split("\n\nDebug source", 1)[0].removeprefix("Generic S3 error: ")[:300]
