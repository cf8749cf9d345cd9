"""The landing zone after the receipt, where ``landing.after_receipt`` says ``move`` or ``delete``.

Invariant 4: nothing in the landing zone is changed or deleted, except the marker and the files that
an accepted receipt names, as they were read, a grace period after it. Before that, the delivery is
evaluated, and what is moved is durable in the archive. What was written again is left alone.

The marker goes first: its files alone announce nothing. A note in the lake, written just before,
says what is to go; whoever comes after a worker that died does the rest, and no more. As long as
the marker lies there, the batch is judged anew: it may be replayed, or belong in an archive by now.

::

    clearing/<batch-id>.json until it is done
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Dataset
from flagfall.errors import Damaged, printable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.output import RECORD_LIMIT
from flagfall.lake.receipts import batch_id_of
from flagfall.lake.records import Evaluation, MarkerJson, Receipt, listing_of
from flagfall.landing.marker import Marker
from flagfall.logs import logger
from flagfall.stores import Store, open_store

log = logger(__name__)

NOTES = "clearing"


class Clearing(BaseModel):
    """A batch that leaves the landing zone.

    Attributes:
        marker: Its delivery as it lies there.
        versions: Version of each of its data files, by key, as it was read.
        content: sha256 of the same.
        bytes: Of the same, together.
        begun: What its note says was to become of it; empty before there is one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    marker: MarkerJson
    versions: dict[str, str]
    content: dict[str, str]
    bytes: int = 0
    begun: Literal["", "move", "delete"] = ""

    @property
    def note(self) -> str:
        """Key of its note in the lake."""
        return f"{NOTES}/{self.marker.batch_id}.json"

    @property
    def names(self) -> set[str]:
        """Key of its marker, and its batch id."""
        return {self.marker.key, self.marker.batch_id}


def find_due(dataset: Dataset, inbox: Inbox) -> list[Clearing]:
    """What may leave the landing zone now. Changes nothing."""
    limit = inbox.clock() - dataset.landing.grace
    store = inbox.lake.store
    notes = {batch_id_of(key): _begun(store, key) for key in store.names(NOTES)}
    wanted = {marker.key for marker in inbox.pending(inbox.shortcuts.full_scope())}
    markers = [marker for marker in inbox.landing.markers() if marker.key not in wanted]
    damaged = {batch_id for batch_id, note in notes.items() if note is None}
    asked = [m for m in markers if m.landed_at <= limit and m.batch_id not in damaged]
    found = in_parallel(lambda marker: _due(marker, dataset, inbox, limit), asked)
    undecided = wanted | {marker.batch_id for marker in markers}
    begun = (note for note in notes.values() if note and not note.names & undecided)
    return [*(note for note in begun if _may_end(note, dataset, store)), *filter(None, found)]


def _may_end(note: Clearing, dataset: Dataset, store: Store) -> bool:
    """Whether files whose marker is gone may follow it; not where they now belong in an archive."""
    if note.begun in ("move", dataset.landing.after_receipt):
        return True
    why = f"{note.marker.uri} was deleted and is not in landing.archive, so the files of its batch"
    log.warning("%s", printable(f"{why} stay; remove them, and {store.uri}/{note.note}"))
    return False


def _begun(store: Store, key: str) -> Clearing | None:
    """What a note says; ``None`` where it is done meanwhile, or damaged.

    The batch of a damaged one is left alone: nobody knows whether the archive has it.
    """
    try:
        return Clearing.model_validate_json(store.read(key, RECORD_LIMIT))
    except FileNotFoundError:
        return None
    except ValidationError:
        why = "this note is damaged, so its batch stays in the landing zone; remove the note"
        log.warning("%s/%s: %s", store.uri, key, why)
        return None


def _due(marker: Marker, dataset: Dataset, inbox: Inbox, limit: datetime) -> Clearing | None:
    receipt = _receipt(marker, dataset, inbox, limit)
    if receipt is None:
        return None
    entries = list(inbox.landing.store.find(list(receipt.content)))
    versions = {entry.key: entry.version for entry in entries}
    if not receipt.listing or listing_of(versions) != receipt.listing:
        log.info("%s", printable(f"{marker.uri}: left, its files are not those that were read"))
        return None
    size = sum(entry.size for entry in entries)
    return Clearing(marker=marker, versions=versions, content=receipt.content, bytes=size)


def _receipt(marker: Marker, dataset: Dataset, inbox: Inbox, limit: datetime) -> Receipt | None:
    """The receipt of a delivery, where it says that its batch may leave.

    A batch with a receipt that is damaged is left alone: nobody knows what counts.
    """
    try:
        receipt = inbox.receipts.find(marker)
        if receipt is None or receipt.status == "rejected" or receipt.received_at > limit:
            return None
        return receipt if _is_safe(receipt, dataset, inbox) else None
    except Damaged as damaged:
        log.warning("%s", printable(f"{marker.uri}: left: {damaged}"))
        return None


def _is_safe(receipt: Receipt, dataset: Dataset, inbox: Inbox) -> bool:
    """Whether what the files hold counts, and all that is to be made of it is in the lake."""
    turns = inbox.receipts.turns(receipt.marker)
    current = turns.current
    if current is None or turns.is_open or current.content != receipt.content:
        return False
    return dataset.model is None or inbox.lake.has(Evaluation, current.batch_id)


def clear(dataset: Dataset, inbox: Inbox, clearing: Clearing) -> bool:
    """Move or delete one batch.

    Returns:
        Whether it left. It does not if it was written again meanwhile.

    Raises:
        StoreRefused: The landing zone may not be written to, or the archive.
        StoreUnavailable: One of them fails, or there is no room for a copy.
    """
    if clearing.begun:
        is_begun = inbox.landing.store.stat(clearing.marker.key) is None
    else:
        is_begun = _begin(dataset, inbox, clearing)
    has_left = is_begun and _leave(inbox, clearing)
    inbox.lake.store.delete(clearing.note)
    return has_left


def _begin(dataset: Dataset, inbox: Inbox, clearing: Clearing) -> bool:
    """Write the note of a batch that is as it was read, and in the archive if it has to be."""
    how = dataset.landing.after_receipt
    if how == "move" and not _archived(dataset, inbox, clearing):
        return False
    if not _is_as_read(inbox, clearing):
        return False
    note = clearing.model_copy(update={"begun": how})
    inbox.lake.store.put(clearing.note, note.model_dump_json().encode())
    return True


def _archived(dataset: Dataset, inbox: Inbox, clearing: Clearing) -> bool:
    """Copy the batch to ``<archive>/<batch-id>/``; ``False`` where it is not as it was read."""
    archive = open_store(dataset.landing.archive, dataset.landing.conn_id)
    landing, marker = inbox.landing.store, clearing.marker
    with inbox.lake.scratch() as folder:
        for number, key in enumerate((*clearing.content, marker.key)):
            copy = folder / str(number)
            try:
                fetched = landing.fetch(key, copy)
            except FileNotFoundError:
                return False
            if clearing.content.get(key, fetched.sha256) != fetched.sha256:
                return False
            archive.upload(copy, f"{marker.batch_id}/{key}")
            copy.unlink()
    return True


def _is_as_read(inbox: Inbox, clearing: Clearing) -> bool:
    """Whether marker and files are those of the receipt, still."""
    now = inbox.landing.find(clearing.marker.key)
    if not now or not inbox.landing.is_still(now[0], clearing.marker):
        return False
    found = inbox.landing.store.find(list(clearing.versions))
    return {entry.key: entry.version for entry in found} == clearing.versions


def _leave(inbox: Inbox, clearing: Clearing) -> bool:
    """Delete the marker, then its files; no more where another delivery lies there by now.

    That may count files that its producer left as they were. So the marker is asked for at each.
    """
    landing, key = inbox.landing, clearing.marker.key
    for now in landing.find(key):
        if not landing.is_still(now, clearing.marker):
            return False
        landing.store.delete(key)
    for entry in landing.store.find(list(clearing.versions)):
        if landing.find(key):
            return False
        if entry.version == clearing.versions[entry.key]:
            landing.store.delete(entry.key)
    return True
