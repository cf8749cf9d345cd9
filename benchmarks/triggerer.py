"""Airflow's own runner of triggers, with no supervisor: in a process that is watched from outside.

``python benchmarks/triggerer.py KIND COUNT A_TURN PLACE`` is told ``start`` and ``look`` in lines
on its standard input, and answers each on its standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import structlog
from airflow.executors.workloads import RunTrigger
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.models.trigger import Trigger
from airflow.triggers.base import BaseTrigger
from canned_s3 import many_files
from heartbeat import Heartbeat

BEAT = 0.010
"""Seconds between two beats of the timer that tells how long the loop was held."""


def sleeping(n: int, place: str) -> BaseTrigger:
    """One of Airflow's that only sleeps: what Airflow itself takes."""
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger

    return DateTimeTrigger(moment=datetime.now(UTC) + timedelta(days=1))


def marker(n: int, place: str) -> BaseTrigger:
    """One of ours, as ``MarkerSensor`` makes it: on a disk or on S3."""
    from flagfall.triggers import MarkerTrigger

    partition = {"n": f"{n:05}"}
    return MarkerTrigger(landing=place, marker="{n}/_SUCCESS", partition=partition)


def feed(n: int, place: str) -> BaseTrigger:
    """One of ours that watches a feed for good, as an asset's watcher does."""
    from flagfall.dataset.feed import Feed, LakeAddress
    from flagfall.landing.zone import LandingAddress
    from flagfall.triggers import MarkerFeedTrigger

    zone = f"{place}/{n:05}"
    os.makedirs(zone, exist_ok=True)
    landing = LandingAddress(uri=zone, marker="date={date}/_SUCCESS")
    lake = LakeAddress(uri=f"{place}/.lake")
    return MarkerFeedTrigger.of(Feed(dataset=f"feed_{n:05}", landing=landing, lake=lake))


def directory(n: int, place: str) -> BaseTrigger:
    """Airflow's for all files of a folder, as an asset's watcher takes it."""
    from airflow.providers.standard.triggers.file import DirectoryFileDeleteTrigger

    zone = f"{place}/{n:05}"
    os.makedirs(zone, exist_ok=True)
    return DirectoryFileDeleteTrigger(directory=zone, filename="_SUCCESS", poke_interval=5.0)


def file_every(seconds: float) -> Callable[[int, str], BaseTrigger]:
    """Airflow's for a file: every 5 s unless it is told, every 60 s from a ``FileSensor``."""

    def make(n: int, place: str) -> BaseTrigger:
        from airflow.providers.standard.triggers.file import FileTrigger

        return FileTrigger(filepath=f"{place}/{n:05}/_SUCCESS", poke_interval=seconds)

    return make


def s3_key(n: int, place: str) -> BaseTrigger:
    """Airflow's for a key, as a deferrable ``S3KeySensor`` makes it: every 60 s."""
    from airflow.providers.amazon.aws.triggers.s3 import S3KeyTrigger

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return S3KeyTrigger(
        bucket_name=bucket,
        bucket_key=f"{prefix}/{n:05}/_SUCCESS",
        aws_conn_id=None,
        poke_interval=60.0,
    )


KINDS: dict[str, Callable[[int, str], BaseTrigger]] = {
    "sleeping": sleeping,
    "disk": marker,
    "feed": feed,
    "directory": directory,
    "s3": marker,
    "file-5": file_every(5.0),
    "file-60": file_every(60.0),
    "s3-key": s3_key,
}


class Runner(TriggerRunner):
    """Runs triggers as a triggerer does, but is given them here, not by a supervisor.

    Args:
        waiting: Those that are to be started at the word.
        a_turn: How many it is given in one turn of its loop, which takes a second.
    """

    def __init__(self, waiting: list[RunTrigger], a_turn: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's has no annotations
        self._waiting = deque(waiting)
        self._a_turn = a_turn
        self.is_told = False
        self.ended = 0

    async def init_comms(self) -> None:
        """There is nobody to talk to."""
        reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.comms_decoder = SimpleNamespace(_reader_task=reader)  # type: ignore[assignment]

    async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
        """Take the next ones."""
        self.ended += len(finished_ids)
        for _ in range(min(self._a_turn, len(self._waiting)) if self.is_told else 0):
            self.to_create.append(self._waiting.popleft())


def workload(n: int, trigger: BaseTrigger) -> RunTrigger:
    """A trigger as the database keeps it."""
    classpath, arguments = trigger.serialize()
    kept = Trigger.encrypt_kwargs(arguments)
    return RunTrigger(id=n + 1, classpath=classpath, encrypted_kwargs=kept)


def log_nowhere() -> None:
    """Write the log as JSON, as a triggerer does for its supervisor, which is not here."""
    nowhere = open(os.devnull, "w")  # noqa: SIM115  as long as the process
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.PrintLoggerFactory(nowhere),
    )


def preload(kind: str) -> None:
    """Import what the first look would import: it is none of what a wait costs."""
    if kind == "s3-key":
        import aiobotocore.session  # noqa: F401
    if kind in ("disk", "s3", "feed"):
        import boto3  # noqa: F401
        import obstore.store  # noqa: F401

        import flagfall.stores.aws
        import flagfall.stores.local
        import flagfall.stores.s3  # noqa: F401


async def main(kind: str, count: int, a_turn: int, place: str) -> None:
    """Answer every word with what happened since the one before."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the S3 hook prints at every look
    many_files()
    log_nowhere()
    preload(kind)
    make = KINDS[kind]
    runner = Runner([workload(n, make(n, place)) for n in range(count)], a_turn)
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(words), sys.stdin
    )
    running = asyncio.create_task(runner.arun())  # type: ignore[no-untyped-call]
    heartbeat = Heartbeat(BEAT)
    async for word in words:
        assert not running.done(), running.exception()
        runner.is_told |= word == b"start\n"
        told = {
            "held": heartbeat.take(),
            "begun": len(runner.triggers) + runner.ended,
            "ended": runner.ended,
        }
        answers.write(json.dumps(told) + "\n")
    os._exit(0)  # nobody waits any more


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
