"""An operator that drops what is older than a dataset file says, and keeps its tables in order."""

from __future__ import annotations

from typing import ClassVar

from flagfall.operators.tasks import DatasetOperator


class MaintenanceOperator(DatasetOperator):
    """Does one round of upkeep: ``lake.table``, ``lake.keep`` and ``landing.after_receipt``.

    It returns how many batches, objects and bytes went, by where they were; and what was done to
    tables.

    Args:
        dataset, datasets: Name of the dataset, and folder of its file.
    """

    work: ClassVar[str] = "upkeep.run"
    ui_color = "#eae6f2"
