"""Files to and from a bucket: in ranges or parts, and hashed on the way."""

from __future__ import annotations

import hashlib
import mimetypes
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from flagfall.errors import StoreUnavailable
from flagfall.stores import Fetched
from flagfall.stores.copying import blocks_of, copy, digest_of, new_file
from flagfall.stores.s3_bucket import Bucket, entry_of
from flagfall.stores.s3_errors import NO_ANSWER

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, ObjectMeta
    from obstore.store import S3Store as ObjectStore

_RANGE = 8 << 20
"""Bytes of a range, and of a part unless it has to be larger."""
_RANGES_AHEAD = 3
_SHA256 = "sha256"


class Transfers:
    """Copies files from and to one bucket.

    Args:
        bucket: The bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def fetch(self, key: str, target: Path, on_bytes: Callable[[int], None]) -> Fetched:
        """See ``Store.fetch``: in ranges, a few ahead, all of the same version."""
        meta, first = self._first_range(self._bucket.checked(key))
        with new_file(target) as sink, closing(self._ranges(key, meta, first)) as ranges:
            return replace(copy(ranges, sink, on_bytes), version=entry_of(meta).version)

    def _first_range(self, key: str) -> tuple[ObjectMeta, memoryview]:
        """What S3 says of an object, and its first range, by one request.

        S3 refuses a range of an object that has no bytes.
        """
        try:
            found, content = self._get(key, {"range": (0, _RANGE)})
        except StoreUnavailable:
            empty = self._bucket.head(key)
            if empty["size"]:
                raise
            return empty, memoryview(b"")
        meta = self._bucket.with_etag(key, found)
        return meta, self._whole(key, content, min(_RANGE, meta["size"]))

    def _ranges(self, key: str, meta: ObjectMeta, first: memoryview) -> Generator[memoryview]:
        starts = iter(range(len(first), meta["size"], _RANGE))
        with ThreadPoolExecutor(_RANGES_AHEAD) as pool:
            ahead = (pool.submit(self._range, key, meta, start) for start in starts)
            waiting = deque(islice(ahead, _RANGES_AHEAD))
            yield first
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(islice(ahead, 1))

    def _range(self, key: str, meta: ObjectMeta, start: int) -> memoryview:
        span = (start, min(start + _RANGE, meta["size"]))
        _, found = self._get(key, {"range": span, "if_match": meta["e_tag"]})
        return self._whole(key, found, span[1] - start)

    def _get(self, key: str, options: GetOptions) -> tuple[ObjectMeta, memoryview]:
        def get(store: ObjectStore) -> tuple[ObjectMeta, memoryview]:
            found = store.get(key, options=options)
            return found.meta, memoryview(found.bytes())

        return self._bucket.ask(key, get)

    def _whole(self, key: str, found: memoryview, size: int) -> memoryview:
        if len(found) != size:
            why = f"{len(found)} bytes came of the {size} that were asked for"
            raise StoreUnavailable(f"{self._bucket.uri}/{key}", f"{NO_ANSWER} ({why})")
        return found

    def upload(self, source: Path, key: str, on_bytes: Callable[[int], None]) -> Fetched:
        """See ``Store.upload``. The hash goes with the object, so that ``holds`` knows it."""
        promised = digest_of(source)
        attributes: Attributes = {**attributes_of(key), _SHA256: promised.sha256}
        part = _part_size(promised.size)

        def send(store: ObjectStore) -> None:
            with source.open("rb") as file:
                blocks = _unchanged(blocks_of(file, part), source, promised, on_bytes)
                if promised.size <= part:
                    whole = b"".join(blocks)
                    store.put(key, whole, attributes=attributes, use_multipart=False)
                else:
                    store.put(key, blocks, attributes=attributes, chunk_size=part)

        self._bucket.ask(self._bucket.checked(key), send)
        return promised

    def holds(self, key: str, content: Fetched) -> bool:
        """See ``Store.holds``: as far as the hash that went with it says."""
        options: GetOptions = {"head": True}
        try:
            found = self._bucket.ask(
                self._bucket.checked(key), lambda store: store.get(key, options=options)
            )
        except FileNotFoundError:
            return False
        return Fetched(found.meta["size"], str(found.attributes.get(_SHA256, ""))) == content


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


def attributes_of(key: str) -> Attributes:
    """What goes with an object: its type, so that a browser shows it."""
    kind, _ = mimetypes.guess_type(key)
    text = f"{kind}; charset=utf-8" if kind in ("text/html", "application/json") else kind
    return {"Content-Type": text} if text else {}


def _part_size(size: int) -> int:
    """Bytes of a part: S3 takes 10,000 parts at most."""
    return max(_RANGE, -(-size // 9_000))
