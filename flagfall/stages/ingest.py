"""Ingest: from a claimed marker to staged rows and a receipt.

A batch is never half accepted: its staged parts are in the lake before its receipt, under names
that follow from the marker's identity. A batch with a fault gets a rejected receipt; only faults of
this machine or its storage are raised. A marker that has disappeared gets no receipt, so it is
pending again if it comes back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import tenacity

from flagfall.dataset.schema import Dataset
from flagfall.errors import AccessDenied, BatchInvalid, NotAFile, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt, SourceFile, Staged
from flagfall.landing.manifest import Expected
from flagfall.landing.marker import Marker
from flagfall.rows import Checked, DataFile, check_files
from flagfall.stores import Fetched

log = logging.getLogger(__name__)

REFUSALS = 6
"""A file is unreadable if it is refused this often, while its marker can be read each time."""
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
    staged = inbox.lake.find(Staged, marker.batch_id)
    if staged is not None:  # a run died between the staged output and the receipt
        return _accept(dataset, inbox, marker, staged)
    if (gone := inbox.gone(marker)) is not None:
        return _leave_pending(inbox, marker, gone)
    try:
        return _take_in(dataset, inbox, marker)
    except BatchInvalid as invalid:
        if (gone := inbox.gone(marker)) is not None:  # then the files may not be its batch
            return _leave_pending(inbox, marker, gone)
        return inbox.reject(marker, invalid.reason, str(invalid))


def _take_in(dataset: Dataset, inbox: Inbox, marker: Marker) -> Receipt:
    with inbox.lake.scratch() as folder:
        files, copies = _copy(dataset, inbox, marker, folder)
        if (same := _unchanged(inbox, marker, files)) is not None:
            return same
        checked = check_files(copies, dataset, folder)
        _keep_rejected_rows(inbox, marker, checked)
        if _too_many_bad_rows(dataset, checked):
            return _reject_rows(dataset, inbox, marker, files, checked)
        if checked.refusal is not None:
            raise checked.refusal
        staged = inbox.lake.finish(_staged(marker, files, checked), checked.files)
        return _accept(dataset, inbox, marker, staged)


def _leave_pending(inbox: Inbox, marker: Marker, why: str) -> Receipt | None:
    """Write no receipt, except for a replay: a person waits for that one."""
    if marker.replay:
        return inbox.reject(marker, "marker-removed", why)
    log.warning("%s", why)
    return None


def _copy(
    dataset: Dataset, inbox: Inbox, marker: Marker, folder: Path
) -> tuple[tuple[SourceFile, ...], list[DataFile]]:
    """Copy a batch's files, checking each against its marker on the way."""
    try:
        expected = _retry_refusals(
            partial(inbox.manifest, marker, dataset.limits), partial(_check_there, inbox, marker)
        ).files
    except FileNotFoundError as gone:
        raise _vanished(marker) from gone
    if not expected:
        why = f"{marker.uri}: there are no data files beside the marker"
        raise BatchInvalid("no-data", f"{why}; write them, then the marker again")
    copied = list(_copies(inbox, marker, expected, folder, dataset.limits.batch_bytes))
    return tuple(file for file, _ in copied), [copy for _, copy in copied]


def _copies(
    inbox: Inbox, marker: Marker, expected: tuple[Expected, ...], folder: Path, most: int
) -> Iterator[tuple[SourceFile, DataFile]]:
    total = 0
    for index, file in enumerate(expected):
        target = folder / f"source-{index:05d}"
        source = _retry_refusals(
            partial(_fetch, inbox, file, target, most - total),
            partial(_check_readable, inbox, marker),
        )
        total += source.bytes
        yield source, DataFile(file.key, target)


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


def _fetch(inbox: Inbox, file: Expected, target: Path, most: int) -> SourceFile:
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
    return SourceFile(path=file.key, bytes=fetched.size, sha256=fetched.sha256)


def _check_promise(file: Expected, fetched: Fetched) -> None:
    """Compare size and hash with the marker's, if it has them."""
    if file.bytes is not None and fetched.size != file.bytes:
        why = f"{file.key}: the marker promises {file.bytes} bytes, the file has {fetched.size}"
        raise BatchInvalid("size-differs", f"{why}; write it again, then the marker")
    if file.sha256 is not None and fetched.sha256 != file.sha256:
        why = f"{file.key}: its sha256 is not the one that the marker promises"
        raise BatchInvalid("hash-differs", f"{why}; write it again, then the marker")


def _unchanged(inbox: Inbox, marker: Marker, files: tuple[SourceFile, ...]) -> Receipt | None:
    """Receive as unchanged, if the accepted delivery had the same files; else ``None``."""
    current = inbox.receipts.current(marker)
    content = {file.path: file.sha256 for file in files}
    if marker.replay or current is None or current.content != content:
        return None
    return inbox.receive(
        Receipt(
            batch_id=marker.batch_id,
            marker=marker,
            status="unchanged",
            reason="unchanged",
            message=f"the same files were accepted as {current.batch_id}",
            content=content,
            bytes=sum(file.bytes for file in files),
            supersedes=current.batch_id,
            received_at=inbox.clock(),
        )
    )


def _keep_rejected_rows(inbox: Inbox, marker: Marker, checked: Checked) -> None:
    if checked.rejected is not None:
        inbox.lake.store.put_file(checked.rejected, f"rejected/{marker.batch_id}/rows.jsonl")


def _too_many_bad_rows(dataset: Dataset, checked: Checked) -> bool:
    total = checked.rows + checked.rejected_rows
    allowed: float = dataset.thresholds.rejected_share * total
    return checked.rejected_rows > allowed


def _reject_rows(
    dataset: Dataset, inbox: Inbox, marker: Marker, files: tuple[SourceFile, ...], checked: Checked
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
        bytes=sum(file.bytes for file in files),
        content={file.path: file.sha256 for file in files},
    )


def _staged(marker: Marker, files: tuple[SourceFile, ...], checked: Checked) -> Staged:
    return Staged(
        batch_id=marker.batch_id,
        files=files,
        parts=checked.parts,
        rows=checked.rows,
        rejected_rows=checked.rejected_rows,
        reasons=checked.reasons,
        warnings=checked.warnings,
        unexpected=checked.unexpected,
    )


def _accept(dataset: Dataset, inbox: Inbox, marker: Marker, staged: Staged) -> Receipt:
    """Write the receipt of a batch whose staged output is complete."""
    replaced = inbox.receipts.current(marker)
    return inbox.receive(
        Receipt(
            batch_id=marker.batch_id,
            marker=marker,
            status="accepted",
            rows=staged.rows,
            rejected_rows=staged.rejected_rows,
            reasons=staged.reasons,
            warnings=staged.warnings,
            unexpected=staged.unexpected,
            bytes=sum(file.bytes for file in staged.files),
            content=staged.content,
            supersedes=replaced.batch_id if replaced else None,
            received_at=inbox.clock(),
        ),
        unfinished=dataset.model is not None,
    )
