"""Operators of the DAG ``<name>_outcomes``: evaluate what outcomes say, and report it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from airflow.sdk import BaseOperatorLink

from flagfall.operators.stages import ReportLink
from flagfall.operators.tasks import DatasetOperator


class OutcomesOperator(DatasetOperator):
    """Evaluates the batches of which more is known than before, and returns their markers.

    Skips the run where no outcome is new. A batch that fails does not hold up the others.

    Args:
        dataset, datasets: Name of the dataset whose rows are scored, and folder of both files.
    """

    work: ClassVar[str] = "outcomes.evaluate"
    ui_color = "#e4efe6"


class OutcomesReportOperator(DatasetOperator):
    """Writes a report of the batches of which more is known, in the place of the latest one.

    Args:
        dataset, datasets: As for ``OutcomesOperator``.
        batches: What that returned (templated); ``None`` where it returned nothing.
    """

    work: ClassVar[str] = "outcomes.report"
    template_fields: Sequence[str] = ("batches",)
    operator_extra_links: Sequence[BaseOperatorLink] = (ReportLink(),)
    ui_color = "#f5efdd"

    def __init__(self, *, batches: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches = batches
        self.link = ""
