from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flagfall.errors import StoreUnavailable
from flagfall.stores import scratch
from flagfall.stores.scratch import scratch_folder

KILLED = """\
import sys, time
from pathlib import Path
from flagfall.stores.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "sub").mkdir()
    (folder / "sub" / "part").write_bytes(bytes(1000))
    print(folder, flush=True)
    time.sleep(600)
"""


def at_work(root: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that works in a folder of its own, and the folder."""
    command = [sys.executable, "-c", KILLED, str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_folder_is_there_for_a_while_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "new" / ".scratch") as folder:
        (folder / "part").write_bytes(b"x")
    assert list((tmp_path / "new" / ".scratch").iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else_is(
    tmp_path: Path,
) -> None:
    (tmp_path / "work-of-others").mkdir()
    (tmp_path / "flagfall-work-file").touch()
    (tmp_path / "flagfall-work-link").symlink_to(tmp_path / "work-of-others")
    (dead, left), (alive, used) = at_work(tmp_path), at_work(tmp_path)
    try:
        kill(dead)
        assert (left / "sub" / "part").exists()
        with scratch_folder(tmp_path) as mine:
            assert not left.exists()
            assert (used / "sub" / "part").exists(), "its owner is alive"
            assert mine.exists()
    finally:
        kill(alive)
    assert {path.name for path in tmp_path.iterdir()} == {
        "work-of-others",
        "flagfall-work-file",
        "flagfall-work-link",
        used.name,
    }


@pytest.fixture
def locks_are_each_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on sshfs: no lock of another host is seen."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)


def as_host(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(scratch, "_kernel", lambda: name)


@pytest.mark.usefixtures("locks_are_each_hosts_own")
def test_the_folder_of_another_host_is_left_alone_while_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_host(monkeypatch, "A")
    with scratch_folder(tmp_path) as one:
        as_host(monkeypatch, "B")
        with scratch_folder(tmp_path) as other:
            assert (one.exists(), other.exists()) == (True, True)


@pytest.mark.usefixtures("locks_are_each_hosts_own")
def test_another_mount_of_the_same_share_is_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two containers of one machine that mount it each for itself."""
    (tmp_path / "share").mkdir()
    stat = Path.stat

    def elsewhere(self: Path, **more: Any) -> os.stat_result:
        found = list(stat(self, **more))
        return os.stat_result([*found[:2], found[2] + 1, *found[3:]])

    with scratch_folder(tmp_path / "share") as one:
        monkeypatch.setattr(Path, "stat", elsewhere)
        scratch.sweep(tmp_path / "share")
        assert one.exists()


def test_what_another_host_left_is_removed_when_it_has_not_changed_for_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_host(monkeypatch, "A")
    dead, left = at_work(tmp_path)
    kill(dead)
    long_ago = time.time() - scratch.ABANDONED - 60
    for path in (left, left / "sub"):
        os.utime(path, (long_ago, long_ago))
    with scratch_folder(tmp_path):
        assert left.exists(), "a file in it is new"
    os.utime(left / "sub" / "part", (long_ago, long_ago))
    with scratch_folder(tmp_path):
        assert not left.exists()


def test_many_who_make_folders_at_once_never_remove_each_others(tmp_path: Path) -> None:
    def work(number: int) -> bytes:
        with scratch_folder(tmp_path) as folder:
            (folder / "part").write_bytes(bytes([number]))
            return (folder / "part").read_bytes()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(200))) == [bytes([number]) for number in range(200)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "in the words of polars"])
def test_a_full_disk_may_heal_and_leaves_no_folder_behind(tmp_path: Path, hidden: bool) -> None:
    error = ValueError("writing failed (os error 28)") if hidden else OSError(28, "full")
    with (
        pytest.raises(StoreUnavailable, match="no space left on the device; make room there"),
        scratch_folder(tmp_path),
    ):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path):
        _ = 1 / 0
    with pytest.raises(FileNotFoundError), scratch_folder(tmp_path) as folder:
        (folder / "absent").read_bytes()


def test_where_no_folder_can_be_made_the_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreUnavailable, match="file/scratch"),
        scratch_folder(tmp_path / "file" / "scratch"),
    ):
        pass
