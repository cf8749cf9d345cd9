"""Producers that misbehave, all at once in one landing zone, with the real watch loop.

Each is a small script that writes as some producer does; none is lost, none counts twice, and what
is turned away is told why, in words that say what to do.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from flagfall.inbox.claim import claim
from tests.faults.house import MARKER, House, make_feed, rows
from tests.faults.ledger import Ledger

# ruff: noqa: ASYNC240  (a producer may block the loop of its test for a file)

HOUR = 3600.0
YEAR = 365 * 24 * HOUR


@dataclass
class Expected:
    """What must have become of a producer's deliveries.

    Attributes:
        counts: Ids of the rows that count.
        statuses: What became of each delivery, in order; ``None`` where it is a matter of chance.
        words: Stand in the last rejection's message.
    """

    counts: Sequence[int] = ()
    statuses: list[str] | None = field(default_factory=lambda: ["accepted"])
    words: str = ""


@dataclass
class Producer:
    """One producer, and the folder that it writes to."""

    house: House
    day: str
    ids: Iterator[int]

    @property
    def folder(self) -> Path:
        path = self.house.landing / f"date={self.day}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def key(self) -> str:
        return f"date={self.day}/{MARKER}"

    @property
    def marker(self) -> Path:
        return self.folder / MARKER

    def new_ids(self, many: int = 2) -> list[int]:
        return [next(self.ids) for _ in range(many)]

    def write(self, name: str = "rows.csv") -> list[int]:
        """A data file with new rows."""
        ids = self.new_ids()
        (self.folder / name).write_text(rows(*ids))
        return ids

    def sums(self, *names: str) -> str:
        """A marker's content that vouches for files by their sha256."""
        digests = (hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in names)
        return "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))

    def elsewhere(self, name: str, text: str, root: Path | None = None) -> Path:
        """A file outside of the landing zone, two years old."""
        folder = (root or self.house.toy.root) / f"outside-{self.day}"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        old = time.time() - 2 * YEAR
        os.utime(folder / name, (old, old))
        return folder / name

    async def decided(self, many: int = 1) -> None:
        """Wait until so many deliveries of the marker have a receipt."""
        await self.house.until(lambda: len(self.house.ledger().statuses(self.key)) >= many)


Script = Callable[[Producer], Awaitable[Expected]]
SCRIPTS: dict[str, Script] = {}


def producer(script: Script) -> Script:
    SCRIPTS[script.__name__] = script
    return script


@producer
async def as_it_should_be(p: Producer) -> Expected:
    ids = p.write()
    p.marker.touch()
    return Expected(ids)


@producer
async def an_empty_marker_a_moment_before_its_data(p: Producer) -> Expected:
    p.marker.touch()
    await asyncio.sleep(0.4)
    return Expected(p.write())


@producer
async def a_manifest_a_moment_before_its_data(p: Producer) -> Expected:
    ids = p.write("a.csv") + p.write("b.csv")
    p.marker.write_text(p.sums("a.csv", "b.csv"))
    os.rename(p.folder / "b.csv", p.folder / ".b.csv.part")
    await asyncio.sleep(0.4)
    os.rename(p.folder / ".b.csv.part", p.folder / "b.csv")
    return Expected(ids)


@producer
async def a_marker_long_before_its_data(p: Producer) -> Expected:
    """Nothing tells that more is to come; the producer is told what to do, and does it."""
    p.marker.touch()
    await p.decided()
    ids = p.write()
    os.utime(p.marker)
    words = "no data files beside the marker; write them, then the marker again"
    return Expected(ids, ["rejected", "accepted"], words)


@producer
async def a_manifest_long_before_its_data(p: Producer) -> Expected:
    ids = p.write()
    p.marker.write_text(p.sums("rows.csv"))
    away = p.folder.parent.parent / f"held-{p.day}"
    os.rename(p.folder / "rows.csv", away)
    await p.decided()
    os.rename(away, p.folder / "rows.csv")
    os.utime(p.marker)
    words = "rows.csv: the marker names this file, it is not there; write it, then the marker again"
    return Expected(ids, ["rejected", "accepted"], words)


@producer
async def json_written_slowly(p: Producer) -> Expected:
    ids = p.write()
    size = (p.folder / "rows.csv").stat().st_size
    text = f'{{"resources": [{{"path": "rows.csv", "bytes": {size}}}]}}'
    with p.marker.open("w") as file:
        for start in range(0, len(text), 10):
            file.write(text[start : start + 10])
            file.flush()
            await asyncio.sleep(0.3)
    return Expected(ids)


@producer
async def a_manifest_written_line_by_line(p: Producer) -> Expected:
    """Each line is a whole manifest; what was taken in of the first is superseded by the last."""
    names = ["a.csv", "b.csv", "c.csv"]
    ids = [one for name in names for one in p.write(name)]
    with p.marker.open("w") as file:
        for line in p.sums(*names).splitlines(keepends=True):
            file.write(line)
            file.flush()
            await asyncio.sleep(0.6)
    return Expected(ids, None)


@producer
async def data_changed_after_a_manifest(p: Producer) -> Expected:
    p.write()
    p.marker.write_text(p.sums("rows.csv"))
    changed: list[int] = []
    p.house.after_claim[p.key] = lambda: changed.extend(p.write())
    await p.decided()
    p.marker.write_text(p.sums("rows.csv"))
    words = "rows.csv: its sha256 is not the one that the marker promises; write it again"
    return Expected(changed, ["rejected", "accepted"], words)


@producer
async def data_changed_after_an_empty_marker(p: Producer) -> Expected:
    """Nothing tells of it: the batch is what lay there when it was taken in."""
    p.write()
    changed: list[int] = []
    p.house.after_claim[p.key] = lambda: changed.extend(p.write())
    p.marker.touch()
    await p.decided()
    p.write()
    return Expected(changed)


@producer
async def a_batch_dropped_again_corrected(p: Producer) -> Expected:
    for times in range(1, 4):
        corrected = p.write()
        p.marker.unlink(missing_ok=True)
        p.marker.touch()
        await p.decided(times)
    return Expected(corrected, ["accepted"] * 3)


@producer
async def a_correction_between_claim_and_ingest(p: Producer) -> Expected:
    """The first delivery is not there any more when it is looked for, and gets no receipt."""
    p.write()
    corrected: list[int] = []

    def correct() -> None:
        corrected.extend(p.write())
        p.marker.write_text(p.sums("rows.csv"))

    p.house.after_claim[p.key] = correct
    p.marker.touch()
    await p.decided()
    return Expected(corrected)


@producer
async def a_correction_that_is_bad(p: Producer) -> Expected:
    ids = p.write()
    p.marker.touch()
    await p.decided()
    (p.folder / "rows.csv").write_text("nonsense\n")
    os.utime(p.marker)
    return Expected(ids, ["accepted", "rejected"], "columns missing: id, value; found: 'nonsense'")


@producer
async def a_marker_touched(p: Producer) -> Expected:
    ids = p.write()
    p.marker.touch()
    for times in range(1, 3):
        await p.decided(times)
        os.utime(p.marker)
    await p.decided(3)
    p.marker.chmod(0o640)  # changes its ctime, and is no new delivery
    return Expected(ids, ["accepted", "unchanged", "unchanged"])


@producer
async def a_marker_deleted_before_ingest(p: Producer) -> Expected:
    p.write()
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def delete() -> None:
        p.marker.unlink()
        loop.call_soon_threadsafe(gone.set)

    p.house.after_claim[p.key] = delete
    p.marker.touch()
    await gone.wait()
    return Expected([], [])


@producer
async def a_marker_deleted_before_ingest_and_dropped_again(p: Producer) -> Expected:
    ids = p.write()
    p.house.after_claim[p.key] = p.marker.unlink
    p.marker.touch()
    await p.house.until(lambda: not p.marker.exists())
    await asyncio.sleep(0.5)
    p.marker.touch()
    return Expected(ids)


@producer
async def a_marker_held_back_for_a_moment(p: Producer) -> Expected:
    """It comes back as the same delivery, with the same inode and times."""
    ids = p.write()
    away = p.folder / ".held-back"
    p.house.after_claim[p.key] = lambda: os.rename(p.marker, away)
    p.marker.touch()
    await p.house.until(away.exists)
    await asyncio.sleep(1.0)
    os.rename(away, p.marker)
    return Expected(ids)


@producer
async def rsync_with_old_times(p: Producer) -> Expected:
    ids = p.new_ids()
    source = p.elsewhere("rows.csv", rows(*ids)).parent
    p.elsewhere(MARKER, "")
    if shutil.which("rsync"):
        command = ["rsync", "-a", f"{source}/", f"{p.folder}/"]
        await asyncio.to_thread(subprocess.run, command, check=True)
        return Expected(ids)
    for name in (MARKER, "rows.csv"):  # in the order of their names, as rsync does
        hidden = p.folder / f".{name}.AbC123"
        shutil.copyfile(source / name, hidden)
        shutil.copystat(source / name, hidden)
        os.rename(hidden, p.folder / name)
        await asyncio.sleep(0.1)
    return Expected(ids)


@producer
async def mv_within_a_file_system(p: Producer) -> Expected:
    ids = p.new_ids()
    for name, text in (("rows.csv", rows(*ids)), (MARKER, "")):
        source = p.elsewhere(name, text)
        await asyncio.to_thread(subprocess.run, ["mv", source, p.folder], check=True)
    return Expected(ids)


@producer
async def mv_from_another_file_system(p: Producer) -> Expected:
    ids = p.new_ids()
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as other:
        for name, text in (("rows.csv", rows(*ids)), (MARKER, "")):
            source = p.elsewhere(name, text, Path(other))
            await asyncio.to_thread(subprocess.run, ["mv", source, p.folder], check=True)
    assert p.marker.stat().st_mtime < time.time() - YEAR
    return Expected(ids)


@producer
async def a_whole_folder_renamed_into_place(p: Producer) -> Expected:
    """Its files keep the ctime that they had outside."""
    ids = p.new_ids()
    p.elsewhere("rows.csv", rows(*ids))
    outside = p.elsewhere(MARKER, "").parent
    await asyncio.sleep(1.5)
    os.rename(outside, p.folder)
    return Expected(ids)


@producer
async def a_temporary_name_that_is_renamed(p: Producer) -> Expected:
    ids = p.write("rows.csv.tmp")
    (p.folder / f"{MARKER}.tmp").touch()
    await asyncio.sleep(0.5)
    os.rename(p.folder / "rows.csv.tmp", p.folder / "rows.csv")
    os.rename(p.folder / f"{MARKER}.tmp", p.marker)
    return Expected(ids)


@producer
async def a_temporary_name_that_is_left(p: Producer) -> Expected:
    ids = p.write("rows.csv") + p.write("more.csv.tmp")
    p.marker.touch()
    await p.decided()
    os.rename(p.folder / "more.csv.tmp", p.folder / "more.csv")
    os.utime(p.marker)
    return Expected(ids, ["rejected", "accepted"], "more.csv.tmp' beside it is being written still")


@producer
async def a_marker_that_is_a_link(p: Producer) -> Expected:
    """It is left alone, and the log says so; a file in its place is a marker."""
    ids = p.write()
    p.marker.symlink_to(p.elsewhere(MARKER, ""))
    await asyncio.sleep(1.0)
    p.marker.unlink()
    p.marker.touch()
    return Expected(ids)


@producer
async def data_that_is_a_link(p: Producer) -> Expected:
    ids = p.new_ids()
    outside = p.elsewhere("rows.csv", rows(*ids))
    (p.folder / "rows.csv").symlink_to(outside)
    p.marker.write_text(p.sums("rows.csv"))
    await p.decided()
    (p.folder / "rows.csv").unlink()
    os.rename(outside, p.folder / "rows.csv")
    os.utime(p.marker)
    return Expected(ids, ["rejected", "accepted"], "rows.csv: a link, or not a regular file")


@producer
async def data_that_is_partly_a_link(p: Producer) -> Expected:
    """An empty marker vouches for what lies beside it; a link's rows must not be missed unsaid."""
    ids = p.write("a.csv") + p.new_ids()
    outside = p.elsewhere("b.csv", rows(*ids[2:]))
    (p.folder / "b.csv").symlink_to(outside)
    p.marker.touch()
    await p.decided()
    (p.folder / "b.csv").unlink()
    os.rename(outside, p.folder / "b.csv")
    os.utime(p.marker)
    words = "b.csv' beside it is a link, or not a regular file; write the file itself"
    return Expected(ids, ["rejected", "accepted"], words)


@producer
async def a_marker_that_is_a_pipe(p: Producer) -> Expected:
    ids = p.write()
    os.mkfifo(p.marker)
    await asyncio.sleep(1.0)
    p.marker.unlink()
    p.marker.touch()
    return Expected(ids)


@producer
async def data_that_is_a_pipe(p: Producer) -> Expected:
    os.mkfifo(p.folder / "rows.csv")
    p.marker.write_text(f"{hashlib.sha256(b'').hexdigest()}  rows.csv\n")
    return Expected([], ["rejected"], "rows.csv: not a regular file")


@producer
async def a_marker_that_is_a_directory(p: Producer) -> Expected:
    ids = p.write()
    p.marker.mkdir()
    await asyncio.sleep(1.0)
    p.marker.rmdir()
    p.marker.touch()
    return Expected(ids)


@producer
async def a_clock_an_hour_ahead(p: Producer) -> Expected:
    ids = p.write()
    p.marker.touch()
    for name in ("rows.csv", MARKER):
        os.utime(p.folder / name, (time.time() + HOUR, time.time() + HOUR))
    return Expected(ids, None)


@producer
async def a_clock_an_hour_behind(p: Producer) -> Expected:
    ids = p.write()
    staged = p.folder / ".marker"
    staged.touch()
    for path in (p.folder / "rows.csv", staged):
        os.utime(path, (time.time() - HOUR, time.time() - HOUR))
    os.rename(staged, p.marker)
    return Expected(ids)


def content(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """What of a folder must not change: bytes, mtime and ctime, by path."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    times = ((path, path.stat()) for path in files)
    return {str(p): (p.read_bytes(), now.st_mtime_ns, now.st_ctime_ns) for p, now in times}


@dataclass
class Outcome:
    """What came of the campaign."""

    expected: dict[str, Expected]
    ledger: Ledger
    house: House
    left: dict[str, tuple[bytes, int, int]]
    found: dict[str, tuple[bytes, int, int]]


async def campaign(root: Path) -> Outcome:
    house = House(make_feed(root))
    ids = count()
    producers = [Producer(house, name.replace("_", "-"), ids) for name in SCRIPTS]
    async with house.open():
        expected = await asyncio.gather(
            *(script(one) for script, one in zip(SCRIPTS.values(), producers, strict=True))
        )
        left = content(house.landing)  # all producers are done
        ledger = await house.quiet()
    by_name = dict(zip(SCRIPTS, expected, strict=True))
    return Outcome(by_name, ledger, house, left, content(house.landing))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return asyncio.run(campaign(tmp_path_factory.mktemp("producers")))


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_producer_is_served_once(outcome: Outcome, name: str) -> None:
    expected, key = outcome.expected[name], f"date={name.replace('_', '-')}/{MARKER}"
    assert sorted(outcome.ledger.rows.get(key, [])) == sorted(expected.counts)
    if expected.statuses is not None:
        assert outcome.ledger.statuses(key) == expected.statuses
    rejected = [r for r in outcome.ledger.receipts.get(key, []) if r["status"] == "rejected"]
    assert expected.words in "".join(receipt["message"] for receipt in rejected[-1:])
    assert all(receipt["reason"] for receipt in rejected)


@pytest.mark.invariant(1)
def test_nothing_is_lost_and_nothing_counts_twice(outcome: Outcome) -> None:
    assert (outcome.ledger.lost, outcome.ledger.twice) == ((), ())


@pytest.mark.invariant(4)
def test_what_they_wrote_is_still_where_it_was(outcome: Outcome) -> None:
    assert outcome.found == outcome.left


def test_no_task_failed_for_any_of_it(outcome: Outcome) -> None:
    assert outcome.house.failures == []


@pytest.mark.invariant(1)
@pytest.mark.parametrize(("first", "then"), [(62, 0), (-62, 0), (0, 62)])
async def test_a_machine_whose_clock_is_set_loses_nothing(
    tmp_path: Path, first: int, then: int
) -> None:
    """Minutes by which the clock of the triggerer and the workers is off, before and after."""
    off = first
    house = House(make_feed(tmp_path), lambda: datetime.now(UTC) + timedelta(minutes=off))
    one, two, three = (Producer(house, f"2026-11-0{day}", count(10 * day)) for day in (1, 2, 3))
    async with house.open():
        expected = [await as_it_should_be(one)]
        await house.quiet()
        expected.append(await as_it_should_be(two))
        await house.quiet()
        await asyncio.to_thread(claim, house.inbox(), house.toy.dataset)  # a person starts a run
        off = then
        expected += [await as_it_should_be(three), await a_correction(one)]
        ledger = await house.quiet()
    assert (ledger.lost, ledger.twice, house.failures) == ((), (), [])
    counts = {one.key: expected[3].counts, two.key: expected[1].counts}
    assert ledger.rows == {**counts, three.key: expected[2].counts}


async def a_correction(p: Producer) -> Expected:
    ids = p.write()
    os.utime(p.marker)
    return Expected(ids)
