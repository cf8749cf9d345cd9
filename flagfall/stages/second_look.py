"""What is odd at a distance is looked at twice, ``landing.settle`` apart, before it is decided.

Whether a batch has settled is a matter of times (see ``settling``). On S3 and on a share they are
those of another clock, and a client of a share shows what it saw seconds ago. So there a batch is
turned away, or taken in though its data are younger than its marker, only if nothing of it has
changed between two looks of one process. That needs no clock that is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from flagfall.dataset.schema import Dataset
from flagfall.errors import NotSettled
from flagfall.inbox.inbox import Inbox
from flagfall.landing.manifest import Expected
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH

LONGEST = timedelta(minutes=2)
"""Most that a worker waits between two looks."""


def apart(dataset: Dataset) -> float:
    """Seconds between the two looks."""
    return min(dataset.landing.settle, LONGEST).total_seconds()


def is_behind(inbox: Inbox, marker: Marker) -> bool:
    """Whether this client's listing does not show the marker yet, nor what came before it."""
    landing = inbox.landing
    if landing.store.metered or not landing.store.is_remote:
        return False
    return not landing.folders.shows(marker)


def has_younger(inbox: Inbox, marker: Marker, files: Iterable[Expected]) -> bool:
    """Whether a file was written after the marker, which has no hash of it: more may come.

    On a share also at the same time, since its clock may go by seconds. On S3, where most batches
    are written within a second, ``settling`` waits for its end.
    """
    store = inbox.landing.store
    if not store.is_remote:
        return False
    keys = [file.key for file in files if file.sha256 is None]
    newest = max((entry.landed_at for entry in store.find(keys)), default=EPOCH)
    return newest > marker.landed_at or (newest == marker.landed_at and not store.metered)


def look_twice(inbox: Inbox, marker: Marker) -> None:
    """Go on only if the batch looks as it did at the first look.

    Raises:
        NotSettled: This is the first look, or something has changed since.
    """
    if marker.replay or not inbox.landing.store.is_remote:
        return
    seen = inbox.landing.versions_beside(marker)
    if inbox.first_looks.get(marker.batch_id) != seen:
        inbox.first_looks[marker.batch_id] = seen
        raise NotSettled(marker.uri, "it may not be complete; it is looked at again")
