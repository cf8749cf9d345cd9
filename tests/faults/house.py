"""The watch loop and the pipeline on real directories, run as Airflow runs them.

A run's task that raises is tried again in a process of
its own (here: with a new inbox), unless trying again cannot help; a run that failed is left, and
what it did not decide is announced again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.errors import InputError, StoreError, StoreRefused
from flagfall.inbox.claim import Claim, claim
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.shortcuts import utcnow
from flagfall.landing.marker import Marker
from flagfall.report.run import report_run
from flagfall.stages.shard import Delivery, run_stage
from flagfall.watch.loop import Timing, announcements
from tests.faults.ledger import Ledger, read_ledger
from tests.feeds import TOY, ToyFeed

PATIENCE = 40.0
"""Seconds within which everything must be decided, however busy the machine is."""
TRIES = 4
"""How often a task is tried."""
MARKER = "_SUCCESS"

_T = TypeVar("_T")

for _module in ("stages.ingest", "report.page"):  # a plain user may not read root's Python later
    import_module(f"flagfall.{_module}")


def make_feed(
    root: Path, landing: Path | None = None, lake: Path | None = None, above: str = ""
) -> ToyFeed:
    """A toy feed with empty markers, whose landing zone and lake may be elsewhere.

    Args:
        root: A folder for all of it.
        landing: The landing zone; ``None``: in ``root``.
        lake: The lake; ``None``: in ``root``.
        above: What the marker pattern begins with.
    """
    text = TOY.format(root=root, marker=MARKER, more="")
    text = text.replace('marker: "', f'marker: "{above}')
    text = text.replace(f"{root}/landing", str(landing or root / "landing"))
    text = text.replace(f"{root}/lake", str(lake or root / "lake"))
    (root / "toy.yaml").write_text(text)
    return ToyFeed(root, read_dataset(root / "toy.yaml"))


async def _soon(seconds: float) -> None:
    """The watch's pauses while something is out of reach, shortened."""
    await asyncio.sleep(seconds / 10)


def rows(*ids: int) -> str:
    """A data file with these rows."""
    return "id,value\n" + "".join(f"{one},1.5\n" for one in ids)


@dataclass(eq=False)
class House:
    """A triggerer, a scheduler and a worker.

    Attributes:
        toy: The feed.
        clock: The machine's clock.
        after_claim: Called once with a marker that was claimed and is not ingested yet, by its key.
        failures: What tasks and the trigger raised, in order.
        reports: What each run's report said.
    """

    toy: ToyFeed
    clock: Callable[[], datetime] = utcnow
    after_claim: dict[str, Callable[[], None]] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    _due: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: bool = False

    @property
    def landing(self) -> Path:
        """The landing zone."""
        return Path(self.toy.dataset.landing.uri)

    @property
    def lake(self) -> Path:
        """The dataset's folder in the lake."""
        return Path(self.toy.dataset.lake.uri) / "toy"

    def ledger(self) -> Ledger:
        """What came of everything."""
        return read_ledger(self.landing, self.lake, MARKER)

    def inbox(self) -> Inbox:
        """An inbox as a process that has just started has it."""
        return Inbox(Feed.of(self.toy.dataset), self.clock)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[House]:
        """Watch and run for a while."""
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._run_when_due())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        timing = Timing(sweep_every=0.3, redeliver_after=1.5)
        async with aclosing(announcements(self.inbox, timing, sleep=_soon)) as found:
            async for _ in found:
                self._due.set()

    async def _run_when_due(self) -> None:
        while True:
            await self._due.wait()
            self._busy = True
            self._due.clear()
            try:
                if await asyncio.to_thread(self._run):
                    self._due.set()
            finally:
                self._busy = False

    def _run(self) -> bool:
        """One run of the DAG; whether another is to follow at once."""
        with suppress(Exception):  # told in ``failures``
            taken = self._task(lambda: claim(self.inbox(), self.toy.dataset))
            self._act(taken)
            done: list[Delivery] = []
            for shard in taken.shards:
                done += self._task(lambda shard=shard: self._ingest(shard))
            if done:  # else the report is skipped, too
                self._task(lambda: self._report([delivery.marker for delivery in done]))
            return taken.left > 0
        return False

    def _act(self, taken: Claim) -> None:
        for shard in taken.shards:
            for marker in shard:
                self.after_claim.pop(marker.key, lambda: None)()

    def _ingest(self, shard: Sequence[Marker]) -> list[Delivery]:
        given = [Delivery(marker) for marker in shard]
        return run_stage("ingest", self.toy.dataset, self.inbox(), given)

    def _report(self, markers: Sequence[Marker]) -> None:
        told = report_run(self.toy.dataset, self.inbox(), str(time.time_ns()), markers)
        self.reports.append(str(told["sentence"] if "sentence" in told else told["verdict"]))

    def _task(self, task: Callable[[], _T]) -> _T:
        for attempt in range(1, TRIES + 1):
            try:
                return task()
            except Exception as error:
                self.failures.append(error)
                if attempt == TRIES or isinstance(error, (InputError, StoreRefused)):
                    raise
                time.sleep(0.2 * attempt)
        raise AssertionError("tried at least once")

    async def quiet(self) -> Ledger:
        """Return when nothing is pending or under way any more."""
        async with asyncio.timeout(PATIENCE):
            still = 0
            while still < 2:
                await asyncio.sleep(0.2)
                still = still + 1 if await asyncio.to_thread(self._is_quiet) else 0
        return await asyncio.to_thread(self.ledger)

    def _is_quiet(self) -> bool:
        if self._busy or self._due.is_set():
            return False
        try:
            return not self.inbox().pending()
        except StoreError:
            return False

    async def until(self, what: Callable[[], object]) -> None:
        """Return when something is so."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(what):  # noqa: ASYNC110  a disk tells no event
                await asyncio.sleep(0.05)
