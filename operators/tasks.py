"""What operators have in common: declared where a DAG file is read, at work on a worker.

Every task reads its DAG file anew, so what only the work needs is imported when it begins.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from flagfall.operators.airflow_release import fails_for_good

if TYPE_CHECKING:
    from airflow.sdk import Context


class TaskOperator(BaseOperator):
    """An operator whose work is imported when it runs.

    Attributes:
        work: The function in ``flagfall.operators.work`` that does it, with its module. It gets the
            operator and the context.
    """

    work: ClassVar[str]

    @fails_for_good
    def execute(self, context: Context) -> Any:
        """Do the work."""
        module, _, function = self.work.partition(".")
        return getattr(import_module(f"flagfall.operators.work.{module}"), function)(self, context)


class DatasetOperator(TaskOperator):
    """An operator of one dataset, whose file is read when the task runs.

    Args:
        dataset: Name of the dataset.
        datasets: Folder of its file; ``None`` for ``$FLAGFALL_DATASETS``, else ``datasets/`` in the
            current directory.
    """

    def __init__(self, *, dataset: str, datasets: Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.datasets = datasets
