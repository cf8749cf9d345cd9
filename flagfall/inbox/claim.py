"""Claiming: from what is pending to the shards of one run.

A shard is many small batches or one large one, so that a thousand small batches do not become five
thousand task instances.

What was accepted and never evaluated, since the run that took it on died, is taken on again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from math import ceil

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Dataset
from flagfall.errors import Damaged
from flagfall.inbox.backlog import BESIDE, set_apart, with_any_other
from flagfall.inbox.inbox import Inbox, Swept
from flagfall.inbox.settling import Look, look_at
from flagfall.lake.records import Evaluation
from flagfall.landing.limits import Limits
from flagfall.landing.marker import Marker
from flagfall.logs import logger

log = logger(__name__)

AT_ONCE = 4
"""Shards that are worked on at the same time, where nobody knows better."""
FEWEST = 100
"""Small batches that are not dealt out further: to start a task takes as long as to ingest them."""
SHARDS = 1_000
"""Most shards of a run: Airflow maps a task no more than 1,024 times (``core.max_map_length``)."""
MARKER_BYTES = 4 << 20
"""Bytes of JSON of the markers that one run claims: they are kept in Airflow's database."""
LONGEST_WAIT = timedelta(seconds=5)
"""How long a claim holds its worker for a batch that has not settled, whatever its clock does."""
LOOKS = 9
"""How often it looks meanwhile."""
APART = 16
"""Shards that unfinished deliveries are dealt out to, so that one that fails, or kills its worker,
holds up few others, and even a model that fails on all makes no more failures than this."""


@dataclass(frozen=True)
class Claim:
    """What one run takes on.

    Attributes:
        shards: Pending markers in the order in which they landed, grouped; then those of the
            backlog (see ``backlog``), then unfinished ones.
        left: Pending markers that the next run can take.
        unsettled: Pending markers whose batches have not settled: they are announced again.
    """

    shards: tuple[tuple[Marker, ...], ...]
    left: int
    unsettled: int = 0

    @property
    def batches(self) -> int:
        """How many batches the run takes on."""
        return sum(len(shard) for shard in self.shards)


def claim(
    inbox: Inbox,
    dataset: Dataset,
    sleep: Callable[[float], None] = time.sleep,
    at_once: int = AT_ONCE,
) -> Claim:
    """Ask the inbox what is pending and what is unfinished, and group it.

    An unfinished delivery is taken on ``watch.redeliver_after`` its receipt, and again after that
    time. This must not run while a run of the same dataset is under way.

    A batch that has not settled (see ``settling``) is left alone. Where nothing else is pending,
    this waits for it, for ``LONGEST_WAIT`` at most: it is announced again.

    Args:
        inbox: The dataset's inbox.
        dataset: What is claimed for.
        sleep: Waits for so many seconds.
        at_once: Shards that are worked on at the same time: many batches are dealt out to so many.
    """
    limits = dataset.limits
    pause = min(dataset.landing.settle / 4, LONGEST_WAIT / LOOKS).total_seconds()
    for number in range(LOOKS):
        if number:
            sleep(max(pause, 0.05))
        scope = inbox.shortcuts.scope()
        swept = inbox.sweep(scope)
        pending = swept.pending
        inbox.shortcuts.advance(pending, scope)
        new, old = set_apart(pending, inbox, dataset.landing.history)
        unsettled: list[Marker] = []
        take = partial(_take, inbox, dataset, unsettled, at_once)
        fresh = take(new, limits.batches_per_run, SHARDS)
        most = BESIDE if fresh else min(limits.backlog_per_run, limits.batches_per_run)
        later = take(old, most, min(at_once, SHARDS - len(fresh)))
        if fresh or later or not pending:
            break
    left = len(pending) - sum(map(len, (*fresh, *later))) - len(unsettled)
    claimed = Claim((*fresh, *later), left, len(unsettled))
    room = min(limits.batches_per_run - claimed.batches, SHARDS - len(claimed.shards))
    again = _again(inbox, dataset, swept, max(room, 0))
    return replace(claimed, shards=(*claimed.shards, *_apart(again, dataset.limits)))


def _take(
    inbox: Inbox,
    dataset: Dataset,
    unsettled: list[Marker],
    at_once: int,
    pending: Sequence[Marker],
    most: int,
    most_shards: int,
) -> tuple[tuple[Marker, ...], ...]:
    """Shards of the first batches that have settled.

    Args:
        inbox: The dataset's inbox.
        dataset: What is claimed for.
        unsettled: Gets the others that were looked at.
        at_once: Shards that are worked on at the same time.
        pending: In order.
        most: Batches.
        most_shards: Most shards.
    """
    ordered = with_any_other(pending, most, inbox.clock())
    taken = list(_within_bounds(_settled(ordered, inbox, dataset, unsettled), most))
    weighed = ((look.marker, look.bytes) for look in taken)
    return tuple(
        islice(shards(weighed, dealt_out(len(taken), at_once, dataset.limits)), most_shards)
    )


def dealt_out(count: int, at_once: int, limits: Limits) -> Limits:
    """The limits, with shards so small that what works at the same time gets the same share."""
    rounds = ceil(count / (at_once * limits.shard_batches)) or 1
    share = max(FEWEST, ceil(count / (at_once * rounds)))
    return limits.model_copy(update={"shard_batches": min(share, limits.shard_batches)})


def _again(inbox: Inbox, dataset: Dataset, swept: Swept, room: int) -> list[tuple[Marker, int]]:
    """At most ``room`` unfinished deliveries that are due, with their bytes; noted as tried now.

    One whose marker is pending, too, waits for what becomes of the new delivery.
    """
    pending = {marker.key for marker in swept.pending}
    overdue = inbox.overdue(swept.unfinished, dataset.watch.redeliver_after)
    waiting = [marker for marker in overdue if marker.key not in pending]
    weighed = in_parallel(lambda marker: _to_finish(marker, inbox, dataset), waiting)
    taken = list(islice(filter(None, weighed), room))
    if taken:
        shown = ", ".join(marker.batch_id for marker, _ in taken[:10])
        log.warning("%d accepted and not evaluated, tried again: %s", len(taken), shown)
    list(in_parallel(inbox.hand_out_again, [marker for marker, _ in taken]))
    return taken


def _to_finish(marker: Marker, inbox: Inbox, dataset: Dataset) -> tuple[Marker, int] | None:
    """A delivery that has to be evaluated still, with its bytes; else its entry is removed.

    It has not, when it is evaluated, was superseded or never accepted, or there is no model now.
    Where a receipt is damaged nobody knows, so it is tried: ingest names the receipt.
    """
    try:
        current = inbox.receipts.current(marker) if dataset.model else None
    except Damaged:
        return marker, 0
    if current is None or current.batch_id != marker.batch_id or _is_evaluated(marker, inbox):
        inbox.finish(marker)
        return None
    return marker, current.bytes


def _is_evaluated(marker: Marker, inbox: Inbox) -> bool:
    """Whether its evaluation is there; one that is damaged is none."""
    return inbox.lake.legible(Evaluation, marker.batch_id) is not None


def _apart(weighed: Sequence[tuple[Marker, int]], limits: Limits) -> Iterator[tuple[Marker, ...]]:
    """Shards of as few deliveries each as ``APART`` shards allow."""
    for start in range(APART):
        yield from shards(weighed[start::APART], limits)


def _settled(
    pending: Sequence[Marker], inbox: Inbox, dataset: Dataset, unsettled: list[Marker]
) -> Iterator[Look]:
    for look in in_parallel(lambda marker: look_at(marker, inbox, dataset), pending):
        if look.has_settled:
            yield look
        else:
            unsettled.append(look.marker)


def _within_bounds(looks: Iterable[Look], most: int) -> Iterator[Look]:
    """As many as a run takes, and as Airflow's database is to hold of their markers."""
    left = MARKER_BYTES
    for look in islice(looks, most):
        left -= len(json.dumps(look.marker.to_dict()))
        if left < 0:
            return
        yield look


def shards(weighed: Iterable[tuple[Marker, int]], limits: Limits) -> Iterator[tuple[Marker, ...]]:
    """Group markers, each with the bytes of its batch, in order."""
    shard: list[Marker] = []
    weight = 0
    for marker, size in weighed:
        if shard and (len(shard) >= limits.shard_batches or weight + size > limits.shard_bytes):
            yield tuple(shard)
            shard, weight = [], 0
        shard.append(marker)
        weight += size
    if shard:
        yield tuple(shard)
