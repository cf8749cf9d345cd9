"""What waiting costs: requests to S3, and the dollars that they come to."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import WATERMARK_AGE
from flagfall.watch.heartbeat import SIGN_EVERY

PAGE = 1_000
"""Objects that S3 tells in one answer."""
HOUR = 3600.0


@dataclass(frozen=True)
class Sizes:
    """How much there is to be listed.

    Attributes:
        objects: In the landing zone, data files too.
        new_objects: Those after the key at which a sweep begins.
        receipts: In the lake.
        new_receipts: Those that a sweep lists.

    Each is ``None`` where it costs nothing to list them.
    """

    objects: int | None
    new_objects: int | None
    receipts: int | None
    new_receipts: int | None


@dataclass(frozen=True)
class Cost:
    """What it costs to wait for one feed.

    Attributes:
        requests_an_hour: Requests to S3 by the sweeps and the signs of one triggerer.
        dollars_an_hour: At ``watch.request_price``.
    """

    requests_an_hour: float
    dollars_an_hour: float

    @property
    def dollars_a_month(self) -> float:
        """In 30 days."""
        return self.dollars_an_hour * 24 * 30


def cost_of_waiting(dataset: Dataset, sizes: Sizes) -> Cost | None:
    """What sweeps cost as they are now; ``None`` where neither landing zone nor lake is on S3."""
    if sizes.objects is None and sizes.receipts is None:
        return None
    watch = dataset.watch
    full = _pages(sizes.objects) + _pages(sizes.receipts)
    small = _pages(sizes.new_objects) + _pages(sizes.new_receipts) if dataset.since else full
    fulls = HOUR / watch.full_sweep_every.total_seconds()
    sweeps = max(HOUR / watch.sweep_every.total_seconds() - fulls, 0.0)
    requests = sweeps * small + fulls * full
    if sizes.receipts is not None:
        requests += HOUR / WATERMARK_AGE.total_seconds()
        requests += HOUR / max(SIGN_EVERY, watch.sweep_every).total_seconds()
    return Cost(requests, requests / 1_000 * watch.request_price)


def _pages(count: int | None) -> int:
    """Requests for a listing; one that finds nothing is one, too."""
    return 0 if count is None else max(1, ceil(count / PAGE))
