"""Runs of a pipeline: those that took a batch in, and one that replays batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from airflow.api.common.trigger_dag import trigger_dag
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.exceptions import DagRunAlreadyExists
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flagfall.pages.feeds import FeedRef

REPLAY = "replay"
"""Key of a run's configuration that ``ClaimOperator`` reads."""
UNDER_WAY = (DagRunState.QUEUED, DagRunState.RUNNING)
CLOCKS_DIFFER = timedelta(seconds=5)


@dataclass(frozen=True)
class TaskLink:
    """A task instance, and its page below Airflow's address."""

    name: str
    state: str
    href: str


@dataclass(frozen=True)
class RunLink:
    """A run, and its page below Airflow's address.

    Attributes:
        is_guess: Whether it is known by the time of the receipt only.
        tasks: Those of the batch's shard, and those of all shards.
        other_shards: Whether the batch's shard is not known among several.
    """

    run_id: str
    state: str
    href: str
    is_guess: bool
    tasks: tuple[TaskLink, ...]
    other_shards: bool


def runs_of(
    session: Session, feed: FeedRef, run_id: str, label: str, received_at: datetime
) -> list[RunLink]:
    """The run that took a batch in.

    Args:
        session: Airflow's database.
        feed: The batch's feed.
        run_id: As the feed's ledger says; empty where it does not: then the run at that time, of
            which a pipeline has one.
        label: The batch's short name, which the tasks of its shard carry.
        received_at: When its receipt was written.
    """
    runs = select(DagRun).where(DagRun.dag_id == feed.dag_id)
    if run_id:
        found = runs.where(DagRun.run_id == run_id)
    else:
        is_over = or_(DagRun.end_date.is_(None), DagRun.end_date >= received_at - CLOCKS_DIFFER)
        found = runs.where(DagRun.start_date <= received_at + CLOCKS_DIFFER, is_over)
    newest = found.order_by(DagRun.start_date.desc()).limit(1)
    return [_link(session, run, label, not run_id) for run in session.scalars(newest)]


def _link(session: Session, run: DagRun, label: str, is_guess: bool) -> RunLink:
    ours = select(TaskInstance).where(
        TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id
    )
    tasks = list(session.scalars(ours.order_by(TaskInstance.start_date, TaskInstance.task_id)))
    own = {task.map_index for task in tasks if _has(task, label)}
    shards = {task.map_index for task in tasks if task.map_index >= 0}
    shown = own or (shards if len(shards) == 1 else set())
    return RunLink(
        run_id=run.run_id,
        state=str(run.state),
        href=_href(run),
        is_guess=is_guess,
        tasks=tuple(_tasks(run, tasks, shown)),
        other_shards=bool(shards) and not shown,
    )


def _has(task: TaskInstance, label: str) -> bool:
    """Whether a task's name on the page has the batch's (see ``operators.stages.label``)."""
    names = (task.rendered_map_index or "").split(", ")
    return any(name.partition(":")[0].partition(" and ")[0] == label for name in names)


def _tasks(run: DagRun, tasks: Sequence[TaskInstance], shown: set[int]) -> Iterator[TaskLink]:
    for task in tasks:
        if task.map_index < 0 or task.map_index in shown:
            mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
            place = f"{_href(run)}/tasks/{quote(task.task_id, safe='')}{mapped}"
            yield TaskLink(task.task_id, str(task.state or "waiting"), place)


def _href(run: DagRun) -> str:
    return f"/dags/{quote(run.dag_id, safe='')}/runs/{quote(run.run_id, safe='')}"


def start_replay(
    session: Session, user: BaseUser, feed: FeedRef, what: list[str] | dict[str, str]
) -> RunLink:
    """Start a run that hands batches out again and takes them in.

    Where one is under way already, as after a double click, that one. The name of the run is
    counted, and a name is given once: so of two requests at the same moment only one starts it.

    Args:
        session: Airflow's database.
        user: Who asks.
        feed: The batches' feed.
        what: Their ids, or what a person wished (see ``Wish.to_dict``).

    Raises:
        ValueError: The DAG takes no runs by hand.
    """
    name = f"manual__{REPLAY}_{_digest(what)}_"
    before = select(DagRun).where(
        DagRun.dag_id == feed.dag_id, DagRun.run_id.startswith(name, autoescape=True)
    )
    numbered = ((run.run_id.removeprefix(name), run) for run in session.scalars(before))
    runs = {int(number): run for number, run in numbered if number.isdecimal()}
    last = max(runs, default=0)
    if last and runs[last].state in UNDER_WAY:
        return _started(runs[last])
    return _started(_triggered(session, user, feed, what, f"{name}{last + 1}"))


def _digest(what: list[str] | dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _triggered(
    session: Session,
    user: BaseUser,
    feed: FeedRef,
    what: list[str] | dict[str, str],
    run_id: str,
) -> DagRun:
    try:
        run = trigger_dag(
            feed.dag_id,
            run_id=run_id,
            triggered_by=DagRunTriggeredByType.UI,
            triggering_user_name=user.get_name(),
            conf={REPLAY: what},
            session=session,
        )
        session.commit()
    except (DagRunAlreadyExists, IntegrityError):  # by another request, a moment ago
        session.rollback()
        same = DagRun.dag_id == feed.dag_id, DagRun.run_id == run_id
        run = session.scalar(select(DagRun).where(*same))
    if run is None:
        raise ValueError("Airflow started no run")
    return run


def _started(run: DagRun) -> RunLink:
    return RunLink(run.run_id, str(run.state), _href(run), False, (), False)
