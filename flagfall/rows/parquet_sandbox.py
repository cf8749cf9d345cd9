"""Parquet files of other writers are read by a process of its own first.

One wrong byte can make polars end its process, which no ``except`` can catch ("memory allocation of
2305843009213693928 bytes failed", polars 2.1), and a page may ask for any amount of memory. So a
child reads all files once, in bounded memory and time. What ends the child is refused; only what it
survived is read by the process that matters.

The child runs this file as a script, and imports nothing of Flagfall. It starts in 0.3 s, so it
serves one batch after the other, until a file ends it, is damaged or needs much memory. No batch is
refused for what an earlier one left in the child's memory: a new child has the last word.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock, Timer
from typing import NamedTuple

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
    with _one_at_a_time:
        if WAITING and _survives(WAITING.pop(), request):
            return
        if ended := _Child().ask(request):
            raise ended


def _survives(child: _Child, request: str) -> bool:
    """Whether a child that has served before survives this, too; not one that a fork inherited."""
    return child.owner == os.getpid() and child.ask(request) is None


class _Child:
    """A process that reads the files of batches.

    Attributes:
        process: The process.
        owner: Id of the one that started it.
    """

    def __init__(self) -> None:
        # Threads take memory of their own, and a backtrace helps nobody here.
        environment = {**os.environ, "POLARS_MAX_THREADS": "1", "RUST_BACKTRACE": "0"}
        self.owner = os.getpid()
        self._has_served = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, request: str) -> SandboxEnded | None:
        """Have it read files. Then it waits for others, or is gone.

        Returns:
            What ended it; ``None`` where it has read all, or up to one that polars calls damaged.

        Raises:
            RuntimeError: It did not start.
        """
        late = Timer(SANDBOX_SECONDS, self.process.kill)
        late.start()
        said = b""
        try:
            for said in self._answers(request):
                if said in (_WAITS, _GOES):
                    self._keep(said)
                    return None
        finally:
            is_late = not late.is_alive()
            late.cancel()
        return self._ended(said, is_late)

    def _answers(self, request: str) -> Iterator[bytes]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # it is dead
            self.process.stdin.write(f"{request}\n".encode())
            self.process.stdin.flush()
            while said := self.process.stdout.readline():
                yield said

    def _keep(self, said: bytes) -> None:
        self._has_served = True
        if said == _WAITS:
            WAITING.append(self)
        else:
            self.end()

    def _ended(self, said: bytes, is_late: bool) -> SandboxEnded:
        errors = self.end().decode(errors="replace").strip().splitlines() or ["no message"]
        if not said and not self._has_served:
            raise RuntimeError(f"the sandbox for Parquet files did not start: {errors[-1]}")
        how = f"more than {SANDBOX_SECONDS} s" if is_late else errors[0][:200]
        return SandboxEnded(int(said or b"0"), how)

    def end(self) -> bytes:
        """Wait until it has ended, which it does where nothing more comes; and its last words."""
        with suppress(BrokenPipeError):
            return self.process.communicate()[1]
        return b""


_one_at_a_time = Lock()
WAITING: list[_Child] = []
"""The child that waits for the next batch, if there is one."""


@atexit.register
def end_waiting() -> None:
    """End the child that waits, if it is this process's."""
    while WAITING:
        child = WAITING.pop()
        if child.owner == os.getpid():
            child.end()


_WAITS, _GOES = b"waits\n", b"goes\n"
"""What the child says after a batch; before, the number of each file as it begins it."""

_KEPT_BYTES = 64 << 20
"""Memory that the child may keep while it waits, beyond that of its start."""


def _serve() -> None:
    start = _pages()
    for line in sys.stdin:
        request = json.loads(line)
        _bound_memory(start.written, request["memory"])
        are_read = _are_read(request["files"], Slicing(**request["how"]))
        grown = (_pages().resident - start.resident) * _PAGE
        waits = are_read and _LINUX and grown <= _KEPT_BYTES
        print((_WAITS if waits else _GOES).decode(), end="", flush=True)
        if not waits:
            return


def _are_read(files: Sequence[tuple[str, int]], how: Slicing) -> bool:
    """Whether no file is damaged: the parent meets the same error, and refuses it by name."""
    for number, (path, most_bytes) in enumerate(files):
        print(number, flush=True)
        try:
            _read(path, most_bytes, how)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return False
    return True


def _read(path: str, most_bytes: int, how: Slicing) -> None:
    rows = count_rows(path)
    total = rows * CELL_BYTES * len(how.columns)
    if total > most_bytes:
        return
    for block in slices(path, rows, how):
        total += text_bytes(block)
        if total > most_bytes:
            return


class _Pages(NamedTuple):
    """Pages of the process that are in memory, and that it may write; 0 where there is no Linux."""

    resident: int = 0
    written: int = 0


def _pages() -> _Pages:
    if not _LINUX:
        return _Pages()
    fields = Path("/proc/self/statm").read_text().split()
    return _Pages(int(fields[1]), int(fields[5]))


def _bound_memory(pages: int, more: int) -> None:
    """Limit written memory, not addresses: polars' threads reserve many and use few."""
    if _LINUX:
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (pages * _PAGE + more, most))


_LINUX = sys.platform == "linux"
_PAGE = os.sysconf("SC_PAGE_SIZE")

if __name__ == "__main__":
    _serve()
