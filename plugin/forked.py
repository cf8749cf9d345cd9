"""What a scheduler with the LocalExecutor, or a Celery worker, imports before it forks tasks.

Each task is a process of its own that is forked from one of these, so it need not import what is
there. That is some 0.4 s of each task, and a second of the report. In a pod nothing is forked.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

from airflow.configuration import conf

import flagfall
from flagfall.logs import logger

log = logger(__name__)

LIBRARIES = (
    "numpy",
    "polars",
    "onnxruntime",
    "jinja2",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
)
"""None of them starts threads that it needs when it is imported, so they work in a fork."""
OWN = (
    "flagfall.dags.ml_pipeline",
    "flagfall.operators.lineage",
    "flagfall.operators.work.claiming",
    "flagfall.operators.work.publishing",
    "flagfall.operators.work.reporting",
    "flagfall.operators.work.staging",
    "flagfall.report.page",
    "flagfall.scoring.engines.onnx",
    "flagfall.stores.local",
    "flagfall.tables.upkeep",
)
"""With what each of them imports, all that a pipeline's tasks need of us."""


Version = tuple[int, int, int] | None
"""When a file was written last, its size, and where it lies; ``None`` where it is gone."""


def import_if_scheduler() -> None:
    """Import what tasks need if this is a scheduler that forks its tasks."""
    if _forks_tasks():
        import_for_tasks()


def import_for_tasks() -> None:
    """Import what tasks need and what is installed, in a process that forks them.

    What cannot be imported is logged: each task tries it for itself.
    """
    versions = {file: _version(file) for file in _files()}  # one that changes meanwhile is seen
    for name in (*LIBRARIES, *OWN):
        try:
            import_module(name)
        except ModuleNotFoundError:
            log.debug("%s is not installed", name)
        except Exception as error:
            log.warning("%s cannot be imported for tasks: %s: %s", name, type(error), error)
    os.register_at_fork(after_in_child=partial(_forget_changed, versions))


def _forks_tasks() -> bool:
    is_scheduler = sys.argv[1:2] == ["scheduler"] and multiprocessing.parent_process() is None
    return is_scheduler and "LocalExecutor" in conf.get("core", "executor") and _forks()


def _forks() -> bool:
    """Whether processes are forked; that nobody has said how they begin is left so."""
    default, *_ = multiprocessing.get_all_start_methods()
    return (multiprocessing.get_start_method(allow_none=True) or default) == "fork"


def _files() -> Iterator[str]:
    """The files of all our modules."""
    for folder, _, names in os.walk(Path(flagfall.__file__).parent, followlinks=True):
        yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))


def _version(file: str) -> Version:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _forget_changed(versions: Mapping[str, Version]) -> None:
    """Have a task import all of ours anew where a file has changed, as in a clone: no half of each.

    Args:
        versions: Of our files, before any was imported.
    """
    if any(_version(file) != version for file, version in versions.items()):
        for name in [name for name in sys.modules if name.partition(".")[0] == flagfall.__name__]:
            del sys.modules[name]
