"""Who may do what. Every route has these: a mounted application inherits none of Airflow's.

- Nobody is anonymous: 401.
- A feed is seen by who may read its DAG. For everybody else it is not there: 404.
- A batch is replayed by who may start runs of that DAG: else 403.
- A request that changes anything has a header that no other site can send, and comes from here.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_view
from airflow.configuration import conf
from fastapi import Depends, HTTPException, Request

from flagfall.pages.feeds import FeedRef
from flagfall.plugin.feeds import may_replay, readable_feed

HEADER, VALUE = "x-flagfall", "replay"
NO_FEED = "There is no feed here that you may read."

signed_in = Depends(requires_access_view(AccessView.WEBSITE))
"""Every route: whoever may see Airflow's UI at all."""


def _feed(dag_id: str, user: GetUserDep, session: SessionDep) -> FeedRef:
    feed = readable_feed(session, user, dag_id)
    if feed is None:
        raise HTTPException(404, NO_FEED)
    return feed


ReadableFeed = Annotated[FeedRef, Depends(_feed)]
"""The feed of the path's ``dag_id``, which the user may read."""


def _same_site(request: Request, feed: ReadableFeed) -> None:
    headers = request.headers
    if headers.get(HEADER) != VALUE:
        raise HTTPException(403, f"A request without the header {HEADER} is refused.")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "A request from another site is refused.")
    origin = headers.get("origin")
    if origin is not None and _netloc(origin) not in _ours(headers.get("host", "")):
        raise HTTPException(403, "A request from another site is refused.")


def _netloc(origin: str) -> str:
    """Host and port; empty, which is nobody's, where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _ours(host: str) -> set[str]:
    """This server's names: the one that was asked for, and the one that Airflow has."""
    base = conf.get("api", "base_url", fallback="") or ""
    return {host, urlsplit(base).netloc} - {""}


def _replayable(feed: ReadableFeed, user: GetUserDep, session: SessionDep) -> FeedRef:
    if not may_replay(session, user, feed):
        raise HTTPException(403, f"You may not start runs of {feed.dag_id}.")
    return feed


same_site = Depends(_same_site)
ReplayableFeed = Annotated[FeedRef, Depends(_replayable)]
"""The same, of which the user may start runs."""
