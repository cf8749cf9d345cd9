"""The landing zone: where producers write, seen as markers."""

from __future__ import annotations

import logging

from flagfall.marker import Marker, MarkerPattern, is_text
from flagfall.stores import Entry, open_store

log = logging.getLogger(__name__)


class LandingZone:
    """Where the batches of one feed land. Nothing in it is ever changed.

    Args:
        uri: A directory; it need not exist yet.
        marker: Pattern of the markers below it.

    Raises:
        MarkerPatternInvalid: The pattern cannot be used.
        StoreRefused: No store knows this kind of URI.
    """

    def __init__(self, uri: str, marker: str) -> None:
        self.pattern = MarkerPattern(marker)
        self.store = open_store(uri)
        self.uri = self.store.uri

    def entries(self) -> list[Entry]:
        """A sweep: every marker, as the store lists it; what cannot be read hides only itself."""
        found = self.store.list(
            where=lambda key: self.pattern.match(key) is not None, skip_unreadable=True
        )
        return [entry for entry in found if _is_text(entry.key)]

    def markers(self) -> list[Marker]:
        """A sweep: every marker."""
        return [self.marker(entry) for entry in self.entries()]

    def marker(self, entry: Entry) -> Marker:
        """The marker that a listing shows."""
        fields = self.pattern.match(entry.key)
        assert fields is not None, "listed with this pattern"
        uri = f"{self.uri}/{entry.key}"
        return Marker(uri, entry.key, entry.version, entry.landed_at, entry.size, fields)

    def find(self, key: str) -> list[Marker]:
        """The marker at ``key`` as it is now; an empty list where there is none.

        A key that the pattern does not match names no marker: the pattern may have changed since.
        """
        entry = self.store.stat(key) if self.pattern.match(key) is not None else None
        return [self.marker(entry)] if entry else []


def _is_text(key: str) -> bool:
    if not is_text(key):
        log.warning("%r is left alone: its name is not UTF-8; rename it", key)
        return False
    return True
