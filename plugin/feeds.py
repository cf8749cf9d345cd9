"""Which feeds there are, and who may see them: both as Airflow's own database says.

A feed is a DAG that a marker feed's trigger schedules. The trigger carries the ``Feed``, so the API
server needs no dataset file. Another team's feed is answered like one that is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel, DagTag
from airflow.models.serialized_dag import SerializedDagModel
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from flagfall.dataset.feed import Feed
from flagfall.pages.feeds import FeedRef

TAG = "flagfall"
"""Every DAG of ours has it."""
TRIGGER = "flagfall.triggers.markers.MarkerFeedTrigger"
PIPELINE = "_pipeline"
OTHERS = ("_expected", "_outcomes")
"""Ends of the names of a feed's other DAGs."""


def readable_feeds(session: Session, user: BaseUser) -> list[FeedRef]:
    """The feeds whose DAG a user may read, by name."""
    allowed = get_auth_manager().get_authorized_dag_ids(user=user, method="GET", session=session)
    found = _feeds(session, [one for one in allowed if one.endswith(PIPELINE)])
    return sorted(found, key=lambda feed: feed.name)


def readable_feed(session: Session, user: BaseUser, dag_id: str) -> FeedRef | None:
    """The feed of a DAG; ``None`` where there is none, and where the user may not read it.

    ``<name>_expected`` and ``<name>_outcomes`` are DAGs of the same feed as ``<name>_pipeline``.
    """
    for end in OTHERS:
        if dag_id.endswith(end):
            dag_id = dag_id.removesuffix(end) + PIPELINE
    if not may_read_dag(session, user, dag_id):
        return None
    return next(iter(_feeds(session, [dag_id])), None)


def may_read_dag(session: Session, user: BaseUser, dag_id: str) -> bool:
    """Whether a user may read a DAG, also one that is not there any more."""
    return _may(session, user, dag_id, "GET")


def may_replay(session: Session, user: BaseUser, feed: FeedRef) -> bool:
    """Whether a user may start runs of a feed's pipeline."""
    return _may(session, user, feed.dag_id, "POST", DagAccessEntity.RUN)


def _may(
    session: Session,
    user: BaseUser,
    dag_id: str,
    method: Any,
    entity: DagAccessEntity | None = None,
) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id, session=session))
    return bool(
        get_auth_manager().is_authorized_dag(
            method=method, access_entity=entity, details=details, user=user
        )
    )


def _feeds(session: Session, dag_ids: Iterable[str]) -> Iterator[FeedRef]:
    tagged = select(DagTag.dag_id).where(DagTag.name == TAG)
    ours = select(DagModel).where(
        DagModel.dag_id.in_(list(dag_ids)), DagModel.dag_id.in_(tagged), ~DagModel.is_stale
    )
    models = {model.dag_id: model for model in session.scalars(ours)}
    latest = SerializedDagModel.get_latest_serialized_dags(dag_ids=list(models), session=session)
    for stored in latest:
        feed = _feed_in(stored)
        if feed is not None:
            yield _ref(models[stored.dag_id], feed)


def _ref(model: DagModel, feed: Feed) -> FeedRef:
    return FeedRef(
        dag_id=model.dag_id,
        feed=feed,
        title=model.description or "",
        is_paused=bool(model.is_paused),
    )


def _feed_in(stored: SerializedDagModel) -> Feed | None:
    """The feed that a stored DAG's trigger carries; ``None`` where it has no such trigger."""
    timetable = (stored.data or {}).get("dag", {}).get("timetable", {})
    return _parsed(json.dumps(timetable, sort_keys=True))


@lru_cache(maxsize=512)
def _parsed(timetable: str) -> Feed | None:
    for kwargs in _triggers(json.loads(timetable)):
        try:
            return Feed.model_validate_json(kwargs["feed"])
        except (KeyError, ValidationError):
            continue
    return None


def _triggers(value: Any) -> Iterator[dict[str, Any]]:
    """Arguments of our triggers, wherever they are in a stored timetable."""
    if isinstance(value, list):
        for one in value:
            yield from _triggers(one)
    if isinstance(value, dict):
        if value.get("classpath") == TRIGGER:
            yield value.get("kwargs", {})
        for one in value.values():
            yield from _triggers(one)
