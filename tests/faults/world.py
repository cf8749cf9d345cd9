"""Everything that the campaign runs on: PostgreSQL, Airflow, S3, feeds, and their producers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from sandbox.flights import LABELLED
from sandbox.postgres import Postgres
from sandbox.s3 import LocalS3
from tests.faults import bad_inputs
from tests.faults.airflow import HarmedAirflow
from tests.faults.comparison import Comparison, DiskFiles, Files, S3Files, Verdict
from tests.faults.producer import Drop, FlightRows, Producer, Rows, S3Producer, ToyRows
from tests.faults.s3_proxy import S3Proxy
from tests.patience import A_RUN

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"

TOY = """\
title: NAME
landing: {uri: FOLDER/NAME/landing, marker: "date={date}/datapackage.json", settle: 1s}
lake: {uri: FOLDER/NAME/lake}
watch: {sweep_every: 5s, redeliver_after: 20s}
schema:
  fields: [{name: id, type: integer, constraints: {required: true}}, {name: value, type: number}]
  primaryKey: [id]
"""
CLOUD = TOY.replace("landing: {uri: FOLDER/NAME/landing", "landing: {uri: BUCKET/landing, CONN")
CLOUD = CLOUD.replace("lake: {uri: FOLDER/NAME/lake", "lake: {uri: BUCKET/lake, CONN")
CLOUD = CLOUD.replace("BUCKET", "s3://campaign/NAME").replace("CONN", "conn_id: campaign_s3")
SUCCESS = TOY.replace("datapackage.json", "_SUCCESS").replace("settle: 1s", "settle: 3s")
CAPPED = TOY + "limits: {batches_per_run: 20, shard_batches: 5}\n"


def _scored(name: str) -> Callable[[Path], str]:
    """The flights' dataset file, of batches with their outcome, with another landing zone."""
    text = (LABELLED / "flights.yaml").read_text()
    rest = text[text.index("schema:") :].replace("../models/", f"{ROOT}/models/")
    above = TOY.replace("NAME", name).partition("schema:")[0]
    return lambda folder: above + rest


@dataclass(frozen=True)
class Line:
    """A line of the campaign's table.

    Attributes:
        harm: What was done.
        times: How often.
        markers: How many were dropped.
        verdict: What became of them.
        reasons: For bad input, how many cases ended with each reason.
    """

    harm: str
    times: int
    markers: int
    verdict: Verdict
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FeedUnderTest:
    """A feed, its producer, and what the judge has to know of it."""

    dataset: Dataset
    producer: Producer
    files: Files
    scored: bool = False

    @property
    def dag_id(self) -> str:
        """Its pipeline."""
        return f"{self.dataset.name}_pipeline"

    def pending(self) -> int:
        """How many markers have no receipt."""
        return len(Inbox(Feed.of(self.dataset)).pending())


class World:
    """A running Airflow and its feeds.

    Attributes:
        folder: Where it all is.
        airflow: Can be harmed.
        postgres: Its database's server; ``None``: it is on SQLite.
        s3: An S3 that does no harm.
        proxy: What Airflow knows as S3.
        feeds: By name.
    """

    def __init__(
        self,
        folder: Path,
        airflow: HarmedAirflow,
        postgres: Postgres | None,
        s3: LocalS3,
        proxy: S3Proxy,
        feeds: Sequence[str],
    ) -> None:
        self.folder = folder
        self.airflow = airflow
        self.postgres = postgres
        self.s3 = s3
        self.proxy = proxy
        self.feeds = {name: self._feed(name) for name in feeds}

    def _feed(self, name: str) -> FeedUnderTest:
        dataset = read_dataset(self.folder / "datasets" / f"{name}.yaml")
        scored = dataset.model is not None
        outbox = self.folder / name / "outbox"
        rows: Rows = FlightRows() if scored else ToyRows()
        if dataset.lake.uri.startswith("s3://"):
            client = self.s3.client("s3")
            files = S3Files(client, self.s3.bucket, f"{name}/lake/{name}")
            return FeedUnderTest(dataset, S3Producer(dataset, rows, outbox, client=client), files)
        lake = DiskFiles(Path(dataset.lake.uri) / name)
        return FeedUnderTest(dataset, Producer(dataset, rows, outbox), lake, scored)

    def wait(self, true: Callable[[], object], what: str, patience: float = A_RUN) -> None:
        """Wait until ``true()``."""
        self.airflow.wait_until(true, what, patience)

    def wait_until_watched(self) -> None:
        """Wait until a triggerer watches every feed, and every pipeline is known."""
        watched = (
            "select count(*) as n from trigger"
            " where classpath like '%FeedTrigger' and triggerer_id is not null"
        )
        known = "select count(*) as n from dag where dag_id like '%_pipeline'"
        for sql in (watched, known):
            self.wait(lambda sql=sql: self.airflow.query(sql)[0]["n"] >= len(self.feeds), sql)

    def is_quiet(self, feed: FeedUnderTest) -> bool:
        """Whether nothing is pending and no run is under way."""
        active = "select 1 from dag_run where dag_id = ? and state in ('queued', 'running')"
        return not feed.pending() and not self.airflow.query(active, feed.dag_id)

    def judge(self, feed: FeedUnderTest, drops: Sequence[Drop], patience: float = A_RUN) -> Verdict:
        """Wait until a feed has gone quiet and all is well, at most ``patience`` seconds."""
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up:
            if self.is_quiet(feed) and (verdict := self._verdict(feed, drops)).is_clean:
                return verdict
            time.sleep(1)
        return self._verdict(feed, drops)

    def _verdict(self, feed: FeedUnderTest, drops: Sequence[Drop]) -> Verdict:
        log = self.airflow.faults / "finished.log"
        finished = log.read_text() if log.exists() else ""
        key = feed.dataset.table.primary_key
        return Comparison(feed.files, key, feed.scored, finished).judge(drops)


def _toy(name: str, text: str = TOY) -> Callable[[Path], str]:
    return lambda folder: text.replace("NAME", name)


TEXTS: dict[str, Callable[[Path], str]] = {
    "night": _scored("night"),
    "dusk": _scored("dusk"),
    "dawn": _scored("dawn"),
    "burst": _toy("burst"),
    "capped": _toy("capped", CAPPED),
    "small": _toy("small"),
    "success": _toy("success", SUCCESS),
    "cloud": _toy("cloud", CLOUD),
    "bad": lambda folder: bad_inputs.dataset_file(f"{folder}/bad/landing", f"{folder}/bad/lake"),
}
ALL = tuple(TEXTS)


@contextmanager
def world(folder: Path, names: Sequence[str], on_postgres: bool = True) -> Iterator[World]:
    """Start it all; end it all."""
    (folder / "datasets").mkdir(parents=True)
    for name in names:
        text = TEXTS[name](folder).replace("FOLDER", str(folder))
        (folder / "datasets" / f"{name}.yaml").write_text(text)
    with ExitStack() as stack:
        s3 = stack.enter_context(LocalS3(folder / "s3", "campaign"))
        proxy = stack.enter_context(S3Proxy(s3.url))
        stack.enter_context(s3.reached_by("campaign_s3"))
        settings = {
            "FLAGFALL_DATASETS": str(folder / "datasets"),
            "AIRFLOW_CONN_CAMPAIGN_S3": s3.connection().replace(s3.url, proxy.url),
        }
        postgres = stack.enter_context(Postgres()) if on_postgres else None
        airflow = HarmedAirflow(folder / "airflow", DAGS, postgres, settings)
        running = World(folder, stack.enter_context(airflow), postgres, s3, proxy, names)
        running.wait_until_watched()
        yield running
