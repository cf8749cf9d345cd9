"""A cgroup that limits the memory of some processes, where this machine lets one be made."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PATIENCE = 5.0
"""Seconds in which a group whose processes have ended can be removed."""


@dataclass(frozen=True)
class MemoryGroup:
    """A group of processes, of cgroup version 1 or 2."""

    folder: Path
    is_second: bool

    @classmethod
    def make(cls, name: str, limit: int | None) -> MemoryGroup | None:
        """A group with a limit in bytes; ``None`` where this machine does not let us."""
        is_second = "memory" in _read(ROOT / "cgroup.controllers").split()
        above = ROOT if is_second else ROOT / "memory"
        group = cls(above / f"flagfall-{name}", is_second)
        if os.geteuid() != 0 or not above.is_dir():
            return None
        try:
            if is_second:
                (above / "cgroup.subtree_control").write_text("+memory")
            group.folder.mkdir()
            if limit is not None:
                group._file("memory.max", "memory.limit_in_bytes").write_text(str(limit))
        except OSError:
            return None
        return group

    @property
    def door(self) -> Path:
        """A process that writes its id into this file is in the group, with all that it starts."""
        return self.folder / "cgroup.procs"

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [int(line) for line in _read(self.door).split()]

    @property
    def peak(self) -> int:
        """The most memory that it had, in bytes; 0 where that is not known."""
        return int(_read(self._file("memory.peak", "memory.max_usage_in_bytes")) or 0)

    @property
    def killed(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        lines = _read(self._file("memory.events", "memory.oom_control")).splitlines()
        counts = dict(line.split() for line in lines)
        return int(counts.get("oom_kill", 0))

    def add(self, pid: int) -> None:
        """Take a process into the group."""
        with suppress(OSError):
            self.door.write_text(str(pid))

    def remove(self) -> None:
        """Remove the group, when its processes have ended."""
        give_up = time.monotonic() + PATIENCE
        while self.folder.exists() and time.monotonic() < give_up:
            try:
                self.folder.rmdir()
            except OSError:
                time.sleep(0.05)

    def _file(self, second: str, first: str) -> Path:
        return self.folder / (second if self.is_second else first)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
