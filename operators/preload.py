"""Imports what tasks need, in a process that Airflow forks them from.

Airflow forks a process for each task, and each imports anew what it needs: for a small batch that
takes longer than the work. ``deploy/local.env`` and ``deploy/celery.env`` name this module, so the
process that they are forked from has done it for all of them.

Nothing is called but imports, since threads do not outlive a fork: polars starts those that it
works with at its first call.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages

_AIRFLOW = ("airflow.sdk.execution_time.supervisor", "airflow.sdk.execution_time.task_runner")
_WORK = ("claiming", "staging", "reporting")
_ROOMS = ("flagfall.stages", "flagfall.report")
_ENGINE = "flagfall.scoring.engines.onnx"
"""Its library may not be installed; other engines import nothing that takes long."""


def preload() -> None:
    """Import what the tasks of a pipeline need."""
    ours = (f"flagfall.operators.work.{name}" for name in _WORK)
    for name in (*_AIRFLOW, "flagfall.dags", "flagfall.stores.local", *ours, *_modules()):
        import_module(name)
    with suppress(ImportError):
        import_module(_ENGINE)
    gc.freeze()  # no collection writes to memory that tasks share


def _modules() -> Iterator[str]:
    """Those of whole rooms, which they themselves import only when they need them."""
    for room in _ROOMS:
        yield from (one.name for one in walk_packages(import_module(room).__path__, f"{room}."))


preload()
