"""Whether a delivery brings anything new: a new look at a marker is not always a new batch.

A touch, a ``chmod -R``, a copy of the same files or a stray file beside them makes a new version of
the marker. What the batch holds decides: first the names and versions of its files, which cost
little, then their hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import Turns, same_as
from flagfall.lake.records import Receipt, listing_of
from flagfall.landing.manifest import Expected
from flagfall.landing.marker import Marker
from flagfall.stages.copy_batch import Copied

CLEARED = "some of its files were removed since; what was taken in stays"
"""Said of a batch that was cleaned up: neither is it lost, nor is a smaller one delivered."""


def is_same_listing(
    inbox: Inbox, marker: Marker, expected: Iterable[Expected], turns: Turns
) -> bool:
    """Whether the files are those that were taken in, without reading one.

    S3's versions have hashes in them. On a disk, times may be restored, and some file systems
    (sshfs) have no others.
    """
    if turns.is_open or marker.replay or not turns.listing or not inbox.landing.store.metered:
        return False
    found = inbox.landing.store.find([file.key for file in expected])
    return listing_of({entry.key: entry.version for entry in found}) == turns.listing


def why_unchanged(
    inbox: Inbox, marker: Marker, content: Mapping[str, str], turns: Turns
) -> str | None:
    """Why the files bring nothing new, in words: they hold what was taken in, or are its rest.

    While another delivery has the last turn and no receipt, what was taken in may not count for
    long: a delivery of the same files is taken in then.
    """
    current = turns.current
    if marker.replay or current is None:
        return None
    if content == current.content:
        return None if turns.is_open else same_as(current.batch_id)
    is_rest = content.items() < current.content.items()
    return CLEARED if is_rest and is_cleared(inbox, marker, current) else None


def is_cleared(inbox: Inbox, marker: Marker, current: Receipt | None) -> bool:
    """Whether a batch that lacks files was whole once: its marker was not written again since."""
    if marker.replay or current is None:
        return False
    return inbox.landing.same_marker(marker, current.marker)


def unchanged(
    inbox: Inbox, marker: Marker, turns: Turns, why: str, batch: Copied | None = None
) -> Receipt:
    """Receive a delivery that brings nothing new.

    Args:
        inbox: The dataset's inbox.
        marker: The delivery.
        turns: What was known before the marker was looked at; a delivery counts.
        why: In words.
        batch: Its files; ``None`` where none was read.
    """
    current = turns.current
    assert current is not None, "compared with what counts"
    return inbox.receive(
        Receipt(
            batch_id=marker.batch_id,
            marker=marker,
            status="unchanged",
            reason="unchanged",
            message=why,
            content=current.content,
            listing=batch.listing if batch else turns.listing,
            left_out=batch.left_out if batch else current.left_out,
            bytes=current.bytes,
            turn=inbox.receipts.take_turn(marker, turns),
            supersedes=current.batch_id,
            received_at=inbox.clock(),
        )
    )
