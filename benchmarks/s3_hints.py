"""How long after a marker was put into a bucket its feed's trigger yields: hints from SQS.

``python benchmarks/s3_hints.py --markers 100``: S3 and SQS are moto's server in a process of its
own, over HTTP; the trigger runs in an event loop as on the triggerer. Also says how long the event
loop was held.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from heartbeat import Heartbeat

from flagfall.local_s3 import LocalS3
from triggers import MarkerFeedTrigger

BUCKET = "benchmark"


async def measure(server: LocalS3, markers: int) -> None:
    """Put markers one after the other, and print how long each took."""
    trigger = MarkerFeedTrigger(
        dataset="hints",
        landing=f"s3://{BUCKET}/landing",
        marker="date={date}/_SUCCESS",
        lake=f"s3://{BUCKET}/lake",
        sqs_queue=server.queue,
        sweep_every=3600.0,
    )
    s3 = server.client("s3")
    heart = Heartbeat(0.005)
    async with aclosing(trigger.run()) as events:  # type: ignore[type-var]  # a generator
        await drop(s3, "first")
        await anext(events)
        await asyncio.sleep(2.0)
        print(f"event loop held at the start, at most: {heart.take() * 1000:.0f} ms")
        taken = [await one(s3, events, number) for number in range(markers)]
    held = heart.take()
    taken.sort()
    print(
        f"put to event, {markers} markers: p50 {statistics.median(taken) * 1000:.0f} ms,", end=" "
    )
    print(f"p99 {taken[int(len(taken) * 0.99) - 1] * 1000:.0f} ms, max {taken[-1] * 1000:.0f} ms")
    print(f"event loop held meanwhile, at most: {held * 1000:.0f} ms")


async def drop(s3: Any, name: str) -> float:
    """Put one marker; the time at which S3 had taken it."""
    key = f"landing/date={name}/_SUCCESS"
    await asyncio.to_thread(s3.put_object, Bucket=BUCKET, Key=key, Body=b"")
    return time.monotonic()


async def one(s3: Any, events: Any, number: int) -> float:
    """Seconds from the put of one marker to its event."""
    waiting = asyncio.create_task(anext(events))
    await asyncio.sleep(0.05)
    landed = await drop(s3, f"{number:05d}")
    await waiting
    return time.monotonic() - landed


def main() -> None:
    """Start the server, measure, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markers", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, LocalS3(Path(home), BUCKET) as server:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": server.url,
        }
        asyncio.run(measure(server, arguments.markers))


if __name__ == "__main__":
    main()
