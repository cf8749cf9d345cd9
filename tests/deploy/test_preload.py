"""Workers have imported what tasks need before they are forked for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.airflow import LOCAL, read_settings
from sandbox.cluster import CELERY

NEEDED = ("polars", "onnxruntime", "matplotlib", "flagfall.stages.evaluate", "flagfall.report.page")

LOCAL_WORKER = """\
import multiprocessing, os, sys
from airflow.utils.process_utils import set_component_mp_start_method

def worker(found):
    import polars as pl
    task = os.fork()  # as Airflow's supervisor does
    if task == 0:
        found.put([name for name in NEEDED if name in sys.modules])
        found.put(pl.DataFrame({"a": range(100_000)}).group_by(pl.col("a") % 7).len().height)
        os._exit(0)
    os.waitpid(task, 0)

if __name__ == "__main__":
    set_component_mp_start_method("scheduler")
    found = multiprocessing.SimpleQueue()
    process = multiprocessing.Process(target=worker, args=(found,))
    process.start()
    print(*found.get(), found.get(), sep="\\n")
"""
CELERY_WORKER = """\
import sys
from airflow.providers.celery.executors.celery_executor_utils import app

assert not [name for name in NEEDED if name in sys.modules]
app.loader.import_default_modules()  # a worker does so before it forks
print(*[name for name in NEEDED if name in sys.modules], sep="\\n")
"""
THREADS = """\
from pathlib import Path
from flagfall.operators import preload

for thread in Path("/proc/self/task").iterdir():
    print((thread / "comm").read_text().strip())
import polars as pl
print("pool:", pl.thread_pool_size())
"""


def said(code: str, folder: Path, settings: Path | None = None) -> list[str]:
    """Lines that a Python file prints, beside an Airflow with settings of ``deploy/``."""
    script = folder / "script.py"
    script.write_text(f"NEEDED = {NEEDED}\n{code}")
    environment = {**os.environ, **(read_settings(settings) if settings else {})}
    environment |= {"AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("settings", [None, LOCAL], ids=["without it", "with local.env"])
def test_a_task_of_the_local_executor_finds_its_imports_done_and_can_use_them(
    tmp_path: Path, settings: Path | None
) -> None:
    pytest.importorskip("airflow.utils.process_utils")
    *found, groups = said(LOCAL_WORKER, tmp_path, settings)[-6:]
    assert set(NEEDED) <= set(found) or settings is None
    assert groups == "7"


def test_a_celery_worker_imports_what_tasks_need(tmp_path: Path) -> None:
    assert set(said(CELERY_WORKER, tmp_path, CELERY)[-5:]) == set(NEEDED)


def test_polars_starts_no_threads_that_a_task_would_miss(tmp_path: Path) -> None:
    """Those of its pool are called polars-0 and so on; a process without them starts its own."""
    *threads, pool = said(THREADS, tmp_path)
    assert pool.startswith("pool:")
    assert not [name for name in threads if name.startswith(("polars-0", "polars-1", "async-"))]
