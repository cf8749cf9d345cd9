"""What a scheduler imports for the tasks that it forks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flagfall.plugin.forked import LIBRARIES

LOAD = """
import sys
from flagfall.plugin.plugin import FlagfallPlugin
def load(): FlagfallPlugin.on_load()
def imported(): return sorted(set(sys.argv[2].split(",")) & set(sys.modules))
"""
SAY = LOAD + "load(); print(*imported())"
IN_A_CHILD = LOAD + (
    "import multiprocessing\n"
    "def child(): load(); print('loaded', *imported(), flush=True)\n"
    "multiprocessing.get_context('fork').Process(target=child).start()"
)
FORKED = (
    LOAD
    + """
import os
load()
child = os.fork()
if not child:
    import polars as pl, numpy as np, matplotlib
    from matplotlib.figure import Figure
    rows = pl.DataFrame({"n": range(1_000_000)})
    groups = rows.lazy().group_by(pl.col("n") % 7).len().collect().height
    ones = np.ones((500, 500))
    figure = Figure()
    figure.add_axes((0, 0, 1, 1)).plot([1, 2], [2, 1])
    figure.savefig(os.devnull, format="svg")
    print(groups, int((ones @ ones).sum()), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
)


def said(code: str, command: str, executor: str, home: Path) -> list[str]:
    """What a process of Airflow prints."""
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__EXECUTOR": executor}
    arguments = [sys.executable, "-c", code, command, ",".join(LIBRARIES)]
    done = subprocess.run(
        arguments, env=environment, text=True, capture_output=True, check=True, timeout=120
    )
    return done.stdout.split()


@pytest.mark.parametrize("executor", ["LocalExecutor", "CeleryExecutor,LocalExecutor"])
def test_a_scheduler_that_forks_its_tasks_imports_libraries_for_them(
    executor: str, tmp_path: Path
) -> None:
    assert said(SAY, "scheduler", executor, tmp_path) == sorted(LIBRARIES)


@pytest.mark.parametrize(
    ("command", "executor"),
    [
        ("scheduler", "KubernetesExecutor"),
        ("scheduler", "CeleryExecutor"),
        ("triggerer", "LocalExecutor"),
        ("dag-processor", "LocalExecutor"),
        ("api-server", "LocalExecutor"),
    ],
)
def test_other_processes_do_not(command: str, executor: str, tmp_path: Path) -> None:
    assert "polars" not in said(SAY, command, executor, tmp_path)


def test_a_task_that_loads_plugins_itself_does_not(tmp_path: Path) -> None:
    loaded, *libraries = said(IN_A_CHILD, "scheduler", "LocalExecutor", tmp_path)
    assert loaded == "loaded"
    assert "polars" not in libraries


def test_they_work_in_a_process_that_is_forked_later(tmp_path: Path) -> None:
    assert said(FORKED, "scheduler", "LocalExecutor", tmp_path) == ["7", "125000000", "0"]
