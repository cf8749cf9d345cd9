"""The task that drops what is old, and keeps tables in order."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.outcomes import LOOKS_ON
from flagfall.dataset.schema import Dataset
from flagfall.errors import printable
from flagfall.inbox.inbox import Inbox
from flagfall.tables.upkeep import Kept, maintain
from flagfall.upkeep.run import do_upkeep, plan_upkeep

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flagfall.operators.maintenance import MaintenanceOperator

LOOKS_BACK = timedelta(days=30)
"""How far a round looks for batches that a table lacks, or as long as outcomes are waited for;
`flagfall table` looks at all of them."""


def run(operator: MaintenanceOperator, context: Context) -> dict[str, dict[str, int]]:
    """Do one round.

    Tables come first, so that nothing goes which they still lack.

    Returns:
        Batches, objects and bytes that went, by where they were; and what was done to tables.

    Raises:
        Damaged: A batch is that a table lacks; all else is done.
        StoreRefused: A right to delete is missing; the same.
        StoreUnavailable: The storage fails; another try does the rest.
    """
    dataset = find_dataset(operator.dataset, operator.datasets)
    inbox = Inbox(Feed.of(dataset))
    tables = _tables(operator, dataset, inbox) if dataset.lake.table else []
    done = do_upkeep(dataset, inbox, plan_upkeep(dataset, inbox))
    for sentence in done.sentences():
        operator.log.info("%s", printable(f"{dataset.name}: gone: {sentence}"))
    for one in tables:
        one.check()
    done.check()
    return {**{f"table {one.kind}": one.counts for one in tables}, **done.to_dict()}


def _tables(operator: MaintenanceOperator, dataset: Dataset, inbox: Inbox) -> list[Kept]:
    late = dataset.late_label
    back = max(LOOKS_BACK, late.within + LOOKS_ON) if late is not None else LOOKS_BACK
    since = (inbox.clock() - back).date()
    kept = maintain(dataset, inbox.lake, since)
    for one in kept:
        operator.log.info("%s: %s", dataset.name, one.sentence)
        for failure in one.failures:
            operator.log.error("%s: a table lacks a batch: %s", dataset.name, failure)
    return kept
