"""Whether a batch has settled: complete, or quiet for so long that nothing more is expected.

Tools that copy in the order of names deliver ``_SUCCESS`` before ``part-0``, a slow copy writes for
minutes, and a storage's clock may go in steps of a second. So a batch whose data are younger than
its marker, or that lacks something, is left alone until nothing in its folder has changed for
``settle``; and one whose marker is as young as such a step, or as its data, until the step is over.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from flagfall.dataset.schema import Dataset
from flagfall.errors import BatchInvalid, StoreError
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Staged
from flagfall.landing.manifest import Manifest, missing
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH

STEP = timedelta(seconds=2)
"""As long as two steps of the coarsest clock: S3's and sshfs' go by seconds."""
LARGE_MARKER = 256 << 10
"""Bytes of a marker of which one is read at a time: its values may take 25 times as much."""

_one_large = Lock()


@dataclass(frozen=True)
class Look:
    """What a claim needs to know of a pending batch.

    Attributes:
        marker: Its marker.
        bytes: Of its files, as far as known.
        has_settled: Whether it can be taken in, or turned away, now.
    """

    marker: Marker
    bytes: int
    has_settled: bool


def look_at(marker: Marker, inbox: Inbox, dataset: Dataset) -> Look:
    """Look at a pending batch.

    One that cannot be looked at settles when its marker is older than ``settle``: ingest says why,
    of it alone.
    """
    if marker.staged_from:
        staged = inbox.lake.legible(Staged, marker.staged_from)
        return Look(marker, sum(file.bytes for file in staged.files) if staged else 0, True)
    now, settle = inbox.clock(), dataset.landing.settle
    try:
        with _one_large if marker.size > LARGE_MARKER else nullcontext():
            return _look(marker, inbox, dataset, now)
    except StoreError:
        return Look(marker, 0, not marker.is_young(now, settle))


def _look(marker: Marker, inbox: Inbox, dataset: Dataset, now: datetime) -> Look:
    settle = dataset.landing.settle
    if marker.landed_at.microsecond == 0 and marker.is_young(now, min(STEP, settle)):
        return Look(marker, 0, has_settled=False)
    try:
        manifest = inbox.manifest(marker, dataset.limits)
    except FileNotFoundError:
        return Look(marker, 0, has_settled=True)
    except BatchInvalid:
        return Look(marker, 0, not _is_moving(marker, inbox, now, settle))
    newest = _newest(manifest, inbox)
    if newest == marker.landed_at and marker.is_young(now, min(STEP, settle)):
        return Look(marker, 0, has_settled=False)
    is_odd = newest > marker.landed_at
    if not is_odd and (marker.is_young(now, settle) or not inbox.landing.store.metered):
        is_odd = missing(manifest, marker, inbox.landing.store) is not None
    has_settled = not (is_odd and _is_moving(marker, inbox, now, settle))
    return Look(marker, _bytes(manifest, inbox, dataset), has_settled)


def _newest(manifest: Manifest, inbox: Inbox) -> datetime:
    """When the last file came; one that comes with its size may be younger."""
    unsized = [file.key for file in manifest.files if file.bytes is None]
    times = [file.came_at for file in manifest.files if file.came_at is not None]
    times += [entry.landed_at for entry in inbox.landing.store.find(unsized)]
    return max(times, default=EPOCH)


def _is_moving(marker: Marker, inbox: Inbox, now: datetime, settle: timedelta) -> bool:
    """Whether anything of the batch, also under a temporary name, was written a moment ago.

    A clock that is far off makes nothing young.
    """
    if marker.is_young(now, settle):
        return True
    return any(abs(now - time) < settle for time in inbox.landing.changes_beside(marker))


def _bytes(manifest: Manifest, inbox: Inbox, dataset: Dataset) -> int:
    """Bytes of the files; a large number that only the marker promises is not believed."""
    promised = sum(file.bytes or 0 for file in manifest.files)
    is_listed = all(file.came_at is not None for file in manifest.files)
    if is_listed or promised <= dataset.limits.shard_bytes // dataset.limits.shard_batches:
        return promised
    return sum(e.size for e in inbox.landing.store.find([f.key for f in manifest.files]))
