"""Rejections that people have decided to leave as they are: they are not open any more.

``flagfall dismiss`` leaves a note in the lake, named after the batch. A batch that is handed out
again has an id of its own, and so has a new delivery of its marker. One that is rejected is open.
"""

from __future__ import annotations

import json
from datetime import datetime

from flagfall.stores import Store

FOLDER = "dismissed"


def dismiss(store: Store, batch_id: str, why: str, at: datetime) -> None:
    """Note that a rejection is to stay.

    Args:
        store: The dataset's folder in the lake.
        batch_id: Of the rejected batch.
        why: What people say about it; for people.
        at: Now (UTC).

    Raises:
        StoreError: The lake cannot be reached.
    """
    note = {"batch_id": batch_id, "why": why, "at": at.isoformat()}
    store.put(f"{FOLDER}/{batch_id}.json", json.dumps(note).encode())


def dismissed(store: Store) -> frozenset[str]:
    """Ids of the batches of which the rejection was dismissed.

    Raises:
        StoreError: The lake cannot be reached.
    """
    keys = (entry.key for entry in store.list(FOLDER))
    return frozenset(key.removeprefix(f"{FOLDER}/").removesuffix(".json") for key in keys)
