"""The deliveries of a run, each with its receipt, evaluation and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flagfall.lake.receipts import current_view
from flagfall.lake.records import Evaluation, Predicted, Receipt


@dataclass(frozen=True)
class Batch:
    """One delivery of this run.

    Attributes:
        evaluation: ``None`` where the delivery was not accepted, or the dataset has no model.
        predicted: The same.
        replaced: A later delivery of the same marker was accepted in this run, so this one does not
            count any more.
    """

    receipt: Receipt
    evaluation: Evaluation | None = None
    predicted: Predicted | None = None
    replaced: bool = False

    @property
    def label(self) -> str:
        """The marker's readable name."""
        return self.receipt.marker.label

    @property
    def counts(self) -> bool:
        """Whether its rows are part of the dataset's current view."""
        return self.receipt.status == "accepted" and not self.replaced


def mark_replaced(batches: Sequence[Batch], history: Sequence[Receipt]) -> list[Batch]:
    """Mark the batches that a later accepted delivery has replaced."""
    receipts = [*history, *(batch.receipt for batch in batches)]
    last = {receipt.marker.key: receipt for receipt in current_view(receipts)}

    def replaced(receipt: Receipt) -> bool:
        current = last.get(receipt.marker.key)
        if current is None or receipt.status == "unchanged":
            return False
        return current.turn > receipt.turn

    return [Batch(b.receipt, b.evaluation, b.predicted, replaced(b.receipt)) for b in batches]
