"""The DAG ``flagfall_maintenance``: once a day it drops what is old, and keeps tables in order.

A task for each dataset whose file says so, so that one whose storage is away stops no other. It
starts unpaused: whoever writes ``lake.keep`` wants it done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, CronTriggerTimetable

from flagfall.dataset.schema import Dataset
from flagfall.operators.callbacks import on_failure
from flagfall.operators.maintenance import MaintenanceOperator

DAILY = "23 3 * * *"
"""Once a day (UTC), not at the full hour, when everybody else's jobs begin."""


def maintenance(dag_id: str, datasets: Sequence[Dataset], folder: Path) -> DAG:
    """The DAG that does the upkeep of a folder's datasets.

    Args:
        dag_id: Its id; two folders of datasets in one Airflow need two.
        datasets: Those whose files name what is to go, or ask for tables.
        folder: Folder of their files; each task reads its own again.
    """
    with DAG(
        dag_id,
        description="Drops what is older than the dataset files say; keeps tables in order",
        schedule=CronTriggerTimetable(DAILY, timezone="UTC"),
        catchup=False,
        max_active_runs=1,
        max_active_tasks=2,
        is_paused_upon_creation=False,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
        doc_md=_DOC,
        tags=["flagfall"],
    ) as dag:
        for dataset in datasets:
            MaintenanceOperator(
                task_id=dataset.name,
                dataset=dataset.name,
                datasets=folder,
                owner=dataset.owner,
                execution_timeout=timedelta(hours=6),
                on_failure_callback=on_failure(dataset),
            )
    return dag


_DOC = """\
### What is old goes

A task for each dataset whose file has `lake.keep`, `landing.after_receipt` or `lake.table`. Its
log says what went; `flagfall upkeep DATASET` shows what would go now. Receipts stay, and so does
all that a batch needs that is not evaluated yet. Tables get what they lack, and fewer, larger
files. A task that failed can be cleared: the rest is done.
"""
