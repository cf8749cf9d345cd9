"""From what was measured to what a load asks for: the tables of ``docs/scaling.md``.

Nothing is measured here. Every formula stands on that page in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from table import Cell, Column, Table

from flagfall.dataset.schema import Watch
from flagfall.inbox.claim import FEWEST, dealt_out
from flagfall.landing.limits import Limits
from flagfall.watch.sweeper import SWEEP_SHARE

PARTS = {"waits", "bursts", "per_batch", "data_plane", "s3_requests"}
"""Of which tables are needed."""
DAY = 86_400.0
PAGE = 1_000
"""Objects in one answer of S3 to a listing."""
REQUEST_PRICE = 0.005
"""Dollars for 1,000 requests to S3 (us-east-1, LIST and PUT)."""
LANES = 16
"""Tasks of one run at the same time: Airflow's default of ``max_active_tasks_per_dag``."""
S3_LIST, S3_ANSWER = 0.05, 0.025
"""Seconds until S3 has answered a LIST of 1,000 keys, and any other small request; not measured:
there is no real S3 here."""
GET_PRICE = 0.0004
"""Dollars for 1,000 requests that read, AWS's list price for us-east-1; deleting is free."""
STAGES = ("ingest_data", "preprocess_data", "run_inference", "evaluate_results")
"""Tasks whose requests follow each other; `claim` and `generate_report` ask 16 things at once."""
FILES = 1
"""Data files beside each marker."""
GATHER = (0.0, 60.0, 300.0)
"""Seconds that a marker is held back, in the table of `watch.gather`."""
SETTLED = 100
"""Runs after which their size does not change any more, or goes to and fro a little."""

Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Measured:
    """What ``make bench`` found, on the machine of ``docs/benchmarks.md``.

    Attributes:
        run: Seconds from the landing of a single small batch to the end of its report.
        run_cpu: CPU seconds of that, of all of Airflow's processes.
        batch_cpu: CPU seconds of one more small batch in a run.
        row_cpu: CPU seconds of one more row, from CSV to predictions.
        row_bytes: Bytes of a row of CSV.
        lake_bytes: Bytes that the lake keeps of it.
        starts: Task instances a second that one scheduler got through.
        events: Events a run that say that something landed.
        waits: Seconds of S3's answers, one after the other, to the stages of a batch.
        writes: Requests of a batch that are charged as PUT: LIST are, too.
        reads: Requests of a batch that are charged as GET.
    """

    run: float
    run_cpu: float
    batch_cpu: float
    row_cpu: float
    row_bytes: float
    lake_bytes: float
    starts: float
    events: float
    waits: float
    writes: float
    reads: float


@dataclass(frozen=True)
class Load:
    """What a day brings.

    Attributes:
        markers: In all feeds.
        bytes: Of their data files, as CSV.
        feeds: That share them evenly.
    """

    markers: int
    bytes: float
    feeds: int


LOADS = (
    Load(1_000, 10e9, 10),
    Load(10_000, 100e9, 10),
    Load(100_000, 1e12, 20),
    Load(1_000_000, 10e12, 1),
    Load(1_000_000, 10e12, 20),
    Load(1_000_000, 10e12, 100),
)


def measured(tables: Tables, cores: int) -> Measured:
    """What the tables say.

    Args:
        tables: Of all parts, by name.
        cores: Of the machine on which they were measured.
    """
    batches = tables["per_batch"]
    fewer, more = _rows(batches, side="Flagfall")[-2:]
    alone = _rows(batches, side="Flagfall")[0]
    theirs = _rows(batches, side="a DAG run per file")[-1]
    burst = _rows(tables["bursts"], side="Flagfall")[0]
    grown = _rows(tables["data_plane_slope"], side="Flagfall")[-1]
    (asked,) = _rows(tables["s3_requests"], task="one more batch")
    size = {row["what"]: row["bytes a row"] for row in _rows(tables["data_plane_bytes"])}
    return Measured(
        run=alone["seconds"],
        run_cpu=_cpu(alone),
        batch_cpu=(_cpu(more) - _cpu(fewer)) / (more["done"] - fewer["done"]),
        row_cpu=grown["s for a million more"] * cores / 1e6,
        row_bytes=size.pop("the CSV file"),
        lake_bytes=sum(size.values()),
        starts=theirs["task instances"] / theirs["seconds"],
        events=burst["events"] / burst["runs"],
        waits=sum(_answers(row) for row in _rows(tables["s3_requests"]) if row["task"] in STAGES),
        writes=asked["PUT"] + asked["LIST"],
        reads=asked["GET and HEAD"],
    )


def _answers(row: Mapping[str, Any]) -> float:
    """Seconds until S3 has answered a task's requests of one batch."""
    others: float = row["PUT"] + row["GET and HEAD"] + row["DELETE"]
    return row["LIST"] * S3_LIST + others * S3_ANSWER


def _rows(table: Table, **where: Cell) -> list[dict[str, Any]]:
    """The rows with these cells, but for those that were not measured, in their order."""
    last = table.columns[-1].name
    return [r for r in _all(table) if where.items() <= r.items() and r[last] is not None]


def _all(table: Table) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


def _cpu(row: Mapping[str, Any]) -> float:
    return float(row["done"] * row["CPU seconds per batch"])


# ------------------------------------------------------------------------------------ the formulas


@dataclass(frozen=True)
class Need:
    """What a load asks for.

    Attributes:
        a_second: Markers a second, in all feeds.
        busy: Share of a feed's lanes that its batches take up; from 1 on its backlog grows.
        batches: In a run.
        run: Seconds of a run.
        runs: A day, in all feeds.
        starts: Task starts a day.
        scheduler: Share of what one scheduler got through that these are.
        cores: Kept busy by it all.
        sweep: Seconds of a sweep of S3 at the end of the day.
        lists: LIST requests a day, by sweeps.
        events: Asset events a day that say that something landed.
        gigabits: Read from the landing zone, written to the lake and read again, a second.
    """

    a_second: float
    busy: float
    batches: float
    run: float
    runs: float
    starts: float
    scheduler: float
    cores: float
    sweep: float
    lists: float
    events: float
    gigabits: float


def need(load: Load, found: Measured, gather: float = 0.0) -> Need:
    """What a load asks for, with every setting but ``watch.gather`` at its default."""
    a_feed = load.markers / load.feeds / DAY
    size = load.bytes / load.markers
    batch_cpu = found.batch_cpu + size / found.row_bytes * found.row_cpu
    taken_up = batch_cpu + found.waits
    batches, run = _settled(a_feed, found.run, taken_up, size, gather)
    runs = load.markers / batches
    starts = runs * (2 + 4 * shards(batches, size))
    lake = found.lake_bytes / found.row_bytes
    sweep, lists = sweeps(load)
    return Need(
        a_second=load.markers / DAY,
        busy=a_feed * taken_up / LANES,
        batches=batches,
        run=run,
        runs=runs,
        starts=starts,
        scheduler=starts / DAY / found.starts,
        cores=(load.markers * batch_cpu + runs * found.run_cpu) / DAY,
        sweep=sweep,
        lists=lists,
        events=runs * found.events,
        gigabits=load.bytes / DAY * (1 + 2 * lake) * 8 / 1e9,
    )


def _settled(
    a_second: float, alone: float, a_batch: float, size: float, gather: float
) -> tuple[float, float]:
    """Batches and seconds of a run, when each takes what landed during the one before."""
    batches = 1.0
    for _ in range(SETTLED):
        run = alone + batches * a_batch / min(LANES, shards(batches, size))
        batches = min(max(a_second * max(run, gather), 1.0), Limits().batches_per_run)
    return batches, run


def shards(batches: float, size: float) -> int:
    """Of a run of so many batches of so many bytes each, as the claim makes them."""
    limits = dealt_out(ceil(batches), LANES, Limits())
    return max(ceil(batches / limits.shard_batches), ceil(batches * size / limits.shard_bytes))


def sweeps(load: Load) -> tuple[float, float]:
    """Seconds of the last sweep of a day, and LIST requests in all of it, in all feeds."""
    watch = Watch()
    keys = load.markers / load.feeds * (1 + FILES)
    receipts = load.markers / load.feeds
    pages = max(1, ceil(keys / PAGE)) + max(1, ceil(receipts / PAGE))
    seconds = pages * S3_LIST
    pause = max(watch.sweep_every.total_seconds(), seconds / 2 / SWEEP_SHARE)
    sweeps = load.feeds * DAY / pause
    fulls = load.feeds * DAY / watch.full_sweep_every.total_seconds()
    return seconds, sweeps * max(2, pages / 2) + fulls * pages


# -------------------------------------------------------------------------------------- the tables


def loads(found: Measured) -> Table:
    """What each load asks for."""
    columns = (
        Column("markers a day", ",d"), Column("GB a day", ",.0f"), Column("feeds", ",d"),
        Column("lanes of a feed busy", ".0%"), Column("batches in a run", ",.1f"),
        Column("a run, s", ",.0f"), Column("runs a day", ",.0f"),
        Column("task starts a day", ",.0f"), Column("of one scheduler", ".0%"),
        Column("cores busy", ",.1f"), Column("Gbit/s", ",.2f"),
    )  # fmt: skip
    return Table("scaling_runs", columns, tuple(_row(load, need(load, found)) for load in LOADS))


def _row(load: Load, needs: Need) -> tuple[Cell, ...]:
    run = None if needs.busy >= 1 else needs.run
    return (
        load.markers, load.bytes / 1e9, load.feeds, needs.busy, needs.batches, run, needs.runs,
        needs.starts, needs.scheduler, needs.cores, needs.gigabits,
    )  # fmt: skip


def watching(found: Measured, price: float) -> Table:
    """What noticing each load costs."""
    columns = (
        Column("markers a day", ",d"), Column("feeds", ",d"),
        Column("a sweep at the day's end, s", ".1f"), Column("LIST a day", ",.0f"),
        Column("dollars a month", ",.0f"), Column("events a day", ",.0f"),
        Column("with Airflow's own", ",d"),
    )  # fmt: skip
    return Table("scaling_watch", columns, tuple(_watched(LOADS, found, price)))


def _watched(loads: Iterable[Load], found: Measured, price: float) -> Iterable[tuple[Cell, ...]]:
    for load in loads:
        needs = need(load, found)
        dollars = needs.lists * price / 1000 * 30
        yield (
            load.markers, load.feeds, needs.sweep, needs.lists, dollars, needs.events, load.markers,
        )  # fmt: skip


def gathering(found: Measured) -> Table:
    """What holding markers back does to the loads that start the most tasks."""
    columns = (
        Column("markers a day", ",d"), Column("feeds", ",d"), Column("watch.gather, s", ",.0f"),
        Column("batches in a run", ",.1f"), Column("runs a day", ",.0f"),
        Column("of one scheduler", ".0%"), Column("cores busy", ",.1f"),
    )  # fmt: skip
    return Table("scaling_gather", columns, tuple(_gathered(found)))


def _gathered(found: Measured) -> Iterable[tuple[Cell, ...]]:
    for load in [load for load in LOADS if need(load, found).scheduler > 1]:
        for gather in GATHER:
            one = need(load, found, gather)
            yield (
                load.markers, load.feeds, gather, one.batches, one.runs, one.scheduler, one.cores,
            )  # fmt: skip


def asking(found: Measured, price: float) -> Table:
    """What the tasks of each load ask S3 for."""
    columns = (
        Column("markers a day", ",d"), Column("PUT and LIST a day", ",.0f"),
        Column("GET and HEAD a day", ",.0f"), Column("dollars a month", ",.0f"),
    )  # fmt: skip
    return Table("scaling_requests", columns, tuple(_asked(found, price)))


def _asked(found: Measured, price: float) -> Iterable[tuple[Cell, ...]]:
    for markers in sorted({load.markers for load in LOADS}):
        writes, reads = markers * found.writes, markers * found.reads
        yield markers, writes, reads, (writes * price + reads * GET_PRICE) / 1000 * 30


def for_page(tables: Tables, runs: Mapping[str, Any]) -> dict[str, Any]:
    """What the template of ``docs/scaling.md`` needs."""
    found = measured(tables, runs["per_batch"]["cores"])
    *_, memory = (r for r in _all(tables["data_plane"]) if r["side"] == "Flagfall" and r["seconds"])
    return {
        "measured": found,
        "loads": loads(found).markdown(),
        "watching": watching(found, REQUEST_PRICE).markdown(),
        "lanes": LANES,
        "fewest": FEWEST,
        "gathering": gathering(found).markdown(),
        "asking": asking(found, REQUEST_PRICE).markdown(),
        "put_price": REQUEST_PRICE,
        "get_price": GET_PRICE,
        "list_answer": S3_LIST,
        "answer": S3_ANSWER,
        "cores": runs["per_batch"]["cores"],
        "crowd": max(row["waits"] for row in _rows(tables["waits"], trigger="Flagfall on S3")),
        "memory": memory["peak memory, MiB"],
        "rows": memory["rows"],
    }
