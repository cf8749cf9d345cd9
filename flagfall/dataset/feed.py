"""A feed: the one value that says where batches land, where they are remembered and how to look.

It is made of a dataset once, and travels as it is: to the inbox, and as JSON to the triggerer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

from pydantic import BaseModel

from flagfall.dataset.schema import Dataset
from flagfall.landing.zone import LandingAddress


class Seen(Protocol):
    """What a listing, or a receipt, shows of a marker."""

    @property
    def key(self) -> str:
        """Its path below the landing zone."""

    @property
    def landed_at(self) -> datetime:
        """When it landed (UTC)."""


class LakeAddress(BaseModel, frozen=True, extra="forbid"):
    """Where a lake is.

    Attributes:
        uri: A directory or ``s3://bucket/prefix``.
        conn_id: Airflow connection; empty for what the environment gives.
    """

    uri: str
    conn_id: str = ""


class Feed(BaseModel, frozen=True, extra="forbid"):
    """All that the inbox and the watcher need to know of a dataset.

    Attributes:
        dataset: Name of the dataset.
        landing: Where its batches land.
        lake: Where it is remembered what was decided.
        since: strftime pattern of the keys of a time, such as ``date=%Y-%m-%d``, where they sort
            by it; empty where they do not.
        behind: Markers of a time are expected no later than so many seconds after it.
        sweep_every: Longest time between two sweeps, in seconds.
        full_sweep_every: Seconds between two sweeps that look at everything, where others do not.
        redeliver_after: Seconds after which a marker that is still pending is announced again.
        settle: Seconds for which nothing of a batch changes before it is taken in as it is.
        gather: Seconds for which a marker waits for others to share its event; 0 for not at all.
        begins: Batches of earlier days are none of this feed (ISO date); empty: all are.
    """

    dataset: str
    landing: LandingAddress
    lake: LakeAddress
    since: str = ""
    behind: float = 0.0
    sweep_every: float = 30.0
    full_sweep_every: float = 3600.0
    redeliver_after: float = 900.0
    settle: float = 10.0
    gather: float = 0.0
    begins: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> Feed:
        """The feed of a dataset."""
        landing, lake, watch = dataset.landing, dataset.lake, dataset.watch
        return cls(
            dataset=dataset.name,
            landing=LandingAddress.model_validate(landing, from_attributes=True),
            lake=LakeAddress.model_validate(lake, from_attributes=True),
            since=dataset.since,
            behind=(dataset.arrival.lag + dataset.arrival.deadline).total_seconds(),
            sweep_every=watch.sweep_every.total_seconds(),
            full_sweep_every=watch.full_sweep_every.total_seconds(),
            redeliver_after=watch.redeliver_after.total_seconds(),
            settle=landing.settle.total_seconds(),
            gather=watch.gather.total_seconds(),
            begins="" if landing.since == "all" else landing.since.isoformat(),
        )

    def is_before(self, marker: Seen, moment: datetime) -> bool:
        """Whether a batch is of an earlier time.

        That is by its key where keys sort by time, else by when it landed.
        """
        return marker.key < self._key_at(moment) if self.since else marker.landed_at < moment

    def is_after(self, marker: Seen, moment: datetime) -> bool:
        """Whether a batch is of a later time (see ``is_before``)."""
        at = self._key_at(moment)
        return marker.key[: len(at)] > at if self.since else marker.landed_at > moment

    def _key_at(self, moment: datetime) -> str:
        return moment.strftime(self.since)

    @cached_property
    def first_moment(self) -> datetime | None:
        """When the first day of the feed begins (UTC); ``None`` where it has none."""
        return datetime.fromisoformat(self.begins).replace(tzinfo=UTC) if self.begins else None

    @cached_property
    def first_key(self) -> str:
        """Keys of batches of this feed are not before this one; empty where any may be."""
        first = self.first_moment
        return self._key_at(first) if self.since and first else ""

    def has(self, marker: Seen) -> bool:
        """Whether a batch is one of this feed: not of a time before it begins."""
        if self.first_moment is None:
            return True
        if self.first_key:
            return marker.key >= self.first_key
        return marker.landed_at >= self.first_moment
