"""Which batch a file counts in, where more than one marker could vouch for it.

One small object for each such file has the marker. It is created if absent, so two batches that are
taken in at the same time cannot both have it. So is each hand-over: the last one counts, and of two
who saw the same owner only one follows it.

::

    counted/<hash of the file's key>.json
    counted/<hash of the file's key>/000001.json
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from flagfall.errors import Damaged, StoreUnavailable
from flagfall.lake.output import RECORD_LIMIT
from flagfall.landing.marker import Marker
from flagfall.stores import Store


@dataclass(frozen=True)
class Owner:
    """The batch that a file is noted for.

    Attributes:
        marker: Its marker.
        turn: How often the file was handed over before.
    """

    marker: Marker
    turn: int


class FileOwners:
    """The owners of one dataset's files.

    Args:
        store: The dataset's folder in the lake.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def claim(self, key: str, marker: Marker) -> Owner | None:
        """Note that a file counts in a marker's batch.

        Returns:
            Whom it is noted for already, where that is another marker.

        Raises:
            StoreUnavailable: Another batch claimed it meanwhile.
        """
        if self._store.create(_place(key), _note(marker)):
            return None
        owner = self._owner(key)
        if owner.marker.key != marker.key:
            return owner
        if owner.marker.version != marker.version:
            self.hand_over(key, owner, marker)
        return None

    def hand_over(self, key: str, owner: Owner, marker: Marker) -> None:
        """Note that a file counts in this batch, and in the owner's no more.

        Raises:
            StoreUnavailable: Another batch claimed it meanwhile.
        """
        turn = f"{_folder(key)}/{owner.turn + 1:06d}.json"
        if self._store.create(turn, _note(marker)) or self._owner(key).marker == marker:
            return
        why = f"another batch claimed {key!r} meanwhile; this one is looked at anew"
        raise StoreUnavailable(marker.uri, why)

    def note_lent(self, marker_key: str) -> None:
        """Note that a file in the folder of this marker may count in another marker's batch."""
        self._store.create(_lent(marker_key), b"")

    def is_lent(self, marker: Marker) -> bool:
        """Whether that was noted for a marker."""
        return self._store.stat(_lent(marker.key)) is not None

    def _owner(self, key: str) -> Owner:
        """The last owner of a file that has one.

        Raises:
            Damaged: Its note is damaged.
        """
        places = [_place(key), *sorted(self._store.names(_folder(key)))]
        turn = places[-1].rpartition("/")[2].removesuffix(".json") if places[1:] else "0"
        noted = self._store.read(places[-1], RECORD_LIMIT)
        try:
            return Owner(Marker.from_json(noted), int(turn))
        except ValueError as damaged:
            why = f"this note of the batch in which {key!r} counts is damaged; restore it, or"
            why = f"{why} remove it if no other batch has the file"
            raise Damaged(f"{self._store.uri}/{places[-1]}", why) from damaged


def _folder(key: str) -> str:
    return f"counted/{hashlib.sha256(key.encode()).hexdigest()}"


def _place(key: str) -> str:
    return f"{_folder(key)}.json"


def _lent(marker_key: str) -> str:
    return _place(f"lent\n{marker_key}")


def _note(marker: Marker) -> bytes:
    return json.dumps(marker.to_dict()).encode()
