"""One run of a DAG by Airflow itself, in a process and a database of its own.

Run as a program it prints how it ended, as JSON; the environment says with which datasets.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DAGS = Path(__file__).parents[2] / "dags"


def run_once(
    datasets: Path, file: Path = DAGS / "feeds.py", dag: str = "toy_pipeline"
) -> dict[str, Any]:
    """State of the run, and of its tasks by ``<task>`` or ``<task>[<shard>]``.

    Args:
        datasets: Folder of the dataset file.
        file: The file with the DAG.
        dag: Its id.
    """
    told = run_dag(datasets, file, dag)
    return {"run": told["run"], "tasks": told["tasks"]}


def run_dag(
    datasets: Path,
    file: Path = DAGS / "feeds.py",
    dag: str = "toy_pipeline",
    times: int = 1,
    **more: str,
) -> dict[str, Any]:
    """The same of any DAG, with what Airflow shows for the number of a task (``labels``).

    Args:
        datasets: Folder of the dataset files.
        file: The file with the DAG.
        dag: Its id.
        times: How often it runs, one run after the other; the last one is told.
        more: For the environment.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "FLAGFALL_DATASETS": str(datasets),
            "PYTHONPATH": str(DAGS.parent),
            **more,
        }
        command = [sys.executable, __file__, str(file), dag, str(times)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (said,) = (line for line in ran.stdout.splitlines() if line.startswith('{"run": '))
    told: dict[str, Any] = json.loads(said)
    told["log"] = ran.stdout + ran.stderr
    return told


def _main() -> None:
    from airflow.sdk.configuration import conf
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
    from airflow.sdk.observability.stats import Stats
    from airflow.utils.db import initdb

    initdb()
    # As a task's own process begins; ``dag.test`` runs tasks in this one.
    legacy = conf.getboolean("metrics", "legacy_names_on")
    Stats.initialize(factory=get_stats_factory(), export_legacy_names=legacy)
    dag = runpy.run_path(sys.argv[1])[sys.argv[2]]
    for task in dag.tasks:
        task.retries = 0
    for _ in range(int(sys.argv[3])):
        run = dag.test(logical_date=datetime.now(UTC))
    instances = run.get_task_instances()
    tasks = {_name(task): task.state for task in instances}
    labels = {_name(task): task.rendered_map_index for task in instances if task.map_index >= 0}
    print()
    print(json.dumps({"run": run.state, "tasks": tasks, "labels": labels}))


def _name(task: Any) -> str:
    return f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else str(task.task_id)


if __name__ == "__main__":
    _main()
