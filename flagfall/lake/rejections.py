"""Rejections: which are open, until somebody or a later delivery has dealt with them.

A replay is no delivery of the producer's. Where it is rejected and its batch had been taken in, all
counts that counted before: nothing is open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from flagfall.lake.records import Receipt


def rejected_and_open(receipts: Iterable[Receipt]) -> list[Receipt]:
    """Rejected deliveries that no later delivery of the same marker has corrected, oldest first.

    Of several rejected ones of a marker, the last. What counts as later follows turns, not clocks:
    a rejection has the turn of the last accepted delivery before it.

    Args:
        receipts: In the order of landing, or of turns.
    """
    receipts = list(receipts)
    in_vain = {receipt.batch_id for receipt in replayed_in_vain(receipts)}
    last: dict[str, Receipt] = {}
    turns: dict[str, int] = {}
    for receipt in receipts:
        key = receipt.marker.key
        if receipt.status != "rejected":
            turns[key] = max(turns.get(key, 0), receipt.turn)
        elif receipt.batch_id not in in_vain:
            last[key] = receipt
    return [one for key, one in last.items() if turns.get(key, -1) <= one.turn]


def replayed_in_vain(receipts: Collection[Receipt]) -> list[Receipt]:
    """Rejected replays of what had been taken in.

    Receipts of some days may lack that of the delivery itself. It was taken in if any delivery of
    the marker was (so says the turn), unless its rejection is among them.
    """
    taken_in = {_version(one) for one in receipts if one.status != "rejected"}
    replays = [one for one in receipts if one.status == "rejected" and one.marker.replay]
    turned_away = {_version(one) for one in receipts if not one.marker.replay} - taken_in
    return [one for one in replays if one.turn and _version(one) not in turned_away]


def _version(receipt: Receipt) -> tuple[str, str]:
    return receipt.marker.key, receipt.marker.version
