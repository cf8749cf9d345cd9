from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from queue import SimpleQueue

import psutil
import pytest
from blockbuster import blockbuster_ctx

from flagfall.stores import inotify_process
from flagfall.stores.inotify import _Watch, directory_hints
from tests.patience import SOON

# ruff: noqa: ASYNC240  (the tests may block their own event loop for a file)

"""Seconds within which what must come has come, however busy the machine is."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that is there."""
    (tmp_path / "landing").mkdir()
    return tmp_path / "landing"


async def hint(hints: AsyncIterator[None]) -> None:
    async with asyncio.timeout(SOON):
        await anext(hints)


async def standing(root: Path) -> AsyncIterator[None]:
    """Hints of a directory that is there, once the watch stands: it says so with its first."""
    hints = directory_hints(root)
    await hint(hints)
    return hints


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hints"]


def processes() -> list[psutil.Process]:
    below = psutil.Process().children()  # not those of an Airflow that other tests have running
    return [one for one in below if "flagfall.stores.inotify_process" in one.cmdline()]


async def test_a_file_in_a_directory_that_is_there_wakes_within_a_second(root: Path) -> None:
    seconds = []
    async with aclosing(await standing(root)) as hints:
        for number in range(3):
            started = time.monotonic()
            (root / f"{number}").touch()
            await hint(hints)
            seconds.append(time.monotonic() - started)
    assert min(seconds) < 1.0


async def test_a_file_in_a_directory_below_wakes(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    async with aclosing(await standing(root)) as hints:
        (root / "a" / "b" / "file").touch()
        await hint(hints)


async def test_a_directory_made_later_is_noticed(root: Path) -> None:
    root.rmdir()
    async with aclosing(directory_hints(root)) as hints:
        waiting = asyncio.create_task(hint(hints))
        await asyncio.to_thread(root.mkdir)
        await waiting


async def test_a_directory_removed_and_made_again_is_watched_again(root: Path) -> None:
    """Also where the new one has the inode of the old one."""
    async with aclosing(await standing(root)) as hints:
        root.rmdir()
        root.mkdir()
        await hint(hints)  # it was noticed
        await hint(hints)  # the new watch stands
        for number in range(3):
            (root / f"{number}").touch()
            await hint(hints)


async def test_subscribing_and_leaving_never_block_the_event_loop(root: Path) -> None:
    with blockbuster_ctx("flagfall"):
        async with aclosing(directory_hints(root)) as hints:
            await hint(hints)


async def test_all_who_watch_a_directory_share_one_thread_until_the_last_leaves(
    root: Path,
) -> None:
    one, two = await standing(root), directory_hints(root)
    waiting = asyncio.create_task(hint(two))
    (root / "first").touch()
    await hint(one)
    await waiting
    assert len(threads()) == len(processes()) == 1
    thread, process = threads()[0], processes()[0]
    async with aclosing(two):
        await one.aclose()
        (root / "second").touch()
        await hint(two)
        assert threads() == [thread]
    await asyncio.to_thread(thread.join, SOON)
    assert threads() == []
    assert not process.is_running()


async def test_directories_are_watched_apart(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with aclosing(await standing(root)) as hints, aclosing(await standing(other)) as others:
        waiting = asyncio.create_task(hint(others))
        (root / "file").touch()
        await hint(hints)
        assert not waiting.done()
        (other / "file").touch()
        await waiting


def test_who_comes_after_the_last_has_left_is_served_in_another_event_loop_too(root: Path) -> None:

    async def once(name: str) -> None:
        async with aclosing(await standing(root)) as hints:
            (root / name).touch()
            await hint(hints)

    asyncio.run(once("first"))
    asyncio.run(once("second"))


def test_a_loop_that_was_closed_without_leaving_does_not_stop_the_others(root: Path) -> None:
    left_open = directory_hints(root)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(hint(left_open))
    loop.close()

    async def another() -> None:
        hints = directory_hints(root)
        async with aclosing(hints):
            for number in range(3):
                waiting = asyncio.create_task(hint(hints))
                await asyncio.to_thread((root / f"{number}").touch)
                await waiting
        await left_open.aclose()

    asyncio.run(another())


def test_a_triggerer_that_is_killed_leaves_no_process_behind(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "triggerer.py"
    script.write_text(
        "import asyncio\n"
        "from pathlib import Path\n"
        "from flagfall.stores.inotify import directory_hints\n"
        "async def main():\n"
        f"    async for _ in directory_hints(Path({str(root)!r})):\n"
        "        print('hinted', flush=True)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as triggerer:
        assert triggerer.stdout is not None
        assert triggerer.stdout.readline() == "hinted\n"
        watching = psutil.Process(triggerer.pid).children()
        assert len(watching) == 1
        triggerer.send_signal(signal.SIGKILL)
    gone, _ = psutil.wait_procs(watching, timeout=SOON)
    assert gone == watching


def test_why_there_are_no_hints_is_said_once_and_anew_after_there_were_some(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The watching process says it every minute."""
    watch = _Watch(str(root))
    for why in ("denied", "denied", "denied", "", "denied", "too many watches"):
        watch.tell(why)
    assert [message.partition("(")[2] for message in caplog.messages] == [
        "denied); sweeps go on",
        "denied); sweeps go on",
        "too many watches); sweeps go on",
    ]


async def test_many_directories_are_watched_by_one_process(tmp_path: Path) -> None:
    roots = [tmp_path / f"feed{number}" for number in range(40)]
    for root in roots:
        root.mkdir()
    all_hints = await asyncio.gather(*map(standing, roots))
    assert (len(processes()), len(threads())) == (1, 1)
    waiting = [asyncio.create_task(hint(hints)) for hints in all_hints]
    for root in roots:
        (root / "file").touch()
    await asyncio.gather(*waiting)
    for hints in all_hints:
        await hints.aclose()


def test_a_directory_that_cannot_be_watched_costs_the_others_no_hints(
    plain_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, since that user may not start Python."""
    closed, root, partly = (plain_user / name for name in ("closed", "open", "partly"))
    for folder in (closed, root, partly, partly / "closed"):
        folder.mkdir()
    closed.chmod(0)
    (partly / "closed").chmod(0)
    said: SimpleQueue[tuple[str, str]] = SimpleQueue()
    monkeypatch.setattr(inotify_process, "say", lambda root, why="": said.put((root, why)))
    groups = inotify_process.Groups()
    for folder in (closed, root, partly):
        groups.watch(str(folder))
    first = {said.get(timeout=SOON) for _ in range(3)}
    assert {folder for folder, why in first if not why} == {str(root), str(partly)}
    assert {folder for folder, why in first if "ermission denied" in why} == {str(closed)}
    for folder in (root, partly):
        (folder / "file").touch()
        assert said.get(timeout=SOON) == (str(folder), "")
    for folder in (closed, root, partly):
        groups.leave(str(folder))


async def test_two_names_of_one_directory_are_both_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    one, other = await asyncio.gather(standing(root), standing(tmp_path / "link"))
    for hints in (one, other):
        waiting = asyncio.create_task(hint(hints))
        await asyncio.sleep(0)
        (root / hints.__name__).write_text(str(time.monotonic()))
        await waiting
    await one.aclose()
    await other.aclose()


async def test_a_watching_process_that_is_killed_is_started_again(root: Path) -> None:
    async with aclosing(await standing(root)) as hints:
        processes()[0].kill()
        await hint(hints)  # the new one stands
        (root / "file").touch()
        await hint(hints)
        assert len(processes()) == 1
