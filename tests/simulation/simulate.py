"""Runs the simulation: one seed, or many; the command line of ``make simulate``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import yaml

from flagfall.dataset.schema import Dataset
from flagfall.errors import FlagfallError
from tests.simulation.oracle import wrong
from tests.simulation.pipeline import Pipeline
from tests.simulation.producers import LAYOUTS, Batch, Layout
from tests.simulation.schedule import BEGIN, HOUR, Chances, Host, Process, Schedule, Step
from tests.simulation.seams import seams
from tests.simulation.storage import FLAVOURS, Flavour, SimulatedStore, Volume

HARM_ENDS = 8 * HOUR
"""Until then producers write, and processes die."""
AT_REST = 14.5 * HOUR
LANDING, LAKE = "/landing", "/lake"

DATASET = """\
title: Simulated
landing: {{uri: {landing}, marker: "{marker}", settle: 10s}}
lake: {{uri: {lake}}}
schema:
  fields:
    - {{name: id, type: integer, constraints: {{required: true}}}}
    - {{name: value, type: number}}
  primaryKey: [id]
limits: {{shard_batches: 2}}
watch: {{sweep_every: 30m, full_sweep_every: 2h, redeliver_after: 30m}}
arrival: {{partition: {{date: "%Y-%m-%d"}}}}
"""


@lru_cache
def _dataset(marker: str) -> Dataset:
    text = DATASET.format(landing=LANDING, lake=LAKE, marker=marker)
    return Dataset.model_validate({"name": "simulated", **yaml.safe_load(text)})


@dataclass
class Outcome:
    """What came of a seed."""

    seed: int
    what: str
    faults: list[str]
    trace: list[Step]
    operations: int


class World:
    """Everything that one seed makes."""

    def __init__(self, seed: int) -> None:
        self.schedule = schedule = Schedule(seed)
        random = schedule.random
        flavour: Flavour = random.choice(FLAVOURS)
        layout: Layout = random.choices(LAYOUTS, [3, 1, 1])[0]
        local = not (flavour.caches or flavour.objects)
        self.hosts = [Host("one"), *([] if local else [Host("two")])]
        server = self.hosts[0] if local else Host("server")
        for host in {*map(id, ())} or [*self.hosts, server]:
            host.off = random.choice([0.0, 0.0, random.gauss(0, 1), random.gauss(0, 5000)])
        self.machines = [*self.hosts, *([] if local else [server])]
        lake = flavour if flavour.objects else random.choice([FLAVOURS[0], FLAVOURS[2], FLAVOURS[4]])
        self.landing = Volume(LANDING, flavour, schedule, server)
        self.lake = Volume(LAKE, lake, schedule, server)
        self.pipeline = Pipeline(schedule, _dataset(layout.marker), self.hosts)
        self.pipeline.names_keys = flavour.objects
        self.landing.listeners.append(self.pipeline.changed)
        days = ["2026-11-21", "2026-11-20", "2026-11-22", "2026-07-05"]
        random.shuffle(days)
        self.batches = [
            Batch(day, number, layout, self.landing, schedule)
            for number, day in enumerate(days[: random.randint(1, 4)])
        ]
        self.what = f"{flavour.name}, lake {lake.name}, {layout.marker}"

    def open_store(self, uri: str, conn_id: str = "", sqs_queue: str = "") -> SimulatedStore:
        volume = self.landing if uri.startswith(LANDING) else self.lake
        below = uri.removeprefix(volume.uri).strip("/")
        prefix = f"{below}/" if below else ""
        hints = self.pipeline.hints if volume is self.landing else None
        host = self.schedule.process().host
        return SimulatedStore(volume, self.schedule, prefix, host, uri, hints)

    def run(self) -> list[str]:
        """Harm, then rest, then the oracle."""
        random = self.schedule.random
        self.schedule.thaw_by = HARM_ENDS + HOUR
        self.schedule.chances = Chances(
            crash=random.choice([0, 0, 0.002, 0.01]),
            freeze=random.choice([0, 0, 0.002, 0.01]),
            fail=random.choice([0, 0, 0.003, 0.02]),
            slow=random.choice([0.0, 0.05, 0.3]),
        )
        self.pipeline.lost_events = random.choice([0, 0.1, 0.5])
        self.pipeline.lost_hints = random.choice([0, 0.1, 0.9])
        self.pipeline.start(random.choice([1, 1, 2]))
        for batch in self.batches:
            producer = Process(f"producer{batch.number}", Host("p"), frail=False)
            self.schedule.spawn(batch.live, producer)
        self.schedule.spawn(self._operate, Process("operator", Host("o"), frail=False))
        self.schedule.run(HARM_ENDS)
        self.schedule.chances = Chances()
        self.pipeline.lost_events = self.pipeline.lost_hints = 0.0
        self.schedule.run(AT_REST)
        for host in self.hosts:
            host.cache.clear()
        faults = [f"unforeseen: {type(e).__name__}: {e}" for e in self.pipeline.unforeseen]
        if self.pipeline.running:
            faults.append("a run has not ended")
        return faults + list(wrong(self.pipeline.inbox(), self.batches, self.lake))

    def _operate(self) -> None:
        """Clocks jump, the DAG is paused, the share goes away."""
        random = self.schedule.random
        for _ in range(random.choice([0, 0, 1, 4])):
            self.schedule.wait(random.uniform(0, HARM_ENDS / 5))
            what = random.choice(["clock", "clock", "pause", "share"])
            self.schedule.note("OPERATOR", what)
            if what == "clock":
                random.choice(self.machines).off += random.gauss(0, 1) * random.choice([2, 7200])
            elif what == "pause":
                self.pipeline.is_paused = True
                self.schedule.wait(random.uniform(0, HOUR))
                self.pipeline.is_paused = False
            else:
                self.landing.away = True
                self.schedule.wait(random.choice([1.0, 600.0]))
                self.landing.away = False

    def close(self) -> None:
        """End all processes."""
        self.schedule.chances = Chances()
        processes = {id(a.process): a.process for _, _, a, _ in self.schedule._turns}
        for process in processes.values():
            self.schedule.kill(process)
        self.schedule.run(self.schedule.now + 1)


def simulate(seed: int, folder: Path) -> Outcome:
    """Run one seed."""
    logging.disable(logging.CRITICAL)
    world = World(seed)
    try:
        with seams(world.schedule, world.open_store, folder):
            try:
                faults = world.run()
            finally:
                trace = list(world.schedule.trace)
                world.close()
    finally:
        logging.disable(logging.NOTSET)
    return Outcome(seed, world.what, faults, trace, world.schedule.operations)


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for scratch files, in memory where there is such a place."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() else Path(gettempdir())
    with TemporaryDirectory(prefix="flagfall-simulation-", dir=where) as folder:
        yield Path(folder)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    given = parser.parse_args(arguments)
    with workspace() as folder:
        if given.seed is not None:
            return _one(given.seed, folder)
        return _many(range(given.first, given.first + given.seeds), folder)


def _one(seed: int, folder: Path) -> int:
    outcome = simulate(seed, folder)
    for step in outcome.trace:
        print(step)
    print(f"seed {seed}: {outcome.what}: {outcome.faults or 'all is right'}")
    return bool(outcome.faults)


def _many(seeds: range, folder: Path) -> int:
    began, bad, operations = time.monotonic(), 0, 0
    for seed in seeds:
        outcome = simulate(seed, folder)
        operations += outcome.operations
        if outcome.faults:
            bad += 1
            print(f"seed {seed}: {outcome.what}: {'; '.join(outcome.faults)}", flush=True)
    took = time.monotonic() - began
    print(f"{len(seeds)} seeds, {operations} operations, {bad} failed, {took:.1f} s")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
