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
from flagfall.local_airflow import interruptible

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 10, 100, 1_000, 10_000)
LIMIT = 150.0
"""Seconds in which a burst has to be over; then it is said how far it got."""
PATIENCE = 120.0
"""Seconds in which watchers have to be at work."""
QUIET = 20.0
"""Seconds without a run after which nothing more is expected of events."""

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

landed = Asset("NAME", watchers=[watcher(f"{n:05d}.ready") for n in range(COUNT)])

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
        ended: From the first drop to the end of the last run; ``None`` where one is under way.
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
        dag_id: What processes it.
        asset: What schedules that.
        drop: Drops everything, as fast as that goes.
        taken: When each marker that was processed was processed (Unix time).
        quiet: Seconds without a run after which the burst is over, though markers are left.
    """

    side: str
    dag_id: str
    asset: str
    drop: Callable[[], None]
    taken: Callable[[], list[float]]
    quiet: float


def burst(airflow: PostgresAirflow, feed: Feed, count: int, limit: float) -> Burst:
    """Drop ``count`` markers and wait until nothing more comes of them."""
    cpu, began = airflow.cpu_seconds(), time.time()
    feed.drop()
    over = _wait(airflow, feed, count, began + limit)
    taken = feed.taken()
    return Burst(
        side=feed.side,
        markers=count,
        processed=len(taken),
        seconds=max(taken) - began if taken else None,
        ended=_last_end(airflow, feed.dag_id) - began if over else None,
        runs=airflow.number("select count(*) from dag_run where dag_id = ?", feed.dag_id),
        tasks=airflow.task_instances(feed.dag_id),
        events=_events(airflow, feed.asset),
        all_events=_events(airflow, f"{feed.dag_id.removesuffix('_pipeline')}%"),
        cpu=airflow.cpu_seconds() - cpu,
    )


def _wait(airflow: PostgresAirflow, feed: Feed, count: int, give_up: float) -> bool:
    """Whether the burst was over in time."""
    quiet_since = time.time()
    while (now := time.time()) < give_up:
        airflow.check()
        active = bool(airflow.query(ACTIVE, feed.dag_id))
        if active:
            quiet_since = now
        elif len(feed.taken()) >= count or now - quiet_since > feed.quiet:
            return True
        time.sleep(0.3)
    return False


def _last_end(airflow: PostgresAirflow, dag_id: str) -> float:
    sql = "select extract(epoch from max(end_date)) as t from dag_run where dag_id = ?"
    return float(airflow.query(sql, dag_id)[0]["t"] or 0)


def _events(airflow: PostgresAirflow, asset: str) -> int:
    sql = "select count(*) from asset_event e join asset a on a.id = e.asset_id where a.name like ?"
    return airflow.number(sql, asset)


def ours(folder: Path, sizes: Sequence[int], limit: float) -> Iterator[Burst]:
    """Flagfall, a feed for each size, all on one Airflow."""
    (folder / "datasets").mkdir(parents=True)
    feeds = {size: _our_feed(folder, f"burst_{size}", size) for size in sizes}
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
        drop=lambda: _move_all(outbox, landing),
        taken=lambda: _times(folder / name / "lake" / name / "receipts"),
        quiet=LIMIT,
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
        capacity: Triggers that a triggerer runs; Airflow's default is 1,000.
    """
    (folder / "dags").mkdir(parents=True)
    side = "Airflow's trigger" + (f", capacity {capacity:,}" if capacity != 1_000 else "")
    feeds = {size: _their_feed(folder, f"stock_{size}", size, side) for size in sizes}
    settings = {"AIRFLOW__TRIGGERER__CAPACITY": str(capacity)}
    with airflow_on_postgres(folder, folder / "dags", settings) as airflow:
        _wait_until_watched(airflow, min(capacity, sum(sizes)))
        for size, feed in feeds.items():
            yield burst(airflow, feed, size, limit)


def _their_feed(folder: Path, name: str, count: int, side: str) -> Feed:
    landing, taken = folder / name, folder / f"{name}.taken"
    landing.mkdir(parents=True)
    text = THEIRS.replace("LANDING", str(landing)).replace("TAKEN", str(taken))
    dag = text.replace("NAME", name).replace("COUNT", str(count))
    (folder / "dags" / f"{name}.py").write_text(dag)
    return Feed(
        side=side,
        dag_id=name,
        asset=name,
        drop=lambda: _touch_all(landing, count),
        taken=lambda: _taken(taken),
        quiet=QUIET,
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
            yield "theirs", theirs(folder / "small", small, limit, 1_000)
        for size in large:
            yield "theirs", theirs(folder / str(size), [size], limit, 1_000)
        for size in (size for size in large if size > 1_000):
            yield "theirs", theirs(folder / f"{size}-more", [size], limit, 2 * size)


if __name__ == "__main__":
    main()
