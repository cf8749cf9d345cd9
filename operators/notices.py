"""Callbacks that say what failed, for which batch, and what to do next.

They write to the task's log, and send through every Airflow notifier that the dataset's file names
under ``notify``; a notifier finds the sentence as ``{{ notice }}`` in its templated arguments. It
is one line of plain text that quotes names: in HTML it has to be escaped, ``{{ notice | e }}``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import ImportString, TypeAdapter

from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreError, printable
from flagfall.logs import logger
from flagfall.operators.airflow_release import failure

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logger(__name__)

_IMPORTED: TypeAdapter[Any] = TypeAdapter(ImportString[Any])


def on_failure(dataset: Dataset) -> Callable[[Context], None]:
    """A callback for a task that failed for good."""

    def notify(context: Context) -> None:
        _send(dataset, context, f"{_what(dataset, context)} failed: {_next_step(dataset, context)}")

    return notify


def on_retry(dataset: Dataset) -> Callable[[Context], None]:
    """A callback for a task that failed and is tried again."""

    def notify(context: Context) -> None:
        _send(dataset, context, f"{_what(dataset, context)} failed and is tried again by itself")

    return notify


def _next_step(dataset: Dataset, context: Context) -> str:
    if isinstance(failure(context), StoreError) and not _batches(context):
        return (
            "mend the cause; nothing is lost, and what is pending then is taken in by itself."
            f" `flagfall status {dataset.name}` shows what the watcher sees"
        )
    return f"mend the cause and clear the task, or `flagfall replay {dataset.name} BATCH`"


def _what(dataset: Dataset, context: Context) -> str:
    instance = context["ti"]
    error = failure(context)
    because = f" ({type(error).__name__}: {error})" if error else ""
    return printable(
        f"{dataset.name}: {instance.task_id} of {', '.join(_batches(context)) or 'no batch yet'}"
        f" in run {context['run_id']}{because}"
    )


def _batches(context: Context, shown: int = 3) -> list[str]:
    """Labels of the first batches that the task was given."""
    given = getattr(context.get("task"), "batches", None)
    markers = [batch.get("marker", batch) for batch in given] if isinstance(given, list) else []
    return [marker["uri"] for marker in markers[:shown]]


def _send(dataset: Dataset, context: Context, message: str) -> None:
    log.error("%s", message)
    for notice in dataset.notify:
        notifier: Callable[..., Any] = _IMPORTED.validate_python(notice.notifier)
        notifier(**notice.arguments)({**context, "notice": message})
