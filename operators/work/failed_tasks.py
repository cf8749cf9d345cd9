"""Notes in the lake of tasks that failed, and that they have succeeded since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import batch_id_of
from flagfall.landing.marker import Marker
from flagfall.operators.notices import task_name
from flagfall.verdict.failures import Failure, failures, forget_failures, note_failure
from flagfall.verdict.words import listed

if TYPE_CHECKING:
    from airflow.sdk import Context


def is_this(failure: Failure, context: Context) -> bool:
    """Whether a note is of this task of this run."""
    return (failure.run, failure.task) == (str(context["run_id"]), task_name(context))


def forget(inbox: Inbox, which: Callable[[Failure], bool]) -> None:
    """Remove notes of tasks that failed: they have succeeded since."""
    store = inbox.lake.store
    forget_failures(store, list(filter(which, failures(store))))


def note_left(inbox: Inbox, run: str, task: str, left: Sequence[str]) -> None:
    """Note that a run ends and has not finished batches, also where its tasks were killed."""
    if left:
        why = f"{len(left):,} batches of the run are not finished: {listed(left)}"
        note_failure(inbox.lake.store, Failure(run=run, task=task, why=why, at=inbox.clock()))


def forget_earlier(inbox: Inbox, run: str, markers: Iterable[Marker]) -> None:
    """Remove notes of earlier runs, unless a batch that they left is still not finished."""
    own = {marker.batch_id for marker in markers}
    noted = inbox.receipts.filed(inbox.clock().date()).unfinished
    if {batch_id_of(entry.key) for entry in noted} <= own:
        forget(inbox, lambda failure: failure.run != run)
