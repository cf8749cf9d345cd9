"""The parts of a page that depend on the model's task, one module for each."""

from __future__ import annotations

from collections.abc import Sequence

from flagfall.dataset.model import Task
from flagfall.dataset.schema import Dataset
from flagfall.report.batches import Batch
from flagfall.report.kinds.anomaly import AnomalyPage
from flagfall.report.kinds.binary import BinaryPage
from flagfall.report.kinds.kind import Kind
from flagfall.report.kinds.multiclass import MulticlassPage
from flagfall.report.kinds.regression import RegressionPage
from flagfall.scoring.model_folder import declared_task

_KINDS: dict[Task, Kind] = {
    "binary": BinaryPage(),
    "multiclass": MulticlassPage(),
    "regression": RegressionPage(),
    "anomaly": AnomalyPage(),
}


def kind_of(dataset: Dataset, batches: Sequence[Batch]) -> Kind:
    """The kind of page: by the last batch that was evaluated, else by dataset file and model."""
    tasks = [batch.evaluation.task for batch in batches if batch.evaluation is not None]
    declared = declared_task(dataset.model) if dataset.model else None
    return _KINDS[tasks[-1] if tasks else declared or "binary"]
