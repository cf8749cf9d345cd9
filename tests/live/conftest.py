"""One real Airflow for all tests here: its four components, SQLite, the project's own DAG files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.publish import DEFAULT_MARKER
from sandbox.airflow import LocalAirflow
from sandbox.s3 import LocalS3
from tests.feeds import S3Feed, ToyFeed
from tests.patience import A_RUN
from tests.public_api import PublicApi
from tests.scored import train_toy, with_model
from tests.smtp import Mailbox, smtp_server

BUCKET = "live-feeds"
DAGS = Path(__file__).parents[2] / "dags"

FEED = """\
title: NAME
landing: {uri: ROOT/NAME/landing, marker: "date={date}/datapackage.json", settle: 1s}
lake: {uri: ROOT/NAME/lake}
watch: {sweep_every: 2s, redeliver_after: 8s}
schema:
  fields:
    - {name: id, type: integer, constraints: {required: true}}
    - {name: value, type: number, constraints: {minimum: 0}}
  primaryKey: [id]
"""

EVERY_MINUTE = """\
arrival: {schedule: "* * * * *", partition: {date: "%Y-%m-%dT%H-%M"}, deadline: 300s}
"""
TOO_LATE = """\
arrival: {schedule: "* * * * *", partition: {date: "%Y-%m-%dT%H-%M"}, deadline: 2s}
"""
CLOUD = """\
title: A feed on S3
landing:
  uri: s3://live-feeds/landing
  conn_id: live_s3
  sqs_queue: ${LIVE_QUEUE}
  marker: "date={date}/datapackage.json"
  settle: 1s
lake: {uri: s3://live-feeds/lake, conn_id: live_s3}
watch: {sweep_every: 1h}
schema:
  fields: [{name: id, type: integer}, {name: value, type: number}]
"""
"""Hints alone find what lands there: the next sweep is an hour away."""
BROKEN_MODEL = """\
features: [{name: value}]
model: {path: no/such/folder}
"""

WEATHER = """\
title: Hourly weather at New York's airports
landing: {uri: ROOT/weather/landing, marker: "{day}/_SUCCESS", settle: 1s}
lake: {uri: ROOT/weather/lake}
schema:
  fields:
    - {name: origin, type: string, constraints: {required: true, enum: [EWR, JFK, LGA]}}
    - {name: time_hour, type: datetime, constraints: {required: true}}
    - {name: temp, type: number, constraints: {minimum: -40, maximum: 130}}
    - {name: wind_speed, type: number, constraints: {minimum: 0, maximum: 150}}
    - {name: visib, type: number, constraints: {required: true, minimum: 0, maximum: 9.9}}
  primaryKey: [origin, time_hour]
thresholds: {rejected_share: 0.99}
"""

SCORED = """\
features: [{name: value}]
model: {path: ROOT/scored/model, task: binary}
label: {from: happened, expr: value > 15, title: Late}
"""
"""Its outcomes are brought by ``happened``."""

NOTIFY = """\
notify:
  - notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier
    arguments: {to: team@example.com, from_email: us@example.com}
"""

FEEDS = {
    "burst": FEED.replace("NAME", "burst") + "limits: {shard_batches: 50}\n",
    "paused": FEED.replace("NAME", "paused"),
    "due": FEED.replace("NAME", "due") + EVERY_MINUTE,
    "late": FEED.replace("NAME", "late") + TOO_LATE,
    "broken_model": FEED.replace("NAME", "broken_model").replace("8s", "15m") + BROKEN_MODEL,
    "told": FEED.replace("NAME", "told") + NOTIFY,
    "weather": WEATHER,
    "scored": FEED.replace("NAME", "scored") + SCORED,
    "happened": FEED.replace("NAME", "happened"),
    "cloud": CLOUD + EVERY_MINUTE,
}
WATCHING = "select id from trigger where classpath like '%FeedTrigger' and triggerer_id > 0"
"""The feeds that a triggerer watches."""


class Live:
    """A running Airflow, its feeds, and what its database says."""

    def __init__(self, airflow: LocalAirflow, root: Path, box: Mailbox) -> None:
        self.airflow = airflow
        self.root = root
        self.box = box
        self._api = PublicApi(airflow)

    def dataset(self, name: str) -> Dataset:
        return read_dataset(self.root / "datasets" / f"{name}.yaml")

    def feed(self, name: str) -> ToyFeed:
        return ToyFeed(self.root / name, self.dataset(name))

    def s3_feed(self, name: str) -> S3Feed:
        return S3Feed(self.root / name, BUCKET, self.dataset(name))

    def call(self, method: str, path: str, body: object) -> Any:
        """Ask Airflow's public API."""
        return self._api.call(method, path, body)

    def pause(self, dag_id: str, paused: bool) -> None:
        self.call("PATCH", f"dags/{dag_id}?update_mask=is_paused", {"is_paused": paused})

    def wait(self, true: Any, what: str, patience: float = A_RUN) -> None:
        self.airflow.wait_until(true, what, patience)

    def tasks(self, dag_id: str, task_id: str = "%") -> list[dict[str, Any]]:
        sql = "select * from task_instance where dag_id = ? and task_id like ? order by start_date"
        return self.airflow.query(sql, dag_id, task_id)

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        return self.airflow.query("select * from dag_run where dag_id = ?", dag_id)

    def quiet(self, dag_id: str) -> bool:
        """Whether no run of a DAG is under way."""
        return all(run["state"] in ("success", "failed") for run in self.runs(dag_id))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """An S3 and an SQS in a process of their own."""
    with (
        LocalS3(tmp_path_factory.mktemp("s3"), BUCKET, marker=DEFAULT_MARKER) as server,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setenv("LIVE_QUEUE", server.queue)
        yield server


@pytest.fixture
def live_s3(cloud: LocalS3) -> Iterator[None]:
    """The test itself reaches the S3 by the connection that Airflow has for it."""
    with cloud.reached_by("live_s3"):
        yield


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, cloud: LocalS3) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("live")
    folder = root / "datasets"
    folder.mkdir()
    for name, text in FEEDS.items():
        (folder / f"{name}.yaml").write_text(text.replace("ROOT", str(root)))
    (root / "scored").mkdir()
    with_model(root / "scored")
    train_toy(read_dataset(folder / "scored.yaml"))
    (folder / "misspelt.yaml").write_text("titel: A dataset file with a mistake\n")
    settings = {"FLAGFALL_DATASETS": str(folder), "AIRFLOW_CONN_LIVE_S3": cloud.connection()}
    with (
        smtp_server() as box,
        LocalAirflow(
            root / "airflow", DAGS, {**settings, "AIRFLOW_CONN_SMTP_DEFAULT": box.connection}
        ) as airflow,
    ):
        watched = lambda: len(airflow.query(WATCHING)) == len(FEEDS)  # noqa: E731  said once
        airflow.wait_until(watched, "the feeds were not watched")
        yield Live(airflow, root, box)
