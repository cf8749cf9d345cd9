"""How single tasks of a pipeline are run."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from flagfall.dataset.kubernetes import Cpu, Memory
from flagfall.dataset.values import (
    Interval,
    Section,
)


class TaskResources(Section):
    """What one task asks of the cluster. Both are needed: one pod's request replaces the other's.

    Attributes:
        cpu: CPUs that are kept for the task, as Kubernetes writes them; it may use idle ones, too.
        memory: Bytes with a unit; kept for the task, and no more than that can be had.
    """

    cpu: Cpu
    memory: Memory


class Resources(Section):
    """Tasks that need another pod than the cluster's usual one; ``None`` for the usual one."""

    claim: TaskResources | None = None
    ingest_data: TaskResources | None = None
    preprocess_data: TaskResources | None = None
    run_inference: TaskResources | None = None
    evaluate_results: TaskResources | None = None
    generate_report: TaskResources | None = None


class TaskSettings(Section):
    """How one task is run; ``None`` for the default of ``dags/ml_pipeline.py``.

    Attributes:
        retries: How often it is tried again; 0 for never.
        timeout: When Airflow ends it.
    """

    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    timeout: Interval | None = None


class Tasks(Section):
    """Tasks that are run in another way than by default."""

    claim: TaskSettings = TaskSettings()
    ingest_data: TaskSettings = TaskSettings()
    preprocess_data: TaskSettings = TaskSettings()
    run_inference: TaskSettings = TaskSettings()
    evaluate_results: TaskSettings = TaskSettings()
    generate_report: TaskSettings = TaskSettings()
