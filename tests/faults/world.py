"""Everything that the campaign runs on: PostgreSQL, Airflow, S3, feeds, and their producers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flagfall.dataset import Dataset, read_dataset
from flagfall.inbox import Feed, Inbox
from tests.faults.airflow import HarmedAirflow
from tests.faults.comparison import Comparison, DiskFiles, Files, Verdict
from tests.faults.postgres import Postgres
from tests.faults.producer import Drop, FlightRows, Producer, ToyRows

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
CAPPED = TOY + "limits: {batches_per_run: 20, shard_batches: 5}\n"


def night(folder: Path) -> str:
    """The flights' own dataset file: the same columns, the same model, another landing zone."""
    text = (ROOT / "datasets" / "flights.yaml").read_text()
    rest = text[text.index("schema:") :].replace("models/", f"{ROOT}/models/")
    return TOY.replace("NAME", "night").partition("schema:")[0] + rest


@dataclass(frozen=True)
class Line:
    """A line of the campaign's table.

    Attributes:
        harm: What was done.
        times: How often.
        markers: How many were dropped.
        verdict: What became of them.
    """

    harm: str
    times: int
    markers: int
    verdict: Verdict


@dataclass(frozen=True)
class FeedUnderTest:
    """A feed, its producer, and what the judge has to know of it."""

    dataset: Dataset
    producer: Producer
    scored: bool = False

    @property
    def dag_id(self) -> str:
        """Its pipeline."""
        return f"{self.dataset.name}_pipeline"

    @property
    def files(self) -> Files:
        """Its lake."""
        return DiskFiles(Path(self.dataset.lake.uri) / self.dataset.name)

    def pending(self) -> int:
        """How many markers have no receipt."""
        return len(Inbox(Feed.of(self.dataset)).pending())


class World:
    """A running Airflow and its feeds.

    Attributes:
        folder: Where it all is.
        airflow: Can be harmed.
        postgres: Its database's server.
        feeds: By name.
    """

    def __init__(
        self, folder: Path, airflow: HarmedAirflow, postgres: Postgres, feeds: Sequence[str]
    ) -> None:
        self.folder = folder
        self.airflow = airflow
        self.postgres = postgres
        self.feeds = {name: self._feed(name) for name in feeds}

    def _feed(self, name: str) -> FeedUnderTest:
        dataset = read_dataset(self.folder / "datasets" / f"{name}.yaml")
        scored = dataset.model is not None
        outbox = self.folder / name / "outbox"
        rows = FlightRows() if scored else ToyRows()
        return FeedUnderTest(dataset, Producer(dataset, rows, outbox), scored)

    def wait(self, true: Callable[[], object], what: str, patience: float = 180.0) -> None:
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

    def judge(self, feed: FeedUnderTest, drops: Sequence[Drop], patience: float = 240.0) -> Verdict:
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


TEXTS: dict[str, Callable[[Path], str]] = {
    "night": night,
    "burst": lambda folder: TOY.replace("NAME", "burst"),
    "capped": lambda folder: CAPPED.replace("NAME", "capped"),
}


@contextmanager
def world(folder: Path, names: Sequence[str] = ("night", "burst", "capped")) -> Iterator[World]:
    """Start it all; end it all."""
    (folder / "datasets").mkdir(parents=True)
    for name in names:
        text = TEXTS[name](folder).replace("FOLDER", str(folder))
        (folder / "datasets" / f"{name}.yaml").write_text(text)
    settings = {"FLAGFALL_DATASETS": str(folder / "datasets")}
    with (
        Postgres() as postgres,
        HarmedAirflow(folder / "airflow", DAGS, postgres, settings) as airflow,
    ):
        running = World(folder, airflow, postgres, names)
        running.wait_until_watched()
        yield running
