"""Harm to the disk, made for real, while the watch loop and the pipeline go on.

Mounting needs root; where that is missing, those tests are skipped and say so.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import polars as pl
import pytest

from flagfall.errors import StoreError, StoreUnavailable
from flagfall.inbox.claim import claim
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores.local import LocalStore
from tests.faults.house import MARKER, House, make_feed, rows
from tests.feeds import ToyFeed
from tests.patience import SOON

PROJECT = Path(__file__).parents[2]
ROOM = "size=8m,nr_inodes=10k"
"""Enough for everything."""


def run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")


@contextmanager
def mounted(at: Path, *what: str | Path) -> Iterator[Path]:
    """Something mounted for a while; skips the test where that is not allowed."""
    needs_root()
    at.mkdir(parents=True, exist_ok=True)
    try:
        run("mount", *what, at)
    except OSError as error:
        pytest.skip(f"mounting is not allowed here ({error})")
    try:
        yield at
    finally:
        run("umount", "--lazy", at)


def remount(at: Path, options: str) -> None:
    run("mount", "-o", f"remount,{options}", at)


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """A file that fails with EIO when it is read: a process' memory, of which page 0 is not there.

    Its version stays what it was: a test that needs that must not ask for it meanwhile.
    """
    run("mount", "--bind", f"/proc/{os.getpid()}/mem", path)
    try:
        yield
    finally:
        run("umount", "--lazy", path)


def drop(landing: Path, day: str, *ids: int, bad: int = 0) -> str:
    """A batch, and its key; ``bad`` rows break a rule."""
    folder = landing / f"date={day}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text(rows(*ids) + "".join(f"{-n},-1\n" for n in range(bad)))
    (folder / MARKER).touch()
    return f"date={day}/{MARKER}"


def one_run(toy: ToyFeed) -> list[Delivery]:
    """Claim and ingest, in a process that has just started."""
    shards = claim(toy.inbox(), toy.dataset).shards
    given = [Delivery(marker) for shard in shards for marker in shard]
    return run_stage("ingest", toy.dataset, toy.inbox(), given)


def check_sound(lake: Path) -> None:
    """Whatever has its final name is whole, and nothing temporary is left."""
    for path in filter(Path.is_file, lake.rglob("*")):
        assert not path.name.startswith(".tmp-"), path
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".parquet":
            pl.read_parquet(path)
    assert list((lake / ".scratch").glob("*")) == []


class TestALakeThatIsFull:
    """Full at the first write, at the second, and so on, up to the last."""

    def fill_up(self, tmp_path: Path, limit: str) -> bool:
        """Whether a run came to its end with so little room; once there is more, it always does."""
        with mounted(tmp_path / "lake", "-t", "tmpfs", "-o", limit, "tmpfs") as lake:
            toy = make_feed(tmp_path)
            key = drop(toy.landing, "2026-11-01", 1, 2, 3, 4, bad=2)
            failure = self.failure(toy)
            if failure is not None:
                assert str(failure).startswith(str(lake))
                assert "no space left on the device; make room there" in str(failure)
                check_sound(lake / "toy")
                assert House(toy).ledger().receipts == {}
                remount(lake, ROOM)
                one_run(toy)
            check_sound(lake / "toy")
            ledger = House(toy).ledger()
            assert (ledger.lost, ledger.twice) == ((), ())
            assert ledger.rows == {key: [1, 2, 3, 4]}
            assert len(ledger.receipts[key]) == 1
            return failure is None

    def failure(self, toy: ToyFeed) -> StoreUnavailable | None:
        try:
            one_run(toy)
        except StoreUnavailable as failure:
            return failure
        return None

    @pytest.mark.invariant(3)
    @pytest.mark.parametrize("limit", ["nr_inodes", "nr_blocks"])
    def test_wherever_it_fails_nothing_is_half_written_and_the_next_run_completes_it(
        self, tmp_path: Path, limit: str
    ) -> None:
        most = {"nr_inodes": "size=8m", "nr_blocks": "nr_inodes=10k"}[limit]
        failed = 0
        while not self.fill_up(tmp_path / str(failed), f"{most},{limit}={failed + 1}"):
            failed += 1
        assert failed >= 5, "it was not full at every write"


def test_a_store_that_is_read_only_may_heal_whatever_is_written(place: Place) -> None:
    lake = place.stack.enter_context(mounted(place.lake, "-t", "tmpfs", "tmpfs"))
    store, source = LocalStore(str(lake)), lake / "source"
    source.touch()
    remount(lake, "ro")
    for write in (
        lambda: store.create("a", b"x"),
        lambda: store.put("new/a", b"x"),
        lambda: store.upload(source, "a"),
        lambda: store.put_file(source, "a"),
        lambda: store.delete("source"),
    ):
        with pytest.raises(StoreUnavailable, match="read-only; mount it writable, or move the"):
            write()
    remount(lake, "rw")
    assert store.create("a", b"x")
    assert sorted(entry.key for entry in store.list()) == ["a", "source"]


@dataclass
class Harm:
    """Something that is done to a disk, and undone.

    Attributes:
        do: Does it.
        undo: Heals it.
        words: Stand in what tasks say of it; empty where nothing needs to fail.
    """

    do: Callable[[], None]
    undo: Callable[[], None]
    words: str = ""


@dataclass
class Place:
    """A house, and what is to be undone at the end."""

    root: Path
    stack: ExitStack
    landing: Path = field(init=False)
    lake: Path = field(init=False)

    def __post_init__(self) -> None:
        self.landing, self.lake = self.root / "landing", self.root / "lake"
        self.landing.mkdir()
        self.lake.mkdir()


def full(p: Place) -> Harm:
    lake = p.stack.enter_context(mounted(p.lake, "-t", "tmpfs", "-o", ROOM, "tmpfs"))

    def fill() -> None:
        with (
            pytest.raises(OSError, match="No space left"),
            open("/dev/zero", "rb") as zeros,
            (lake / "others").open("wb") as file,
        ):
            shutil.copyfileobj(zeros, file)

    return Harm(fill, (lake / "others").unlink, "no space left on the device; make room there")


def read_only(p: Place) -> Harm:
    lake = p.stack.enter_context(mounted(p.lake, "-t", "tmpfs", "-o", ROOM, "tmpfs"))
    words = "the file system is read-only; mount it writable, or move the lake"
    return Harm(lambda: remount(lake, "ro"), lambda: remount(lake, "rw"), words)


def share_unmounted(p: Place) -> Harm:
    """What is below a mount point that is not mounted is an empty directory."""
    share = p.root / "share"
    share.mkdir()
    p.stack.enter_context(mounted(p.landing, "--bind", share))
    words = f"{p.landing}: there is nothing in it; is it mounted?"
    return Harm(
        lambda: run("umount", "--lazy", p.landing),
        lambda: run("mount", "--bind", share, p.landing),
        words,
    )


def landing_moved_away(p: Place) -> Harm:
    away = p.root / "away"
    words = f"{p.landing}: there is nothing in it; is it mounted?"
    return Harm(lambda: os.rename(p.landing, away), lambda: os.rename(away, p.landing), words)


def landing_closed(p: Place) -> Harm:
    words = str(p.landing)
    return Harm(lambda: p.landing.chmod(0), lambda: p.landing.chmod(0o755), words)


def lake_closed(p: Place) -> Harm:
    words = "permission denied; let the user that runs this read it (and write, in the lake)"
    lake = p.lake / "toy"
    return Harm(lambda: lake.chmod(0), lambda: lake.chmod(0o755), words)


def batch_closed(p: Place) -> Harm:
    folder = p.landing / "date=2026-11-02"
    return Harm(lambda: folder.chmod(0), lambda: folder.chmod(0o755), str(folder))


def data_damaged(p: Place) -> Harm:
    needs_root()
    data = p.landing / "date=2026-11-02" / "rows.csv"
    words = "rows.csv: the disk cannot be read or written (input/output error); check it"
    damage = unreadable(data)
    return Harm(damage.__enter__, lambda: _leave(damage), words)


def receipts_gone_stale(p: Place) -> Harm:
    """The receipts' folder cannot be listed for a while."""
    folder = p.lake / "toy" / "receipts"
    return Harm(lambda: folder.chmod(0), lambda: folder.chmod(0o755))


def _leave(context: object) -> None:
    context.__exit__(None, None, None)  # type: ignore[attr-defined]


AS_ROOT = [
    full,
    read_only,
    share_unmounted,
    landing_moved_away,
    data_damaged,
]
AS_ANYBODY = [landing_closed, lake_closed, batch_closed, receipts_gone_stale]


async def campaign(place: Place, make: Callable[[Place], Harm], between: bool) -> House:
    """A batch before the harm, one that it hits, and one after it.

    Args:
        place: Where.
        make: Makes the harm.
        between: Whether it comes between claim and ingest; else while all is quiet, and the
            batch lands meanwhile where it can.
    """
    harm = make(place)
    house = House(make_feed(place.root, place.landing, place.lake))
    async with house.open():
        drop(place.landing, "2026-11-01", 1, 2)
        await house.quiet()
        if between:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()

            def act() -> None:
                harm.do()
                loop.call_soon_threadsafe(done.set)

            house.after_claim[f"date=2026-11-02/{MARKER}"] = act
            drop(place.landing, "2026-11-02", 3, 4)
            async with asyncio.timeout(SOON):
                await done.wait()
        else:
            drop(place.landing, "2026-11-02", 3, 4)
            harm.do()
        await asyncio.sleep(0.8)
        harm.undo()
        drop(place.landing, "2026-11-03", 5, 6)
        ledger = await house.quiet()
    assert (ledger.lost, ledger.twice) == ((), ())
    assert sorted(row for ids in ledger.rows.values() for row in ids) == [1, 2, 3, 4, 5, 6]
    assert all(len(receipts) == 1 for receipts in ledger.receipts.values())
    assert all(isinstance(failure, StoreError) for failure in house.failures), house.failures
    if between and harm.words:
        assert any(harm.words in str(failure) for failure in house.failures), house.failures
    check_sound(house.lake)
    return house


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


BETWEEN = pytest.mark.parametrize("between", [True, False], ids=["after claim", "while quiet"])


@pytest.mark.invariant(1)
class TestHarmThatHeals:
    @BETWEEN
    @pytest.mark.parametrize("make", AS_ROOT)
    async def test_nothing_is_lost_or_counted_twice(
        self, place: Place, make: Callable[[Place], Harm], between: bool
    ) -> None:
        house = await campaign(place, make, between)
        assert all(isinstance(failure, StoreUnavailable) for failure in house.failures), (
            "Airflow tries nothing else again"
        )

    @BETWEEN
    @pytest.mark.parametrize("make", AS_ANYBODY)
    async def test_nor_where_rights_are_taken_away_for_a_while(
        self, plain_user: Path, make: Callable[[Place], Harm], between: bool
    ) -> None:
        with ExitStack() as stack:
            await campaign(Place(plain_user, stack), make, between)


def starved(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Python that may lower the limits of inotify, for itself alone: in a user namespace."""
    if subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("user namespaces are not allowed here")
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


LIMIT = """
import sys
from pathlib import Path
def limit(name, most): Path("/proc/sys/user", name).write_text(str(most))
"""
HINTS = f"""{LIMIT}
import threading, time
from flagfall.stores import inotify_process as hint_process
root, name = Path(sys.argv[1]), sys.argv[2]
def heal():
    time.sleep(1.5)
    limit(name, 1000)
    print("healed", flush=True)
    time.sleep(1.5)
    for number in range(3):
        print("touched", flush=True)
        (root / "a" / str(number)).touch()
        time.sleep(0.5)
    print("end", flush=True)
limit(name, sys.argv[3])
hint_process.TRY_AGAIN = 0.3
threading.Thread(target=heal, daemon=True).start()
hint_process.main()
"""
HOUSE = f"""{LIMIT}
import asyncio, logging
from flagfall.watch.heartbeat import last_heartbeat
from tests.faults.house import House, make_feed
from tests.faults.test_disk_faults import drop
logging.basicConfig(level="WARNING")
limit(sys.argv[2], 0)
house = House(make_feed(Path(sys.argv[1])))
async def campaign():
    async with house.open():
        for day in (1, 2, 3):
            drop(house.landing, f"2026-11-0{{day}}", day)
            ledger = await house.quiet()
        print("no hints:", last_heartbeat(house.inbox().lake.store).no_hints)
        print("ledger", ledger.lost, ledger.twice, sorted(ledger.rows.values()), house.failures)
asyncio.run(campaign())
"""
LIMITS = pytest.mark.parametrize(
    ("name", "words"),
    [
        ("max_inotify_instances", "Too many open files"),
        ("max_inotify_watches", "watch limit reached"),
    ],
)


class TestLimitsOfInotifyThatAreUsedUp:
    @LIMITS
    def test_the_process_says_so_with_the_remedy_and_hints_come_when_there_is_room(
        self, tmp_path: Path, name: str, words: str
    ) -> None:
        (tmp_path / "a").mkdir()
        few = "1" if name == "max_inotify_watches" else "0"
        process = starved(HINTS, tmp_path, name, few)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(["watch", str(tmp_path)]) + "\n")
        process.stdin.flush()
        lines = list(takewhile(lambda line: line != "end\n", process.stdout))
        process.kill()
        process.communicate()
        told = [why for line in lines[: lines.index("healed\n")] if (why := json.loads(line)[1])]
        assert told
        assert all(words in line for line in told)
        assert all("raise fs.inotify.max_user_watches and" in line for line in told)
        after = set(lines[lines.index("touched\n") :])
        look_now = json.dumps([str(tmp_path), ""]) + "\n"
        assert after == {"touched\n", look_now}, "no hint of what changed"

    @pytest.mark.invariant(1)
    def test_sweeps_find_what_no_hint_tells_of(self, tmp_path: Path) -> None:
        said, _ = starved(HOUSE, tmp_path, "max_inotify_instances").communicate(timeout=SOON)
        assert "ledger () () [[1], [2], [3]] []" in said, said
        assert "sweeps go on" in said
        assert re.search(r"no hints: .*Too many open files.*raise fs.inotify", said), said


@pytest.mark.invariant(4)
async def test_a_landing_zone_that_cannot_be_written_to_is_all_that_is_needed(
    place: Place,
) -> None:
    producers = place.root / "producers"
    producers.mkdir()
    place.stack.enter_context(mounted(place.landing, "--bind", producers))
    remount(place.landing, "bind,ro")
    with pytest.raises(OSError, match="Read-only"):
        (place.landing / "file").touch()
    house = House(make_feed(place.root, place.landing, place.lake))
    async with house.open():
        drop(producers, "2026-11-01", 1, 2)
        (producers / "date=2026-11-02").mkdir()
        (producers / "date=2026-11-02" / MARKER).write_text("nonsense")
        ledger = await house.quiet()
    assert (ledger.lost, ledger.twice, house.failures) == ((), (), [])
    assert [ledger.statuses(f"date=2026-11-0{day}/{MARKER}") for day in (1, 2)] == [
        ["accepted"],
        ["rejected"],
    ]


async def test_a_landing_zone_that_is_removed_and_made_again_goes_on_with_what_is_there(
    place: Place,
) -> None:
    """What was claimed and is gone for good fails its run, says why, and is done with."""
    house = House(make_feed(place.root, place.landing, place.lake))
    first, gone, last = (f"date=2026-11-0{day}/{MARKER}" for day in (1, 2, 3))

    def remove() -> None:
        keep = place.root / "keeps-the-inode"
        os.rename(place.landing, keep)
        shutil.rmtree(keep / "date=2026-11-02")
        place.landing.mkdir()

    async with house.open():
        drop(place.landing, "2026-11-01", 1, 2)
        await house.quiet()
        house.after_claim[gone] = remove
        drop(place.landing, "2026-11-02", 3, 4)
        await house.until(lambda: house.failures)
        drop(place.landing, "2026-11-03", 5, 6)
        ledger = await house.quiet()
    assert (ledger.lost, ledger.twice) == ((), ())
    assert ledger.rows == {first: [1, 2], last: [5, 6]}
    assert gone not in ledger.receipts
    words = "there is nothing in it; is it mounted?"
    assert all(words in str(failure) for failure in house.failures)
    async with house.open():  # all of it dropped again: the first is known by its content
        for day, ids in ((1, (1, 2)), (2, (3, 4))):
            drop(place.landing, f"2026-11-0{day}", *ids)
        ledger = await house.quiet()
    assert (ledger.lost, ledger.twice) == ((), ())
    assert ledger.statuses(first) == ["accepted", "unchanged"]
    assert ledger.statuses(gone) == ["accepted"]


@pytest.mark.invariant(1)
async def test_a_share_below_the_landing_zone_that_is_mounted_late_is_not_too_late(
    place: Place,
) -> None:
    """Nobody can tell from a ctime when something could first be seen here."""
    share = place.stack.enter_context(mounted(place.root / "share", "-t", "tmpfs", "tmpfs"))
    drop(share, "2026-11-01", 1, 2)
    customer = place.stack.enter_context(mounted(place.landing / "customer", "--bind", share))
    run("umount", customer)
    house = House(make_feed(place.root, place.landing, place.lake, above="*/"))
    async with house.open():
        await house.quiet()
        run("mount", "--bind", share, customer)
        ledger = await house.quiet()
    assert (ledger.lost, ledger.twice) == ((), ())
    assert ledger.rows == {f"customer/date=2026-11-01/{MARKER}": [1, 2]}
