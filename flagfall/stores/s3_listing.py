"""Listing a bucket, and looking at single keys of it, with as few requests as can be."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from flagfall.errors import AccessDenied, NotAFile, StoreRefused, printable
from flagfall.logs import warnings_about
from flagfall.stores import EPOCH, Entry
from flagfall.stores.s3_bucket import Bucket, entry_of
from flagfall.stores.s3_errors import UnusableKey
from flagfall.stores.s3_keys import unusable

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store as ObjectStore

PAGE = 1000
"""Most objects in one answer of S3."""
ONE_BY_ONE = 10
"""Up to so many objects are looked at singly: a HEAD costs a twelfth of a LIST."""
SPARSE = 3
"""So many pages with no more than that show that keys are far apart."""

_AFTER_SLASH = chr(ord("/") + 1)
"""Keys that begin with ``/`` sort before it."""

LeaveOut = Callable[[str, str], None]
"""Told a key that cannot be used, and why; raises an error unless the listing is to go on."""


class Listing:
    """Listings of one bucket.

    Args:
        bucket: The bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._warnings = warnings_about(bucket.uri, __name__)

    def list(
        self, prefix: str, start_after: str, where: Callable[[str], bool], skip_unreadable: bool
    ) -> Iterator[Entry]:
        """See ``Store.list``: a request for every ``PAGE`` objects after ``start_after``."""
        leave_out = self._warn if skip_unreadable else self._refuse_if(where)
        for page, before in self._pages(prefix, start_after, leave_out):
            yield from self._files(page, before, where)

    def unusable(self, prefix: str, where: Callable[[str], bool]) -> Iterator[str]:
        """See ``Store.not_files``: what a listing leaves out that skips what is unreadable."""
        found: list[str] = []
        for _ in self._pages(prefix, "", lambda key, why: found.append(key)):
            pass
        return filter(where, found)

    def list_with_folders(self, start_after: str, where: Callable[[str], bool]) -> Iterator[Entry]:
        """A sweep, with what else is in the folder of an object where that may be younger."""
        found: list[Entry] = []
        folders: dict[str, _Folder] = defaultdict(_Folder)
        for page, before in self._pages("", start_after, self._warn):
            found += self._files(page, before, where)
            for meta in page:
                if meta["size"]:
                    _note(folders, entry_of(meta))
        for entry in found:
            beside = folders.get(entry.key.rpartition("/")[0])
            yield entry._replace(folder=beside.version_for(entry)) if beside else entry

    def _pages(
        self, prefix: str, start_after: str, leave_out: LeaveOut
    ) -> Iterator[tuple[Sequence[ObjectMeta], str]]:
        """All objects after a key, page by page, each with the key that it starts after."""
        if prefix:
            self._bucket.checked(prefix)
        after: str | None = start_after
        while after is not None:
            before = after
            page, after = self._page(prefix, before, leave_out)
            yield page, before

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        """See ``Store.find``: page by page, over what is between; singly where they are far apart.

        Some pages with few of them show that the next ones are far apart, too: of those, more and
        more are looked at singly before another page is tried.
        """
        wanted = deque(sorted(filter(self._bucket.fits, keys)))
        sparse, singly = 0, len(wanted) if len(keys) <= ONE_BY_ONE else 0
        last: str | None = ""
        while wanted:
            some = [wanted.popleft() for _ in range(min(singly, len(wanted)))]
            yield from filter(None, map(self._bucket.stat, some))
            if not wanted:
                return
            start = max(last or "", _just_before(wanted[0]))
            page, last = self._page("", start, self._warn)
            yield from self._files(page, start, keys.__contains__)
            before = len(wanted)
            while wanted and (last is None or wanted[0] <= last):
                wanted.popleft()
            sparse = 0 if before - len(wanted) > ONE_BY_ONE else sparse + 1
            singly = ONE_BY_ONE * 2 ** (sparse - SPARSE) if sparse >= SPARSE else 0

    def _files(
        self, page: Sequence[ObjectMeta], before: str, where: Callable[[str], bool]
    ) -> Iterator[Entry]:
        """The objects of a page, without the placeholders of folders.

        obstore lists ``a/`` as ``a``. It is a folder's where it comes after a key that sorts after
        ``a``; where keys below ``a`` follow, only a look at the object shows it.

        Args:
            page: What was listed.
            before: The key that the page was to start after.
            where: Which keys are wanted.
        """
        for meta, after in zip_longest(page, page[1:]):
            key, told_before, before = meta["path"], before, max(before, meta["path"])
            if key <= told_before or not where(key):
                continue
            is_above = after is not None and after["path"].startswith(f"{key}/")
            if meta["size"] or not is_above or self._bucket.stat(key) == entry_of(meta):
                yield entry_of(meta)

    def _page(
        self, prefix: str, after: str, leave_out: LeaveOut
    ) -> tuple[Sequence[ObjectMeta], str | None]:
        """The next objects after a key, and the last of them; ``None`` for that at the end."""
        try:
            if self._may_be_unusable(prefix, after):
                return self._page_without_unusable_keys(prefix, after, leave_out)
            page = self._bucket.ask(prefix, lambda store: _first_page(store, prefix, after))
        except UnusableKey:
            return self._page_without_unusable_keys(prefix, after, leave_out)
        except AccessDenied as refused:  # which concerns no single object
            why = str(refused).removeprefix(f"{printable(refused.uri)}: ")
            raise StoreRefused(refused.uri, why) from refused
        if len(page) < PAGE:
            return page, None
        if not page[-1]["size"]:  # the next page shows whether it is a folder's placeholder
            page = page[:-1]
        return page, max(meta["path"] for meta in page)

    def _may_be_unusable(self, prefix: str, after: str) -> bool:
        """Whether a page is left to boto3 at once.

        obstore lists ``/a`` of a whole bucket as ``a``, which is no object and sorts elsewhere.
        """
        is_whole_bucket = not prefix and not self._bucket.prefix
        may_begin_with_slash = is_whole_bucket and after < _AFTER_SLASH
        return may_begin_with_slash or bool(unusable(after.removesuffix("/") or "all"))

    def _page_without_unusable_keys(
        self, prefix: str, after: str, leave_out: LeaveOut
    ) -> tuple[Sequence[ObjectMeta], str | None]:
        """The same page from boto3, which lists every key, without those that obstore refuses.

        They cannot be read as files either; the rest of the sweep goes on.
        """
        from flagfall.stores.aws import client

        start = f"{self._bucket.prefix}/" if self._bucket.prefix else ""
        below = f"{start}{prefix}/" if prefix else start
        with self._bucket.translated(prefix):
            answer = client(self._bucket.conn_id, "s3").list_objects_v2(
                Bucket=self._bucket.name, Prefix=below, StartAfter=start + after
            )
        found = [(one["Key"].removeprefix(start), one) for one in answer.get("Contents", [])]
        files = [(key, one) for key, one in found if not key.endswith("/")]
        page = [_meta(key, one) for key, one in files if _is_usable(key, leave_out)]
        return page, found[-1][0] if answer["IsTruncated"] else None

    def _warn(self, key: str, why: str) -> None:
        place = f"{self._bucket.uri}/{key}"
        self._warnings.warn(key, "%s: left out of the sweep: %s; rename it", place, why)

    def _refuse_if(self, wanted: Callable[[str], bool]) -> LeaveOut:
        """Who asks for all files of a folder must not be given fewer."""

        def refuse(key: str, why: str) -> None:
            if wanted(key):
                raise NotAFile(f"{self._bucket.uri}/{key!a}", f"{why}; rename it")

        return refuse


@dataclass
class _Folder:
    """What is in a folder and below.

    Attributes:
        written: The latest time of an object in it.
        uploads: Objects that came by a multipart upload. Their time is when the upload began, and
            nothing says when it was complete.
        total: Sum of a hash of each object.
    """

    written: datetime = EPOCH
    uploads: int = 0
    total: int = 0

    def add(self, entry: Entry) -> None:
        """Note an object."""
        self.written = max(self.written, entry.landed_at)
        self.uploads += _is_upload(entry)
        self.total += _hash(entry)

    def version_for(self, entry: Entry) -> str:
        """See ``Entry.folder``; an empty object was not noted."""
        uploads, total = self.uploads, self.total
        if entry.size:
            uploads, total = uploads - _is_upload(entry), total - _hash(entry)
        may_be_younger = uploads or self.written > entry.landed_at
        return f"{total % 2**64:016x}" if may_be_younger else ""


def _note(folders: dict[str, _Folder], entry: Entry) -> None:
    """Note an object in its folder and in those above."""
    folder = entry.key
    while folder:
        folder = folder.rpartition("/")[0]
        folders[folder].add(entry)


def _is_upload(entry: Entry) -> bool:
    """Whether the etag is one of a multipart upload: it ends with the number of parts."""
    return "-" in entry.version.rpartition("-")[0]


def _hash(entry: Entry) -> int:
    text = f"{entry.key}\n{entry.version}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def _is_usable(key: str, leave_out: LeaveOut) -> bool:
    why = unusable(key)
    if why:
        leave_out(key, why)
    return not why


def _just_before(key: str) -> str:
    """A string with hardly any key between it and ``key``."""
    near = f"{key[:-1]}{chr(ord(key[-1]) - 1)}~"
    return key[:-1].removesuffix("/") if unusable(near) else near


def _first_page(store: ObjectStore, prefix: str, after: str) -> Sequence[ObjectMeta]:
    """One request, unless S3 answers with less than it has."""
    if after.endswith("/"):  # which obstore would strip
        after = f"{after[:-1]}.~"
    return next(iter(store.list(prefix or None, offset=after or None, chunk_size=PAGE)), [])


def _meta(key: str, listed: dict[str, Any]) -> ObjectMeta:
    """What boto3 lists of an object, in obstore's words."""
    return {
        "path": key,
        "last_modified": listed["LastModified"],
        "size": listed["Size"],
        "e_tag": listed["ETag"],
        "version": None,
    }
