"""What a sweep of S3 costs: 100,000 keys, beside boto3 and aiobotocore; and what a prefix saves.

Every client has a process of its own, and an S3 of its own with canned answers. ``make
benchmark-stock`` makes the environment of aiobotocore.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from canned_s3 import A_DAY, LANDING, canned_s3, environment, partition, stats
from heartbeat import Heartbeat

KEYS = 100_000
MANY_KEYS = 1_000_000
ROUNDS = 5
STOCK_PYTHON = Path(__file__).parents[1] / ".flagfall/stock/bin/python"
BELOW = {"Bucket": "bucket", "Prefix": "landing/"}

Listing = Callable[[], Awaitable[int]]
"""Lists everything, and gives the number of keys."""


async def sweep() -> Listing:
    """A full sweep, as a watcher does it: every key is looked at, markers are kept."""
    from flagfall.landing import LandingZone

    landing = LandingZone(LANDING, "date={date}/_SUCCESS")
    keys = 0

    def is_marker(key: str) -> bool:
        nonlocal keys
        keys += 1
        return landing.pattern.match(key) is not None

    def count() -> int:
        nonlocal keys
        keys = 0
        list(landing.store.list(where=is_marker, skip_unreadable=True))
        return keys

    return lambda: asyncio.to_thread(count)


async def ours() -> Listing:
    """A listing that keeps every key."""
    from flagfall.stores import open_store

    store = open_store(LANDING)
    return lambda: asyncio.to_thread(lambda: sum(1 for _ in store.list()))


async def boto3() -> Listing:
    """The paginator of boto3, in a thread."""
    import boto3

    pages = boto3.client("s3").get_paginator("list_objects_v2")

    def count() -> int:
        return sum(len(page.get("Contents", [])) for page in pages.paginate(**BELOW))

    return lambda: asyncio.to_thread(count)


async def aiobotocore() -> Listing:
    """The paginator of aiobotocore, on the event loop."""
    from aiobotocore.session import get_session

    client: Any = await get_session().create_client("s3").__aenter__()
    pages = client.get_paginator("list_objects_v2")

    async def count() -> int:
        return sum([len(page.get("Contents", [])) async for page in pages.paginate(**BELOW)])

    return count


CLIENTS = {"sweep": sweep, "ours": ours, "boto3": boto3, "aiobotocore": aiobotocore}


async def listings(client: str) -> None:
    """List everything again and again, after a first time that is not counted."""
    url = os.environ["AWS_ENDPOINT_URL"]
    list_all = await CLIENTS[client]()
    await list_all()
    heartbeat = Heartbeat(0.001)
    took, cpu, held = [], [], []
    asked = stats(url)["LIST"]
    for _ in range(ROUNDS):
        heartbeat.take()
        began, began_cpu = time.monotonic(), time.process_time()
        found = await list_all()
        held.append(heartbeat.take() * 1000)
        took.append(time.monotonic() - began)
        cpu.append(time.process_time() - began_cpu)
    print(
        f"{client:12} {found:,} keys in {(stats(url)['LIST'] - asked) / ROUNDS:.0f} requests:"
        f" {span(took, 2)} s, CPU {span(cpu, 2)} s, event loop held up to {span(held, 0)} ms",
        flush=True,
    )
    os._exit(0)  # aiobotocore's client need not be closed


def span(values: list[float], digits: int) -> str:
    """The least and the most of some numbers."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def small_sweeps() -> None:
    """A million keys in a thousand days: a full sweep, and the next ones on that day.

    The feed is as its file would have it, with ``arrival.partition``; its lake is on disk, so that
    all requests are for the landing zone.
    """
    from flagfall.inbox import Feed, Inbox

    last = datetime.fromisoformat(partition(MANY_KEYS - 1).partition("=")[2]).replace(tzinfo=UTC)
    with canned_s3(MANY_KEYS) as url, tempfile.TemporaryDirectory() as lake:
        os.environ |= environment(url)
        place = {"landing": LANDING, "marker": "date={date}/_SUCCESS", "lake": lake}
        feed = Feed("sweeps", **place, since="date=%Y-%m-%d", behind=3600.0)
        for hour in (6, 18):
            now = last + timedelta(hours=hour)
            inbox = Inbox(feed, lambda now=now: now)
            for name in ("full", "next"):
                asked = stats(url)["LIST"]
                scope = inbox.scope()
                inbox.advance(inbox.pending(scope), scope)
                requests = stats(url)["LIST"] - asked
                print(f"{MANY_KEYS:,} keys, {A_DAY:,} a day, {now:%F %R}: {name} sweep {requests}")


def main() -> None:
    """Measure one client after the other, then the partition."""
    for client in CLIENTS:
        python = STOCK_PYTHON if client == "aiobotocore" else sys.executable
        if not Path(python).exists():
            print(f"{client}: make benchmark-stock makes what it needs")
            continue
        with canned_s3(KEYS) as url:
            subprocess.run([python, __file__, client], env=environment(url), check=True)
    small_sweeps()


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(listings(sys.argv[1]))
    else:
        main()
