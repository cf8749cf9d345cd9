"""The pages in Airflow's UI: who may see what, on a real Airflow and in a real browser."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Frame, Page

from sandbox.s3 import LocalS3
from tests.browser import open_browser
from tests.live.page_airflow import BUCKET, PageAirflow, fill, page_airflow
from tests.patience import SOON

with warnings.catch_warnings(action="ignore"):  # what Airflow's API server imports
    from flagfall.plugin.app import router

FOREIGN = "https://evil.example"
NOT_THERE = "2026-11-01/nothing.0123456789abcdef"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    with LocalS3(tmp_path_factory.mktemp("s3"), BUCKET, marker="datapackage.json") as found:
        yield found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, server: LocalS3) -> Iterator[PageAirflow]:
    with page_airflow(tmp_path_factory.mktemp("page"), server) as found:
        with server.reached_by("page_s3"):
            fill(found)
        yield found


@pytest.fixture(scope="module")
def paths(live: PageAirflow) -> dict[str, str]:
    """One address for each route, by the route's own path."""
    row = ledger(live, "orders")["rows"][0]
    feed = "/flagfall/feeds/orders_pipeline"
    batch = f"{feed}/batches/{row['landed_at'][:10]}/{row['batch_id']}"
    name = row["report"].removeprefix("reports/").removesuffix(".html")
    return {
        "/": "/flagfall/",
        "/static/{name}": "/flagfall/static/page.css",
        "/feeds/{dag_id}": feed,
        "/feeds/{dag_id}/replay": f"{feed}/replay?since=2020-01-01&from=staged",
        "/feeds/{dag_id}/runs/{run_id}": f"{feed}/runs/{row['run']}",
        "/feeds/{dag_id}/batches/{day}/{batch_id}": batch,
        "/feeds/{dag_id}/batches/{day}/{batch_id}/replay": f"{batch}/replay",
        "/feeds/{dag_id}/reports/{name}": f"{feed}/reports/{name}",
        "/feeds/{dag_id}/reports/{name}/content": f"{feed}/reports/latest/content",
    }


def ledger(live: PageAirflow, name: str) -> Any:
    return json.loads((live.root / "lake" / name / "ledger.json").read_text())


ROUTES = sorted((method, route.path) for route in router.routes for method in route.methods)  # type: ignore[attr-defined]
GETS = [path for method, path in ROUTES if method == "GET"]
POSTS = [path for method, path in ROUTES if method != "GET"]
OF_A_FEED = [path for path in GETS if "{dag_id}" in path]
MANY, ONE = sorted(POSTS, key=len)
"""Replay of many batches, and of one."""


class TestWhoMaySeeWhat:
    def test_every_route_is_tried_here(self, paths: dict[str, str]) -> None:
        assert {path for _, path in ROUTES} == set(paths)
        assert {method for method, _ in ROUTES} == {"GET", "POST"}

    @pytest.mark.parametrize(("method", "route"), ROUTES)
    def test_nobody_is_anonymous(
        self, live: PageAirflow, paths: dict[str, str], method: str, route: str
    ) -> None:
        headers = {"x-flagfall": "replay"}
        answer = live.client().request(method, paths[route], headers=headers)
        assert answer.status_code == 401
        assert "orders" not in answer.text.replace(paths[route], "").replace("orders_pipeline", "")

    @pytest.mark.parametrize("route", GETS)
    @pytest.mark.parametrize("user", ["viewer", "user", "admin"])
    def test_who_may_read_the_dag_reads(
        self, live: PageAirflow, paths: dict[str, str], route: str, user: str
    ) -> None:
        expected = 403 if (user, route) == ("viewer", MANY) else 200
        assert live.client(user).get(paths[route]).status_code == expected

    @pytest.mark.parametrize("route", [*OF_A_FEED, *POSTS])
    def test_another_teams_feed_is_as_if_it_were_not_there(
        self, live: PageAirflow, paths: dict[str, str], route: str
    ) -> None:
        method = "POST" if route in POSTS else "GET"
        row = ledger(live, "secret")["rows"][0]
        own = ledger(live, "orders")["rows"][0]
        secret = paths[route].replace("orders", "secret")
        secret = secret.replace(own["batch_id"], row["batch_id"])
        secret = secret.replace(own["landed_at"][:10], row["landed_at"][:10])
        headers = {"x-flagfall": "replay"}
        for user in ("viewer", "user"):
            client = live.client(user, **headers)
            there = client.request(method, secret)
            nowhere = client.request(method, secret.replace("secret", "nosuch"))
            assert (there.status_code, nowhere.status_code) == (404, 404)
            assert there.text == nowhere.text
        if method == "GET" and "report" not in route and route != MANY:
            assert live.client("other").get(secret).status_code == 200

    def test_a_list_names_only_feeds_that_the_reader_may_see(self, live: PageAirflow) -> None:
        for user, sees in (("viewer", False), ("user", False), ("other", True), ("admin", True)):
            text = live.client(user).get("/flagfall/").text
            assert ("secret" in text, "Salaries" in text) == (sees, sees), user
            assert "Orders of the web shop" in text

    def test_a_dag_that_is_no_feed_has_no_page_and_the_one_that_waits_has_its_feeds(
        self, live: PageAirflow
    ) -> None:
        viewer = live.client("viewer")
        assert viewer.get("/flagfall/feeds/flagfall_watchman").status_code == 404
        assert "Prices of a partner" in viewer.get("/flagfall/feeds/partner_expected").text

    @pytest.mark.parametrize(
        "path",
        [
            "feeds/orders_pipeline/reports/..%2fledger",
            "feeds/orders_pipeline/reports/..%2f..%2fsecret%2freports%2flatest/content",
            "feeds/orders_pipeline/batches/..%2f..%2fsecret/x.0123456789abcdef",
            "feeds/orders_pipeline/batches/2026-11-01/..%2f..%2f..%2fsecret.0123456789abcdef",
            f"feeds/orders_pipeline/batches/{NOT_THERE}",
            "static/..%2frender.py",
            "feeds/..%2forders_pipeline",
        ],
    )
    def test_no_path_leaves_the_feed(self, live: PageAirflow, path: str) -> None:
        assert live.client("admin").get(f"/flagfall/{path}").status_code == 404

    def test_documentation_of_the_routes_is_not_there(self, live: PageAirflow) -> None:
        for path in ("docs", "redoc", "openapi.json"):
            assert live.client("admin").get(f"/flagfall/{path}").status_code == 404


@pytest.fixture(params=[ONE, MANY], ids=["one batch", "many batches"])
def path(request: pytest.FixtureRequest, paths: dict[str, str]) -> str:
    """Of a request that replays."""
    return paths[request.param]


class TestReplay:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"x-flagfall": "yes"},
            {"x-flagfall": "replay", "origin": FOREIGN},
            {"x-flagfall": "replay", "origin": "null"},
            {"x-flagfall": "replay", "origin": "http://["},
            {"x-flagfall": "replay", "sec-fetch-site": "cross-site"},
            {"x-flagfall": "replay", "sec-fetch-site": "same-site"},
        ],
    )
    def test_a_request_from_another_site_is_refused(
        self, live: PageAirflow, path: str, headers: dict[str, str]
    ) -> None:
        before = len(runs(live))
        answer = live.client("user").post(path, headers=headers)
        assert answer.status_code == 403
        assert len(runs(live)) == before

    def test_who_may_only_read_starts_nothing(self, live: PageAirflow, path: str) -> None:
        before = len(runs(live))
        answer = live.client("viewer").post(path, headers={"x-flagfall": "replay"})
        assert answer.status_code == 403
        assert answer.json() == {"detail": "You may not start runs of orders_pipeline."}
        assert len(runs(live)) == before
        page = live.client("viewer").get(path.partition("/replay")[0]).text
        assert "data-opens" not in page
        assert "/replay" not in page

    def test_a_batch_that_is_not_there_starts_nothing(self, live: PageAirflow) -> None:
        path = f"/flagfall/feeds/orders_pipeline/batches/{NOT_THERE}/replay"
        answer = live.client("user").post(path, headers={"x-flagfall": "replay"})
        assert answer.status_code == 404

    @pytest.mark.parametrize(
        ("wish", "says"),
        [
            ("", "Give a first day, a last day or a reason"),
            ("?since=11/05", "no day '11/05'; expected one such as 2013-11-05"),
            ("?since=2020-01-02&until=2020-01-01", "exchange the two"),
            ("?since=2020-01-01&from=mars", "expected landing or staged"),
            ("?reason=%3Cscript%3E", "no open batch rejected for '<script>'"),
            ("?until=2020-01-01", "No batch can be replayed"),
        ],
    )
    def test_a_wish_that_cannot_be_says_why_and_starts_nothing(
        self, live: PageAirflow, wish: str, says: str
    ) -> None:
        path = f"/flagfall/feeds/orders_pipeline/replay{wish}"
        before = len(runs(live))
        answer = live.client("user").post(path, headers={"x-flagfall": "replay"})
        assert (answer.status_code, len(runs(live))) == (400, before)
        assert says in answer.json()["detail"]
        page = live.client("user").get(path)
        assert page.status_code == (200 if wish[1:] == "until=2020-01-01" else 400)
        assert "Start the run" not in page.text
        assert "<script>'" not in page.text

    def test_who_may_start_runs_has_the_batch_taken_in_again(
        self, live: PageAirflow, paths: dict[str, str]
    ) -> None:
        path = paths[ONE]
        first = ledger(live, "orders")["rows"][0]
        headers = {"x-flagfall": "replay", "origin": live.url, "sec-fetch-site": "same-origin"}
        before = len([run for run in runs(live) if run["run_type"] == "manual"])
        users = [live.client("user") for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:  # a double click, and colleagues at the same moment
            answers = list(pool.map(lambda user: user.post(path, headers=headers), users))
        assert [one.status_code for one in answers] == [200] * 4, [one.text for one in answers]
        (started,) = {one.json()["run_id"] for one in answers}
        assert len([run for run in runs(live) if run["run_type"] == "manual"]) == before + 1
        live.wait(lambda: ledger(live, "orders")["rows"][0].get("run") == started, "no new report")
        again, *others = ledger(live, "orders")["rows"]
        assert (again["marker"], again["rows"]) == (first["marker"], first["rows"])
        old = next(row for row in others if row["batch_id"] == first["batch_id"])
        assert old["is_replaced"]
        run = live.airflow.query("select * from dag_run where run_id = ?", started)[0]
        assert run["triggering_user_name"] == "user"

    def test_who_may_start_runs_has_many_batches_taken_in_again(
        self, live: PageAirflow, paths: dict[str, str]
    ) -> None:
        client = live.client("user")
        shown = client.get(paths[MANY]).text
        assert "1 batch would be taken in again" in shown
        assert "batches: its staged rows are gone" in shown
        answer = client.post(paths[MANY], headers={"x-flagfall": "replay", "origin": live.url})
        assert answer.status_code == 200, answer.text
        started = answer.json()["run_id"]
        live.wait(lambda: ledger(live, "orders")["rows"][0].get("run") == started, "no new report")
        run = live.airflow.query("select * from dag_run where run_id = ?", started)[0]
        assert json.loads(run["conf"]) == {"replay": {"since": "2020-01-01", "from": "staged"}}
        assert run["triggering_user_name"] == "user"


def runs(live: PageAirflow) -> list[dict[str, Any]]:
    return live.airflow.query("select * from dag_run where dag_id = 'orders_pipeline'")


class TestReports:
    def test_nothing_in_a_report_can_run(self, live: PageAirflow, paths: dict[str, str]) -> None:
        answer = live.client("viewer").get(paths["/feeds/{dag_id}/reports/{name}/content"])
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert policy.endswith("sandbox")
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_the_button_of_a_report_on_a_disk_opens_its_page(self, live: PageAirflow) -> None:
        row = next(row for row in ledger(live, "orders")["rows"] if is_real(live, row))
        path = f"dags/orders_pipeline/dagRuns/{row['run']}/taskInstances/generate_report/links"

        def button() -> str:
            answer = live.client("viewer").get(f"/api/v2/{path}").raise_for_status()
            return str(answer.json()["extra_links"]["Report"] or "")

        live.wait(button, "the task has no link yet")
        link = button()
        assert link.startswith(f"{live.url}/plugin/flagfall/flagfall/feeds/orders_pipeline/reports")
        page = live.client("viewer").get(link.removeprefix(f"{live.url}/plugin/flagfall"))
        assert "<iframe" in page.text

    def test_a_lake_on_s3_is_read_with_airflows_connection(self, live: PageAirflow) -> None:
        viewer = live.client("viewer")
        feed = viewer.get("/flagfall/feeds/cloud_pipeline").text
        assert "does not answer" not in feed
        (batch,) = set(re.findall(r"/flagfall/feeds/cloud_pipeline/batches/[^\"]+", feed))
        assert "Accepted: 2 rows taken in" in viewer.get(batch).text
        latest = viewer.get("/flagfall/feeds/cloud_pipeline/reports/latest/content")
        assert latest.text.startswith("<!DOCTYPE html>")


def is_real(live: PageAirflow, row: Any) -> bool:
    """Whether Airflow had the run of a batch; those of the past are only written down."""
    found = live.airflow.query("select 1 from dag_run where run_id = ?", row.get("run", ""))
    return bool(found)


def test_the_batch_names_the_tasks_of_its_run(live: PageAirflow) -> None:
    row = next(row for row in ledger(live, "stock")["rows"] if is_real(live, row))
    path = f"/flagfall/feeds/stock_pipeline/batches/{row['landed_at'][:10]}/{row['batch_id']}"
    text = live.client("viewer").get(path).text
    run = httpx.URL(path=f"/dags/stock_pipeline/runs/{row['run']}").raw_path.decode()
    for task in ("claim", "ingest_data/mapped/0", "generate_report"):
        assert f"tasks/{task}" in text
    assert run.partition("%3A")[0].partition(":")[0] in text


def test_airflow_shows_the_plugin_with_all_its_views(live: PageAirflow) -> None:
    found = live.client("admin").get("/api/v2/plugins").raise_for_status().json()["plugins"]
    (ours,) = (plugin for plugin in found if plugin["name"] == "flagfall")
    views = {view["destination"]: view["href"] for view in ours["external_views"]}
    assert views == {
        "nav": "flagfall/",
        "dag": "flagfall/feeds/{DAG_ID}",
        "dag_run": "flagfall/feeds/{DAG_ID}/runs/{RUN_ID}",
    }
    errors = live.client("admin").get("/api/v2/plugins/importErrors").json()
    assert errors["total_entries"] == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture
def opened(live: PageAirflow, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page of Airflow as a user; a message on the console is an error."""
    contexts, said = [], []

    def open_page(path: str, user: str = "admin", theme: str = "light", width: int = 1280) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(SOON * 1000)
        contexts.append(context)
        token = live.token(user)
        context.add_cookies([{"name": "_token", "value": token, "url": live.url}])
        context.add_init_script(f"if (!localStorage.theme) localStorage.theme = '{theme}'")
        page = context.new_page()
        page.on("console", lambda message: said.append(message))
        page.goto(f"{live.url}{path}")
        return page

    yield open_page
    assert [one.text for one in said if one.type == "error" and "/flagfall" in one.text] == []
    for context in contexts:
        context.close()


def frame_of(page: Page, heading: str = "h1") -> Frame:
    """The frame with our page, when it is there."""
    page.frame_locator("iframe").first.locator(heading).first.wait_for()
    element = page.query_selector("iframe")
    frame = element.content_frame() if element else None
    assert frame is not None
    return frame


AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
EMBEDDED = "/plugin/flagfall"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(
    live: PageAirflow,
    paths: dict[str, str],
    opened: Callable[..., Page],
    theme: str,
    width: int,
) -> None:
    shown = [path for route, path in paths.items() if route in GETS and "static" not in route]
    rejected = next(row for row in ledger(live, "stock")["rows"] if row["status"] == "rejected")
    shown.append("/flagfall/feeds/stock_pipeline")
    shown.append(
        f"/flagfall/feeds/stock_pipeline/batches/{rejected['landed_at'][:10]}/{rejected['batch_id']}"
    )
    shown.append("/flagfall/feeds/nothing_here")
    shown.append("/flagfall/feeds/stock_pipeline/replay")
    shown.append("/flagfall/feeds/stock_pipeline/replay?until=2020-01-01")
    page = opened(paths["/"], theme=theme, width=width)
    for path in (path for path in shown if not path.endswith("/content")):
        page.goto(f"{live.url}{path}")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        page.evaluate(AXE)
        found = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], [n["html"][:160] for n in one["nodes"][:3]]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


class TestInAirflow:
    def test_the_navigation_leads_to_feeds_and_on_to_a_batch(
        self, opened: Callable[..., Page]
    ) -> None:
        page = opened("/")
        page.get_by_text("Feeds", exact=True).click()
        frame = frame_of(page)
        frame.get_by_role("link", name="stock", exact=True).click()
        frame.get_by_role("heading", name="Batches", exact=True).wait_for()
        frame.locator("table.rows tbody th a").first.click()
        frame.get_by_role("heading", name="Files", exact=True).wait_for()
        assert "/plugin/flagfall/flagfall/feeds/stock_pipeline/batches/" in page.url

    def test_nothing_of_a_producers_runs(
        self, paths: dict[str, str], opened: Callable[..., Page]
    ) -> None:
        path = paths["/feeds/{dag_id}/batches/{day}/{batch_id}"]
        page = opened(f"{EMBEDDED}{path}")
        frame = frame_of(page)
        assert frame.get_by_text("<script>document.title=").count() == 1
        assert (page.title(), frame.title()) != ("evil", "evil")
        assert "evil" not in frame.title()

    def test_light_and_dark_are_airflows(self, opened: Callable[..., Page]) -> None:
        page = opened("/plugin/flagfall", theme="dark")
        frame = frame_of(page)
        assert frame.evaluate("document.documentElement.dataset.theme") == "dark"
        page.evaluate("document.documentElement.classList.replace('dark', 'light')")
        frame.wait_for_function("document.documentElement.dataset.theme === 'light'")

    def test_a_link_to_airflows_own_page_leaves_the_frame(
        self, live: PageAirflow, opened: Callable[..., Page]
    ) -> None:
        page = opened(f"{EMBEDDED}/flagfall/feeds/stock_pipeline")
        frame_of(page).get_by_role("link", name="DAG stock_pipeline").click()
        page.wait_for_url(re.compile(r"/dags/stock_pipeline"))
        page.get_by_role("link", name="Audit Log").first.wait_for()

    def test_a_feed_is_beside_its_dag_and_batches_beside_their_run(
        self, live: PageAirflow, opened: Callable[..., Page]
    ) -> None:
        row = next(row for row in ledger(live, "stock")["rows"] if is_real(live, row))
        page = opened("/dags/stock_pipeline")
        page.get_by_role("link", name="Feed", exact=True).click()
        assert frame_of(page).locator("h1").inner_text().startswith("stock")
        page.goto(f"{live.url}/dags/stock_pipeline/runs/{row['run']}/plugin/flagfall-run")
        frame_of(page).get_by_role("link", name=row["label"], exact=True).wait_for()

    def test_a_report_is_shown_and_its_frame_reaches_nothing(
        self, paths: dict[str, str], opened: Callable[..., Page]
    ) -> None:
        page = opened(f"{EMBEDDED}{paths['/feeds/{dag_id}/reports/{name}']}")
        report = page.frame_locator("iframe").first.frame_locator("iframe.report")
        report.locator("h1").wait_for()
        inner = next(one for one in page.frames if one.url.endswith("/content"))
        assert inner.evaluate("window.origin") == "null"

    def test_replay_asks_first_and_then_names_its_run(
        self, live: PageAirflow, opened: Callable[..., Page]
    ) -> None:
        row = next(row for row in ledger(live, "stock")["rows"] if is_real(live, row))
        place = f"{row['landed_at'][:10]}/{row['batch_id']}"
        page = opened(f"{EMBEDDED}/flagfall/feeds/stock_pipeline/batches/{place}", user="user")
        frame = frame_of(page)
        sql = "select * from dag_run where dag_id = 'stock_pipeline' and run_type = 'manual'"
        frame.get_by_role("button", name="Replay…").click()
        frame.get_by_role("button", name="Cancel").click()
        assert live.airflow.query(sql) == []
        frame.get_by_role("button", name="Replay…").click()
        frame.get_by_role("button", name="Start the run").click()
        frame.get_by_text("Started: ").wait_for()
        (run,) = live.airflow.query(sql)
        assert frame.get_by_role("link", name=run["run_id"]).count() == 1

    def test_replay_of_many_shows_first_what_it_would_do(
        self, live: PageAirflow, opened: Callable[..., Page]
    ) -> None:
        sql = "select * from dag_run where dag_id = 'stock_pipeline' and run_type = 'manual'"
        before = len(live.airflow.query(sql))
        page = opened(f"{EMBEDDED}/flagfall/feeds/stock_pipeline", user="user")
        frame = frame_of(page)
        frame.get_by_label("From day").fill("2020-01-01")
        frame.get_by_label("Rows from").select_option("staged")
        frame.get_by_role("button", name="Show what it would do").click()
        frame.get_by_role("heading", name="would be taken in again").wait_for()
        assert len(live.airflow.query(sql)) == before
        frame.get_by_role("button", name="Start the run").click()
        frame.get_by_text("Started: ").wait_for()
        assert len(live.airflow.query(sql)) == before + 1

    def test_it_can_be_used_with_a_keyboard(self, opened: Callable[..., Page]) -> None:
        page = opened("/flagfall/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('table') !== null")


def test_a_lake_that_hangs_holds_no_page_up(live: PageAirflow, server: LocalS3) -> None:
    viewer = live.client("viewer")
    assert "does not answer" not in viewer.get("/flagfall/").text
    process = server._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        text = viewer.get("/flagfall/").text
        assert time.monotonic() - began < 10
        assert "A lake does not answer" in text
        assert "Orders on S3" in text
        assert "Orders of the web shop" in text
        again = viewer.get("/flagfall/feeds/cloud_pipeline")
        assert "The lake does not answer." in again.text
    finally:
        os.kill(process.pid, signal.SIGCONT)
    live.wait(lambda: "does not answer" not in viewer.get("/flagfall/").text, "it stayed away")
