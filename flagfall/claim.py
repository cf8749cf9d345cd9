"""Claiming: from what is pending to the shards of one run.

A shard is many small batches or one large one, so that a thousand small batches do not become five
thousand task instances.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from flagfall.dataset import Dataset, Limits
from flagfall.errors import BatchInvalid
from flagfall.inbox import Inbox
from flagfall.lake import in_parallel
from flagfall.marker import Marker


@dataclass(frozen=True)
class Claim:
    """What one run takes on.

    Attributes:
        shards: Markers in the order in which they landed, grouped.
        left: Pending markers that are left for the next run.
    """

    shards: tuple[tuple[Marker, ...], ...]
    left: int

    @property
    def batches(self) -> int:
        """How many batches the run takes on."""
        return sum(len(shard) for shard in self.shards)


def claim(inbox: Inbox, dataset: Dataset, sleep: Callable[[float], None] = time.sleep) -> Claim:
    """Ask the inbox what is pending, and group it.

    A batch that is not complete yet is left alone while its marker is younger than ``settle``.
    Where nothing else is pending, this waits for it, at most twice ``settle``.
    """
    settle = dataset.landing.settle
    give_up = inbox.clock() + 2 * settle
    while True:
        scope = inbox.scope()
        pending = inbox.pending(scope)
        inbox.advance(pending, scope)
        ready = _ready(pending, inbox, dataset)
        if ready or not pending or scope.began >= give_up:
            break
        sleep(max(settle.total_seconds() / 4, 0.05))
    taken = ready[: dataset.limits.batches_per_run]
    sizes = in_parallel(lambda marker: _bytes(marker, inbox, dataset.limits), taken)
    weighed = zip(taken, sizes, strict=True)
    return Claim(tuple(shards(weighed, dataset.limits)), len(pending) - len(taken))


def _ready(pending: Sequence[Marker], inbox: Inbox, dataset: Dataset) -> list[Marker]:
    """Those that are not still on their way: young, and not complete."""
    now, settle = inbox.clock(), dataset.landing.settle
    young = [marker for marker in pending if marker.is_young(now, settle)]
    problems = in_parallel(lambda marker: inbox.problem(marker, dataset.limits), young)
    unsettled = {m.batch_id for m, problem in zip(young, problems, strict=True) if problem}
    return [marker for marker in pending if marker.batch_id not in unsettled]


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


def _bytes(marker: Marker, inbox: Inbox, limits: Limits) -> int:
    """Bytes that the marker vouches for, as far as it says."""
    try:
        return sum(file.bytes or 0 for file in inbox.manifest(marker, limits).files)
    except (BatchInvalid, FileNotFoundError):
        return 0  # ingest says why
