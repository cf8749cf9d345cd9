"""Airflow providers and notifiers that only some datasets need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flagfall.dataset.notifiers import notifier_problems
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, Problem

KUBERNETES = "apache-airflow-providers-cncf-kubernetes"


def lacking(dataset: Dataset, folder: Path) -> DatasetInvalid | None:
    """Why a dataset in ``folder`` cannot have its DAG in this Airflow; ``None`` where it can."""
    if dataset.model is None or dataset.model.engine != "pod":
        return None
    try:
        version(KUBERNETES)
    except PackageNotFoundError:
        why = f"'pod' needs {KUBERNETES}; install it, or choose another engine"
        file = str(folder / f"{dataset.name}.yaml")
        return DatasetInvalid(file, [Problem("model.engine", None, why)])
    return None


def unusable_notifiers(datasets: Sequence[Dataset], folder: Path) -> Iterator[DatasetInvalid]:
    """Notifiers that datasets in ``folder`` name and that cannot be used. Imports them.

    A pipeline runs without its notices all the same, so its DAG is not left out for that.
    """
    for dataset in datasets:
        if problems := list(notifier_problems(dataset.notify)):
            yield DatasetInvalid(str(folder / f"{dataset.name}.yaml"), problems)
