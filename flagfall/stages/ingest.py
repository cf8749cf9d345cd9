"""Ingest: from a claimed marker to staged rows and a receipt.

A batch is never half accepted: its staged parts are in the lake before its receipt, and a record
names those that count. A batch with a fault gets a rejected receipt; only faults of
this machine or its storage are raised. A marker that has disappeared gets no receipt, so it is
pending again if it comes back.
"""

from __future__ import annotations

from flagfall.dataset.schema import Dataset
from flagfall.errors import BatchInvalid
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import Turns, same_as
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.marker import Marker
from flagfall.logs import logger
from flagfall.rows import Checked, check_copies, check_files
from flagfall.stages.accepted import accept
from flagfall.stages.copy_batch import Copied, copy_batch, expected_of, why_changed
from flagfall.stages.counted_once import check_still_counted_once
from flagfall.stages.from_staged import take_again
from flagfall.stages.scratch_size import within_scratch
from flagfall.stages.second_look import look_twice, may_be_behind
from flagfall.stages.unchanged import (
    CLEARED,
    is_cleared,
    is_same_listing,
    unchanged,
    why_unchanged,
)

log = logger(__name__)

_ABSENT = ("no-data", "file-missing")
"""Reasons of a batch whose data are not there."""


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
        NotSettled: It may not be complete; to be looked at once more (see ``second_look``).
        StoreUnavailable: There is nothing at all in the landing zone, its storage or the lake's
            fails, or another delivery of this marker was taken in meanwhile.
    """
    if (filed := inbox.receipts.find(marker)) is not None:
        return filed
    turns = inbox.receipts.turns(marker)  # before the look at the marker: see ``take_turn``
    if marker.staged_from:
        return take_again(dataset, inbox, marker, turns)
    staged = inbox.lake.find(Staged, marker.batch_id)
    is_staged = staged is not None and not _may_be_older(staged, marker, turns)
    is_staged = is_staged and not inbox.was_rewritten(marker)
    if not is_staged and (gone := inbox.gone(marker)) is not None:
        return _leave_pending(inbox, marker, turns, gone)
    try:
        if staged is not None and is_staged:  # a run died before the receipt
            if why := why_unchanged(inbox, marker, staged.content, turns):
                return unchanged(inbox, marker, turns, why)
            return _accept(dataset, inbox, marker, staged, turns)
        return _take_in(dataset, inbox, marker, turns)
    except BatchInvalid as invalid:
        if (gone := inbox.gone(marker)) is not None:  # then the files may not be its batch
            return _leave_pending(inbox, marker, turns, gone)
        if invalid.reason in _ABSENT and is_cleared(inbox, marker, turns.current):
            return unchanged(inbox, marker, turns, CLEARED)
        look_twice(inbox, marker)
        return inbox.reject(marker, invalid.reason, str(invalid), turn=turns.last)


def _may_be_older(staged: Staged, marker: Marker, turns: Turns) -> bool:
    """Whether another delivery was decided on after this one was staged.

    Then it counts only if it is the one that lies there; where none does, as where a share is away,
    nobody knows.
    """
    is_known = staged.turn is None or staged.turn == turns.last
    return not is_known and turns.taken_by != marker.batch_id


def _take_in(dataset: Dataset, inbox: Inbox, marker: Marker, turns: Turns) -> Receipt | None:
    dataset = within_scratch(dataset, inbox.lake)
    manifest = expected_of(dataset, inbox, marker)
    if turns.current and is_same_listing(inbox, marker, manifest.files, turns):
        return unchanged(inbox, marker, turns, same_as(turns.current.batch_id))
    with inbox.lake.scratch() as folder:
        batch = copy_batch(dataset, inbox, marker, manifest, folder)
        if (why := why_changed(inbox, marker, batch)) is not None:
            return _leave_pending(inbox, marker, turns, why)
        if may_be_behind(inbox, marker, manifest.files):
            look_twice(inbox, marker)
        if why := why_unchanged(inbox, marker, batch.content, turns):
            return unchanged(inbox, marker, turns, why, batch)
        checked = check_files(batch.copies, dataset, folder)
        check_copies(batch.copies, [file.sha256 for file in batch.files], dataset)
        _keep_rejected_rows(inbox, marker, checked)
        if _too_many_bad_rows(dataset, checked):
            return _reject_rows(dataset, inbox, marker, batch, checked, turns)
        if checked.refusal is not None:
            raise checked.refusal
        staged = inbox.lake.finish(_staged(marker, batch, checked, turns), checked.files)
        return _accept(dataset, inbox, marker, staged, turns)


def _leave_pending(inbox: Inbox, marker: Marker, turns: Turns, why: str) -> Receipt | None:
    """Write no receipt, except for a replay: a person waits for that one."""
    if marker.replay:
        return inbox.reject(marker, "marker-removed", why, turn=turns.last)
    log.warning("%s", why)
    return None


def _keep_rejected_rows(inbox: Inbox, marker: Marker, checked: Checked) -> None:
    if checked.rejected is not None:
        inbox.lake.store.put_file(checked.rejected, f"rejected/{marker.batch_id}/rows.jsonl")


def _too_many_bad_rows(dataset: Dataset, checked: Checked) -> bool:
    total = checked.rows + checked.rejected_rows
    allowed: float = dataset.thresholds.rejected_share * total
    return checked.rejected_rows > allowed


def _reject_rows(
    dataset: Dataset, inbox: Inbox, marker: Marker, batch: Copied, checked: Checked, turns: Turns
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
        left_out=batch.left_out,
        turn=turns.last,
    )


def _staged(marker: Marker, batch: Copied, checked: Checked, turns: Turns) -> Staged:
    return Staged(
        batch_id=marker.batch_id,
        turn=turns.last,
        files=batch.files,
        listing=batch.listing,
        left_out=batch.left_out,
        parts=checked.parts,
        rows=checked.rows,
        rejected_rows=checked.rejected_rows,
        reasons=checked.reasons,
        warnings=checked.warnings,
        unexpected=checked.unexpected,
    )


def _accept(
    dataset: Dataset, inbox: Inbox, marker: Marker, staged: Staged, turns: Turns
) -> Receipt:
    """Write the receipt of a batch whose staged output is complete."""
    check_still_counted_once(inbox, marker, [file.path for file in staged.files])
    return accept(dataset, inbox, marker, staged, turns)
