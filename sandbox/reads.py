"""Counts what is asked of stores, to show how few reads a page takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flagfall.stores import Store, open_store

_LOOKS = ("read", "fetch", "list", "names", "stat", "find", "is_empty", "local")


class _Counted:
    """A store that notes every look before it is taken."""

    def __init__(self, store: Store, reads: list[str]) -> None:
        self._store, self._reads = store, reads

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in _LOOKS:
            return found

        def noted(*args: Any, **kwargs: Any) -> Any:
            self._reads.append(" ".join([name, *map(str, args[:1])]))
            return found(*args, **kwargs)

        return noted


def counting() -> tuple[Callable[[str, str], Store], list[str]]:
    """A way to open stores, and what was asked of them since."""
    reads: list[str] = []

    def opened(uri: str, conn_id: str) -> Any:
        return _Counted(open_store(uri, conn_id), reads)

    return opened, reads
