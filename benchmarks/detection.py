"""Marker in place to the trigger's yield: no Airflow, the trigger alone in an event loop.

On disk a folder is renamed into the landing zone; on S3 (moto's server, over HTTP) an object is put
and the bucket tells an SQS queue.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from statistics import median
from typing import Any

from heartbeat import Heartbeat
from kinds import MARKER, Bucket, Disk, Place
from table import Cell, Column, Table

from flagfall.dataset.feed import Feed, LakeAddress
from flagfall.landing.zone import LandingAddress
from flagfall.triggers import MarkerFeedTrigger
from sandbox.s3 import REGION, LocalS3

QUIET = 3600.0
"""Seconds until a marker without a receipt is announced again: none while others are dropped."""
BEAT = 0.005
"""Seconds between two beats of what tells how long the event loop was held."""
COLUMNS = (
    Column("where"),
    Column("markers", ".0f"),
    Column("p50, ms", ".0f"),
    Column("p99, ms", ".0f"),
    Column("max, ms", ".0f"),
    Column("event loop held at most, ms", ".0f"),
)


async def table(markers: int) -> Table:
    """Both places, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        disk = await on_disk(Path(folder), markers)
    with tempfile.TemporaryDirectory() as folder:
        s3 = await on_s3(Path(folder), markers)
    return Table("latency_detection", COLUMNS, (("disk, inotify", *disk), ("S3, SQS", *s3)))


async def on_disk(folder: Path, markers: int) -> tuple[Cell, ...]:
    """Renamed into place to yielded."""
    disk = Disk(folder)
    landing = LandingAddress(uri=disk.uri("feed"), marker=f"{{n}}/{MARKER}")
    lake = LakeAddress(uri=f"{folder}/lake")
    feed = Feed(dataset="bench", landing=landing, lake=lake, settle=QUIET)
    trigger = MarkerFeedTrigger.of(feed)
    return await _measure(trigger, disk, markers, pause=1.2)


async def on_s3(folder: Path, markers: int) -> tuple[Cell, ...]:
    """Put to yielded."""
    with LocalS3(folder, "bench") as server:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": server.url,
        }
        bucket = Bucket(server)
        landing = LandingAddress(
            uri=bucket.uri("feed"), marker=f"{{n}}/{MARKER}", sqs_queue=server.queue
        )
        lake = LakeAddress(uri=bucket.uri("lake"))
        feed = Feed(dataset="bench", landing=landing, lake=lake, sweep_every=3600.0, settle=QUIET)
        trigger = MarkerFeedTrigger.of(feed)
        return await _measure(trigger, bucket, markers, pause=0.1)


async def _measure(
    trigger: MarkerFeedTrigger, place: Place, markers: int, pause: float
) -> tuple[Cell, ...]:
    """Drop one marker after the other, each ``pause`` seconds after the one before was announced.

    On disk all looks after the last hint are over then.
    """
    async with aclosing(trigger.run()) as events:  # type: ignore[type-var]  # a generator
        await _one(events, place, -1, 0.0)
        await asyncio.sleep(3.0)  # the watch stands
        heart = Heartbeat(BEAT)
        taken = sorted([await _one(events, place, n, pause) for n in range(markers)])
    p99 = taken[math.ceil(markers * 0.99) - 1]
    return markers, *(t * 1000 for t in (median(taken), p99, taken[-1], heart.take()))


async def _one(events: Any, place: Place, n: int, pause: float) -> float:
    """Seconds from one marker to its event."""
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(pause)
    dropped = await asyncio.to_thread(place.drop, "feed", n, {MARKER: b""})
    await waiting
    return time.time() - dropped
