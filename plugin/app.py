"""The pages' application: routes, and the headers of what they send."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache, partial
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from flagfall.pages import reports
from flagfall.pages.batch import batch_page, is_batch
from flagfall.pages.feed import Filter, Show, feed_page
from flagfall.pages.feeds import FeedRef, feeds_page
from flagfall.pages.lakes import Lakes
from flagfall.pages.render import FILES, POLICY, render, static
from flagfall.pages.replay import PATIENCE, replay_page, why_not_again
from flagfall.plugin.feeds import may_read_dag, may_replay, readable_feeds
from flagfall.plugin.guards import ReadableFeed, ReplayableFeed, same_site, signed_in
from flagfall.plugin.runs import runs_of, start_replay
from flagfall.triggers import connections

router = APIRouter()
lakes = Lakes()
plans = Lakes(patience=PATIENCE)
"""The same for what takes longer, so that no other page waits for it."""
_FEED = "/feeds/{dag_id}"
_BATCH = f"{_FEED}/batches/{{day}}/{{batch_id}}"
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@cache
def pages() -> FastAPI:
    """The application, with every route behind Airflow's login."""
    connections.use()
    app = FastAPI(dependencies=[signed_in], docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router)
    app.add_exception_handler(AnyHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    return app


@router.get("/")
def feeds(request: Request, user: GetUserDep, session: SessionDep) -> Response:
    """Every feed that the user may read."""
    may_read = partial(may_read_dag, session, user)
    page = feeds_page(lakes, readable_feeds(session, user), _now(), may_read)
    return _page(request, "feeds", page=page)


@router.get("/static/{name}")
def asset(name: str) -> Response:
    """Style, script and icons."""
    if name not in FILES:
        raise HTTPException(404, "There is no such file.")
    headers = {**_HEADERS, "Cache-Control": "private, max-age=86400"}
    return Response(static(name), media_type=FILES[name], headers=headers)


@router.get(_FEED)
def feed(
    request: Request,
    feed: ReadableFeed,
    user: GetUserDep,
    session: SessionDep,
    show: Show = "all",
    text: str = "",
    day: str = "",
    run: str = "",
    page: int = 1,
) -> Response:
    """One feed."""
    chosen = Filter(show, text[:80], _date(day), run[:250], max(page, 1))
    return _page(
        request,
        "feed",
        feed=feed,
        page=feed_page(lakes, feed, _now(), chosen),
        may_replay=may_replay(session, user, feed),
    )


@router.get(f"{_FEED}/runs/{{run_id}}")
def run(request: Request, feed: ReadableFeed, run_id: str) -> Response:
    """The batches of one run."""
    page = feed_page(lakes, feed, _now(), Filter(run=run_id[:250]))
    return _page(request, "run", feed=feed, page=page)


@router.get(_BATCH)
def batch(
    request: Request,
    feed: ReadableFeed,
    user: GetUserDep,
    session: SessionDep,
    day: str,
    batch_id: str,
) -> Response:
    """One delivery."""
    page = _batch(feed, day, batch_id)
    found, row = page.found, page.row
    label = found.receipt.marker.label if found else batch_id.rpartition(".")[0]
    runs = []
    if found is not None:
        at = found.receipt.received_at
        runs = runs_of(session, feed, row.run if row else "", label, at)
    return _page(
        request,
        "batch",
        feed=feed,
        page=page,
        day=day,
        batch_id=batch_id,
        label=label,
        runs=runs,
        may_replay=may_replay(session, user, feed),
    )


@router.post(f"{_BATCH}/replay", dependencies=[same_site])
def replay(
    request: Request,
    feed: ReplayableFeed,
    user: GetUserDep,
    session: SessionDep,
    day: str,
    batch_id: str,
) -> Response:
    """Start a run that takes a delivery in again. Nothing is written here."""
    page = _batch(feed, day, batch_id)
    if page.damaged and page.found is None:
        raise HTTPException(409, "The batch's receipt is damaged, so no run was started.")
    if page.found is None:
        raise HTTPException(503, "The lake does not answer, so no run was started. Try again.")
    if why := why_not_again(plans, feed, page.found.receipt):
        raise HTTPException(409, why)
    return _started(request, feed, user, session, [batch_id])


def _given(
    since: str = "",
    until: str = "",
    reason: str = "",
    source: Annotated[str, Query(alias="from")] = "",
) -> dict[str, str]:
    return {"since": since, "until": until, "reason": reason, "from": source}


Given = Annotated[dict[str, str], Depends(_given)]
"""The batches that a person asks for (see ``Wish.read``)."""


@router.get(f"{_FEED}/replay")
def replay_of_many(request: Request, feed: ReplayableFeed, given: Given) -> Response:
    """What a replay of many batches would do: not for who may only read, since it costs reads."""
    page = replay_page(plans, feed, given, _now())
    return _page(request, "replay", 400 if page.wrong else 200, feed=feed, page=page)


@router.post(f"{_FEED}/replay", dependencies=[same_site])
def replay_many(
    request: Request, feed: ReplayableFeed, user: GetUserDep, session: SessionDep, given: Given
) -> Response:
    """Start a run that takes many batches in again. Nothing is written here."""
    page = replay_page(plans, feed, given, _now())
    if page.wrong or page.away:
        raise HTTPException(400 if page.wrong else 503, page.wrong or page.away)
    if page.wish is None or not page.can_start:
        raise HTTPException(400, "No batch can be replayed, so no run was started.")
    return _started(request, feed, user, session, page.wish.to_dict())


def _started(
    request: Request, feed: FeedRef, user: Any, session: Any, what: list[str] | dict[str, str]
) -> Response:
    try:
        started = start_replay(session, user, feed, what)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    href = f"{_airflow(request)}{started.href}"
    return JSONResponse({"run_id": started.run_id, "href": href}, headers=_HEADERS)


@router.get(f"{_FEED}/reports/{{name}}")
def report(request: Request, feed: ReadableFeed, name: str) -> Response:
    """A report, in a frame in which nothing runs."""
    known = _report(feed, name)
    shown = {"is_there": known.value is not None, "away": known.away, "read_at": known.at}
    return _page(request, "report", feed=feed, name=name, now=_now(), **shown)


@router.get(f"{_FEED}/reports/{{name}}/content")
def report_content(feed: ReadableFeed, name: str) -> Response:
    """A report as it lies in the lake."""
    known = _report(feed, name)
    if known.value is None:
        raise HTTPException(503, "The lake does not answer.")
    headers = {**_HEADERS, "Content-Security-Policy": reports.POLICY}
    return HTMLResponse(known.value.html, headers=headers)


def _report(feed: FeedRef, name: str) -> Any:
    known = reports.report(lakes, feed, name) if reports.is_report(name) else None
    if known is None or (known.value is None and not known.away):
        raise HTTPException(404, "There is no such report. It may be older than lake.keep.reports.")
    return known


def _batch(feed: FeedRef, day: str, batch_id: str) -> Any:
    page = batch_page(lakes, feed, day, batch_id, _now()) if is_batch(day, batch_id) else None
    if page is None or not page.is_there:
        raise HTTPException(404, "There is no such batch.")
    return page


def _page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    html = render(template, _root(request), **values)
    return HTMLResponse(html, status_code=status, headers=_HEADERS)


def _root(request: Request) -> str:
    """Path of the pages on the server: Airflow's own, and the plugin's."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _airflow(request: Request) -> str:
    return _root(request).removesuffix("/flagfall")


def _now() -> datetime:
    return datetime.now(UTC)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _refused(request: Request, error: Exception) -> Response:
    """What is not there, or not allowed: a page for people, JSON for the script."""
    assert isinstance(error, AnyHTTPException), "registered for these only"
    if request.method != "GET":
        content = {"detail": error.detail}
        return JSONResponse(content, status_code=error.status_code, headers=_HEADERS)
    titles = {401: "Not signed in", 403: "Not allowed", 404: "Not here", 503: "No answer"}
    login = ""
    if error.status_code == 401:
        login = f"{_airflow(request)}/api/v2/auth/login?next={quote(str(request.url), safe='')}"
    values = {"title": titles.get(error.status_code, "Not possible"), "login": login}
    return _page(request, "missing", error.status_code, text=str(error.detail), **values)


def _not_understood(request: Request, error: Exception) -> Response:
    return _refused(request, AnyHTTPException(404, "There is no such page."))
