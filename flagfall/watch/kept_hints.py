"""Keys that hints named, kept until a look has followed that began after the last hint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class KeptHints:
    """Keys that hints named, each with the number of its last hint."""

    def __init__(self) -> None:
        self._number = 0
        self._last: dict[str, int] = {}

    def add(self, keys: Iterable[str]) -> None:
        """Keep what a hint names."""
        self._number += 1
        self._last |= dict.fromkeys(keys, self._number)

    def asked(self) -> Mapping[str, int]:
        """What a look has to follow that begins now or later."""
        return dict(self._last)

    def followed(self, asked: Mapping[str, int]) -> None:
        """Forget what a look has followed; not a key that a hint has named again meanwhile."""
        self._last = {key: n for key, n in self._last.items() if asked.get(key) != n}
