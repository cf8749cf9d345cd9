"""What is odd at a distance is looked at twice, ``landing.settle`` apart, before it is decided.

Whether a batch has settled is a matter of times (see ``settling``). On S3 and on a share they are
those of another clock, and a client of a share shows what it saw seconds ago: the marker as it is
now may stand in a listing of names from before. So there a batch is turned away, or taken in though
its data are younger than its marker, only if nothing of it has changed between two looks of one
process; and on a share nothing new is taken in at the first look. That needs no clock that is
right.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from flagfall.dataset.schema import Dataset
from flagfall.errors import NotSettled
from flagfall.inbox.inbox import Inbox
from flagfall.landing.manifest import Expected
from flagfall.landing.marker import Marker

LONGEST = timedelta(minutes=2)
"""Most that a worker waits between two looks."""
REMEMBERED_FOR = timedelta(days=1)
"""No client of a share shows what it saw so long ago, however far its clock is off."""


def apart(dataset: Dataset) -> float:
    """Seconds between the two looks."""
    return min(dataset.landing.settle, LONGEST).total_seconds()


def may_be_behind(inbox: Inbox, marker: Marker, files: Iterable[Expected]) -> bool:
    """Whether what is seen may lack what is there, or more may come: the marker has no hash of it.

    On a share everything may, that came a short while ago by any clock; and where its times are
    whole seconds, another delivery within the marker's second looks just like it. On S3 a file that
    was written after the marker tells that more may come; where most are written within one second,
    ``settling`` waits for its end.
    """
    store = inbox.landing.store
    keys = [file.key for file in files if file.sha256 is None]
    if not store.is_remote:
        return False
    if not store.metered and abs(inbox.clock() - marker.landed_at) < REMEMBERED_FOR:
        return bool(keys) or marker.landed_at.microsecond == 0
    return any(entry.landed_at > marker.landed_at for entry in store.find(keys))


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
