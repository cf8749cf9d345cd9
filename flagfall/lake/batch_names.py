"""What a person calls a batch: the id of a delivery, or a label such as ``2013-12-14``.

A label stands for every delivery of its marker. So it means the one that counts; and where a later
one was rejected and is open, or another marker has the same label, a person has to say which is
meant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from flagfall.errors import Ambiguous
from flagfall.lake.receipts import Receipts, current_view, delivery_order
from flagfall.lake.records import Receipt
from flagfall.lake.rejections import rejected_and_open
from flagfall.landing.marker import Marker

Batch = Receipt | Marker
"""A delivery that was decided, or one that is pending."""


def batch_named(name: str, receipts: Receipts) -> Receipt | None:
    """The receipt of the batch with this id or label; ``None`` where there is none.

    Raises:
        Ambiguous: The label means several.
    """
    found = batches_named([name], receipts)
    return found[name][1] if name in found else None


def batches_named(
    names: Collection[str], receipts: Receipts, pending: Callable[[], Iterable[Marker]] = tuple
) -> dict[str, tuple[Marker, Receipt | None]]:
    """Marker and receipt of each batch, by what it was called; those that there are.

    Args:
        names: Ids and labels. An id means itself, whatever has it for a label.
        receipts: The dataset's.
        pending: Gives markers that can be meant, too; not called where all names are ids of
            receipts.

    Raises:
        Ambiguous: A label means several.
    """
    decided = receipts.called(names)
    ids: dict[str, Batch] = {receipt.batch_id: receipt for receipt in decided}
    landed = () if ids.keys() >= set(names) else tuple(pending())
    ids |= {marker.batch_id: marker for marker in landed}
    labels = _by_label([*decided, *landed])
    found = {name: ids.get(name) or _only(name, labels) for name in names}
    return {name: _pair(one) for name, one in found.items() if one is not None}


def _by_label(batches: Iterable[Batch]) -> Mapping[str, list[Batch]]:
    labels: defaultdict[str, list[Batch]] = defaultdict(list)
    for batch in batches:
        labels[_pair(batch)[0].label].append(batch)
    return labels


def _only(label: str, labels: Mapping[str, list[Batch]]) -> Batch | None:
    found = list(_meant(labels.get(label, ())))
    if len(found) > 1:
        raise Ambiguous(label, [f"{one.batch_id} ({_status(one)})" for one in found])
    return found[0] if found else None


def _meant(batches: Collection[Batch]) -> Iterator[Batch]:
    """Of every marker the delivery that counts, what was rejected after it, and what is pending."""
    decided: defaultdict[str, list[Receipt]] = defaultdict(list)
    for one in batches:
        if isinstance(one, Receipt):
            decided[one.marker.key].append(one)
    for receipts in decided.values():
        yield from _last_words(receipts)
    yield from (one for one in batches if isinstance(one, Marker))


def _last_words(receipts: list[Receipt]) -> Iterator[Receipt]:
    """What counts at a marker, and a rejection that is open beside it."""
    yield from current_view(receipts)
    yield from rejected_and_open(sorted(receipts, key=delivery_order))


def _pair(batch: Batch) -> tuple[Marker, Receipt | None]:
    return (batch, None) if isinstance(batch, Marker) else (batch.marker, batch)


def _status(batch: Batch) -> str:
    return "pending" if isinstance(batch, Marker) else batch.status
