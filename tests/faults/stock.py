"""The same harm done to what Airflow itself offers: ``FileDeleteTrigger``, and trust in events.

The feed is built as Airflow's documentation has it: an asset that is watched by a trigger for each
marker, and a DAG scheduled on it whose task takes in what ``triggering_asset_events`` names. An
event of this trigger does not say which file it found, so markers are counted, which is in stock
Airflow's favour. Its settings are those of our own feeds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.postgres import Postgres
from tests.faults.airflow import HarmedAirflow
from tests.faults.comparison import Verdict
from tests.faults.world import Line

DAG = """\
from pathlib import Path
import time
from airflow.providers.standard.triggers.file import FileDeleteTrigger
from airflow.sdk import DAG, Asset, AssetWatcher, task

def watcher(name):
    trigger = FileDeleteTrigger(filepath=f"{LANDING}/{name}", poke_interval=1)
    return AssetWatcher(name=name, trigger=trigger)

landed = Asset("NAME", watchers=[watcher(f"{n:04d}.ready") for n in range(COUNT)])

with DAG("NAME", schedule=[landed], catchup=False, max_active_runs=1):
    @task(retries=3, retry_delay=10)
    def ingest(triggering_asset_events=None):
        with Path("TAKEN").open("a") as out:
            for events in triggering_asset_events.values():
                out.writelines(f"{event.timestamp} {time.time()}\\n" for event in events)
    ingest()
"""
QUIET = 30.0
"""Seconds without a run after which nothing more is expected."""


class StockFeed:
    """A watched folder, and what a DAG took in from it."""

    def __init__(self, airflow: HarmedAirflow, folder: Path, name: str, count: int) -> None:
        self._airflow = airflow
        self._name = name
        self._count = count
        self._landing = folder / name / "landing"
        self._taken = folder / name / "taken.log"
        self._landing.mkdir(parents=True)
        text = DAG.replace("{LANDING}", str(self._landing)).replace("NAME", name)
        text = text.replace("COUNT", str(count)).replace("TAKEN", str(self._taken))
        draft = folder / "dags" / f".{name}.draft"
        draft.write_text(text)
        draft.rename(folder / "dags" / f"{name}.py")

    def wait_until_watched(self) -> None:
        """Wait until a triggerer runs all the triggers."""
        sql = (
            "select count(*) as n from trigger t join asset_watcher a on a.trigger_id = t.id"
            " join asset on asset.id = a.asset_id where asset.name = ? and t.triggerer_id > 0"
        )
        enough = lambda: self._airflow.query(sql, self._name)[0]["n"] >= self._count  # noqa: E731
        self._airflow.wait_until(enough, f"{self._name} is not watched", 300)
        time.sleep(5)  # a trigger that is assigned starts a moment later

    def drop(self, number: int) -> Path:
        """Drop a marker."""
        marker = self._landing / f"{number:04d}.ready"
        marker.touch()
        return marker

    def left(self) -> int:
        """How many markers lie there still."""
        return sum(1 for _ in self._landing.iterdir())

    def settle(self) -> None:
        """Wait until all markers are gone and no run was under way for a while."""
        active = "select 1 from dag_run where dag_id = ? and state in ('queued', 'running')"
        quiet_since = time.monotonic()
        give_up = quiet_since + 300
        while time.monotonic() < min(quiet_since + QUIET, give_up):
            if self.left() or self._airflow.query(active, self._name):
                quiet_since = time.monotonic()
            time.sleep(0.5)

    def verdict(self, dropped_at: list[float]) -> Verdict:
        """What became of the markers that were dropped at these times."""
        lines = self._taken.read_text().splitlines() if self._taken.exists() else []
        taken = [float(line.split()[-1]) for line in lines]
        lost = tuple("a marker" for _ in range(len(dropped_at) - len(taken)))
        twice = tuple("a marker" for _ in range(len(taken) - len(dropped_at)))
        seconds = tuple(b - a for a, b in zip(dropped_at, taken, strict=False))
        return Verdict(lost, twice, (), seconds)


@contextmanager
def stock_airflow(folder: Path) -> Iterator[HarmedAirflow]:
    """An Airflow without Flagfall's DAGs, its settings the same."""
    (folder / "dags").mkdir(parents=True)
    settings = {"AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2"}
    with (
        Postgres() as postgres,
        HarmedAirflow(folder / "airflow", folder / "dags", postgres, settings) as airflow,
    ):
        yield airflow


def burst(airflow: HarmedAirflow, folder: Path, count: int) -> Line:
    """Drop markers as fast as that goes."""
    feed = StockFeed(airflow, folder, f"burst_{count}", count)
    feed.wait_until_watched()
    began = time.time()
    for number in range(count):
        feed.drop(number)
    took = time.time() - began
    feed.settle()
    harm = f"burst: {count:,} markers in {took:.2f} s"
    return Line(harm, 1, count, feed.verdict([began] * count))


def kill_after_detection(airflow: HarmedAirflow, folder: Path, times: int) -> Line:
    """Kill the triggerer as soon as it has found a marker."""
    feed = StockFeed(airflow, folder, "killed", times)
    feed.wait_until_watched()
    dropped = []
    for number in range(times):
        dropped.append(time.time())
        marker = feed.drop(number)
        while marker.exists():
            time.sleep(0.001)
        airflow.kill_and_restart("triggerer")
        time.sleep(15)
    feed.settle()
    return Line("kill between detection and event (triggerer)", times, times, feed.verdict(dropped))


def pause_and_land(airflow: HarmedAirflow, folder: Path, count: int) -> Line:
    """Pause the DAG, drop markers, unpause it; no further marker."""
    feed = StockFeed(airflow, folder, "paused", count)
    feed.wait_until_watched()
    airflow.run("dags", "pause", "-y", "paused")
    began = time.time()
    for number in range(count):
        feed.drop(number)
    airflow.wait_until(lambda: not feed.left(), "markers are left", 120)
    airflow.run("dags", "unpause", "-y", "paused")
    feed.settle()
    return Line("DAG paused while markers land", 1, count, feed.verdict([began] * count))
