"""Habits of producers that used to lose rows, each a function of the world that gives a line.

A batch whose marker comes first, a correction that looks like what it corrects, and files that are
touched. A batch has an empty ``_SUCCESS``, which vouches for nothing by itself.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.comparison import Verdict, seconds_of
from tests.faults.ledger import Ledger, read_ledger
from tests.faults.world import FeedUnderTest, Line, World

MARKER = "_SUCCESS"
LONG_AGO = (1_700_000_000, 1_700_000_000)


@dataclass(frozen=True)
class Habit:
    """What a producer does to some batches.

    Attributes:
        words: For the table.
        name: Begins the batches' folders.
        statuses: What becomes of each batch's deliveries.
        land: Lands batch n, whose folder is given, with its first rows.
        later: Does something to it when it has been taken in; returns its rows from then on.
    """

    words: str
    name: str
    statuses: list[str]
    land: Callable[[Path, int], list[int]]
    later: Callable[[Path, int], list[int]] | None = None


def _slowly(folder: Path, number: int) -> list[int]:
    """The marker, then two parts, as a tool that copies by name does."""
    (folder / MARKER).touch()
    time.sleep(1)
    first = _write(folder / "part-0.csv", 10 * number)
    time.sleep(1)
    return first + _write(folder / "part-1.csv", 10 * number + 5)


def _at_once(folder: Path, number: int) -> list[int]:
    """Rows and marker, with the times that their producer gives everything."""
    rows = _write(folder / "part-0.csv", 10 * number)
    (folder / MARKER).touch()
    for path in folder.iterdir():
        os.utime(path, LONG_AGO)
    return rows


def _corrected(folder: Path, number: int) -> list[int]:
    """Other rows, in files of the same names, sizes and times."""
    shutil.rmtree(folder)
    folder.mkdir()
    return _at_once(folder, number + 1)


def _touched(folder: Path, number: int) -> list[int]:
    for path in folder.iterdir():
        path.chmod(0o640)
    return list(range(10 * number, 10 * number + 5))


def _write(path: Path, first: int) -> list[int]:
    ids = list(range(first, first + 5))
    path.write_text("id,value\n" + "".join(f"{one},0.5\n" for one in ids))
    return ids


HABITS = (
    Habit("marker before its data, 2 s of copying", "slow", ["accepted"], _slowly),
    Habit(
        "correction with size and times of what it corrects",
        "corrected", ["accepted", "accepted"], _at_once, _corrected,
    ),
    Habit(
        "chmod of marker and data", "touched", ["accepted", "unchanged"], _at_once, _touched
    ),
)  # fmt: skip


def live(world: World, habit: Habit, count: int) -> Line:
    """Land batches by a habit, and compare what counts with what landed."""
    feed = world.feeds["success"]
    base = 1_000 * (1 + HABITS.index(habit))
    numbers = {
        Path(feed.dataset.landing.uri, f"date={habit.name}-{n}"): base + 2 * n for n in range(count)
    }
    expected = {}
    for folder, number in numbers.items():
        folder.mkdir(parents=True)
        expected[_key(folder)] = habit.land(folder, number)
    verdict = _judge(world, feed, expected, habit.statuses[:1])
    if habit.later and verdict.is_clean:
        expected = {_key(folder): habit.later(folder, n) for folder, n in numbers.items()}
        verdict = _judge(world, feed, expected, habit.statuses)
    return Line(habit.words, count, count, verdict)


def _key(folder: Path) -> str:
    return f"{folder.name}/{MARKER}"


def _judge(
    world: World, feed: FeedUnderTest, expected: dict[str, list[int]], statuses: list[str]
) -> Verdict:
    """Wait until all is as expected, at most four minutes."""
    give_up = time.monotonic() + 240
    while True:
        lake = Path(feed.dataset.lake.uri, feed.dataset.name)
        ledger = read_ledger(Path(feed.dataset.landing.uri), lake, MARKER)
        verdict = _verdict(ledger, expected, statuses)
        if (verdict.is_clean and world.is_quiet(feed)) or time.monotonic() > give_up:
            return verdict
        time.sleep(1)


def _verdict(ledger: Ledger, expected: dict[str, list[int]], statuses: list[str]) -> Verdict:
    wrong = [key for key, ids in expected.items() if sorted(ledger.rows.get(key, [])) != ids]
    other = [
        f"{key}: {ledger.statuses(key)}" for key in expected if ledger.statuses(key) != statuses
    ]
    receipts = (receipt for key in expected for receipt in ledger.receipts.get(key, []))
    seconds = tuple(seconds_of(receipt) for receipt in receipts)
    return Verdict((*ledger.lost, *wrong), ledger.twice, tuple(other), seconds)
