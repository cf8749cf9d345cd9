"""What a sweep costs, by what is already there: 1,000 to 1,000,000 files, or keys on S3.

Each sweep is measured in the event loop that a triggerer would have, beside a timer that tells how
long it was held. Each client of S3 has a process and an S3 with canned answers of its own. ``make
bench`` makes the environment of ``S3KeyTrigger``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from canned_s3 import LANDING, canned_s3, environment, partition, stats
from heartbeat import Heartbeat
from table import Cell, Column, Plot, Table, found

STOCK_PYTHON = Path(__file__).parents[1] / ".flagfall/stock/bin/python"
MARKERS = 10
"""Markers among data files."""
A_FOLDER = 1000
"""Files of a day."""
MOST_ROUNDS = 5
BEAT = 0.002
"""Seconds between two beats of the timer that tells how long the loop was held."""

Sweep = Callable[[], Awaitable[object]]


class Measured(NamedTuple):
    """What some rounds of one sweep took: seconds of each, and the most that the loop was held."""

    took: list[float]
    cpu: list[float]
    held: float


async def measured(sweep: Sweep, limit: float) -> Measured:
    """Sweep again and again, for some rounds or about ``limit`` seconds, after a first time."""
    gc.collect()
    gc.freeze()  # what sweeps before it left behind is no work for the collector in this one
    heartbeat = Heartbeat(BEAT)
    await asyncio.sleep(BEAT * 5)
    rounds: list[tuple[float, float, float]] = []
    give_up = time.monotonic() + limit
    for number in range(MOST_ROUNDS + 1):
        heartbeat.take()
        began, began_cpu = time.monotonic(), time.process_time()
        await sweep()
        took, cpu = time.monotonic() - began, time.process_time() - began_cpu
        rounds.append((took, cpu, heartbeat.take()))
        if number and time.monotonic() > give_up:
            break
    counted = rounds[1:]
    return Measured([r[0] for r in counted], [r[1] for r in counted], max(r[2] for r in counted))


# ------------------------------------------------------------------------------------------ disk


def grow_data(zone: Path, before: int, files: int) -> None:
    """Data files, and a few markers among them."""
    for n in range(before, files):
        os.mknod(zone / f"part-{n:07}.csv")
    for n in range(0 if before else MARKERS):
        os.mknod(zone / f"day-{n}.ready")


def grow_markers(zone: Path, before: int, files: int) -> None:
    """Nothing but markers."""
    for n in range(before, files):
        os.mknod(zone / f"day-{n:07}.ready")


def grow_days(zone: Path, before: int, files: int) -> None:
    """Folders of a day, each with its data files and one marker."""
    for day in range(before // A_FOLDER, files // A_FOLDER):
        folder = zone / f"date={day:05}"
        folder.mkdir()
        for n in range(A_FOLDER - 1):
            os.mknod(folder / f"part-{n:04}.csv")
        os.mknod(folder / "_SUCCESS")


class Layout(NamedTuple):
    """What a landing zone looks like.

    Attributes:
        name: In the table.
        marker: Pattern of its markers, ours.
        wildcard: The same for ``glob``.
        grow: Adds files until there are so many.
    """

    name: str
    marker: str
    wildcard: str
    grow: Callable[[Path, int, int], None]


DATA = Layout("data files in one folder", "day-{name}.ready", "day-*.ready", grow_data)
RECEIVED = Layout("markers in one folder", "day-{name}.ready", "day-*.ready", grow_markers)
LANDED = RECEIVED._replace(name="markers that have just landed")
DAYS = Layout("folders of 1,000 files", "date={date}/_SUCCESS", "date=*/_SUCCESS", grow_days)


def ours(zone: Path, layout: Layout, lake: Path) -> Sweep:
    """A sweep as the watcher does it: of what has its receipt, or the first look."""
    from flagfall.dataset.feed import Feed, LakeAddress
    from flagfall.inbox.inbox import Inbox
    from flagfall.landing.zone import LandingAddress

    landing = LandingAddress(uri=str(zone), marker=layout.marker)
    feed = Feed(dataset="sweeps", landing=landing, lake=LakeAddress(uri=str(lake)))
    inbox = Inbox(feed)
    if layout is LANDED:
        return lambda: asyncio.to_thread(lambda: Inbox(feed).pending())
    file_receipts(inbox.pending(), lake)
    assert not inbox.pending(), "everything has its receipt"
    return lambda: asyncio.to_thread(lambda: inbox.sweep(inbox.shortcuts.scope()))


def file_receipts(markers: Any, lake: Path) -> None:
    """An empty file in the place of each receipt: a sweep looks at no more than its name."""
    for marker in markers:
        folder = lake / "sweeps" / "receipts" / f"landed={marker.landed_at:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.mknod(folder / f"{marker.batch_id}.json")


def directory_scan(zone: Path) -> Sweep:
    """What ``DirectoryFileDeleteTrigger`` does at every poke, once for all that share a folder."""
    from airflow.providers.standard.triggers.file import DirectoryFileDeleteTrigger

    async def scan() -> None:
        how = {"directory": str(zone), "poke_interval": 3600.0}
        stream: Any = DirectoryFileDeleteTrigger.open_shared_stream(how)
        await anext(stream)
        await stream.aclose()

    return scan


def file_trigger_glob(pattern: str) -> Sweep:
    """What ``FileTrigger`` does at every poke, every one for itself."""

    async def scan() -> None:
        glob(pattern)

    return scan


def bare(zone: Path) -> Sweep:
    """All names, and nothing else: the machine's limit."""
    return lambda: asyncio.to_thread(lambda: sum(len(files) for *_, files in os.walk(zone)))


def sweeps_of(zone: Path, layout: Layout, files: int, most: int) -> Iterator[tuple[str, Sweep]]:
    """Every kind of sweep of a landing zone."""
    yield "os.walk", bare(zone)
    with tempfile.TemporaryDirectory(dir=zone.parent) as lake:
        yield "Flagfall", ours(zone, layout, Path(lake))
    yield "FileTrigger", file_trigger_glob(f"{zone}/{layout.wildcard}")
    if layout is not DAYS and files <= most:
        yield "DirectoryFileDeleteTrigger", directory_scan(zone)


def on_disk(sizes: list[int], most: int, limit: float) -> Iterator[tuple[Cell, ...]]:
    """The rows of the table for disks."""
    for layout in (DATA, RECEIVED, LANDED, DAYS):
        with tempfile.TemporaryDirectory() as home:
            zone = Path(home) / "landing"
            zone.mkdir()
            for before, files in zip([0, *sizes], sizes, strict=False):
                layout.grow(zone, before, files)
                for name, sweep in sweeps_of(zone, layout, files, most):
                    done = asyncio.run(measured(sweep, limit))
                    yield (layout.name, name, files, *spread(done, files))


def spread(done: Measured, files: int) -> tuple[float, ...]:
    """The cells that tell of times."""
    took = done.took
    middle = median(took)
    return (middle, min(took), max(took), median(done.cpu), done.held * 1e3, middle * 1e6 / files)


# -------------------------------------------------------------------------------------------- S3


def ours_on_s3(keys: int, lake: str, full: bool) -> Sweep:
    """A sweep as the watcher does it: of everything, or from where the last full one says.

    The lake is on disk, so that all requests are for the landing zone.
    """
    from flagfall.dataset.feed import Feed, LakeAddress
    from flagfall.inbox.inbox import Inbox
    from flagfall.landing.zone import LandingAddress

    last = datetime.fromisoformat(partition(keys - 1).partition("=")[2]).replace(tzinfo=UTC)
    feed = Feed(
        dataset="sweeps",
        landing=LandingAddress(uri=LANDING, marker="date={date}/_SUCCESS"),
        lake=LakeAddress(uri=lake),
        since="date=%Y-%m-%d",
        behind=3600.0,
    )
    inbox = Inbox(feed, lambda: last + timedelta(hours=18))
    if not full:
        scope = inbox.shortcuts.full_scope()
        inbox.shortcuts.advance(inbox.pending(scope), scope)
    scope = inbox.shortcuts.full_scope if full else inbox.shortcuts.scope
    return lambda: asyncio.to_thread(lambda: inbox.sweep(scope()))


def boto3_listing() -> Sweep:
    """The paginator of boto3, in a thread: what one writes oneself."""
    import boto3

    pages = boto3.client("s3").get_paginator("list_objects_v2")

    def count() -> int:
        found = pages.paginate(Bucket="bucket", Prefix="landing/")
        return sum(len(page.get("Contents", [])) for page in found)

    return lambda: asyncio.to_thread(count)


async def s3_key_check() -> Sweep:
    """What ``S3KeyTrigger`` does at every poke for a wildcard, every one for itself."""
    from airflow.providers.amazon.aws.triggers.s3 import S3KeyTrigger

    trigger = S3KeyTrigger("bucket", "landing/date=*/_SUCCESS", True, aws_conn_id=None)
    client: Any = await (await trigger.hook.get_async_conn()).__aenter__()
    return lambda: trigger.hook.check_key_async(client, "bucket", trigger.bucket_key, True, False)


CLIENTS = {
    "Flagfall, full": "full",
    "Flagfall, incremental": "incremental",
    "boto3": "boto3",
    "S3KeyTrigger, wildcard": "s3-key",
}


async def client_inside(client: str, keys: int, limit: float) -> None:
    """Measure one client, and write the outcome to standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the S3 hook prints
    url = os.environ["AWS_ENDPOINT_URL"]
    with tempfile.TemporaryDirectory() as lake:
        if client == "s3-key":
            sweep = await s3_key_check()
        elif client == "boto3":
            sweep = boto3_listing()
        else:
            sweep = await asyncio.to_thread(ours_on_s3, keys, lake, client == "full")
        asked, rounds = stats(url)["LIST"], 0

        async def counted() -> None:
            nonlocal rounds
            rounds += 1
            await sweep()

        done = await measured(counted, limit)
        requests = (stats(url)["LIST"] - asked) / rounds
    answers.write(json.dumps([done, requests]))
    answers.flush()
    os._exit(0)  # aiobotocore's client need not be closed


def on_s3(sizes: list[int], most: int, limit: float) -> Iterator[tuple[Cell, ...]]:
    """The rows of the table for S3."""
    for name, client in CLIENTS.items():
        python = STOCK_PYTHON if client == "s3-key" else sys.executable
        for keys in sizes:
            if keys > most and client in ("boto3", "s3-key"):
                continue
            with canned_s3(keys) as url, tempfile.TemporaryDirectory() as home:
                command = [python, __file__, "--inside", client, str(keys), f"--limit={limit}"]
                quiet = {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
                env = environment(url) | quiet
                done, requests = json.loads(
                    subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout
                )
            yield (name, keys, requests, *spread(Measured(*done), keys))


TIMES = (
    Column("time, s", ".4f"),
    Column("least, s", ".4f"),
    Column("most, s", ".4f"),
    Column("CPU, s", ".4f"),
    Column("held, ms", ".0f"),
)


def main() -> None:
    """Measure on a disk, then on S3."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [1000, 10_000, 100_000, 1_000_000]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="thousands")
    parser.add_argument("--most", type=int, default=100_000, help="for what is slow")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds for the rounds of one")
    parser.add_argument("--only", choices=("disk", "s3"))
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        client, keys = given.inside
        asyncio.run(client_inside(client, int(keys), given.limit))
        return
    if not STOCK_PYTHON.exists():
        parser.error("`make .flagfall/stock/.done` makes what S3KeyTrigger needs")
    how = (given.sizes, given.most, given.limit)
    if given.only != "s3":
        columns = (Column("layout"), Column("sweep"), Column("files", ",.0f"), *TIMES)
        columns += (Column("a file, µs", ".2f"),)
        plots = tuple(
            Plot("sweep", "files", "time, s", f"One sweep: {layout.name}", ("layout", layout.name))
            for layout in (DATA, RECEIVED, DAYS)
        )
        found(Table("sweeps_disk", columns, tuple(on_disk(*how)), plots))
    if given.only != "disk":
        columns = (Column("sweep"), Column("keys", ",.0f"), Column("requests", ",.0f"), *TIMES)
        columns += (Column("a key, µs", ".2f"),)
        plots = (Plot("sweep", "keys", "time, s", "One sweep of a bucket"),)
        found(Table("sweeps_s3", columns, tuple(on_s3(*how)), plots))


if __name__ == "__main__":
    main()
