"""What Airflow calls when a task has failed. What they do is imported only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flagfall.dataset.schema import Dataset

if TYPE_CHECKING:
    from airflow.sdk import Context


def on_failure(dataset: Dataset) -> Callable[[Context], None]:
    """A callback for a task that failed for good (see ``notices.task_failed``)."""

    def notify(context: Context) -> None:
        from flagfall.operators.notices import task_failed

        task_failed(dataset, context)

    return notify


def on_retry(dataset: Dataset) -> Callable[[Context], None]:
    """A callback for a task that failed and is tried again (see ``notices.task_is_retried``)."""

    def notify(context: Context) -> None:
        from flagfall.operators.notices import task_is_retried

        task_is_retried(dataset, context)

    return notify
