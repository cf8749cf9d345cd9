"""One round of upkeep of a dataset: first what would be done, then doing it, then in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.upkeep.clearing import Clearing, clear, find_due
from flagfall.upkeep.dropping import Old, drop, find_old
from flagfall.upkeep.outcomes import find_left

_WHAT = {
    "staged": "staged rows of {:,} batches",
    "features": "features of {:,} batches",
    "rejected": "rejected rows of {:,} batches",
    "reports": "reports of {:,} runs",
    "known": "replaced outcomes of {:,} batches",
    "matched": "look-ups of {:,} deliveries of outcomes",
}


@dataclass(frozen=True)
class Upkeep:
    """What may go now.

    Attributes:
        old: Output in the lake, by kind; what ``lake.keep`` names, and what late evaluations left.
        due: Batches that leave the landing zone.
        after_receipt: What becomes of these: ``keep``, ``move`` or ``delete``.
    """

    old: tuple[Old, ...] = ()
    due: tuple[Clearing, ...] = ()
    after_receipt: str = "keep"

    def sentences(self) -> Iterator[str]:
        """In words, a line each; also where nothing is to be done."""
        for old in self.old:
            what = f"{_WHAT[old.kind].format(len(old.groups))}, older than {old.keep.days}d"
            yield f"{what}: {old.objects:,} objects, {old.bytes:,} bytes"
        if self.after_receipt != "keep":
            files = sum(len(one.versions) for one in self.due)
            size = sum(one.bytes for one in self.due)
            yield (
                f"{len(self.due):,} batches in the landing zone ({self.after_receipt}): {files:,}"
                f" files and their markers, {size:,} bytes"
            )

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Counts, for XCom and events."""
        counts = {
            old.kind: {"batches": len(old.groups), "objects": old.objects, "bytes": old.bytes}
            for old in self.old
        }
        if self.after_receipt == "keep":
            return counts
        files, size = sum(len(d.versions) for d in self.due), sum(d.bytes for d in self.due)
        return counts | {"landing": {"batches": len(self.due), "objects": files, "bytes": size}}


def plan_upkeep(dataset: Dataset, inbox: Inbox) -> Upkeep:
    """Find what may go now. Changes nothing."""
    after = dataset.landing.after_receipt
    due = tuple(find_due(dataset, inbox)) if after != "keep" else ()
    old = (*find_old(dataset.lake.keep, inbox), *find_left(dataset, inbox))
    return Upkeep(old, due, after)


def do_upkeep(dataset: Dataset, inbox: Inbox, plan: Upkeep) -> Upkeep:
    """Do what was found.

    Returns:
        What went: without batches that were written again meanwhile.

    Raises:
        StoreRefused: A right to delete is missing; what went before is gone.
        StoreUnavailable: The storage fails; the next round does the rest.
    """
    for old in plan.old:
        drop(inbox.lake.store, old)
    left = tuple(one for one in plan.due if clear(dataset, inbox, one))
    inbox.shortcuts.tidy()
    return Upkeep(plan.old, left, plan.after_receipt)
