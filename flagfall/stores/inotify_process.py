"""Watches directories with inotify and says whenever something below one may have changed.

``inotify`` runs it as ``python -m flagfall.stores.inotify_process``, once for all directories, in
its own process: watchfiles holds Python's interpreter while it sets a watch on every directory,
80 ms for a thousand of them, and the event loop of a triggerer must not be held. It ends when its
standard input closes, that is, with its parent, however that ends.

It is told in lines of JSON, ``["watch", directory]`` or ``["leave", directory]``, and says lines
``[directory, why]``: with an empty ``why`` "look now", else why there are no hints for the time
being.

A few directories share one instance of inotify, of which a user has 128 by default. Those of one
group are on one file system, so that one that hangs holds up no other.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from watchfiles import watch

TRY_AGAIN = 60.0
"""Seconds after which a watch that could not be set is tried again."""
LOOK_AGAIN = 0.5
"""Seconds after which a directory that vanished, or was made anew, is noticed."""
GATHER = 0.1
"""Seconds in which new directories gather, since each time all watches of a group are set anew."""
MOST = 16
"""Directories that share an instance of inotify."""

_LIMIT_WORDS = ("watch limit reached", "Too many open files", "No space left on device")
_RAISE_LIMITS = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances"
_MOUNTS = Path("/proc/self/mountinfo")

Identity = tuple[int, int]
"""Device and inode."""


_speaking = threading.Lock()


def say(root: str, why: str = "") -> None:
    """Tell the parent about a directory."""
    with _speaking:
        print(json.dumps([root, why]), flush=True)


class Group:
    """Directories that share an instance of inotify, and the thread that watches them.

    Args:
        mount: Where their file system is mounted.
        roots: The directories.
        groups: All groups, which one that cannot be watched is split into.

    Attributes:
        is_whole: Whether it was never split: others may join it.
    """

    def __init__(self, mount: str, roots: Iterable[str], groups: Groups) -> None:
        self.mount = mount
        self.is_whole = True
        self._roots = set(roots)
        self._groups = groups
        self._changed = threading.Event()
        self._changed.set()
        threading.Thread(target=self._run, daemon=True).start()

    def __len__(self) -> int:
        return len(self._roots)

    def add(self, root: str) -> None:
        """Watch one more."""
        self._roots.add(root)
        self._changed.set()

    def remove(self, root: str) -> None:
        """Watch one less."""
        if root in self._roots:
            self._roots.discard(root)
            self._changed.set()

    def _run(self) -> None:
        while True:
            self._changed.wait()
            time.sleep(GATHER)  # others may come
            self._changed.clear()
            roots = sorted(self._roots)
            try:
                self._follow(roots)
            except FileNotFoundError:
                self._later(1.0)
            except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: watchfiles' own
                self._give_up(roots, error)

    def _later(self, seconds: float) -> None:
        """Try again then, or earlier where the directories have changed."""
        self._changed.wait(seconds)
        self._changed.set()

    def _give_up(self, roots: Sequence[str], error: Exception) -> None:
        """Try the halves apart, so that one that cannot be watched costs the others no hints."""
        if len(roots) == 1:
            say(roots[0], _in_words(error))
            self._later(TRY_AGAIN)
        else:
            self._groups.split(self, roots[len(roots) // 2 :])

    def _follow(self, roots: Sequence[str]) -> None:
        """Watch until others come, or a directory is no longer the one that was there at the start.

        The first word on each is "look now", a moment after the watches stand: what landed while
        they were being set up, which takes long over many directories, is worth a look then.
        """
        with ExitStack() as stack:
            there = {root: _held(root, stack) for root in roots if os.path.isdir(root)}
            try:
                self._say_while_same(roots, there, skip_closed=False)
            except PermissionError:  # of one folder: others are worth a hint all the same
                if len(roots) > 1:
                    raise
                self._say_while_same(roots, there, skip_closed=True)

    def _say_while_same(
        self, roots: Sequence[str], there: dict[str, Identity], skip_closed: bool
    ) -> None:
        """Say when something changes.

        Args:
            roots: The directories.
            there: Those of them that there are.
            skip_closed: Whether folders that cannot be watched are left out. watchfiles then leaves
                out those beyond a limit, too, and says nothing.
        """
        real = {root: os.path.realpath(root) for root in there}
        for number, hinted in enumerate(self._changes(real, skip_closed)):
            others = [root for root in roots if _identity(root) != there.get(root)]
            for root in {*others, *(there if number == 0 else hinted)}:
                say(root)
            if others:
                self._changed.set()
                return

    def _changes(self, real: dict[str, str], skip_closed: bool) -> Iterator[set[str]]:
        """Directories below which something changed, at least every ``LOOK_AGAIN`` seconds."""
        if not real:
            while not self._changed.wait(LOOK_AGAIN):
                yield set()
            return
        changes = watch(
            *set(real.values()),
            watch_filter=None,
            debounce=100,
            step=20,
            rust_timeout=int(LOOK_AGAIN * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            stop_event=self._changed,
            ignore_permission_denied=skip_closed,
        )
        for change in changes:
            yield {root for root, place in real.items() if _is_below(place, change)}


class Groups:
    """All groups of this process."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._lock = threading.Lock()

    def watch(self, root: str) -> None:
        """Add a directory to a group of its file system that has room; else to a new one."""
        mount = _mount_of(root)
        with self._lock:
            for group in self._groups:
                if group.mount == mount and group.is_whole and len(group) < MOST:
                    group.add(root)
                    return
            self._groups.append(Group(mount, [root], self))

    def leave(self, root: str) -> None:
        """Watch a directory no more."""
        with self._lock:
            for group in self._groups:
                group.remove(root)

    def split(self, group: Group, some: Iterable[str]) -> None:
        """Give some directories of a group to a group of their own."""
        with self._lock:
            other = Group(group.mount, some, self)
            other.is_whole = group.is_whole = False
            self._groups.append(other)
            for root in some:
                group.remove(root)


def main() -> None:
    """Do what the parent says, until it ends."""
    groups = Groups()
    for line in sys.stdin:
        command, root = json.loads(line)
        (groups.watch if command == "watch" else groups.leave)(root)
    os._exit(0)


def _in_words(error: Exception) -> str:
    """One line; where a limit is used up, with the remedy."""
    text = " ".join(str(error).split())
    return f"{text}; {_RAISE_LIMITS}" if any(word in text for word in _LIMIT_WORDS) else text


def _held(root: str, stack: ExitStack) -> Identity:
    """Which directory it is; while it is open no new directory is given the same inode."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _identity(root: str) -> Identity | None:
    try:
        status = os.stat(root)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_below(place: str, changes: Iterable[tuple[object, str]]) -> bool:
    start = place.rstrip("/") + "/"
    return any(path == place or path.startswith(start) for _, path in changes)


def _mount_of(root: str) -> str:
    """Where the file system of a path is mounted. The path itself may hang, so nothing asks it."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    mounts = (re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in lines)
    above = (mount for mount in mounts if f"{root}/".startswith(mount.rstrip("/") + "/"))
    return max(above, key=len, default="")


if __name__ == "__main__":
    main()
