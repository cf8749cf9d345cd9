"""The landing zone: where producers write, seen as markers."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator
from datetime import datetime
from functools import lru_cache

from pydantic import BaseModel

from flagfall.errors import StoreRefused
from flagfall.landing.beside import Folders
from flagfall.landing.file_names import DataFormat
from flagfall.landing.marker import Marker, MarkerPattern, delivery_hash, is_text
from flagfall.logs import warnings_about
from flagfall.stores import Entry, open_store
from flagfall.stores.uri import why_a_slip, why_unusable

_FOLDER = "+"
"""Between the version of a marker and that of its folder."""


class LandingAddress(BaseModel, frozen=True, extra="forbid"):
    """Where a landing zone is, and what its markers look like.

    Attributes:
        uri: A directory, which need not exist yet, or ``s3://bucket/prefix``.
        marker: Pattern of the markers below it.
        conn_id: Airflow connection; empty for what the environment gives.
        sqs_queue: URL of an SQS queue that hears of new objects; empty for none.
        format: Of data files whose names do not say it; ``None`` where all do.
    """

    uri: str
    marker: str
    conn_id: str = ""
    sqs_queue: str = ""
    format: DataFormat | None = None


class LandingZone:
    """Where the batches of one feed land. Nothing in it is changed, except by ``flagfall.upkeep``.

    Args:
        address: Where it is.

    Attributes:
        place: The same place, reached in the same way, has the same value.
        folders: The folders of its markers.

    Raises:
        MarkerPatternInvalid: The pattern cannot be used.
        StoreRefused: No store knows this kind of URI, or it is a slip such as ``~/landing``.
    """

    def __init__(self, address: LandingAddress) -> None:
        is_address = "://" in address.uri  # of which ``open_store`` knows whether it can be one
        if why := (why_a_slip if is_address else why_unusable)(address.uri):
            raise StoreRefused(address.uri, why)
        self.pattern = MarkerPattern(address.marker)
        self.store = open_store(address.uri, address.conn_id, address.sqs_queue)
        self.folders = Folders(self.store, self.pattern, address.format, time.monotonic)
        self.uri = self.store.uri
        self._warnings = warnings_about(self.uri, __name__)
        self.place = (self.uri, address.conn_id, address.sqs_queue)

    def is_marker(self, key: str) -> bool:
        """Whether a key is a marker's; one that is not UTF-8 is left alone, and said."""
        return self.pattern.match(key) is not None and self._is_text(key)

    def _is_text(self, key: str) -> bool:
        if is_text(key):
            return True
        self._warnings.warn(key, "%s: its name is not UTF-8, so it is left alone; rename it", key)
        return False

    def entries(self, start: str = "") -> list[Entry]:
        """A sweep: every marker after the key ``start``; what cannot be read hides only itself."""
        return list(
            self.store.list(
                start_after=start,
                where=self.is_marker,
                skip_unreadable=True,
                shapes=[self.pattern.shape],
            )
        )

    def markers(self) -> list[Marker]:
        """A sweep: every marker."""
        return [self.marker(entry) for entry in self.entries()]

    def marker(self, entry: Entry) -> Marker:
        """The marker that a listing shows."""
        fields = self.pattern.match(entry.key)
        assert fields is not None, "listed with this pattern"
        uri, version = f"{self.uri}/{entry.key}", self._version(entry)
        return Marker(uri, entry.key, version, entry.landed_at, entry.size, fields)

    def _version(self, entry: Entry) -> str:
        """The version of a marker, with that of its folder where that is its batch's alone.

        On S3 only a sweep tells of a folder, and only where its data may have come later.
        """
        has_folder = entry.folder and self.pattern.owns_folder
        return f"{entry.version}{_FOLDER}{entry.folder}" if has_folder else entry.version

    @staticmethod
    def same_marker(one: Marker, other: Marker) -> bool:
        """Whether two deliveries are one marker, not written again, in a folder that changed."""
        return one.version.partition(_FOLDER)[0] == other.version.partition(_FOLDER)[0]

    def is_still(self, now: Marker, claimed: Marker) -> bool:
        """Whether a claimed delivery is the one that lies there now."""
        if self.store.metered:
            return self.same_marker(now, claimed)
        return now.version == claimed.version

    def changes_beside(self, marker: Marker) -> Iterator[datetime]:
        """When each file of a marker's batch came (UTC), under whatever name."""
        return (entry.came_at for entry in self._listed_beside(marker))

    def versions_beside(self, marker: Marker) -> dict[str, str]:
        """The version of each file of a marker's batch, under whatever name; also the marker's."""
        return {entry.key: entry.version for entry in self._listed_beside(marker)}

    def _listed_beside(self, marker: Marker) -> Iterator[Entry]:
        folder, stem = marker.key.rpartition("/")[0], self.pattern.stem(marker.key)
        start = f"{folder}/" if folder else ""

        def is_of_batch(key: str) -> bool:
            return not stem or key.removeprefix(start).lstrip("._").startswith(stem)

        return self.store.list(folder, where=is_of_batch, skip_unreadable=True, temporary=True)

    def without(self, known: Container[str], entries: Iterable[Entry]) -> list[Marker]:
        """The markers of a sweep whose hash (see ``delivery_hash``) is not among those known."""
        return [
            self.marker(entry)
            for entry in entries
            if delivery_hash(entry.key, self._version(entry)) not in known
        ]

    def find(self, key: str) -> list[Marker]:
        """The marker at ``key`` as it is now; an empty list where there is none.

        A key that the pattern does not match names no marker: the pattern may have changed since.
        """
        entry = self.store.stat(key) if self.pattern.match(key) is not None else None
        return [self.marker(entry)] if entry else []


@lru_cache(maxsize=256)
def landing_zone(address: LandingAddress) -> LandingZone:
    """The landing zone at an address: 10,000 sensors share one. See ``LandingZone``."""
    return LandingZone(address)
