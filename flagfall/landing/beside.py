"""What lies beside a marker: data, and what is none.

Where markers carry a field in their own names (``{day}.ready``), several batches share a folder. It
is listed once and dealt out by name; each file goes to one batch at most, the one with the longest
name that fits. Listing it for every marker would take minutes for a few thousand of them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from threading import Lock
from typing import NamedTuple
from unicodedata import is_normalized, normalize

from flagfall.errors import NotAFile
from flagfall.landing.commits import is_commit_note, is_table_log
from flagfall.landing.file_names import (
    DataFormat,
    data_format,
    finished_name,
    form_at_start,
    is_called_like_data,
    is_like,
    is_litter,
    is_part,
)
from flagfall.landing.marker import Marker, MarkerPattern
from flagfall.stores import Store

REUSED_FOR = 9
"""A shared listing is used again for so many times as long as it took: looking takes a tenth."""
COUNTED_LEFT_OUT = 10_000
"""Files that are left out are counted up to this number."""
HIDDEN = "hidden: its name, or a folder's, begins with '_' or '.'"
NO_PART = "its name is no part's: see the names of parts in the documentation of the dataset file"
A_MARKER = "it fits landing.marker, and is a marker itself: end the pattern in a word, as in .ready"
OTHER_FORM = "its name has other bytes than the marker's: one is in Unicode's form NFC, one is not"


class Kind(Enum):
    """What a name says of a file."""

    DATA = auto()
    MARKER = auto()
    HIDDEN = auto()
    ON_ITS_WAY = auto()
    COMMIT_NOTE = auto()
    TABLE_LOG = auto()
    NOTHING = auto()


class Item(NamedTuple):
    """One file, or a link.

    Attributes:
        key: Below the landing zone.
        path: Below the marker's folder.
        size: Bytes; -1 for a link, what is not a regular file, or a key that can be none.
        version: As the listing shows it.
        came_at: When it was written, or came with its folder (UTC); ``None`` for a link.
    """

    kind: Kind
    key: str
    path: str
    size: int
    version: str
    came_at: datetime | None = None


@dataclass
class Beside:
    """What lies beside one marker and is its batch's, by name.

    Attributes:
        data: Data files and links.
        on_their_way: Files that are being written still.
        notes: ``_started_…`` and ``_committed_…`` of Databricks.
        logs: Files of a table's log.
        left_out: Files that could be meant as the batch's and are not, with the reason.
    """

    data: list[Item] = field(default_factory=list)
    on_their_way: list[Item] = field(default_factory=list)
    notes: list[Item] = field(default_factory=list)
    logs: list[Item] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        """Note an item that is the batch's."""
        if item.kind is Kind.HIDDEN:
            self.leave_out(item, HIDDEN)
            return
        {
            Kind.DATA: self.data,
            Kind.ON_ITS_WAY: self.on_their_way,
            Kind.COMMIT_NOTE: self.notes,
            Kind.TABLE_LOG: self.logs,
        }[item.kind].append(item)

    def leave_out(self, item: Item, why: str) -> None:
        """Note an item that could be meant as the batch's; so many are counted and no more."""
        if len(self.left_out) < COUNTED_LEFT_OUT:
            self.left_out[item.key] = why


class Folders:
    """The folders of markers; one that several markers share is listed once for many of them.

    Args:
        store: The landing zone's.
        pattern: Of its markers.
        otherwise: The format of files whose names do not say it.
        clock: Seconds.
    """

    def __init__(
        self,
        store: Store,
        pattern: MarkerPattern,
        otherwise: DataFormat | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.pattern = pattern
        self.otherwise = otherwise
        self._clock = clock
        self._shared: dict[str, _Shared] = {}
        self._lock = Lock()

    def beside(self, marker: Marker, most: int) -> Beside:
        """What lies beside a marker.

        Args:
            marker: The marker.
            most: Looking ends soon after so many data files.

        Raises:
            AccessDenied: A folder cannot be read.
        """
        stem = batch_name(self.pattern, marker.key)
        if stem:
            return self._shared_with(marker).of(stem)
        found = Beside()
        for item in self._items(_folder(marker.key)):
            if item.kind not in (Kind.MARKER, Kind.NOTHING):
                found.add(item)
            if len(found.data) > most or found.logs:
                break
        return found

    def forget(self) -> None:
        """List anew whatever is asked for from here on."""
        with self._lock:
            self._shared = {}

    def _shared_with(self, marker: Marker) -> _Shared:
        """A listing that shows this very marker: all that was there before it is in it."""
        folder = _folder(marker.key)
        with self._lock:
            known = self._shared.get(folder)
            if known and known.good_until > self._clock() and known.shows(marker):
                return known
            began = self._clock()
            found = _Shared(self._items_of_many(folder), self.pattern, marker)
            found.good_until = self._clock() + REUSED_FOR * (self._clock() - began)
            self._shared = {n: s for n, s in self._shared.items() if s.good_until > self._clock()}
            self._shared[folder] = found
            return found

    def _items_of_many(self, folder: str) -> Iterable[Item]:
        """What is in a folder that batches share. A key that can be no file stops none of them."""
        try:
            return list(self._items(folder))
        except NotAFile:
            if not self.store.metered:
                raise
            return self._items(folder, skip_unusable=True)

    def _items(self, folder: str, skip_unusable: bool = False) -> Iterator[Item]:
        start = len(folder) + 1 if folder else 0

        def wanted(key: str) -> bool:
            return self._kind(key, key[start:]) is not Kind.NOTHING

        def data(key: str) -> bool:
            return self._kind(key, key[start:]) is Kind.DATA

        for entry in self.store.list(folder, where=wanted, skip_unreadable=skip_unusable):
            path = entry.key[start:]
            kind = self._kind(entry.key, path)
            yield Item(kind, entry.key, path, entry.size, entry.version, entry.came_at)
        if self.store.metered and not skip_unusable:
            return  # the listing had all, or was refused
        for key in self.store.not_files(folder, data):
            yield Item(Kind.DATA, key, key[start:], -1, "")

    def _kind(self, key: str, path: str) -> Kind:
        if self.pattern.match(key) is not None:
            return Kind.MARKER
        *folders, name = path.split("/")
        if is_litter(path):
            return Kind.NOTHING
        if is_table_log(folders, name):
            return Kind.TABLE_LOG
        hidden = any(folder.startswith((".", "_")) for folder in folders)
        if not hidden and is_commit_note(name):
            return Kind.COMMIT_NOTE
        if not hidden and (finished := finished_name(name, self.otherwise)):
            is_data = self.pattern.match("/".join((*key.split("/")[:-1], finished))) is None
            return Kind.ON_ITS_WAY if is_data and finished[0] != "_" else Kind.NOTHING
        if hidden or name.startswith((".", "_")):
            return Kind.HIDDEN if data_format(name, self.otherwise) else Kind.NOTHING
        return Kind.DATA


class _Shared:
    """A folder that several markers share, dealt out to them by name."""

    def __init__(self, items: Iterable[Item], pattern: MarkerPattern, marker: Marker) -> None:
        self.good_until = 0.0
        listed = list(items)
        self._markers = {i.key: i.version for i in listed if i.kind is Kind.MARKER}
        keys = {*self._markers, marker.key}
        self._stems = {batch_name(pattern, key) for key in keys}
        self._similar = {_plain(pattern.stem(k)): batch_name(pattern, k) for k in keys}
        self._found: dict[str, Beside] = defaultdict(Beside)
        self._of_all = Beside()
        for item in listed:
            if item.kind is Kind.MARKER:
                self._leave_out_marker(item, batch_name(pattern, item.key))
            elif item.kind is not Kind.NOTHING:
                self._deal(item)

    def shows(self, marker: Marker) -> bool:
        """Whether the marker was there already, as it is now."""
        return self._markers.get(marker.key) == marker.version

    def of(self, stem: str) -> Beside:
        """What belongs to one of the markers."""
        own = self._found[stem]
        return Beside(
            own.data,
            own.on_their_way,
            [*self._of_all.notes, *own.notes],
            [*self._of_all.logs, *own.logs],
            own.left_out,
        )

    def _deal(self, item: Item) -> None:
        first, is_folder, _ = item.path.partition("/")
        name = first.lstrip("._") if item.kind is Kind.HIDDEN else first
        if item.kind is Kind.ON_ITS_WAY and not is_folder:
            name = finished_name(first)
        if owner := self._owner(name, bool(is_folder)):
            self._found[owner].add(item)
        elif item.kind in (Kind.COMMIT_NOTE, Kind.TABLE_LOG):
            self._of_all.add(item)
        elif item.kind is not Kind.ON_ITS_WAY:
            self._leave_out(item, name)

    def _owner(self, name: str, is_folder: bool = False, but: str = "") -> str:
        """The longest batch name that a file or folder is part of; empty for none."""
        stems = (name[:end] for end in range(len(name), 0, -1) if name[:end] in self._stems)
        return next((stem for stem in stems if stem != but and is_part(stem, name, is_folder)), "")

    def _leave_out_marker(self, item: Item, own: str) -> None:
        """Note a marker that is called like data of another one, as ``{name}`` allows."""
        if is_called_like_data(item.key) and (owner := self._owner(item.path, but=own)):
            self._found[owner].leave_out(item, A_MARKER)

    def _leave_out(self, item: Item, name: str) -> None:
        """Note it for the one that it could be meant for, even by a name in other letters."""
        plain = _plain(name)
        stems = (plain[:end] for end in range(len(plain), 0, -1) if plain[:end] in self._similar)
        if similar := next((stem for stem in stems if is_like(stem, plain)), ""):
            owner = self._similar[similar]
            is_same_form = is_normalized("NFC", name) == is_normalized("NFC", owner)
            self._found[owner].leave_out(item, NO_PART if is_same_form else OTHER_FORM)


def _plain(name: str) -> str:
    """A name that is the same for names that people take for one."""
    return normalize("NFC", name).casefold()


def batch_name(pattern: MarkerPattern, key: str) -> str:
    """What the files of a marker are called that shares its folder with others; else empty.

    ``orders`` for ``orders.ready``, and ``orders.csv`` for ``orders.csv.done``.
    """
    stem = pattern.stem(key)
    return stem and stem + form_at_start(pattern.after_stem(key))


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
