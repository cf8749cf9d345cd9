"""A burst of 1 to 10,000 markers, beside a DAG scheduled on an asset as Airflow's docs have it."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from pathlib import Path

from benchmarks.on_postgres import ACTIVE, PostgresAirflow, airflow_on_postgres
from benchmarks.table import Column, Plot, Table, found
from sandbox.airflow import interruptible

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 10, 100, 1_000, 10_000)
LIMIT = 150.0
"""Seconds in which a burst has to be over; then it is said how far it got."""
CAPACITY = 1_000
"""Triggers that a triggerer runs by default."""
WATCHERS = 1_000
"""Most watchers of an asset: with 10,000, the query for them is too deep for PostgreSQL."""
PATIENCE = 150.0
"""Seconds in which watchers have to be at work."""
QUIET = 20.0
"""Seconds without a run or an event after which no more is expected, once all files were seen."""

OURS = """\
title: NAME
landing: {uri: FOLDER/NAME/landing, marker: "date={date}/datapackage.json"}
lake: {uri: FOLDER/NAME/lake}
"""
SMALL = """\
schema:
  fields: [{name: id, type: integer, constraints: {required: true}}, {name: value, type: number}]
  primaryKey: [id]
"""
ROWS = "id,value\n1,0.5\n2,1.5\n"

THEIRS = """\
import json
import time
from pathlib import Path
from airflow.providers.standard.triggers.file import DirectoryFileDeleteTrigger
from airflow.sdk import DAG, Asset, AssetWatcher, task

def watcher(name):
    trigger = DirectoryFileDeleteTrigger(directory="LANDING", filename=name, poke_interval=1)
    return AssetWatcher(name=name, trigger=trigger)

landed = Asset("NAME", watchers=[watcher(f"{n:05d}.ready") for n in range(FIRST, LAST)])

with DAG("NAME", schedule=[landed], catchup=False, max_active_runs=1):
    @task
    def process(triggering_asset_events=None):
        with Path("TAKEN").open("a") as out:
            for events in triggering_asset_events.values():
                for event in events:
                    out.write(json.dumps([event.extra["payload"]["filepath"], time.time()]) + "\\n")
    process()
"""


@dataclass(frozen=True)
class Burst:
    """What became of a burst; the columns of the table, in order.

    Attributes:
        side: Who processed it.
        markers: How many were dropped.
        processed: How many were processed in time.
        seconds: From the first drop to the last that was processed; ``None`` where none was.
        ended: From the first drop to the end of the last run; ``None`` where there was none, or one
            is under way.
        runs: DAG runs.
        tasks: Task instances.
        events: Events stored for the asset that schedules the DAG.
        all_events: Events stored for any asset.
        cpu: CPU seconds of Airflow's processes meanwhile.
    """

    side: str
    markers: int
    processed: int
    seconds: float | None
    ended: float | None
    runs: int
    tasks: int
    events: int
    all_events: int
    cpu: float


COLUMNS = (
    Column("side"),
    Column("markers", ",d"),
    Column("processed", ",d"),
    Column("last processed, s", ",.1f"),
    Column("last run ended, s", ",.1f"),
    Column("runs", ",d"),
    Column("task instances", ",d"),
    Column("events", ",d"),
    Column("events of all assets", ",d"),
    Column("CPU, s", ",.0f"),
)
LAST = Plot("side", "markers", "last processed, s", "From the first marker to the last processed")


@dataclass(frozen=True)
class Feed:
    """A feed that a burst comes to.

    Attributes:
        side: Who watches it.
        dag_id: What processes it; ``%`` stands for anything.
        asset: What schedules that, likewise.
        assets: Every asset that there are events of.
        drop: Drops everything, as fast as that goes.
        taken: When each marker that was processed was processed (Unix time).
        unseen: How many markers nobody has noticed yet, as far as can be told.
    """

    side: str
    dag_id: str
    asset: str
    assets: str
    drop: Callable[[], None]
    taken: Callable[[], list[float]]
    unseen: Callable[[], int]


def burst(airflow: PostgresAirflow, feed: Feed, count: int, limit: float) -> Burst:
    """Drop ``count`` markers and wait until nothing more comes of them."""
    cpu, began = airflow.cpu_seconds(), time.time()
    feed.drop()
    over = _wait(airflow, feed, count, began + limit)
    taken = feed.taken()
    ended = _last_end(airflow, feed.dag_id) if over else None
    return Burst(
        side=feed.side,
        markers=count,
        processed=len(taken),
        seconds=max(taken) - began if taken else None,
        ended=None if ended is None else ended - began,
        runs=airflow.number("select count(*) from dag_run where dag_id like ?", feed.dag_id),
        tasks=airflow.task_instances(feed.dag_id),
        events=_events(airflow, feed.asset),
        all_events=_events(airflow, feed.assets),
        cpu=airflow.cpu_seconds() - cpu,
    )


def _wait(airflow: PostgresAirflow, feed: Feed, count: int, give_up: float) -> bool:
    """Whether the burst was over in time."""
    events, quiet_since = 0, time.time()
    while (now := time.time()) < give_up:
        airflow.check()
        before, events = events, _events(airflow, feed.asset)
        active = bool(airflow.query(ACTIVE, feed.dag_id))
        if active or events != before or feed.unseen():
            quiet_since = now
        if not active and (len(feed.taken()) >= count or now - quiet_since > QUIET):
            return True
        time.sleep(0.3)
    return False


def _last_end(airflow: PostgresAirflow, dag_id: str) -> float | None:
    """When the last run ended (Unix time); ``None`` where there was none."""
    sql = "select extract(epoch from max(end_date)) as t from dag_run where dag_id like ?"
    at = airflow.query(sql, dag_id)[0]["t"]
    return None if at is None else float(at)


def _events(airflow: PostgresAirflow, asset: str) -> int:
    sql = "select count(*) from asset_event e join asset a on a.id = e.asset_id where a.name like ?"
    return airflow.number(sql, asset)


def ours(folder: Path, sizes: Sequence[int], limit: float) -> Iterator[Burst]:
    """Flagfall, a feed for each size, all on one Airflow."""
    (folder / "datasets").mkdir(parents=True)
    feeds = {size: _our_feed(folder, f"burst{size}", size) for size in sizes}
    settings = {"FLAGFALL_DATASETS": str(folder / "datasets")}
    with airflow_on_postgres(folder, ROOT / "dags", settings) as airflow:
        _wait_until_watched(airflow, len(sizes))
        for size, feed in feeds.items():
            yield burst(airflow, feed, size, limit)


def _our_feed(folder: Path, name: str, count: int) -> Feed:
    text = (OURS + SMALL).replace("FOLDER", str(folder)).replace("NAME", name)
    (folder / "datasets" / f"{name}.yaml").write_text(text)
    landing, outbox = folder / name / "landing", folder / name / "outbox"
    landing.mkdir(parents=True)
    for n in range(count):
        _write_batch(outbox / f"date={n:05d}")
    return Feed(
        side="Flagfall",
        dag_id=f"{name}_pipeline",
        asset=f"{name}_landed",
        assets=f"{name}_%",
        drop=lambda: _move_all(outbox, landing),
        taken=lambda: _times(folder / name / "lake" / name / "receipts"),
        unseen=lambda: count,  # what has no receipt is never given up
    )


def _write_batch(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text(ROWS)
    digest = f"sha256:{sha256(ROWS.encode()).hexdigest()}"
    resource = {"path": "rows.csv", "bytes": len(ROWS), "hash": digest}
    (folder / "datapackage.json").write_text(json.dumps({"resources": [resource]}))


def _move_all(outbox: Path, landing: Path) -> None:
    for batch in sorted(outbox.iterdir()):
        batch.rename(landing / batch.name)


def _times(receipts: Path) -> list[float]:
    return [file.stat().st_mtime for file in receipts.glob("landed=*/[!.]*.json")]


def _wait_until_watched(airflow: PostgresAirflow, watchers: int) -> None:
    """Wait until a triggerer runs all watchers, and a moment longer: one starts after that.

    Watchers that are not run in ``PATIENCE`` seconds come too late for the burst.
    """
    sql = (
        "select count(*) from trigger t join asset_watcher w on w.trigger_id = t.id"
        " where t.triggerer_id is not null"
    )
    give_up = time.monotonic() + PATIENCE
    while airflow.number(sql) < watchers and time.monotonic() < give_up:
        airflow.check()
        time.sleep(0.5)
    time.sleep(5)


def theirs(folder: Path, sizes: Sequence[int], limit: float, capacity: int) -> Iterator[Burst]:
    """Airflow's own trigger, a DAG for each size, all on one Airflow.

    Args:
        folder: Where it all is.
        sizes: Markers dropped.
        limit: Seconds for each.
        capacity: Triggers that a triggerer runs.
    """
    (folder / "dags").mkdir(parents=True)
    side = "Airflow's trigger" + (f", capacity {capacity:,}" if capacity != CAPACITY else "")
    feeds = {size: _their_feed(folder, f"stock-{size}-", size, side) for size in sizes}
    settings = {"AIRFLOW__TRIGGERER__CAPACITY": str(capacity)}
    with airflow_on_postgres(folder, folder / "dags", settings) as airflow:
        _wait_until_watched(airflow, min(capacity, sum(sizes)))
        for size, feed in feeds.items():
            yield burst(airflow, feed, size, limit)


def _capacity_for(count: int) -> int:
    """Airflow's default, or more where it would not do."""
    return CAPACITY if count <= CAPACITY else 2 * count


def _their_feed(folder: Path, name: str, count: int, side: str) -> Feed:
    landing, taken = folder / name, folder / f"{name}.taken"
    landing.mkdir(parents=True)
    text = THEIRS.replace("LANDING", str(landing)).replace("TAKEN", str(taken))
    for first in range(0, count, WATCHERS):
        dag = text.replace("FIRST", str(first)).replace("LAST", str(min(first + WATCHERS, count)))
        file = folder / "dags" / f"{name}{first}.py"
        file.write_text(dag.replace("NAME", f"{name}{first}"))
    return Feed(
        side=side,
        dag_id=f"{name}%",
        asset=f"{name}%",
        assets=f"{name}%",
        drop=lambda: _touch_all(landing, count),
        taken=lambda: _taken(taken),
        unseen=lambda: sum(1 for _ in landing.iterdir()),
    )


def _touch_all(landing: Path, count: int) -> None:
    for n in range(count):
        (landing / f"{n:05d}.ready").touch()


def _taken(file: Path) -> list[float]:
    """When each file was first named to a run."""
    lines = file.read_text().splitlines() if file.exists() else []
    return list(dict(map(json.loads, reversed(lines))).values())


def main() -> None:
    """Measure both sides at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for each burst")
    parser.add_argument("--side", choices=("ours", "theirs", "both"), default="both")
    options = parser.parse_args()
    bursts: list[Burst] = []
    with interruptible():
        for side, measured in _sides(options.sizes, options.limit):
            if options.side in (side, "both"):
                for one in measured:
                    print(one, flush=True)
                    bursts.append(one)
    found(Table("bursts", COLUMNS, tuple(map(astuple, bursts)), (LAST,)))


def _sides(sizes: Sequence[int], limit: float) -> Iterator[tuple[str, Iterator[Burst]]]:
    """Each in a folder of its own; sizes that would be in each other's way on an Airflow each."""
    small = [size for size in sizes if size < 1_000]
    large = [size for size in sizes if size >= 1_000]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield "ours", ours(folder / "ours", sizes, limit)
        if small:
            yield "theirs", theirs(folder / "small", small, limit, CAPACITY)
        for size in large:
            yield "theirs", theirs(folder / str(size), [size], limit, _capacity_for(size))


if __name__ == "__main__":
    main()
