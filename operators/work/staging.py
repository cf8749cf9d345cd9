"""The tasks of a shard: each runs a stage on its batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.operators.work.batches import deliveries, leave, summary, update
from flagfall.operators.work.failed_tasks import forget, is_this
from flagfall.stages.shard import foremost, try_stage

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flagfall.operators.stages import StageOperator


def run(operator: StageOperator, context: Context) -> list[dict[str, Any]]:
    """Run the stage.

    Raises:
        FlagfallError: What failed, when all have been tried.
    """
    dataset = find_dataset(operator.dataset, operator.datasets)
    inbox = Inbox(Feed.of(dataset))
    given = list(deliveries(operator.batches or ()))
    done, failed = try_stage(operator.stage, dataset, inbox, given)
    update(operator.outlets, context, summary(inbox, operator.stage, done))
    operator.done = done
    if failed:
        leave(context, done)
        raise foremost(failed)
    if getattr(context.get("ti"), "try_number", 1) > 1:
        forget(inbox, lambda failure: is_this(failure, context))
    return [delivery.to_dict() for delivery in done]
