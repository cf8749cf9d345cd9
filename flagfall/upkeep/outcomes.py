"""What late evaluations leave behind: outcomes that later ones replaced, and look-ups of long ago.

Evaluations themselves stay: they are the history of what was known. The outcomes of the last one
stay, too. Those of an earlier one go a day after it was replaced: who reads them then is done. A
look-up is needed as long as its delivery may have outcomes of a batch that waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from flagfall.dataset.outcomes import rows_are_kept
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.outcomes import FOLDER, KNOWN, MATCHED, number_of
from flagfall.stores import Entry, Store
from flagfall.upkeep.dropping import Old

GRACE = timedelta(days=1)
"""Longer than anybody takes to read outcomes, and than clocks differ."""


def find_left(dataset: Dataset, inbox: Inbox) -> list[Old]:
    """What may go of a dataset whose outcomes another feed brings. Changes nothing."""
    if dataset.late_label is None:
        return []
    store, now = inbox.lake.store, inbox.clock()
    replaced = tuple(_replaced(store, now - GRACE))
    age = rows_are_kept(dataset.late_label) + GRACE
    found = (entry for entry in store.list(MATCHED) if entry.landed_at < now - age)
    return [Old(KNOWN, GRACE, replaced), Old(MATCHED, age, tuple((entry,) for entry in found))]


def _replaced(store: Store, limit: datetime) -> Iterator[tuple[Entry, ...]]:
    """Parts by batch whose evaluation was followed by another one before ``limit``."""
    parts: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in store.list(KNOWN):
        parts[entry.key.split("/")[1]].append(entry)
    last = _numbers(store.list(FOLDER), limit) if parts else {}
    for batch_id, of_batch in parts.items():
        old = tuple(one for one in of_batch if 0 < _written_for(one) < last.get(batch_id, 0))
        if old:
            yield old


def _numbers(listed: Iterable[Entry], limit: datetime) -> Mapping[str, int]:
    """The last evaluation by batch that was written before ``limit``."""
    last: dict[str, int] = {}
    for entry in listed:
        number = number_of(entry.key)
        if number and entry.landed_at < limit:
            batch_id = entry.key.split("/")[-2]
            last[batch_id] = max(last.get(batch_id, 0), number)
    return last


def _written_for(part: Entry) -> int:
    """Number of the evaluation that a part was written for; 0 of what else lies there."""
    number = part.key.split("/")[2].partition("-")[0]
    return int(number) if number.isdecimal() else 0
