"""An Airflow with feeds of two teams, for the pages in its UI: users who may do more and less."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.landing.marker import Marker
from flagfall.ledger.ledger import read_ledger
from sandbox.airflow import LocalAirflow
from sandbox.history import write_past
from sandbox.s3 import LocalS3
from tests.feeds import S3Feed, ToyFeed
from tests.patience import A_RUN

BUCKET = "page-lake"
USERS = "admin:admin,viewer:viewer,user:user,other:user:team_b"
"""``other`` is of the team whose feed the others may not see."""
WATCHED = """
select count(*) as n from trigger where classpath like '%FeedTrigger' and triggerer_id > 0
"""
"""The feeds that are watched: another team's has no triggerer here."""
EVIL = '<script>document.title="evil"</script>'
"""What a producer may write into a file's name or a row."""

FEED = """\
title: {title}
landing: {{uri: {root}/{name}/landing, marker: "date={{date}}/datapackage.json", settle: 1s}}
lake: {{uri: {root}/lake}}
watch: {{sweep_every: 2s, redeliver_after: 10m}}
schema:
  fields:
    - {{name: id, type: integer, constraints: {{required: true}}}}
    - {{name: value, type: number, constraints: {{minimum: 0}}}}
    - {{name: note, type: string}}
  primaryKey: [id]
{more}
"""
CLOUD = """\
title: Orders on S3
landing:
  uri: s3://{bucket}/landing
  conn_id: page_s3
  marker: "date={{date}}/datapackage.json"
  settle: 1s
lake: {{uri: s3://{bucket}/lake, conn_id: page_s3}}
watch: {{sweep_every: 5s}}
schema:
  fields: [{{name: id, type: integer}}, {{name: value, type: number}}]
"""
DUE = 'arrival: {schedule: "0 6 * * *", partition: {date: "%Y-%m-%d"}, deadline: 2h}'
DAGS = """\
from flagfall.dags import pipelines  # airflow

globals().update(pipelines({folder!r}, watchman={watchman!r}))
"""


class PageAirflow:
    """A running Airflow, its feeds, and clients for its users."""

    def __init__(self, airflow: LocalAirflow, root: Path) -> None:
        self.airflow = airflow
        self.root = root
        self.url = airflow.url
        self._tokens: dict[str, str] = {}
        self._clients: list[httpx.Client] = []

    def dataset(self, name: str) -> Dataset:
        folder = "datasets_b" if name == "secret" else "datasets"
        return read_dataset(self.root / folder / f"{name}.yaml")

    def feed(self, name: str) -> ToyFeed:
        return ToyFeed(self.root / name, self.dataset(name))

    def s3_feed(self, name: str) -> S3Feed:
        return S3Feed(self.root / name, BUCKET, self.dataset(name))

    def password(self, name: str) -> str:
        return str(json.loads((self.airflow.home / "passwords.json").read_text())[name])

    def client(self, name: str = "", **headers: str) -> httpx.Client:
        """A client that is signed in as a user; as nobody without a name."""
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30)
        self._clients.append(client)
        if name:
            client.cookies.set("_token", self.token(name))
        return client

    def token(self, name: str) -> str:
        """What a user's browser has as a cookie."""
        if name not in self._tokens:
            login = {"username": name, "password": self.password(name)}
            answer = httpx.post(f"{self.url}/auth/token", json=login, timeout=30)
            self._tokens[name] = answer.raise_for_status().json()["access_token"]
        return self._tokens[name]

    def close(self) -> None:
        """Close what clients hold open."""
        for client in self._clients:
            client.close()

    def take_in(self, name: str, day: str, text: str | bytes, file: str = "rows.csv") -> Marker:
        """Drop a batch and wait for its report."""
        feed = self.feed(name)
        marker = feed.drop(day, text, file)
        self.wait(lambda: self.reported(name, marker.label), f"{name} {day} had no report")
        return marker

    def reported(self, name: str, label: str) -> bool:
        """Whether the last delivery of this name has a report."""
        path = self.root / "lake" / name / "ledger.json"
        rows = json.loads(path.read_text()).get("rows", []) if path.exists() else []
        return any(row["label"] == label and row.get("report") for row in rows)

    def wait(self, true: Any, what: str, patience: float = A_RUN) -> None:
        self.airflow.wait_until(true, what, patience)

    def path(self, name: str, marker: Marker) -> str:
        """Of a batch's page."""
        day = marker.landed_at.date()
        return f"/flagfall/feeds/{name}_pipeline/batches/{day}/{marker.batch_id}"


def _files(root: Path, bucket: str) -> None:
    own, other = root / "datasets", root / "datasets_b"
    dags, dags_b = root / "dags", root / "dags_b"
    for folder in (own, other, dags, dags_b):
        folder.mkdir(parents=True)
    feeds = {"orders": "Orders of the web shop", "stock": "Stock of all warehouses"}
    for name, title in feeds.items():
        (own / f"{name}.yaml").write_text(FEED.format(name=name, title=title, root=root, more=""))
    late = {"name": "partner", "title": "Prices of a partner", "root": root, "more": DUE}
    (own / "partner.yaml").write_text(FEED.format(**late))
    (own / "cloud.yaml").write_text(CLOUD.format(bucket=bucket))
    secret = {"name": "secret", "title": "Salaries", "root": root, "more": ""}
    (other / "secret.yaml").write_text(FEED.format(**secret))
    (dags / "feeds.py").write_text(DAGS.format(folder=str(own), watchman="flagfall_watchman"))
    (dags_b / "feeds_b.py").write_text(DAGS.format(folder=str(other), watchman="b_watchman"))


def _bundles(root: Path) -> str:
    kind = "airflow.dag_processing.bundles.local.LocalDagBundle"
    first = {"name": "dags-folder", "classpath": kind, "kwargs": {"path": str(root / "dags")}}
    kwargs = {"path": str(root / "dags_b")}
    return json.dumps(
        [first, {"name": "b", "classpath": kind, "kwargs": kwargs, "team_name": "team_b"}]
    )


@contextmanager
def page_airflow(root: Path, server: LocalS3) -> Iterator[PageAirflow]:
    """Start it, with thirty days of history in two of its feeds."""
    _files(root, server.bucket)
    settings = {
        "AIRFLOW__CORE__MULTI_TEAM": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": _bundles(root),
        "AIRFLOW_CONN_PAGE_S3": server.connection(),
    }
    airflow = LocalAirflow(root / "airflow", root / "dags", settings)
    airflow.run("db", "migrate")
    airflow.run("teams", "create", "team_b")
    with airflow:
        found = PageAirflow(airflow, root)
        for name, batches in (("stock", 29), ("orders", 145), ("secret", 29)):
            write_past(found.dataset(name), batches, seed=len(name) + 1)
        sql = "select count(*) as n from dag where dag_id like '%_pipeline'"
        found.wait(lambda: airflow.query(sql)[0]["n"] == 5, "the DAGs were not there")
        found.wait(lambda: airflow.query(WATCHED)[0]["n"] == 4, "the feeds were not watched")
        yield found
        found.close()


def look(page: PageAirflow) -> None:
    """Have the watchman look now."""
    client = page.client("admin")
    body = {"logical_date": None}
    run = client.post("/api/v2/dags/flagfall_watchman/dagRuns", json=body).raise_for_status().json()

    def is_over() -> bool:
        found = page.airflow.query("select state from dag_run where run_id = ?", run["dag_run_id"])
        return bool(found[0]["state"] in ("success", "failed"))

    page.wait(is_over, "the watchman did not look")


def main() -> None:
    """Keep one up, to look at it: ``python -m tests.live.page_airflow FOLDER``."""
    root = Path(sys.argv[1]).absolute()
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    with (
        LocalS3(root / "s3", BUCKET, marker="datapackage.json") as server,
        page_airflow(root, server) as page,
    ):
        (root / "url").write_text(page.url)
        print(
            page.url,
            {name: page.password(name) for name in ("admin", "viewer", "user", "other")},
            os.getpid(),
            flush=True,
        )
        with server.reached_by("page_s3"):
            fill(page)
        print("filled", flush=True)
        while not (root / "stop").exists():
            time.sleep(1)


def fill(page: PageAirflow) -> None:
    """What the pages show: good batches, a rejected one, rejected rows, a foreign team's."""
    today = datetime.now(UTC).date()
    rows = "".join(f"{n},{n}.5,x\n" for n in range(400))
    page.take_in(
        "orders", "2026-11-29", f"id,value,note\n{rows}401,-1,{EVIL}\n402,2,\x1b[31m\n,3,y\n"
    )
    page.take_in("stock", str(today), f"id,value,note\n{rows}")
    page.take_in("stock", str(today + timedelta(days=1)), "nonsense\n")
    cloud = page.s3_feed("cloud")
    cloud.drop(str(today))
    lake = cloud.inbox().lake.store
    page.wait(lambda: (found := read_ledger(lake)) and found.rows, "cloud had no report")
    look(page)


if __name__ == "__main__":
    main()
