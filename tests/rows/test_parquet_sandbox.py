"""One child reads the Parquet files of batch after batch; none is refused for the one before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from flagfall.rows import parquet_sandbox
from flagfall.rows.parquet_sandbox import SandboxEnded, Slicing, read_in_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each has its own")

HOW = Slicing(["x"], most_rows=1_000_000, most_bytes=1 << 28)
MEMORY = 1 << 30


@pytest.fixture(autouse=True)
def _no_child_of_others() -> Iterator[None]:
    parquet_sandbox.end_waiting()
    yield
    parquet_sandbox.end_waiting()


def file(folder: Path, values: pl.Series, name: str = "good.parquet") -> tuple[str, int]:
    pl.DataFrame({"x": values}).write_parquet(folder / name)
    return str(folder / name), 1 << 30


def waiting() -> list[int]:
    return [child.process.pid for child in parquet_sandbox.WAITING]


def test_one_child_reads_batch_after_batch(tmp_path: Path) -> None:
    good = file(tmp_path, pl.Series([1, 2, 3]))
    pids = []
    for _ in range(3):
        read_in_sandbox([good], HOW, MEMORY)
        pids += waiting()
    assert len(pids) == 3
    assert len(set(pids)) == 1


def test_one_that_read_a_damaged_file_reads_no_other(tmp_path: Path) -> None:
    path, most = file(tmp_path, pl.Series([1, 2, 3]))
    Path(path).write_bytes(Path(path).read_bytes()[:-9] + b"\xff" * 9)
    read_in_sandbox([(path, most)], HOW, MEMORY)  # whoever reads it meets the damage, and says it
    assert not waiting()


def test_one_that_keeps_much_memory_reads_no_other(tmp_path: Path) -> None:
    large = file(tmp_path, pl.Series(range(20_000_000)))
    read_in_sandbox([large], Slicing(["x"], 20_000_000, 1 << 30), MEMORY)
    assert not waiting()


def test_a_batch_is_read_though_the_child_died_while_it_waited(tmp_path: Path) -> None:
    good = file(tmp_path, pl.Series([1, 2, 3]))
    read_in_sandbox([good], HOW, MEMORY)
    (before,) = waiting()
    os.kill(before, 9)
    read_in_sandbox([good], HOW, MEMORY)
    (after,) = waiting()
    assert after != before


def test_what_ends_a_used_child_is_tried_in_a_new_one_that_has_the_last_word(
    tmp_path: Path,
) -> None:
    good = file(tmp_path, pl.Series([1, 2, 3]))
    large = file(tmp_path, pl.Series(range(20_000_000)), "large.parquet")
    at_once = Slicing(["x"], 20_000_000, 1 << 30)
    read_in_sandbox([good], at_once, 100 << 20)
    with pytest.raises(SandboxEnded, match="memory allocation of") as caught:
        read_in_sandbox([good, large], at_once, 100 << 20)
    assert caught.value.number == 1
    assert not waiting()
    read_in_sandbox([good, large], at_once, MEMORY)


def test_a_process_that_was_forked_has_a_child_of_its_own(tmp_path: Path) -> None:
    good = file(tmp_path, pl.Series([1, 2, 3]))
    read_in_sandbox([good], HOW, MEMORY)
    (inherited,) = parquet_sandbox.WAITING
    inherited.owner = -1
    read_in_sandbox([good], HOW, MEMORY)
    assert waiting() != [inherited.process.pid]
    assert inherited.process.poll() is None, "it is its parent's"
    inherited.end()
