"""An operator that looks at every feed and tells people what is new: also that nobody watches.

A watcher on the triggerer has no task that could fail. If the triggerer stalls, no run starts, and
no run can tell. So somebody else has to look: this operator, in a DAG with a schedule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from flagfall.operators.tasks import TaskOperator


class WatchmanOperator(TaskOperator):
    """Judges every feed, writes down how it stands, and tells what has not been told.

    The page in Airflow shows what is written down. A feed that names no notifiers tells nobody.

    Where Airflow sends metrics it judges the others, too, and sends how each stands.

    What was told is in each feed's lake. Where a lake cannot be reached, that is told once: the
    operator's own XCom remembers it.

    Args:
        datasets: Folder of the dataset files.
    """

    work: ClassVar[str] = "watching.look_at_all"
    ui_color = "#f5e3e3"

    def __init__(self, *, datasets: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.datasets = datasets
