"""One round of upkeep of a dataset: first what would be done, then doing it, then in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreError, printable
from flagfall.inbox.inbox import Inbox
from flagfall.logs import logger
from flagfall.stages.shard import foremost
from flagfall.upkeep.clearing import Clearing, clear, find_due
from flagfall.upkeep.dropping import Old, drop, find_old
from flagfall.upkeep.outcomes import find_left

log = logger(__name__)

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
        failures: Why some of it stays.
    """

    old: tuple[Old, ...] = ()
    due: tuple[Clearing, ...] = ()
    after_receipt: str = "keep"
    failures: tuple[StoreError, ...] = ()

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

    def check(self) -> None:
        """See that nothing stayed that was to go.

        Raises:
            StoreRefused: A right is missing; all else went.
            StoreUnavailable: The storage fails; the next round does the rest.
        """
        if self.failures:
            raise foremost(self.failures)


def plan_upkeep(dataset: Dataset, inbox: Inbox) -> Upkeep:
    """Find what may go now. Changes nothing."""
    after = dataset.landing.after_receipt
    due = tuple(find_due(dataset, inbox)) if after != "keep" else ()
    old = (*find_old(dataset.lake.keep, inbox), *find_left(dataset, inbox))
    return Upkeep(old, due, after)


def do_upkeep(dataset: Dataset, inbox: Inbox, plan: Upkeep) -> Upkeep:
    """Do what was found; what fails stops nothing else.

    Returns:
        What went: without batches that were written again meanwhile. See ``Upkeep.check``.
    """
    failures: list[StoreError] = []

    def is_done(what: str, do: Callable[[], object]) -> bool:
        try:
            return do() is not False
        except StoreError as error:
            log.error("%s", printable(f"{dataset.name}: {what} stays: {error}"))
            failures.append(error)
            return False

    lake = inbox.lake.store
    old = [one for one in plan.old if is_done(one.kind, partial(drop, lake, one))]
    due = [d for d in plan.due if is_done(d.marker.batch_id, partial(clear, dataset, inbox, d))]
    is_done("what hints have named", inbox.shortcuts.tidy)
    return Upkeep(tuple(old), tuple(due), plan.after_receipt, tuple(failures))
