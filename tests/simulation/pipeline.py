"""What Airflow does with the real code: triggerers, runs, tasks, retries; and what it loses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from greenlet import getcurrent

from flagfall.dataset.feed import Feed
from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreError
from flagfall.inbox.claim import claim
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.stages.shard import Delivery, try_stage
from flagfall.stores import Hint
from flagfall.watch.loop import Timing, announcements
from tests.simulation.loop import SimulatedLoop
from tests.simulation.schedule import Actor, Host, Process, Schedule
from tests.simulation.storage import Volume

TRIES = 3
ZOMBIE_AFTER = 300.0
"""Seconds after which Airflow takes a task for dead that does not answer."""


@dataclass
class Pipeline:
    """One feed's pipeline in Airflow.

    Attributes:
        hinted: When the last hint of a key came to somebody who listens.
        is_paused: Events of a paused DAG are never queued.
        lost_events: Share of the events that are lost.
        lost_hints: Share of the hints that are lost.
        only_looks_fail: Whether nothing happens to claims and workers.
    """

    schedule: Schedule
    dataset: Dataset
    hosts: list[Host]
    is_paused: bool = False
    lost_events: float = 0.0
    lost_hints: float = 0.0
    only_looks_fail: bool = False
    names_keys: bool = False
    running: int = 0
    unforeseen: list[Exception] = field(default_factory=list)
    hinted: dict[str, float] = field(default_factory=dict)
    _triggerers: dict[int, Process] = field(default_factory=dict)
    _queued: bool = False
    _scheduler: Actor | None = None
    _count: int = 0
    _listening: dict[int, tuple[Process, list[Any]]] = field(default_factory=dict)

    def start(self, triggerers: int, apart: float) -> None:
        """Start the scheduler and the triggerers, so many seconds one after the other."""
        airflow = self._airflow()
        self._scheduler = self.schedule.spawn(self._schedule_runs, airflow)
        for number in range(triggerers):
            self.schedule.spawn(partial(self._keep_triggerer, number), airflow, number * apart)

    def _process(self, kind: str) -> Process:
        self._count += 1
        frail = kind.startswith("triggerer") or not self.only_looks_fail
        host = self.schedule.random.choice(self.hosts)
        return Process(f"{kind}{self._count}", host, frail)

    def inbox(self) -> Inbox:
        """As a process that has just started has it."""
        return Inbox(Feed.of(self.dataset), self.schedule.time)

    def _keep_triggerer(self, number: int) -> None:
        while True:
            process = self._triggerers[number] = self._process(f"triggerer{number}.")
            self.attempt(self._watch, process, float("inf"))
            self.schedule.wait(self.schedule.random.uniform(1, 300))

    def correct(self, dataset: Dataset) -> None:
        """Somebody corrects the dataset file; Airflow starts the triggers anew."""
        self.dataset = dataset
        for process in self._triggerers.values():
            self.schedule.kill(process)

    def _watch(self) -> None:
        watch = self.dataset.watch
        settle = self.dataset.landing.settle.total_seconds()
        times = (watch.sweep_every.total_seconds(), watch.redeliver_after.total_seconds())
        timing = Timing(*times, max(2 * settle, 10.0))
        loop = SimulatedLoop(self.schedule, self.schedule.process())

        async def main() -> None:
            news = announcements(self.inbox, timing, self.schedule.monotonic)
            async with aclosing(news):
                async for one in news:
                    if isinstance(one, tuple):
                        self._announced(one)

        loop.run(main())

    def _announced(self, markers: tuple[Marker, ...]) -> None:
        names = " ".join(marker.batch_id for marker in markers)
        is_lost = self.is_paused or self.schedule.random.random() < self.lost_events
        self.schedule.note("announces", names, "LOST" if is_lost else "")
        if not is_lost:
            later = self.schedule.random.choice([0.1, 1.0, 20.0, 120.0])
            self.schedule.spawn(self._queue, self._airflow(), later)

    def _queue(self) -> None:
        self._queued = True
        assert self._scheduler is not None
        if not self.running:
            self.schedule.wake(self._scheduler)

    def _schedule_runs(self) -> None:
        while True:
            while not self._queued:
                self.schedule.park()
            self._queued = False
            self.running += 1
            self._run()
            self.running -= 1

    def attempt(self, do: Callable[[], Any], process: Process, patience: float) -> list[Any]:
        """Run something in a process of its own.

        Returns:
            Its result; empty where it died, failed or took too long (it may go on then).
        """
        driver, box, errors = getcurrent(), [], []

        def body() -> None:
            try:
                box.append(do())
            except StoreError as error:
                errors.append(error)
                self.schedule.note("fails", str(error))
            except Exception as error:
                errors.append(error)
                self.unforeseen.append(error)
            finally:
                self.schedule.wake(driver)

        self.schedule.spawn(body, process)
        deadline = self.schedule.now + patience
        while not (box or errors or process.dead) and self.schedule.now < deadline:
            if patience == float("inf"):
                self.schedule.park()
            else:
                self.schedule.wait(deadline - self.schedule.now)
        return box

    def _tried(self, kind: str, do: Callable[[], Any]) -> list[Any]:
        for _ in range(TRIES):
            if box := self.attempt(do, self._process(kind), ZOMBIE_AFTER):
                return box
            self.schedule.wait(self.schedule.random.uniform(1, 60))
        return []

    def _run(self) -> None:
        for taken in self._tried("claim", self._claim):
            if taken.left:
                self._queued = True
            tasks = [
                self.schedule.spawn(partial(self._work, shard), self._airflow())
                for shard in taken.shards
            ]
            while any(not task.dead for task in tasks):
                self.schedule.wait(5.0)

    def _airflow(self) -> Process:
        return Process("airflow", self.hosts[0], frail=False)

    def _claim(self) -> Any:
        taken = claim(self.inbox(), self.dataset, self.schedule.wait)
        names = " ".join(marker.batch_id for shard in taken.shards for marker in shard)
        self.schedule.note("claims", names, f"{taken.left} left")
        return taken

    def _work(self, shard: tuple[Marker, ...]) -> None:
        self._tried("worker", partial(self._ingest, shard))

    def _ingest(self, shard: tuple[Marker, ...]) -> None:
        deliveries = [Delivery(marker) for marker in shard]
        inbox = self.inbox()
        done, failures = try_stage("ingest", self.dataset, inbox, deliveries)
        for one in done:
            self.schedule.note("ingested", one.marker.batch_id, f"{one.status} {one.rows}")
        for failure in failures:
            if not isinstance(failure, StoreError):
                self.unforeseen.append(failure)
        if failures:
            raise failures[0]

    async def hints(self, volume: Volume) -> AsyncIterator[Hint]:
        """Hints of a landing zone: late, lost, doubled; each for all, or for one process."""
        loop = asyncio.get_running_loop()
        process = self.schedule.process()
        queue: asyncio.Queue[Hint] = asyncio.Queue()
        heard = self._listening.setdefault(id(process), (process, []))[1]
        hear = queue.put_nowait, loop
        heard.append(hear)
        try:
            while True:
                yield await queue.get()
        finally:
            heard.remove(hear)
            if not heard:
                self._listening.pop(id(process), None)

    def changed(self, key: str) -> None:
        """Something happened in the landing zone: hints are on their way."""
        random = self.schedule.random
        hint = frozenset({key}) if self.names_keys else None
        hearers = [one for one in self._listening.values() if not one[0].dead]
        if self.names_keys and hearers:  # SQS gives a message to one, rather to who is idle
            hearers = [random.choice([one for one in hearers if not one[0].busy] or hearers)]
        if not hearers or random.random() < self.lost_hints:
            return
        for _ in range(random.choice([1, 1, 1, 2])):
            later = random.choice([0.001, 0.01, 0.5, 20.0])
            self.hinted[key] = self.schedule.now + later
            for process, heard in hearers:
                heard[0][1].call_later(later, self._heard, process, hint)

    def _heard(self, process: Process, hint: Hint) -> None:
        """A hint has come to a process: whoever listens there by now gets it."""
        for put, _ in self._listening.get(id(process), (process, []))[1]:
            put(hint)
