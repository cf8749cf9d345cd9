"""The receipt of a batch whose staged output is complete."""

from __future__ import annotations

from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import Turns
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.marker import Marker


def accept(dataset: Dataset, inbox: Inbox, marker: Marker, staged: Staged, turns: Turns) -> Receipt:
    """Take the turn after the last that was known, then write the receipt.

    Raises:
        StoreUnavailable: Another delivery of this marker was decided on meanwhile.
    """
    turn = inbox.receipts.take_turn(marker, turns)
    return inbox.receive(
        Receipt(
            batch_id=marker.batch_id,
            marker=marker,
            status="accepted",
            rows=staged.rows,
            rejected_rows=staged.rejected_rows,
            reasons=staged.reasons,
            warnings=staged.warnings,
            unexpected=staged.unexpected,
            bytes=sum(file.bytes for file in staged.files),
            content=staged.content,
            listing=staged.listing,
            left_out=staged.left_out,
            turn=turn,
            supersedes=turns.current.batch_id if turns.current else None,
            received_at=inbox.clock(),
        ),
        unfinished=dataset.model is not None,
    )
