"""Reads of lakes that never hang: each waits for a moment only, and remembers what it read last.

A lake on a share whose server is gone holds the thread that reads it, for ever. So a read has a
thread of its own. While one hangs, no other is begun at that lake.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from flagfall.dataset.feed import LakeAddress
from flagfall.errors import FlagfallError
from flagfall.stores import Store, open_store

PATIENCE = 3.0
"""Seconds that a page waits for the lakes it shows."""
REMEMBERED = 64
"""What was read last is remembered of so many places."""

_T = TypeVar("_T")
Open = Callable[[str, str], Store]
"""Gives the store of a URI and an Airflow connection."""


@dataclass(frozen=True)
class Known(Generic[_T]):
    """What is known of a place in a lake.

    Attributes:
        value: What was read; ``None`` where nothing ever was.
        at: When (UTC).
        away: Why it could not be read now; empty where it could.
    """

    value: _T | None = None
    at: datetime | None = None
    away: str = ""


@dataclass(frozen=True)
class Place(Generic[_T]):
    """What to read, and where.

    Attributes:
        lake: The lake.
        folder: Of a dataset; empty for the lake itself.
        name: Tells what is read there from other reads.
        read: Reads it.
    """

    lake: LakeAddress
    folder: str
    name: str
    read: Callable[[Store], _T]

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is remembered by."""
        return self.lake.uri, self.folder, self.name


class _Reading(Generic[_T]):
    """One read in a thread that holds nobody up when the process ends."""

    def __init__(self, place: Place[_T], opened: Open) -> None:
        self._place, self._open = place, opened
        self.known: Known[_T] | None = None
        self._thread = threading.Thread(target=self._run, name="flagfall-page", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        place = self._place
        try:
            uri = f"{place.lake.uri.rstrip('/')}/{place.folder}".rstrip("/")
            value = place.read(self._open(uri, place.lake.conn_id))
            self.known = Known(value, datetime.now(UTC))
        except FlagfallError as error:
            self.known = Known(away=str(error))
        except Exception as error:  # a page with what is known beats none
            self.known = Known(away=f"{type(error).__name__}: {error}")

    def wait(self, seconds: float) -> Known[_T] | None:
        """What it gives within so many seconds."""
        self._thread.join(max(seconds, 0))
        return self.known

    @property
    def hangs(self) -> bool:
        """Whether it is still under way."""
        return self._thread.is_alive()


class Lakes:
    """The lakes that pages read.

    Args:
        opened: Opens a store.
        patience: Seconds that a page waits.
    """

    def __init__(self, opened: Open = open_store, patience: float = PATIENCE) -> None:
        self._open = opened
        self._patience = patience
        self._last: OrderedDict[tuple[str, str, str], Known[Any]] = OrderedDict()
        self._hanging: dict[str, _Reading[Any]] = {}
        self._lock = threading.Lock()

    def read(self, place: Place[_T]) -> Known[_T]:
        """What is there now, or else what was there last."""
        return self.read_all([place])[0]

    def read_all(self, places: Sequence[Place[_T]]) -> list[Known[_T]]:
        """The same for several places, all at once and within the same time."""
        give_up = time.monotonic() + self._patience
        readings = [self._begin(place) for place in places]
        return [
            self._end(place, reading, give_up)
            for place, reading in zip(places, readings, strict=True)
        ]

    def last(self, place: Place[_T]) -> Known[_T]:
        """What was there last; nothing is read."""
        return self._last.get(place.key, Known())

    def _begin(self, place: Place[_T]) -> _Reading[_T] | None:
        with self._lock:
            hanging = self._hanging.get(place.lake.uri)
            if hanging is not None and hanging.hangs:
                return None
        return _Reading(place, self._open)

    def _end(self, place: Place[_T], reading: _Reading[_T] | None, give_up: float) -> Known[_T]:
        if reading is None:
            return self._instead(place, "an earlier read has not come back yet")
        given_up = Known[_T](away=f"no answer within {self._patience:g} s")
        known = reading.wait(give_up - time.monotonic()) or given_up
        with self._lock:
            if reading.hangs:
                self._hanging[place.lake.uri] = reading
            if not known.away:
                self._last[place.key] = known
                self._last.move_to_end(place.key)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
        return self._instead(place, known.away) if known.away else known

    def _instead(self, place: Place[_T], why: str) -> Known[_T]:
        last = self.last(place)
        return Known(last.value, last.at, why)
