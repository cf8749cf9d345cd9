"""Runs one seed: harm, then rest, then the oracle."""

from __future__ import annotations

import gc
import logging
import random as chance
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import yaml

from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere, StoreError
from flagfall.stores import EPOCH
from tests.simulation.oracle import late, wrong
from tests.simulation.pipeline import Pipeline
from tests.simulation.producers import LAYOUTS, Batch
from tests.simulation.schedule import HOUR, Chances, Host, Process, Schedule, Step
from tests.simulation.seams import seams
from tests.simulation.storage import EXT4, FLAVOURS, NFS, S3, SimulatedStore, Volume

HARM_ENDS = 8 * HOUR
"""Until then producers write, processes die and clocks jump."""
AT_REST = 14.5 * HOUR
"""Until then all goes well, and everything must be found that was missed."""
DAYS = ("2026-11-21", "2026-11-20", "2026-11-22", "2026-07-05")
"""Of batches; the last is one that nobody expects any more."""
MOST_APART = 1.0
"""Seconds by which clocks of hosts and S3 may differ: see docs/install.md."""
PUNCTUAL = 0.5
"""Share of the seeds on S3, where only looks fail, whose producers correct as somebody looks."""
CARELESS = 1 / 8
"""Share of the seeds in which producers also write data again without the marker."""
HELD = 1 / 8
"""Share of the seeds in which processes freeze just before they write a receipt."""
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
watch: {{sweep_every: 30m, full_sweep_every: {full}, redeliver_after: 30m}}
arrival: {{partition: {{date: "%Y-%m-%d"}}}}
"""


@lru_cache
def _dataset(marker: str, full: str = "2h") -> Dataset:
    text = DATASET.format(landing=LANDING, lake=LAKE, marker=marker, full=full)
    return Dataset.model_validate({"name": "simulated", **yaml.safe_load(text)})


@dataclass(frozen=True)
class Outcome:
    """What came of a seed.

    Attributes:
        what: The kind of storage and the layout.
        faults: What is wrong, in words; empty where all is right.
        outside: The same, where the environment is not as the documentation asks for.
        trace: What happened.
        operations: How many operations on storage there were.
        deliveries: How many batches producers completed.
    """

    seed: int
    what: str
    faults: tuple[str, ...]
    outside: tuple[str, ...]
    trace: tuple[Step, ...]
    operations: int
    deliveries: int


class World:
    """Everything that one seed makes."""

    def __init__(self, seed: int) -> None:
        self.schedule = schedule = Schedule(seed)
        random = schedule.random
        self.is_prompt = random.random() < 0.2
        flavour = random.choice([S3, S3, S3, *FLAVOURS] if self.is_prompt else FLAVOURS)
        self.layout = random.choices(LAYOUTS, [3, 1, 1])[0]
        is_local = not (flavour.caches or flavour.objects)
        self.hosts = [Host("one")] if is_local else [Host("one"), Host("two")]
        server = self.hosts[0] if is_local else Host("server")
        self.clocks = [*self.hosts, *([] if is_local else [server])]
        for host in self.clocks:
            host.off = random.choice([0.0, 0.0, random.gauss(0, 1), random.gauss(0, 5000)])
        self.clocks_differed = False
        self._compare_clocks()
        lake = flavour if flavour.objects else random.choice([EXT4, NFS, S3])
        self.landing = Volume(LANDING, flavour, schedule, server)
        self.lake = Volume(LAKE, lake, schedule, server)
        dataset = _dataset(self.layout.marker, "35m" if self.is_prompt else "2h")
        self.pipeline = Pipeline(schedule, dataset, self.hosts)
        self.pipeline.names_keys = flavour.objects
        self.landing.listeners.append(self.pipeline.changed)
        days = random.sample(DAYS, len(DAYS))
        careless = chance.Random(f"careless {seed}")  # so that it changes nothing in other seeds
        draws = careless if careless.random() < CARELESS else None
        held = chance.Random(f"held {seed}")  # so, too
        schedule.held = held if held.random() < HELD else None
        punctual = chance.Random(f"punctual {seed}").random() < PUNCTUAL  # so, too
        is_punctual = self.is_prompt and flavour.objects and punctual
        self.batches = [
            Batch(day, number, self.layout, self.landing, schedule, draws, is_punctual)
            for number, day in enumerate(days[: random.randint(1, 4)])
        ]
        self.landing.listeners += [batch.hear for batch in self.batches]
        self.what = f"{flavour.name}, lake {lake.name}, {self.layout.marker}"

    def open_store(self, uri: str, conn_id: str = "", sqs_queue: str = "") -> SimulatedStore:
        """What ``flagfall.stores.open_store`` is replaced by."""
        volume = self.landing if uri.startswith(LANDING) else self.lake
        below = uri.removeprefix(volume.uri).strip("/")
        prefix = f"{below}/" if below else ""
        hints = self.pipeline.hints if volume is self.landing else None
        host = self.schedule.process().host
        return SimulatedStore(volume, self.schedule, prefix, host, uri, hints)

    def _compare_clocks(self) -> None:
        offs = [host.off for host in self.clocks]
        self.clocks_differed = self.clocks_differed or max(offs) - min(offs) >= MOST_APART

    def is_outside(self, fault: str) -> bool:
        """Whether it comes of what is not promised.

        On S3, that is a batch that is written on in the second of its marker, where clocks differ.
        """
        if not (self.landing.flavour.objects and self.clocks_differed):
            return False
        is_of_content = any(words in fault for words in ("lost;", "a mixture", "is current"))
        crowded = [batch.day for batch in self.batches if batch.is_crowded]
        return is_of_content and any(day in fault for day in crowded)

    def run(self) -> list[str]:
        """Harm, then rest; what is wrong then."""
        self._set_chances()
        random = self.schedule.random
        self.pipeline.start(random.choice([1, 1 + self.is_prompt, 2]), random.choice([3.0, 600.0]))
        for batch in self.batches:
            producer = Process(f"producer{batch.number}", Host("producer"), frail=False)
            self.schedule.spawn(batch.live, producer)
        self.schedule.spawn(self._operate, Process("operator", Host("operator"), frail=False))
        self.schedule.run(HARM_ENDS)
        self.schedule.chances = Chances()
        self.pipeline.lost_events = self.pipeline.lost_hints = 0.0
        self.schedule.run(AT_REST)
        return list(self._wrong())

    def _set_chances(self) -> None:
        random = self.schedule.random
        self.schedule.thaw_by = HARM_ENDS + HOUR
        self.slips = 0
        if self.is_prompt:
            self.pipeline.only_looks_fail = True
            fail, slow = random.choice([0, 0.01, 0.03]), random.choice([0.05, 0.3, 0.9])
            self.schedule.chances = Chances(fail=fail, slow=slow)
            return
        self.schedule.chances = Chances(
            crash=random.choice([0, 0, 0.002, 0.01]),
            freeze=random.choice([0, 0, 0.002, 0.01]),
            fail=random.choice([0, 0, 0.003, 0.02]),
            slow=random.choice([0.0, 0.05, 0.3]),
        )
        self.pipeline.lost_events = random.choice([0, 0.1, 0.5])
        self.pipeline.lost_hints = random.choice([0, 0.1, 0.9])
        self.slips = random.choice([0, 0, 1, 4])

    def _wrong(self) -> Iterator[str]:
        for host in self.hosts:
            host.cache.clear()
        for error in self.pipeline.unforeseen:
            yield f"unforeseen: {type(error).__name__}: {error}"
        if self.pipeline.running and not self.landing.broken:  # which are tried again and again
            yield "a run has not ended"
        yield from wrong(self.pipeline.inbox(), self.batches, self.schedule.trace)
        if self.is_prompt:
            yield from late(self.pipeline, self.batches, self.schedule.trace)

    def _operate(self) -> None:
        random = self.schedule.random
        for _ in range(self.slips):
            self.schedule.wait(random.uniform(0, HARM_ENDS / 5))
            slip = random.choice(self._slips())
            self.schedule.note("OPERATOR", slip.__name__.strip("_"))
            slip()

    def _slips(self) -> list[Callable[[], None]]:
        rare = [self._pause, self._share, self._pattern, self._replay, self._sector]
        return [self._clock, self._clock, *rare]

    def _replay(self) -> None:
        """Somebody hands a batch out again."""
        inbox = self.pipeline.inbox()
        receipts = inbox.receipts.since(EPOCH.date())
        if receipts:
            with suppress(StoreError, NotThere):
                inbox.replay(self.schedule.random.choice(receipts).batch_id)

    def _sector(self) -> None:
        """A marker cannot be read any more, for good; the other batches go on."""
        batch = self.schedule.random.choice(self.batches)
        batch.is_broken = True
        self.landing.broken.add(batch.key)

    def _clock(self) -> None:
        """A clock jumps."""
        random = self.schedule.random
        random.choice(self.clocks).off += random.gauss(0, 1) * random.choice([2, 7200])
        self._compare_clocks()

    def _pause(self) -> None:
        """The DAG is paused for a while."""
        self.pipeline.is_paused = True
        self.schedule.wait(self.schedule.random.uniform(0, HOUR))
        self.pipeline.is_paused = False

    def _share(self) -> None:
        """The landing zone is away for a while: it hangs, or an empty folder stands there."""
        random = self.schedule.random
        is_metered = self.landing.flavour.objects
        self.landing.away = "hangs" if is_metered else random.choice(["hangs", "empty"])
        self.schedule.wait(random.choice([1.0, 600.0]))
        self.landing.away = ""

    def _pattern(self) -> None:
        """The pattern of the markers is wrong for a while."""
        self.pipeline.correct(_dataset(f"{self.layout.marker}X"))
        self.schedule.wait(self.schedule.random.uniform(0, HARM_ENDS / 5))
        self.pipeline.correct(_dataset(self.layout.marker))

    def close(self) -> None:
        """End all processes."""
        self.schedule.chances = Chances()
        for process in self.schedule.processes():
            self.schedule.kill(process)
        self.schedule.run(self.schedule.now + 1)


def simulate(seed: int, folder: Path) -> Outcome:
    """Run one seed.

    Args:
        seed: Everything follows from it.
        folder: For scratch files.
    """
    world = World(seed)
    schedule = world.schedule
    with _silence(), _nothing_collected(), seams(schedule, world.open_store, folder):
        try:
            found = world.run()
            trace, operations = tuple(schedule.trace), schedule.operations
        finally:
            world.close()
    deliveries = sum(len(batch.snapshots) for batch in world.batches)
    outside = tuple(filter(world.is_outside, found))
    faults = tuple(fault for fault in found if fault not in outside)
    return Outcome(seed, world.what, faults, outside, trace, operations, deliveries)


@contextmanager
def _silence() -> Iterator[None]:
    """Log nothing: making a line takes time, and harm makes many."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Collect no garbage meanwhile: it would end what dead processes left at a time of its own."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(1)


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for scratch files, in memory where there is such a place."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() else Path(gettempdir())
    with TemporaryDirectory(prefix="flagfall-simulation-", dir=where) as folder:
        yield Path(folder)
