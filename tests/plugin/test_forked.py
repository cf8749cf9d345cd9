"""What a scheduler imports for the tasks that it forks."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import flagfall
from flagfall.plugin import forked
from flagfall.plugin.forked import LIBRARIES, OWN
from sandbox.airflow import read_settings

IN_CELERY = read_settings(Path(__file__).parents[2] / "deploy" / "celery.env")

IMPORTED = sorted((*LIBRARIES, *OWN))
HAS_ALL = "has:" + ",".join(IMPORTED)

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

IN_A_WORKER = (
    LOAD
    + """
from airflow.providers.celery.executors.celery_executor import app
app.loader.init_worker()
print("has:" + ",".join(imported()))
"""
)
OWN_IN_A_CHILD = (
    LOAD
    + """
import os
load()
from flagfall.stages import shard
if CHANGED:
    with open(shard.__file__, "a") as file:
        file.write("IS_NEW = True")
child = os.fork()
if not child:
    before = len(sys.modules)
    from flagfall.stages import shard
    from flagfall.operators.work import staging
    is_one = sys.modules["flagfall.stages.shard"] is shard
    print(hasattr(shard, "IS_NEW"), is_one, len(sys.modules) - before > 0, flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
)


def said(code: str, command: str, executor: str, home: Path, **more: str) -> list[str]:
    """What a process of Airflow prints."""
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__EXECUTOR": executor}
    environment |= more
    arguments = [sys.executable, "-c", code, command, ",".join(IMPORTED)]
    done = subprocess.run(
        arguments,
        env=environment,
        cwd=home,
        text=True,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return done.stdout.split()


@pytest.mark.parametrize("executor", ["LocalExecutor", "CeleryExecutor,LocalExecutor"])
def test_a_scheduler_that_forks_its_tasks_imports_for_them(executor: str, tmp_path: Path) -> None:
    assert said(SAY, "scheduler", executor, tmp_path) == IMPORTED


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
def test_other_processes_do_not(
    command: str, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow", command])
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    assert not forked._forks_tasks()


def test_a_scheduler_that_spawns_its_workers_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    assert forked._forks_tasks()
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    assert not forked._forks_tasks()


def test_so_does_a_celery_worker(tmp_path: Path) -> None:
    assert said(IN_A_WORKER, "celery", "CeleryExecutor", tmp_path, **IN_CELERY) == [HAS_ALL]


def test_a_task_that_loads_plugins_itself_does_not(tmp_path: Path) -> None:
    loaded, *imported = said(IN_A_CHILD, "scheduler", "LocalExecutor", tmp_path)
    assert loaded == "loaded"
    assert "polars" not in imported


def test_they_work_in_a_process_that_is_forked_later(tmp_path: Path) -> None:
    assert said(FORKED, "scheduler", "LocalExecutor", tmp_path) == ["7", "125000000", "0"]


@pytest.mark.parametrize("changed", [False, True])
def test_a_task_has_our_modules_as_their_files_are(changed: bool, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(Path(flagfall.__file__).parent, clone / "flagfall")
    code = OWN_IN_A_CHILD.replace("CHANGED", str(changed))
    found = said(code, "scheduler", "LocalExecutor", tmp_path, PYTHONPATH=str(clone))
    assert found == [str(changed), "True", str(changed), "0"]


def test_a_file_that_changes_as_others_are_imported_has_changed(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(Path(flagfall.__file__).parent, clone / "flagfall")
    with (clone / "flagfall" / "report" / "page.py").open("a") as page:  # after shard, of stages
        page.write("\nfrom flagfall.stages import shard\n")
        page.write("with open(shard.__file__, 'a') as file:\n    file.write('IS_NEW = True')\n")
    code = OWN_IN_A_CHILD.replace("CHANGED", "False")
    found = said(code, "scheduler", "LocalExecutor", tmp_path, PYTHONPATH=str(clone))
    assert found == ["True", "True", "True", "0"]


@pytest.mark.parametrize("broken", ["polars", "flagfall.report.page"])
def test_what_cannot_be_imported_stops_neither_a_worker_nor_the_search_for_changes(
    broken: str, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(Path(flagfall.__file__).parent, clone / "flagfall")
    file = clone / f"{broken.replace('.', '/')}.py"
    file.write_text("raise ImportError('GLIBCXX not found')")
    where = {"PYTHONPATH": str(clone)}
    words = said(IN_A_WORKER, "celery", "CeleryExecutor", tmp_path, **IN_CELERY, **where)
    assert broken in words, "it is logged"
    (has,) = [word for word in words if word.startswith("has:")]
    assert broken not in has
    assert "numpy" in has
    if broken != "polars":
        code = OWN_IN_A_CHILD.replace("CHANGED", "True")
        words = said(code, "scheduler", "LocalExecutor", tmp_path, **where)
        assert "True True True 0" in " ".join(words)


def test_whatever_is_imported_for_tasks_is_there() -> None:
    """A module that is not installed is left out without a word; ours are."""
    for name in OWN:
        import_module(name)
