"""The DAG ``flagfall_watchman``: every ten minutes it looks at every feed.

It tells what no run can tell: that nobody watches, that a batch is late or pending for too long,
that storage is away. The page in Airflow shows what it saw. It starts unpaused: a watchman who
sleeps is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, CronTriggerTimetable

from flagfall.dataset.schema import Dataset
from flagfall.operators.watchman import WatchmanOperator

EVERY = "*/10 * * * *"


def watchman(dag_id: str, datasets: Sequence[Dataset], folder: Path) -> DAG:
    """The DAG that looks at the feeds of a folder.

    Args:
        dag_id: Its id; two folders of datasets in one Airflow need two.
        datasets: The feeds.
        folder: Folder of their files; the task reads them again.
    """
    names = ", ".join(f"`{dataset.name}`" for dataset in datasets)
    with DAG(
        dag_id,
        description="Looks at every feed, and tells what is late or open, and that nobody watches",
        schedule=CronTriggerTimetable(EVERY, timezone="UTC"),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        default_args={"owner": datasets[0].owner, "retries": 0},
        doc_md=f"### Is somebody watching?\n\nLooks at {names} every ten minutes, tells once.",
        tags=["flagfall"],
    ) as dag:
        WatchmanOperator(task_id="look", datasets=folder, execution_timeout=timedelta(minutes=9))
    return dag
