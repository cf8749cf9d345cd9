"""Who runs when: actors that take turns, on a simulated time, drawn from one seed.

Actors are greenlets, so exactly one runs. Each operation on storage is a point at which another one
may go on, and at which the process of an actor may be slow, freeze, or die.
"""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from greenlet import getcurrent, greenlet

from flagfall.errors import StoreUnavailable

BEGIN = datetime(2026, 11, 21, 18, tzinfo=UTC)
"""When the simulated time is 0: some hours before a midnight."""
LATE = timedelta(hours=5, minutes=30)
"""A quarter of the seeds begin later, so that more happens about midnight."""
HOUR = 3600.0
HELD_RECEIPTS = 0.3
"""Share of the receipts before which a process freezes, in seeds in which it does so (``held``)."""


class Killed(BaseException):
    """The process of an actor has died; nothing in the code under test catches this."""


class Step(NamedTuple):
    """A line of the trace."""

    at: float
    who: str
    did: str
    what: str
    outcome: str

    def __str__(self) -> str:
        return f"{self.at:12.3f}  {self.who:<14} {self.did:<10} {self.what} {self.outcome}".rstrip()


@dataclass
class Host:
    """A machine: its clock is off by some seconds, and it caches what it saw of a share."""

    name: str
    off: float = 0.0
    cache: dict[Any, Any] = field(default_factory=dict)


@dataclass
class Process:
    """Something that can die, with all its actors.

    Attributes:
        frail: Whether it may be killed or freeze at an operation.
        busy: How many of its actors are in a listing that takes minutes.
    """

    name: str
    host: Host
    frail: bool = True
    dead: bool = False
    busy: int = 0
    actors: list[Actor] = field(default_factory=list)


class Actor(greenlet):
    """A thread of a process."""

    process: Process
    turn: int = 0


@dataclass
class Chances:
    """How often what happens, per operation."""

    crash: float = 0.0
    freeze: float = 0.0
    fail: float = 0.0
    slow: float = 0.05


class Schedule:
    """The simulated time, and who is next.

    Args:
        seed: Everything follows from it.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.begin = BEGIN + LATE if seed % 4 == 3 else BEGIN
        self.now = 0.0
        self.chances = Chances()
        self.trace: list[Step] = []
        self.thaw_by = 0.0
        self.held: random.Random | None = None
        self._turns: list[tuple[float, int, Actor, int]] = []
        self._count = 0
        self._hub = getcurrent()
        self._watched: list[tuple[int, Actor]] = []
        self._listeners: list[tuple[Actor, str, str]] = []
        self._processes: dict[int, Process] = {}
        self._outside = Process("oracle", Host("oracle"), frail=False)
        self.operations = 0

    def process(self) -> Process:
        """The process of who runs now."""
        return getattr(getcurrent(), "process", self._outside)

    def time(self, host: Host | None = None) -> datetime:
        """What the clock of a host says, or of the one that runs now."""
        host = host or self.process().host
        return self.begin + timedelta(seconds=self.now + host.off)

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return self.now

    def spawn(self, do: Callable[[], Any], process: Process, after: float = 0.0) -> Actor:
        """Start an actor."""

        def run() -> None:
            try:
                if not process.dead:
                    do()
            except Killed:
                pass

        actor = Actor(run, self._hub)
        actor.process = process
        process.actors.append(actor)
        self._processes[id(process)] = process
        self._at(self.now + after, actor)
        return actor

    def _at(self, when: float, actor: Actor) -> None:
        self._count += 1
        actor.turn = self._count
        heapq.heappush(self._turns, (when, self._count, actor, self._count))

    def wait(self, seconds: float) -> None:
        """Let others run for a while."""
        actor = getcurrent()
        if not isinstance(actor, Actor):
            return
        when = self.now + max(seconds, 0.0)
        if self._turns and self._turns[0][0] <= when:
            self._at(when, actor)
            self._hub.switch()
        else:
            self.now = when
        if actor.process.dead:
            raise Killed

    def park(self) -> None:
        """Wait until somebody calls ``wake``."""
        actor = getcurrent()
        self._hub.switch()
        if actor.process.dead:
            raise Killed

    def wake(self, actor: Actor, after: float = 0.0) -> None:
        """Let an actor go on that waits or is parked, no later than it would."""
        if not actor.dead:
            self._at(self.now + after, actor)

    def run(self, until: float) -> None:
        """Let actors run, until a time."""
        self._hub = getcurrent()
        while self._turns and self._turns[0][0] <= until:
            when, _, actor, turn = heapq.heappop(self._turns)
            if actor.dead or turn != actor.turn:
                continue
            self.now = max(self.now, when)
            actor.parent = self._hub
            actor.switch()
        self.now = max(self.now, until)

    def kill(self, process: Process) -> None:
        """End a process wherever it is."""
        process.dead = True
        for actor in process.actors:
            if not actor.dead and actor is not getcurrent():
                self._at(self.now, actor)

    def processes(self) -> list[Process]:
        """Those that still do something, or would."""
        return list(self._processes.values())

    def after_operations(self, count: int, patience: float) -> None:
        """Wait until others have done so many operations, or for so many seconds."""
        actor = getcurrent()
        self._watched.append((self.operations + count, actor))
        self.wait(patience)
        self._watched = [one for one in self._watched if one[1] is not actor]

    def after_listing(self, patience: float) -> None:
        """Wait until somebody begins to list the landing zone, or for so many seconds."""
        self._after("list", "/landing/$", patience)

    def after_staging(self, patience: float) -> None:
        """Wait until somebody begins to write staged rows, or for so many seconds."""
        self._after("put", ".*staged/", patience)

    def _after(self, did: str, what: str, patience: float) -> None:
        listener = getcurrent(), did, what
        self._listeners.append(listener)
        self.wait(patience)
        self._listeners.remove(listener)

    def note(self, did: str, what: str, outcome: str = "") -> None:
        """Write a line of the trace."""
        self.trace.append(Step(self.now, self.process().name, did, what, outcome))

    def point(self, did: str, what: str) -> None:
        """Another actor may go on now; the process may be slow, freeze, fail or die.

        Raises:
            Killed: The process has died.
            StoreUnavailable: The operation failed.
        """
        process = self.process()
        if process.dead:
            raise Killed
        if process is self._outside:
            return
        self.operations += 1
        self._wake_watchers(did, what)
        draw, chances = self.random.random(), self.chances
        self.wait(self._latency())
        if process.frail:
            self._harm(draw, chances, process, did, what)
            if self._is_held(did, what):
                self.freeze(did, what)

    def _latency(self) -> float:
        draw = self.random.random()
        return 0.001 + draw * 0.02 if draw > self.chances.slow else self.random.uniform(0.1, 5.0)

    def _harm(self, draw: float, chances: Chances, process: Process, did: str, what: str) -> None:
        if draw < chances.crash:
            self.note(did, what, "KILLED")
            self.kill(process)
            raise Killed
        draw -= chances.crash
        if draw < chances.freeze:
            self.freeze(did, what)
        elif draw - chances.freeze < chances.fail:
            self.note(did, what, "FAILED")
            raise StoreUnavailable(what, "simulated")

    def _is_held(self, did: str, what: str) -> bool:
        is_receipt = did == "create" and "/receipts/landed=" in what
        return self.held is not None and is_receipt and self.held.random() < HELD_RECEIPTS

    def freeze(self, did: str, what: str) -> None:
        """Stand still for seconds to hours, and go on as if nothing had happened."""
        seconds = min(10 ** self.random.uniform(0.5, 4.2), max(0.0, self.thaw_by - self.now))
        self.note(did, what, f"FROZEN for {seconds:.0f} s")
        self.wait(seconds)
        self.note(did, what, "GOES ON")

    def _wake_watchers(self, did: str, what: str) -> None:
        for actor, operation, pattern in self._listeners:
            if did == operation and re.match(pattern, what):
                self.wake(actor)
        if self._watched:
            due = [actor for count, actor in self._watched if count <= self.operations]
            for actor in due:
                self.wake(actor)
