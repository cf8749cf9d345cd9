"""Parquet files of other writers are read by a process of its own first.

One wrong byte can make polars end its process, which no ``except`` can catch ("memory allocation of
2305843009213693928 bytes failed", polars 2.1), and a page may ask for any amount of memory. So a
child reads all files once, in bounded memory and time. What ends the child is refused; only what it
survived is read by the process that matters.

The child runs this file as a script. It imports nothing of Flagfall, so that it starts in 0.3 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

SANDBOX_SECONDS = 600
"""Longest time for all files of a batch."""

FIRST_ROWS = 100
"""Rows that are read first, to learn how large they are."""

CELL_BYTES = 8
"""Assumed size of a value that is not a text."""

MOST_DIGITS = 38
"""Of a decimal that polars can read; it knows the type of others, and reading them is an error."""


@dataclass(frozen=True)
class Slicing:
    """How Parquet files are read.

    Attributes:
        columns: Columns that are read, where the file has them.
        most_rows: Most rows of a slice.
        most_bytes: Bytes that a slice should not pass.
    """

    columns: Sequence[str]
    most_rows: int
    most_bytes: int


def count_rows(path: str) -> int:
    """The number of rows, as the file says."""
    return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())


def slices(path: str, rows: int, how: Slicing) -> Iterator[pl.DataFrame]:
    """Read a file in slices; the size of each follows from the size of the rows before.

    Whole row groups, or polars' ``collect_batches``, take ten times the memory where a row group is
    large; and ``collect_batches`` ends early, without an error, where a page is damaged.

    Raises:
        pl.exceptions.PolarsError: The file is damaged, or has fewer rows than it says.
        pl.exceptions.PanicException: The file is damaged.
    """
    file = pl.scan_parquet(path, glob=False)
    scan = file.select(_there(file.collect_schema(), how.columns))
    offset, size = 0, FIRST_ROWS
    while offset < rows:
        block = scan.slice(offset, size).collect(engine="streaming")
        if block.height != min(size, rows - offset):
            raise pl.exceptions.ShapeError(f"row {offset + block.height + 1} is missing")
        yield block
        offset += block.height
        row_bytes = text_bytes(block) // block.height + CELL_BYTES * block.width
        size = max(1, min(how.most_rows, how.most_bytes // row_bytes))


def _there(found: pl.Schema, wanted: Sequence[str]) -> list[str]:
    return [name for name in wanted if name in found and is_readable(found[name])]


def is_readable(dtype: pl.DataType) -> bool:
    """Whether polars can read values of a type; it is none of a decimal of more than 38 digits."""
    return not isinstance(dtype, pl.Decimal) or dtype.precision <= MOST_DIGITS


def text_bytes(block: pl.DataFrame) -> int:
    """Bytes of all texts."""
    lengths = block.select(pl.col(pl.String()).str.len_bytes())
    return sum(int(column.sum()) for column in lengths)


class SandboxEnded(Exception):
    """The child did not survive a file.

    Attributes:
        number: Which of the files, counted from 0.
    """

    def __init__(self, number: int, how: str) -> None:
        self.number = number
        super().__init__(how)


def read_in_sandbox(files: Sequence[tuple[str, int]], how: Slicing, memory: int) -> None:
    """Read files in a child process.

    Args:
        files: The path of each, and the bytes after which reading it ends.
        how: How they will be read.
        memory: Bytes that the child may take, in addition to those that polars takes to start
            (on Linux).

    Raises:
        SandboxEnded: The child died, or took too long.
    """
    request = json.dumps({"files": files, "how": asdict(how), "memory": memory})
    # Threads take memory of their own, and a backtrace helps nobody here.
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "RUST_BACKTRACE": "0"}
    command = [sys.executable, "-P", __file__]
    try:
        child = subprocess.run(
            command, input=request.encode(), capture_output=True, env=environment,
            timeout=SANDBOX_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        raise SandboxEnded(_last(late.stdout or b"0"), f"more than {SANDBOX_SECONDS} s") from late
    if child.returncode:
        errors = child.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        if not child.stdout:
            raise RuntimeError(f"the sandbox for Parquet files did not start: {errors[-1]}")
        raise SandboxEnded(_last(child.stdout), errors[0][:200])


def _last(numbers: bytes) -> int:
    """The file that the child had begun."""
    return int(numbers.split()[-1])


def _child() -> None:
    request = json.load(sys.stdin)
    how = Slicing(**request["how"])
    _bound_memory(request["memory"])
    for number, (path, most_bytes) in enumerate(request["files"]):
        print(number, flush=True)
        try:
            _read(path, most_bytes, how)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return  # the parent meets the same error, and refuses the batch by name


def _read(path: str, most_bytes: int, how: Slicing) -> None:
    rows = count_rows(path)
    total = rows * CELL_BYTES * len(how.columns)
    if total > most_bytes:
        return
    for block in slices(path, rows, how):
        total += text_bytes(block)
        if total > most_bytes:
            return


def _bound_memory(more: int) -> None:
    """Limit written memory, not addresses: polars' threads reserve many and use few."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    _child()
