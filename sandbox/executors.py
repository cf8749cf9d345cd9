"""The same five days of flights on S3 with each executor: tasks, pods, seconds, processor time.

``python -m sandbox.executors`` runs the demo with each, one after the other, and prints a table.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sandbox.airflow import interruptible
from sandbox.demo import DAGS, Shown, airflows, console, shown
from sandbox.pods import lives
from sandbox.rehearsal import LocalKubernetes

HEADS = ("tasks", "pods", "receipt, p50", "report, p50", "all days", "processor")


@dataclass(frozen=True)
class Run:
    """What the demo was with one executor.

    Attributes:
        tasks: Tasks that were done, those that were skipped left out.
        pods: Pods that ran; ``None`` where tasks are none.
        receipt: Median seconds from a marker to its receipt.
        report: Median seconds from a marker to the report that shows it.
        seconds: From the first drop until the outcomes of all days were joined.
        processor: Seconds of processor time of all components and tasks, start and end included,
            the database and the broker left out.
    """

    executor: str
    tasks: int
    pods: int | None
    receipt: float
    report: float
    seconds: float
    processor: float

    def cells(self) -> Iterable[str]:
        """Of the table."""
        yield from (self.executor, str(self.tasks), "-" if self.pods is None else str(self.pods))
        yield from (f"{self.receipt:.1f} s", f"{self.report:.1f} s")
        yield from (f"{self.seconds:.0f} s", f"{self.processor:.0f} s")


def run(executor: str) -> Run:
    """Run the demo on S3 with an executor.

    Raises:
        DemoFailed: Something did not come out as it must.
    """
    began = _processor()
    with shown("s3", airflows()[executor]) as demo:
        counted = _counted(demo)
        seconds = demo.seconds
        receipt = median(one.receipt.seconds for one in demo.outcomes)
        report = median(one.to_report for one in demo.outcomes)
    return Run(executor, *counted, receipt, report, seconds, _processor() - began)


def _counted(demo: Shown) -> tuple[int, int | None]:
    done = f"select 1 from task_instance where dag_id in {DAGS} and state = 'success'"
    airflow = demo.airflow
    pods = len(list(lives(airflow.cluster))) if isinstance(airflow, LocalKubernetes) else None
    return len(airflow.query(done)), pods


def _processor() -> float:
    """Seconds of all that this process started and that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(runs: Iterable[Run]) -> Table:
    """A row for each executor."""
    title = "Five days of flights on S3"
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("executor")
    for head in HEADS:
        made.add_column(head, justify="right")
    for one in runs:
        made.add_row(*one.cells())
    return made


def main(executors: Sequence[str]) -> None:
    """Run the demo with these executors, or all, and print the table."""
    with interruptible():
        runs = [run(executor) for executor in executors or airflows()]
    console.print(table(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
