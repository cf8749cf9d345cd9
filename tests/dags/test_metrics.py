"""Metrics go through Airflow's own Stats, and page and dashboard name those that are sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.observability.stats import Stats as TriggererStats
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
from airflow.sdk.observability.stats import Stats

from flagfall.dataset.feed import Feed
from flagfall.operators.metrics import VERDICTS
from flagfall.stages.shard import Delivery, run_stage
from flagfall.triggers.markers import MarkerFeedTrigger
from flagfall.triggers.metrics import Meter, Metric, is_on
from flagfall.watch.heartbeat import WatcherState
from tests.dags.one_run import run_dag
from tests.feeds import ToyFeed, make_toy
from tests.otlp import otlp_collector
from tests.statsd import StatsdServer, statsd_server

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana_dashboard.json").read_text())
PAGE = (ROOT / "docs/metrics.md").read_text()


@pytest.fixture
def server() -> Iterator[StatsdServer]:
    with statsd_server() as server:
        yield server


@pytest.fixture
def sending(server: StatsdServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdServer]:
    """Both copies of Airflow's Stats send to the server, as in a task's process and a triggerer."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with set_up(Stats), set_up(TriggererStats):
        yield server


@contextmanager
def set_up(stats: Any) -> Iterator[None]:
    """Have one of Airflow's two copies send as the settings say, for a while."""
    made = get_stats_factory()()
    stats.initialize(factory=lambda: made, export_legacy_names=True)
    yield
    made.statsd.close()
    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


def watched(toy: ToyFeed) -> None:
    """A watcher gave its last sign a minute ago."""
    then = datetime.now(UTC) - timedelta(minutes=1)
    sign = WatcherState(
        state="watching", since=then, looked_at=then, every=300, host="somewhere", pid=7
    )
    toy.inbox().lake.store.put("watch.json", sign.model_dump_json().encode())


def test_a_run_sends_what_became_of_its_batches(tmp_path: Path, server: StatsdServer) -> None:
    toy = make_toy(tmp_path)
    watched(toy)
    run_stage("ingest", toy.dataset, toy.inbox(), [Delivery(toy.drop("2026-11-01"))])
    toy.drop("2026-11-01")  # the same again
    good = "".join(f"{number},1\n" for number in range(98))
    toy.drop("2026-11-02", f"id,value\n{good}x,4\n")
    toy.drop("2026-11-03", "nonsense\n")
    ended = run_dag(toy.root / "datasets", **server.environment)
    assert ended["run"] == "success", ended["log"]
    found = server.received()
    assert {name.partition(",")[2] for name in found} == {"feed=toy"}
    counted = {name.partition(",")[0].removeprefix("airflow."): found[name] for name in found}
    assert set(counted) == {metric.value for metric in Metric} - {Metric.LANDED.value}
    assert counted[Metric.PENDING] == ["3|g", "0|g"]
    assert counted[Metric.BATCHES_ACCEPTED] == ["1|c"]
    assert counted[Metric.BATCHES_REJECTED] == ["1|c"]
    assert counted[Metric.BATCHES_UNCHANGED] == ["1|c"]
    assert counted[Metric.ROWS_ACCEPTED] == ["98|c"]
    assert counted[Metric.ROWS_REJECTED] == ["1|c"]
    assert counted[Metric.VERDICT] == [f"{VERDICTS['attention']}|g"]
    (age,) = counted[Metric.WATCHER_AGE]
    assert float(age.removesuffix("|g")) > 60
    _, *receipts = toy.inbox().receipts.since(datetime.now(UTC).date())
    sent = [float(one.removesuffix("|ms")) / 1000 for one in counted[Metric.MARKER_TO_RECEIPT]]
    assert sorted(sent) == pytest.approx(sorted(one.seconds for one in receipts), abs=0.001)
    assert len(counted[Metric.MARKER_TO_REPORT]) == 3

    watchman = run_dag(toy.root / "datasets", dag="flagfall_watchman", **server.environment)
    assert watchman["run"] == "success", "it is there though nobody is told"
    assert set(server.received()) == {
        f"airflow.{metric},feed=toy" for metric in (Metric.VERDICT, Metric.WATCHER_AGE)
    }


def test_a_collector_of_opentelemetry_gets_the_same(tmp_path: Path) -> None:
    toy = make_toy(tmp_path)
    watched(toy)
    toy.drop("2026-11-01")
    toy.drop("2026-11-02", "nonsense\n")
    with otlp_collector() as collector:
        ended = run_dag(toy.root / "datasets", **collector.environment)
        assert ended["run"] == "success", ended["log"]
    found = {
        name.removeprefix("airflow."): value
        for name, value in collector.last("toy").items()
        if name.startswith("airflow.flagfall.")
    }
    did_not_happen = {Metric.LANDED, Metric.BATCHES_UNCHANGED, Metric.ROWS_REJECTED}
    assert set(found) == {metric.value for metric in Metric} - did_not_happen
    assert (found[Metric.BATCHES_ACCEPTED], found[Metric.BATCHES_REJECTED]) == (1, 1)
    assert found[Metric.VERDICT] == VERDICTS["attention"]
    assert found[Metric.WATCHER_AGE] > 60
    receipts = toy.inbox().receipts.since(datetime.now(UTC).date())
    together = 1000 * sum(receipt.seconds for receipt in receipts)
    assert found[Metric.MARKER_TO_RECEIPT] == pytest.approx(together, abs=2)


async def test_the_watcher_counts_each_marker_that_lands_once(
    toy: ToyFeed, sending: StatsdServer
) -> None:
    feed = Feed.of(toy.dataset).model_copy(update={"sweep_every": 0.05, "redeliver_after": 0.1})
    toy.drop("2026-11-01")
    events = MarkerFeedTrigger.of(feed).run()
    await anext(events)
    toy.drop("2026-11-02")
    announced = 0
    while announced < 4:
        announced = max(announced, (await anext(events)).payload["pending"] + announced)
    await events.aclose()
    sent = sending.received()[f"airflow.{Metric.LANDED},feed=toy"]
    assert sum(int(one.removesuffix("|c")) for one in sent) == 2


def test_without_tags_the_feed_ends_the_name(
    sending: StatsdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the gauges of two feeds would overwrite each other."""
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "False")
    with set_up(Stats):
        for feed, value in (("flights", 1), ("weather", 2)):
            Meter(feed, Stats).gauge(Metric.VERDICT, value)
    assert sending.received() == {
        "airflow.flagfall.verdict.flights": ["1|g"],
        "airflow.flagfall.verdict.weather": ["2|g"],
    }


def test_a_backend_that_fails_fails_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("exporter is away")

    Meter("toy", Away()).gauge(Metric.VERDICT, 1)
    assert "toy: flagfall.verdict was not sent" in caplog.text


def test_nothing_is_sent_where_airflow_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATSD_ON", "STATSD_DATADOG_ENABLED", "OTEL_ON"):
        monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", "False")
    assert not is_on()
    monkeypatch.setenv("AIRFLOW__METRICS__OTEL_ON", "True")
    assert is_on()


def in_prometheus(metric: Metric) -> str:
    """What statsd_exporter makes of a name."""
    return f"airflow_{metric.value.replace('.', '_')}"


def queried() -> set[str]:
    """Names in the dashboard's queries, without what the exporter appends to them."""
    names = set(re.findall(r"\bairflow_\w+", json.dumps(DASHBOARD)))
    known = {in_prometheus(metric) for metric in Metric}
    plain = {name: name.removesuffix("_sum").removesuffix("_count") for name in names}
    return {name if name in known else plain[name] for name in names}


def test_the_dashboard_shows_the_metrics_that_there_are_and_no_others() -> None:
    assert queried() == {in_prometheus(metric) for metric in Metric}


def test_every_panel_of_the_dashboard_queries_one_feed_or_all_and_has_a_place() -> None:
    places = []
    for panel in DASHBOARD["panels"]:
        assert panel["targets"]
        assert all('feed=~"$feed"' in target["expr"] for target in panel["targets"]), panel["title"]
        where = panel["gridPos"]
        assert where["x"] + where["w"] <= 24
        across = range(where["x"], where["x"] + where["w"])
        places += [(x, y) for x in across for y in range(where["y"], where["y"] + where["h"])]
    assert len(places) == len(set(places)), "panels overlap"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_page_lists_the_metrics_that_there_are_and_no_others() -> None:
    rows = re.findall(r"^\| `(flagfall\.[\w.]+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == [metric.value for metric in Metric]
    verdicts = ", ".join(f"{number} {word}" for word, number in VERDICTS.items())
    assert verdicts in PAGE
