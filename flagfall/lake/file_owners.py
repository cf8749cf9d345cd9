"""Which batch a file counts in, where more than one marker could vouch for it.

One small object for each such file, ``counted/<hash of its key>.json``, has the marker. It is
created if absent, so two batches that are taken in at the same time cannot both have it.
"""

from __future__ import annotations

import hashlib
import json

from flagfall.lake.output import RECORD_LIMIT
from flagfall.landing.marker import Marker
from flagfall.stores import Store


class FileOwners:
    """The owners of one dataset's files.

    Args:
        store: The dataset's folder in the lake.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def claim(self, key: str, marker: Marker) -> Marker | None:
        """Note that a file counts in a marker's batch.

        Returns:
            The marker that it is noted for already, where that is another one.
        """
        if self._store.create(_place(key), _note(marker)):
            return None
        other = self._owner(key)
        if other.key != marker.key:
            return other
        if other.version != marker.version:
            self.hand_over(key, marker)
        return None

    def hand_over(self, key: str, marker: Marker) -> None:
        """Note that a file counts in this batch, whatever was noted before."""
        self._store.put(_place(key), _note(marker))

    def note_lent(self, marker_key: str) -> None:
        """Note that a file in the folder of this marker may count in another marker's batch."""
        self._store.create(_place(f"lent\n{marker_key}"), b"")

    def is_lent(self, marker: Marker) -> bool:
        """Whether that was noted for a marker."""
        return self._store.stat(_place(f"lent\n{marker.key}")) is not None

    def _owner(self, key: str) -> Marker:
        return Marker.from_dict(json.loads(self._store.read(_place(key), RECORD_LIMIT)))


def _place(key: str) -> str:
    return f"counted/{hashlib.sha256(key.encode()).hexdigest()}.json"


def _note(marker: Marker) -> bytes:
    return json.dumps(marker.to_dict()).encode()
