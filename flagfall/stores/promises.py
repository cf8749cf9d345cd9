"""Whether a store keeps the promise on which receipts rest: of two who create an object, one wins.

Some servers that speak S3 ignore ``If-None-Match`` and take both writes; some file systems have no
hard links. Only trying it tells.
"""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.stores import Store, open_store
from flagfall.stores.places import nearest

RACERS = 4
"""Writers of one object at the same time: a server may look first and write then."""
_REQUIREMENT = (
    "the store takes both of two writes of one object that are to fail where it exists"
    " (If-None-Match on S3, a hard link on disk): batches would be taken in twice. A lake needs a"
    " store that keeps create-if-absent, such as Amazon S3, MinIO, Ceph or a local disk"
)


def check_create_if_absent(uri: str, conn_id: str) -> None:
    """Try that a store creates an object once. What it writes for that, it removes.

    Args:
        uri: Of the store. A directory that is not there yet is not made: the one above is tried.
        conn_id: As for ``open_store``.

    Raises:
        StoreRefused: The store breaks the promise, or may not be written to.
        StoreUnavailable: It does not answer.
    """
    store = open_store(uri, conn_id)
    if not store.metered:
        store = open_store(str(nearest(Path(store.uri))))
    for racers in (1, RACERS):
        _try(store, f".flagfall-check-{uuid.uuid4().hex}", racers)


def _try(store: Store, key: str, racers: int) -> None:
    """Create an object, by ``racers`` at the same time, then once more: it must stay as it was."""

    def create(number: int) -> bool:
        with suppress(*([StoreUnavailable] if racers > 1 else [])):  # S3 may refuse some of them
            return store.create(key, str(number).encode())
        return False

    try:
        with ThreadPoolExecutor(racers) as pool:
            won = [
                number for number, is_won in enumerate(pool.map(create, range(racers))) if is_won
            ]
        if not won:
            raise StoreUnavailable(store.uri, "refuses every write of a new object for now")
        is_kept = len(won) == 1 and not store.create(key, b"late")
        if not is_kept or store.read(key, limit=100) != str(won[0]).encode():
            raise StoreRefused(store.uri, _REQUIREMENT)
    finally:
        store.delete(key)
