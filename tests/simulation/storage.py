"""A simulated store: what file systems and S3 promise, and no more."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flagfall.errors import AccessDenied, StoreUnavailable
from flagfall.stores import (
    Entry,
    Fetched,
    Hint,
    everything,
    ignore_progress,
    local_walk,
    nothing_is_ours,
)
from tests.simulation.schedule import Host, Schedule

INODE_FIRST = 1000
ROOT = ""


@dataclass(frozen=True)
class Flavour:
    """What a kind of storage does with times, inodes and caches.

    Attributes:
        tick: Seconds to which times are kept.
        reuses: Whether a freed inode is given out again.
        ctime_is_mtime: There is no ctime; mtime is shown in its place.
        client_inodes: Each client numbers the files itself.
        caches: Most seconds for which a client shows attributes and folders as they were.
        opens_anew: Whether a client that opens a file asks the server for its attributes (NFS's
            close-to-open, RFC 7530, 10.3.1).
        objects: There are no folders and times of change, only objects that are written whole.
    """

    name: str
    tick: float
    reuses: bool = False
    ctime_is_mtime: bool = False
    client_inodes: bool = False
    caches: float = 0.0
    opens_anew: bool = False
    objects: bool = False


EXT4 = Flavour("ext4", tick=0.004, reuses=True)
XFS = Flavour("xfs", tick=0.004)
NFS = Flavour("nfs", tick=0.004, reuses=True, caches=5.0, opens_anew=True)
SSHFS = Flavour("sshfs", tick=1.0, ctime_is_mtime=True, client_inodes=True, caches=3.0)
S3 = Flavour("s3", tick=1.0, objects=True)
FLAVOURS = (EXT4, XFS, NFS, SSHFS, S3)


@dataclass
class Node:
    """A file or a folder."""

    inode: int
    mtime: float
    ctime: float
    data: bytes = b""


@dataclass(frozen=True)
class Status:
    """What is seen of a file, and of the folders above it."""

    node: Node
    folders: tuple[Node, ...] = ()


class Volume:
    """Files below one URI, shared by all hosts.

    Args:
        flavour: How it behaves.
        schedule: Gives the time.
        clock: The host whose clock it keeps; every host has the same storage.
    """

    def __init__(self, uri: str, flavour: Flavour, schedule: Schedule, clock: Host) -> None:
        self.uri = uri
        self.flavour = flavour
        self.files: dict[str, Node] = {}
        self.folders: dict[str, Node] = {}
        self.hidden: set[str] = set()
        self.broken: set[str] = set()
        self.away = ""
        self.listeners: list[Callable[[str], None]] = []
        self._schedule = schedule
        self._clock = clock
        self._free: list[int] = []
        self._inodes = INODE_FIRST
        self._folder(ROOT)

    def now(self) -> float:
        """The time of the storage, kept to its tick (seconds since 1970)."""
        now = self._schedule.begin.timestamp() + self._schedule.now + self._clock.off
        return now // self.flavour.tick * self.flavour.tick

    def _inode(self) -> int:
        if self.flavour.reuses and self._free:
            return self._free.pop()
        self._inodes += 1
        return self._inodes

    def _folder(self, key: str) -> Node:
        if key not in self.folders:
            if key:
                self._changed(key)
            now = self.now()
            self.folders[key] = Node(self._inode(), now, now)
        return self.folders[key]

    def _changed(self, key: str) -> None:
        """A name in the folder above has come or gone."""
        if self.flavour.objects:
            return
        folder = self._folder(key.rpartition("/")[0])
        folder.mtime = folder.ctime = self.now()

    def tell(self, key: str) -> None:
        """Whoever listens hears of a change."""
        for listener in self.listeners:
            listener(key)

    def open(self, key: str) -> Node:
        """Open a file for writing; it is empty then (not on S3, which has only ``replace``)."""
        node = self.files.get(key)
        now = self.now()
        if node is None:
            self._changed(key)
            node = self.files[key] = Node(self._inode(), now, now)
        node.data, node.mtime, node.ctime = b"", now, now
        self.tell(key)
        return node

    def append(self, node: Node, data: bytes, key: str) -> None:
        """Write on in an open file."""
        node.data += data
        node.mtime = node.ctime = self.now()
        self.tell(key)

    def replace(self, key: str, data: bytes) -> None:
        """Put a whole new file in place."""
        self._drop(key)
        self._changed(key)
        now = self.now()
        self.files[key] = Node(self._inode(), now, now, data)
        self.tell(key)

    def _drop(self, key: str) -> None:
        node = self.files.pop(key, None)
        if node is not None:
            self._free.append(node.inode)

    def remove(self, key: str) -> None:
        """Remove a file."""
        if key in self.files:
            self._drop(key)
            self._changed(key)
            self.tell(key)

    def remove_folder(self, key: str) -> None:
        """Remove a folder that is empty."""
        node = self.folders.pop(key, None)
        if node is not None:
            self._free.append(node.inode)
            self._changed(key)

    def utime(self, key: str, mtime: float) -> None:
        """Set a file's mtime; its ctime becomes now."""
        node = self.files[key]
        node.mtime, node.ctime = mtime // self.flavour.tick * self.flavour.tick, self.now()
        self.tell(key)

    def chmod(self, key: str) -> None:
        """Change the permissions of a file or a folder: only its ctime changes."""
        node = self.files.get(key) or self.folders.get(key)
        if node is not None:
            node.ctime = self.now()
            self.tell(key)

    def rename_folder(self, source: str, target: str) -> None:
        """Rename a folder with all that is in it: its files are not touched."""
        folder = self.folders.pop(source)
        for key in [key for key in self.files if key.startswith(f"{source}/")]:
            self.files[target + key.removeprefix(source)] = self.files.pop(key)
        self._changed(source)
        self._changed(target)
        folder.ctime = self.now()
        self.folders[target] = folder
        self.tell(target)

    def is_hidden(self, key: str) -> bool:
        """Whether a file, or a folder above it, may not be read."""
        return any(key == one or key.startswith(f"{one}/") for one in self.hidden)

    def status(self, key: str) -> Status | None:
        """What there is at a key, as the server sees it."""
        node = self.files.get(key)
        if node is None:
            return None
        parts = key.split("/")[:-1]
        above = ("/".join(parts[: n + 1]) for n in range(len(parts)))
        names = [] if self.flavour.objects else [ROOT, *above]
        return Status(replace(node), tuple(replace(self.folders[name]) for name in names))


@dataclass
class SimulatedStore:
    """The store of a process: see ``flagfall.stores.Store``."""

    volume: Volume
    schedule: Schedule
    prefix: str
    host: Host
    uri: str = ""
    hint_maker: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def metered(self) -> bool:
        return self.volume.flavour.objects

    @property
    def is_remote(self) -> bool:
        return self.metered or bool(self.volume.flavour.caches)

    def _point(self, did: str, key: str) -> None:
        self.schedule.point(did, f"{self.uri}/{key}")
        if self.volume.away == "hangs":
            raise StoreUnavailable(self.uri, "not there")

    def _key(self, key: str) -> str:
        return f"{self.prefix}{key}"

    def _allowed(self, key: str) -> None:
        if self.volume.is_hidden(self._key(key)):
            raise AccessDenied(f"{self.uri}/{key}", "may not be read")

    def is_empty(self) -> bool:
        self._point("is empty", "")
        is_there = self.volume.files or len(self.volume.folders) > 1
        return not self.metered and bool(self.volume.away or not is_there)

    def names(self, prefix: str, start_after: str = "") -> Iterator[str]:
        self._point("names", prefix)
        found = (full.removeprefix(self.prefix) for full in self._names(self._key(f"{prefix}/")))
        return iter([key for key in found if key > start_after])

    def _entry(self, key: str, status: Status) -> Entry:
        return entry_of(self.volume.flavour, self.host, key, status)

    def _status(self, key: str) -> Status | None:
        """As the client sees it, which may be a while ago."""
        if self.volume.away:
            return None
        full = self._key(key)
        if not self.volume.flavour.caches:
            return self.volume.status(full)
        until, seen = self.host.cache.get((self.volume.uri, full), (0.0, None))
        if seen is None or self.schedule.now >= until:
            seen = self.volume.status(full)
            until = self.schedule.now + self.schedule.random.uniform(0, self.volume.flavour.caches)
            self.host.cache[self.volume.uri, full] = until, seen
        return seen

    def list(
        self,
        prefix: str = "",
        start_after: str = "",
        where: Callable[[str], bool] = everything,
        skip_unreadable: bool = False,
        shapes: Collection[Any] = (),
        **_: Any,
    ) -> Iterator[Entry]:
        self._point("list", prefix)
        top = self._key(f"{prefix}/" if prefix else "")
        names = [] if self.volume.away else self._names(top)
        if self.metered and self.hint_maker and not start_after:
            self._turn_pages()
        for full in names:
            key = full.removeprefix(self.prefix)
            if key <= start_after or not where(key):
                continue
            if self.volume.is_hidden(full.rpartition("/")[0]):
                if not skip_unreadable:
                    raise AccessDenied(f"{self.uri}/{key}", "may not be read")
                continue
            if self.schedule.random.random() < 0.1:
                self._point("list on", key)
            if (status := self._status(key)) is not None:
                yield self._entry(key, status)

    def _turn_pages(self) -> None:
        """A listing of a million keys takes a thousand requests; what lands meanwhile is missed."""
        process = self.schedule.process()
        process.busy += 1
        self.schedule.wait(self.schedule.random.choice([0.0, self.schedule.random.uniform(0, 120)]))
        process.busy -= 1

    def _names(self, top: str) -> list[str]:
        def listed() -> list[str]:
            return sorted(key for key in self.volume.files if key.startswith(top))

        if not self.volume.flavour.caches:
            return listed()
        until, seen = self.host.cache.get((self.volume.uri, top, "names"), (0.0, None))
        if seen is None or self.schedule.now >= until:
            seen = listed()
            until = self.schedule.now + self.schedule.random.uniform(0, self.volume.flavour.caches)
            self.host.cache[self.volume.uri, top, "names"] = until, seen
        return seen

    def not_files(self, prefix: str, where: Callable[[str], bool]) -> Iterator[str]:
        return iter(())

    def stat(self, key: str) -> Entry | None:
        self._point("stat", key)
        self._allowed(key.rpartition("/")[0])
        status = self._status(key)
        return self._entry(key, status) if status else None

    def find(self, keys: Collection[str]) -> Iterator[Entry]:
        return filter(None, map(self.stat, sorted(keys)))

    def _open(self, key: str) -> Node:
        self._allowed(key)
        if self._key(key) in self.volume.broken:
            raise StoreUnavailable(f"{self.uri}/{key}", "input/output error")
        if self.volume.flavour.opens_anew:
            self.host.cache.pop((self.volume.uri, self._key(key)), None)
        node = self.volume.files.get(self._key(key))
        if node is None or self.volume.away:
            raise FileNotFoundError(key)
        return node

    def read(self, key: str, limit: int) -> bytes:
        self._point("read", key)
        data = self._open(key).data
        if len(data) > limit:
            raise ValueError(f"{key} is larger than {limit} bytes")
        return data

    async def read_async(self, key: str, limit: int) -> bytes:
        return await asyncio.to_thread(self.read, key, limit)

    def create(self, key: str, data: bytes) -> bool:
        self._point("create", key)
        is_new = self._key(key) not in self.volume.files
        if is_new:
            self.volume.replace(self._key(key), data)
        is_receipt = key.startswith("receipts/landed") and key.endswith(".json")
        why = json.loads(data).get("message", "") if is_receipt else ""
        self.schedule.note("create", key, f"{'new' if is_new else 'was there'} {why or ''}")
        self.schedule.point("created", key)
        return is_new

    def put(self, key: str, data: bytes) -> None:
        self._point("put", key)
        self.volume.replace(self._key(key), data)
        self.schedule.note("put", key)

    def delete(self, key: str) -> None:
        self._point("delete", key)
        self.volume.remove(self._key(key))
        self.schedule.note("delete", key)

    def fetch(
        self, key: str, target: Path, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        self._point("fetch", key)
        node = self._open(key)
        version = version_of(self.volume.flavour, self.host, key, node)
        data = node.data[: len(node.data) // 2]
        if self.metered:
            data = node.data
        else:
            self._point("fetch on", key)
            data += node.data[len(data) :]
        on_bytes(len(data))
        target.write_bytes(data)
        self.schedule.note("fetched", key, data.decode(errors="replace").replace("\n", " "))
        return Fetched(len(data), hashlib.sha256(data).hexdigest(), version)

    def upload(
        self, source: Path, key: str, on_bytes: Callable[[int], None] = ignore_progress
    ) -> Fetched:
        data = source.read_bytes()
        self.put(key, data)
        return Fetched(len(data), hashlib.sha256(data).hexdigest())

    def put_file(self, source: Path, key: str) -> None:
        data = source.read_bytes()
        self.put(key, data)
        self.schedule.point("moved in", key)

    def holds(self, key: str, content: Fetched) -> bool:
        node = self.volume.files.get(self._key(key))
        return node is not None and hashlib.sha256(node.data).hexdigest() == content.sha256

    def link(self, key: str, expires: timedelta) -> str:
        return f"{self.uri}/{key}"

    def local(self, key: str, scratch: Path) -> Path:
        target = scratch / key.replace("/", "~")
        self._point("local", key)
        target.write_bytes(self._open(key).data)
        return target

    def scratch_root(self) -> Path | None:
        return None

    async def hints(self, is_ours: Any = nothing_is_ours) -> AsyncIterator[Hint]:
        if self.hint_maker is None:
            await asyncio.Event().wait()
        async for hint in self.hint_maker(self.volume):
            yield hint


def version_of(flavour: Flavour, host: Host, key: str, node: Node) -> str:
    """A file's version, made by the real code; an object's as S3's: etag, and time in seconds."""
    if flavour.objects:
        return f"{hashlib.md5(node.data).hexdigest()}-{node.mtime:.0f}"
    return local_walk.version_of(_seen(flavour, host, key, node))


def entry_of(flavour: Flavour, host: Host, key: str, status: Status) -> Entry:
    """What a listing shows: made by the real code of a directory, from what it would see."""
    node = status.node
    if flavour.objects:
        written = datetime.fromtimestamp(node.mtime, UTC)
        return Entry(key, len(node.data), version_of(flavour, host, key, node), written)
    folder = local_walk.folder_version_of(_seen(flavour, host, "", status.folders[-1]))
    return local_walk.entry_of(key, _seen(flavour, host, key, node), folder)


def _seen(flavour: Flavour, host: Host, key: str, node: Node) -> Any:
    """What ``stat`` says on this host."""
    changed = node.mtime if flavour.ctime_is_mtime else node.ctime
    inode = node.inode
    if flavour.client_inodes:
        inode = host.cache.setdefault(("inode", key), len(host.cache) + 1)
    return SimpleNamespace(
        st_size=len(node.data),
        st_mtime_ns=round(node.mtime * 1e9),
        st_ctime_ns=round(changed * 1e9),
        st_ino=inode,
        st_dev=1,
        st_mode=0o100644,
    )
