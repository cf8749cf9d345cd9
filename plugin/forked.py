"""What a scheduler with the LocalExecutor, or a Celery worker, imports before it forks tasks.

Each task is a process of its own that is forked from one of these, so it need not import what is
there. That is half a second of each task, and a second of the report. In a pod nothing is forked.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module

from airflow.configuration import conf

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


def import_if_scheduler() -> None:
    """Import what tasks need if this is a scheduler that forks its tasks."""
    if _forks_tasks():
        import_for_tasks()


def import_for_tasks() -> None:
    """Import what tasks need and what is installed, in a process that forks them."""
    for name in (*LIBRARIES, *OWN):
        with suppress(ModuleNotFoundError):
            import_module(name)
    os.register_at_fork(after_in_child=partial(_forget_changed, _versions()))


def _forks_tasks() -> bool:
    is_scheduler = sys.argv[1:2] == ["scheduler"] and multiprocessing.parent_process() is None
    return is_scheduler and "LocalExecutor" in conf.get("core", "executor")


def _versions() -> dict[str, int | None]:
    """When each file of ours that has been imported was written last, by its path."""
    ours = (module for name, module in sys.modules.items() if _is_ours(name))
    return {path: _written(path) for module in ours if (path := module.__file__)}


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == __package__.partition(".")[0]


def _written(path: str) -> int | None:
    """In nanoseconds; ``None`` where it is gone."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _forget_changed(versions: Mapping[str, int | None]) -> None:
    """Have a task import all of ours anew where a file has changed, as in a clone: no half of each.

    Args:
        versions: Of the files when they were imported.
    """
    if any(_written(path) != written for path, written in versions.items()):
        for name in [*filter(_is_ours, sys.modules)]:
            del sys.modules[name]
