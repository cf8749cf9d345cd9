"""What the pods of a rehearsal were: the table that ``make rehearse`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sandbox.kubernetes import Cluster
from sandbox.kubernetes.selectors import Object

MEBI = 1024 * 1024


@dataclass(frozen=True)
class Life:
    """What became of one pod.

    Attributes:
        task: As ``dag_id.task_id``; the name of a pod that is no task's.
        waited: Seconds from its creation until its container ran.
        ran: Seconds that its container ran.
        ended: When that was over, by the monotonic clock.
        outcome: ``Succeeded``, ``Failed`` or ``Deleted``.
        peak: The most memory that it took, in bytes; 0 where the machine does not say.
    """

    task: str
    waited: float
    ran: float
    ended: float
    outcome: str
    peak: int


def lives(cluster: Cluster) -> Iterator[Life]:
    """Every pod that has ended, in the order of their creation."""
    for name, states in cluster.past().items():
        began = states[0][0]
        started = next((at for at, pod in states if _phase(pod) == "Running"), began)
        ended = next((at for at, pod in states if _phase(pod) in ("Succeeded", "Failed")), None)
        if ended is not None:
            last = states[-1][1]
            peak = cluster.peaks.get(name, 0)
            outcome = _phase(last)
            times = started - began, ended - started, ended
            yield Life(task_of(last), *times, outcome, peak)


def _phase(pod: Object) -> str:
    return str(pod["status"]["phase"])


def task_of(pod: Object) -> str:
    """The task of a pod, as ``dag_id.task_id``; the pod's name where it is no task's."""
    given = pod["metadata"].get("annotations") or {}
    name = str(pod["metadata"]["name"])
    return f"{given['dag_id']}.{given['task_id']}" if "task_id" in given else name


def pods_table(found: list[Life], memory: Mapping[str, tuple[int, int]]) -> Iterator[Table]:
    """A table of tasks, and one of components where their memory is known."""
    table = _table("Pods of each task", "task", "pods", "failed", "to start", "ran", "memory, most")
    for task in dict.fromkeys(life.task for life in found):
        of_task = [life for life in found if life.task == task]
        table.add_row(
            task,
            str(len(of_task)),
            str(sum(life.outcome == "Failed" for life in of_task)),
            f"{median(life.waited for life in of_task):.1f} s",
            f"{median(life.ran for life in of_task):.1f} s",
            _mebi(max(life.peak for life in of_task)),
        )
    yield table
    if memory:
        table = _table("Memory of each component", "component", "most", "limit of values.yaml")
        for name, (most, limit) in memory.items():
            table.add_row(name, _mebi(most), _mebi(limit))
        yield table


def _table(title: str, first: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right")
    return table


def _mebi(size: int) -> str:
    return f"{size / MEBI:.0f} MiB" if size else "-"
