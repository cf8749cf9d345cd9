"""How commands show batches: as lines, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from flagfall.cli.console import say_columns
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Receipt
from flagfall.lake.rejections import rejected_and_open, replayed_in_vain
from flagfall.landing.marker import Marker


def plain_batches(pending: Iterable[Marker], receipts: Iterable[Receipt]) -> list[dict[str, Any]]:
    """Deliveries as ``docs/command-line.md`` lists them, the last one that landed first."""
    decided = list(receipts)
    stay = [*current_view(decided), *rejected_and_open(decided), *replayed_in_vain(decided)]
    counts = {receipt.batch_id for receipt in stay}
    found = [
        *map(_plain_marker, pending),
        *(_plain_receipt(receipt, receipt.batch_id in counts) for receipt in decided),
    ]
    return sorted(found, key=_landed_at, reverse=True)


def _landed_at(batch: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(batch["landed_at"])


def _plain_marker(marker: Marker) -> dict[str, Any]:
    return {
        "batch_id": marker.batch_id,
        "marker": marker.uri,
        "landed_at": marker.landed_at.isoformat(),
        "status": "pending",
        "replaced": False,
        "received_at": None,
        "rows": None,
        "rejected_rows": None,
        "reason": None,
        "message": None,
        "rules": {},
    }


def _plain_receipt(receipt: Receipt, counts: bool) -> dict[str, Any]:
    return {
        **_plain_marker(receipt.marker),
        "batch_id": receipt.batch_id,
        "status": receipt.status,
        "replaced": receipt.status != "unchanged" and not counts,
        "received_at": receipt.received_at.isoformat(),
        "rows": receipt.rows,
        "rejected_rows": receipt.rejected_rows,
        "reason": receipt.reason or None,
        "message": receipt.message or None,
        "rules": dict(receipt.reasons),
    }


def say_batches(batches: Iterable[dict[str, Any]], receipts: Sequence[Receipt]) -> None:
    """A line for each batch, its id last since it may be long; below it why it is as it is.

    Args:
        batches: Of ``plain_batches``.
        receipts: Of those that have one; others have nothing below.
    """
    shown = list(batches)
    why = {receipt.batch_id: _why(receipt) for receipt in receipts}
    heads = ("status", "rows", "rejected", "landed", "batch")
    notes = ["; ".join(filter(None, why.get(one["batch_id"], ()))) for one in shown]
    say_columns(heads, [_line(one) for one in shown], right=2, notes=notes)


def _line(batch: dict[str, Any]) -> list[str]:
    counts = (
        "" if batch[name] is None else f"{batch[name]:,}" for name in ("rows", "rejected_rows")
    )
    word = "replaced" if batch["replaced"] else batch["status"]
    return [word, *counts, f"{_landed_at(batch):%Y-%m-%d %H:%M}", batch["batch_id"]]


def _why(receipt: Receipt) -> tuple[str, ...]:
    """The reason, which `replay --reason` takes, and more in words."""
    message = f"{receipt.reason}: {receipt.message}" if receipt.reason else receipt.message
    return message, receipt.remarks, receipt.left_out.sentence()
