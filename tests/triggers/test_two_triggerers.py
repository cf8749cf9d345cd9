"""A sensor's trigger and a feed's in two processes, which share one queue."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

from flagfall.dataset.feed import Feed, LakeAddress
from flagfall.landing.zone import LandingAddress
from flagfall.triggers import MarkerFeedTrigger
from tests.patience import SOON
from tests.s3 import S3Server

MARKER = "date={date}/_SUCCESS"
SENSOR = """
import asyncio
from flagfall.triggers import MarkerTrigger

async def main():
    due = MarkerTrigger(
        landing={landing!r}, marker={marker!r}, partition={{"date": "2026-11-22"}},
        sweep_every=3600.0, sqs_queue={queue!r},
    )
    async for event in due.run():
        assert event.payload["marker"], event

asyncio.run(main())
"""


@contextmanager
def waiting_sensor(s3: S3Server, landing: str, queue: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose trigger waits for a marker of a feed, once it has looked for it."""
    s3.requests.clear()
    code = SENSOR.format(landing=landing, marker=MARKER, queue=queue)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **s3.environment()},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until_it_polls(s3: S3Server) -> None:
    async with asyncio.timeout(SOON):
        while not any(asked.method == "HEAD" for asked in s3.requests):  # noqa: ASYNC110  a server
            await asyncio.sleep(0.05)


async def test_a_hint_that_reached_the_sensor_elsewhere_still_reaches_the_feed(
    s3: S3Server, bucket: str
) -> None:
    """The next sweep is an hour away, and begins after days so old."""
    queue = s3.make_queue(f"queue-{uuid.uuid4().hex[:12]}")
    s3.notify(bucket, queue, "landing/")
    landing = f"s3://{bucket}/landing"
    feed = MarkerFeedTrigger.of(
        Feed(
            dataset="toy",
            landing=LandingAddress(uri=landing, marker=MARKER, sqs_queue=queue),
            lake=LakeAddress(uri=f"s3://{bucket}/lake"),
            sweep_every=3600.0,
            since="date=%Y-%m-%d",
        )
    )
    days = [f"2013-12-{n:02}" for n in range(11, 19)]
    announced = 0
    with waiting_sensor(s3, landing, queue) as sensor:
        async with aclosing(feed.run()) as events:  # type: ignore[type-var]  # a generator
            await until_it_polls(s3)
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(3.0)
            for day in days:
                s3.client().put_object(Bucket=bucket, Key=f"landing/date={day}/data.csv")
                s3.client().put_object(Bucket=bucket, Key=f"landing/date={day}/_SUCCESS")
            async with asyncio.timeout(SOON):
                announced += (await first).payload["pending"]
                while announced < len(days):
                    announced += (await anext(events)).payload["pending"]
        assert sensor.poll() is None
        s3.client().put_object(Bucket=bucket, Key="landing/date=2026-11-22/_SUCCESS")
        assert await asyncio.to_thread(sensor.wait, SOON) == 0
