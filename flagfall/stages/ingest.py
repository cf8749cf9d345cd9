"""Ingest: from a claimed marker to staged rows and a receipt.

A batch is never half accepted: its staged parts are in the lake before its receipt, under names
that follow from the marker's identity. A batch with a fault gets a rejected receipt; only faults of
this machine or its storage are raised. A marker that has disappeared gets no receipt, so it is
pending again if it comes back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import tenacity

from flagfall.dataset.schema import Dataset
from flagfall.errors import AccessDenied, BatchInvalid, NotAFile, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import Turns
from flagfall.lake.records import Receipt, SourceFile, Staged
from flagfall.landing.manifest import Expected
from flagfall.landing.marker import Marker
from flagfall.rows import Checked, DataFile, check_files
from flagfall.stages.unchanged import (
    CLEARED,
    is_cleared,
    is_same_listing,
    listing_of,
    same_as,
    unchanged,
    why_unchanged,
)
from flagfall.stores import Fetched

log = logging.getLogger(__name__)

REFUSALS = 6
"""A file is unreadable if it is refused this often, while its marker can be read each time."""
_ABSENT = ("no-data", "file-missing")
"""Reasons of a batch whose data are not there."""
_ANY = TypeVar("_ANY")


def ingest(dataset: Dataset, inbox: Inbox, marker: Marker) -> Receipt | None:
    """Accept or reject a delivery.

    Args:
        dataset: Its dataset.
        inbox: The dataset's inbox.
        marker: The claimed marker.

    Returns:
        The delivery's only receipt, which may be from an earlier run. ``None`` if the marker has
        disappeared: nothing is decided, and it is pending again if it comes back.

    Raises:
        StoreUnavailable: The landing zone is not the one that was swept, or its storage or the
            lake's fails.
    """
    if (filed := inbox.receipts.find(marker)) is not None:
        return filed
    turns = inbox.receipts.turns(marker)  # before the look at the marker: see ``take_turn``
    staged = inbox.lake.find(Staged, marker.batch_id)
    if staged is not None and not inbox.was_rewritten(marker):
        return _accept(dataset, inbox, marker, staged, turns)  # a run died before the receipt
    if (gone := inbox.gone(marker)) is not None:
        return _leave_pending(inbox, marker, gone)
    try:
        return _take_in(dataset, inbox, marker, turns)
    except BatchInvalid as invalid:
        if (gone := inbox.gone(marker)) is not None:  # then the files may not be its batch
            return _leave_pending(inbox, marker, gone)
        if invalid.reason in _ABSENT and is_cleared(inbox, marker, turns.current):
            return unchanged(inbox, marker, turns, CLEARED)
        return inbox.reject(marker, invalid.reason, str(invalid), turn=turns.last)


def _take_in(dataset: Dataset, inbox: Inbox, marker: Marker, turns: Turns) -> Receipt | None:
    expected = _expected(dataset, inbox, marker)
    if turns.current and is_same_listing(inbox, marker, expected, turns):
        return unchanged(inbox, marker, turns, same_as(turns.current))
    with inbox.lake.scratch() as folder:
        batch = _copy(dataset, inbox, marker, expected, folder)
        if (why := _changed(inbox, marker, batch)) is not None:
            return _leave_pending(inbox, marker, why)
        if why := why_unchanged(inbox, marker, batch.content, turns.current):
            return unchanged(inbox, marker, turns, why, batch.listing)
        checked = check_files(batch.copies, dataset, folder)
        _keep_rejected_rows(inbox, marker, checked)
        if _too_many_bad_rows(dataset, checked):
            return _reject_rows(dataset, inbox, marker, batch, checked, turns)
        staged = inbox.lake.finish(_staged(marker, batch, checked), checked.files)
        return _accept(dataset, inbox, marker, staged, turns)


def _leave_pending(inbox: Inbox, marker: Marker, why: str) -> Receipt | None:
    """Write no receipt, except for a replay: a person waits for that one."""
    if marker.replay:
        return inbox.reject(marker, "marker-removed", why)
    log.warning("%s", why)
    return None


@dataclass(frozen=True)
class _Batch:
    """The files of a batch, as they were copied.

    Attributes:
        files: What was read.
        copies: The same, here.
        versions: The version of each, by its key, when it was opened.
    """

    files: tuple[SourceFile, ...]
    copies: list[DataFile]
    versions: dict[str, str]

    @property
    def content(self) -> dict[str, str]:
        return {file.path: file.sha256 for file in self.files}

    @property
    def listing(self) -> str:
        return listing_of(self.versions)


def _expected(dataset: Dataset, inbox: Inbox, marker: Marker) -> tuple[Expected, ...]:
    try:
        expected = _retry_refusals(
            partial(inbox.manifest, marker, dataset.limits), partial(_check_there, inbox, marker)
        ).files
    except FileNotFoundError as gone:
        raise _vanished(marker) from gone
    if not expected:
        why = f"{marker.uri}: there are no data files beside the marker"
        raise BatchInvalid("no-data", f"{why}; write them, then the marker again")
    return expected


def _copy(
    dataset: Dataset, inbox: Inbox, marker: Marker, expected: tuple[Expected, ...], folder: Path
) -> _Batch:
    """Copy a batch's files, checking each against its marker on the way."""
    copied = list(_copies(inbox, marker, expected, folder, dataset.limits.batch_bytes))
    files = tuple(file for file, _, _ in copied)
    versions = {file.path: version for file, _, version in copied}
    return _Batch(files, [copy for _, copy, _ in copied], versions)


def _changed(inbox: Inbox, marker: Marker, batch: _Batch) -> str | None:
    """Why what was copied may be a mixture of two deliveries; ``None`` where it is not."""
    if (gone := inbox.gone(marker)) is not None:
        return gone
    now = {entry.key: entry.version for entry in inbox.landing.store.find(batch.versions)}
    if now == batch.versions:
        return None
    return f"{marker.uri}: its files were written again while they were read; the next run goes on"


def _copies(
    inbox: Inbox, marker: Marker, expected: tuple[Expected, ...], folder: Path, most: int
) -> Iterator[tuple[SourceFile, DataFile, str]]:
    total = 0
    for index, file in enumerate(expected):
        target = folder / f"source-{index:05d}"
        fetched = _retry_refusals(
            partial(_fetch, inbox, file, target, most - total),
            partial(_check_readable, inbox, marker),
        )
        total += fetched.size
        source = SourceFile(path=file.key, bytes=fetched.size, sha256=fetched.sha256)
        yield source, DataFile(file.key, target), fetched.version


def _retry_refusals(read: Callable[[], _ANY], check: Callable[[], None]) -> _ANY:
    """Retries a read that was refused. Storage sometimes refuses everything for a moment.

    Args:
        read: What may be refused.
        check: Called before each retry. It raises where other reads are refused, too: then the
            producer is not to blame.

    Raises:
        BatchInvalid: This read alone is refused, each time.
    """
    trying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_refused),
        stop=tenacity.stop_after_attempt(REFUSALS),
        before_sleep=lambda _: check(),
        reraise=True,
    )
    return trying(read)


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, BatchInvalid) and error.reason == "not-readable"


def _check_there(inbox: Inbox, marker: Marker) -> None:
    if inbox.gone(marker) is not None:
        raise _vanished(marker)


def _vanished(marker: Marker) -> StoreUnavailable:
    return StoreUnavailable(marker.uri, "the marker vanished while its batch was read")


def _check_readable(inbox: Inbox, marker: Marker) -> None:
    _check_there(inbox, marker)
    inbox.landing.store.read(marker.key, marker.size)


def _fetch(inbox: Inbox, file: Expected, target: Path, most: int) -> Fetched:
    """Copy a file, and stop once it has more bytes than are left to its batch."""
    left = most

    def count(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            why = f"{file.key}: with this file the batch has too many bytes (limits.batch_bytes)"
            raise BatchInvalid("batch-too-large", f"{why}; write several batches")

    try:
        fetched = inbox.landing.store.fetch(file.key, target, count)
    except FileNotFoundError as absent:
        why = f"{file.key}: the marker names this file, it is not there; write it, then the marker"
        raise BatchInvalid("file-missing", f"{why} again") from absent
    except NotAFile as refused:
        why = f"{refused}; write a file there, then the marker again"
        raise BatchInvalid("not-a-file", why) from refused
    except AccessDenied as refused:
        raise BatchInvalid("not-readable", str(refused)) from refused
    _check_promise(file, fetched)
    return fetched


def _check_promise(file: Expected, fetched: Fetched) -> None:
    """Compare size and hash with the marker's, if it has them."""
    if file.bytes is not None and fetched.size != file.bytes:
        why = f"{file.key}: the marker promises {file.bytes} bytes, the file has {fetched.size}"
        raise BatchInvalid("size-differs", f"{why}; write it again, then the marker")
    if file.sha256 is not None and fetched.sha256 != file.sha256:
        why = f"{file.key}: its sha256 is not the one that the marker promises"
        raise BatchInvalid("hash-differs", f"{why}; write it again, then the marker")


def _keep_rejected_rows(inbox: Inbox, marker: Marker, checked: Checked) -> None:
    if checked.rejected is not None:
        inbox.lake.store.put_file(checked.rejected, f"rejected/{marker.batch_id}/rows.jsonl")


def _too_many_bad_rows(dataset: Dataset, checked: Checked) -> bool:
    total = checked.rows + checked.rejected_rows
    allowed: float = dataset.thresholds.rejected_share * total
    return checked.rejected_rows > allowed


def _reject_rows(
    dataset: Dataset, inbox: Inbox, marker: Marker, batch: _Batch, checked: Checked, turns: Turns
) -> Receipt:
    total = checked.rows + checked.rejected_rows
    reason, count = max(checked.reasons.items(), key=lambda item: item[1])
    message = (
        f"{checked.rejected_rows} of {total} rows break a rule, more than"
        f" {dataset.thresholds.rejected_share:.1%}; most often {reason!r} ({count} rows); the rows"
        f" are in {inbox.lake.store.uri}/rejected/{marker.batch_id}/rows.jsonl"
    )
    return inbox.reject(
        marker,
        "too-many-bad-rows",
        message,
        rejected_rows=checked.rejected_rows,
        reasons=checked.reasons,
        bytes=sum(file.bytes for file in batch.files),
        content=batch.content,
        turn=turns.last,
    )


def _staged(marker: Marker, batch: _Batch, checked: Checked) -> Staged:
    return Staged(
        batch_id=marker.batch_id,
        files=batch.files,
        listing=batch.listing,
        parts=checked.parts,
        rows=checked.rows,
        rejected_rows=checked.rejected_rows,
        reasons=checked.reasons,
    )


def _accept(
    dataset: Dataset, inbox: Inbox, marker: Marker, staged: Staged, turns: Turns
) -> Receipt:
    """Write the receipt of a batch whose staged output is complete."""
    turn = inbox.receipts.take_turn(marker, turns)
    return inbox.receive(
        Receipt(
            batch_id=marker.batch_id,
            marker=marker,
            status="accepted",
            rows=staged.rows,
            rejected_rows=staged.rejected_rows,
            reasons=staged.reasons,
            bytes=sum(file.bytes for file in staged.files),
            content=staged.content,
            listing=staged.listing,
            turn=turn,
            supersedes=turns.current.batch_id if turns.current else None,
            received_at=inbox.clock(),
        ),
        unfinished=dataset.model is not None,
    )
