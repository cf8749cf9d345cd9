"""That no file counts in two batches, where more than one marker could vouch for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flagfall.concurrency import in_parallel
from flagfall.errors import BatchInvalid
from flagfall.inbox.inbox import Inbox
from flagfall.lake.file_owners import FileOwners
from flagfall.landing.manifest import Manifest
from flagfall.landing.marker import Marker
from flagfall.landing.one_batch import is_disputable, marker_of


def check_counted_once(inbox: Inbox, marker: Marker, manifest: Manifest) -> None:
    """Note the files that another marker could vouch for, too, as this batch's.

    Raises:
        BatchInvalid: ``file-of-another-batch``: one counts in another batch, or is about to.
        StoreUnavailable: Another batch claimed one meanwhile.
    """
    keys = [file.key for file in manifest.files]
    _check(inbox, marker, keys, sorted(manifest.disputable))


def check_still_counted_once(inbox: Inbox, marker: Marker, keys: Sequence[str]) -> None:
    """The same just before the receipt, for it may take minutes to check the rows of a batch.

    Files of a batch that is not decided on are free for others as soon as its marker has left.

    Args:
        inbox: The dataset's inbox.
        marker: The batch's.
        keys: Its files.

    Raises:
        BatchInvalid: As above; so for the next.
        StoreUnavailable: Another batch claimed one meanwhile.
    """
    if not _is_there(inbox, marker):
        disputable = [key for key in keys if is_disputable(marker, inbox.landing.pattern, key)]
        _check(inbox, marker, keys, disputable)


def _check(inbox: Inbox, marker: Marker, files: Sequence[str], disputable: Sequence[str]) -> None:
    owners = FileOwners(inbox.lake.store)
    _check_folders(inbox, owners, marker, disputable)
    keys = files if not disputable and owners.is_lent(marker) else disputable
    for key, owner in zip(keys, in_parallel(lambda k: owners.claim(k, marker), keys), strict=True):
        if owner is None:
            continue
        if _counts_in(inbox, owner.marker, key):
            raise _counts_elsewhere(marker, key, owner.marker)
        owners.hand_over(key, owner, marker)


def _check_folders(inbox: Inbox, owners: FileOwners, marker: Marker, keys: Sequence[str]) -> None:
    """See to it that no marker in whose folder a file lies counts it, or will."""
    places = {key: marker_of(key, inbox.landing.pattern) for key in keys}
    for place in set(places.values()) - {"", marker.key}:
        other = replace(marker, key=place, uri=f"{inbox.landing.uri}/{place}")
        owners.note_lent(other.key)
        current = inbox.receipts.current(other)
        counted = current.content if current else {}
        if taken := [key for key in keys if places[key] == place and key in counted]:
            raise _counts_elsewhere(marker, taken[0], other)


def _counts_in(inbox: Inbox, other: Marker, key: str) -> bool:
    current = inbox.receipts.current(other)
    if current is not None and key in current.content:
        return True
    if inbox.receipts.find(other) is not None:
        return False
    return _is_there(inbox, other)


def _is_there(inbox: Inbox, marker: Marker) -> bool:
    return any(inbox.landing.is_still(seen, marker) for seen in inbox.landing.find(marker.key))


def _counts_elsewhere(marker: Marker, key: str, other: Marker) -> BatchInvalid:
    why = f"{marker.uri}: {key!r} counts in the batch of {other.uri} already"
    remedy = "give its file another name, or write that marker again and then this one"
    return BatchInvalid("file-of-another-batch", f"{why}; {remedy}")
