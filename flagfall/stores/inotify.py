"""Hints on disk: inotify, one watch per directory and process, shared by all who wait for it.

A hint only says "look now": what inotify loses (it does, in directories made a moment before) the
next sweep finds.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from flagfall.stores import Hint

log = logging.getLogger(__name__)

START_AGAIN = 60.0
"""Seconds after which a process that could not be started is started again."""


class _Watch:
    """One process that watches one directory, and a thread that passes on what it says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.subscribers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._told = ""
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self.thread = threading.Thread(target=self._run, name=f"hints {root}", daemon=True)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
                self._stopped.wait(1.0)
            except OSError as error:  # no memory, no process left, or no right to start one
                self._tell(f"cannot be watched: {error}")
                self._stopped.wait(START_AGAIN)

    def _listen(self) -> None:
        """Pass hints on until the watching process ends."""
        command = [sys.executable, "-m", "flagfall.stores.inotify_process", str(self.root)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as self._process:
            if self._stopped.is_set():
                self._process.terminate()
            assert self._process.stdout is not None, "asked for a pipe"
            for line in self._process.stdout:
                self._tell(line.strip())
                self._wake()

    def _tell(self, why: str) -> None:
        """Say why there are no hints, once; empty: there are."""
        if why and why != self._told:
            log.warning("%s: no hints (%s); sweeps go on", self.root, why)
        self._told = why

    def _wake(self) -> None:
        with _lock:
            subscribers = list(self.subscribers.items())
        for event, loop in subscribers:
            with suppress(RuntimeError):  # its loop has been closed meanwhile
                loop.call_soon_threadsafe(event.set)

    def stop(self) -> None:
        """End the process, and with it the thread."""
        self._stopped.set()
        if self._process is not None:
            self._process.terminate()


_lock = threading.Lock()
_watches: dict[Path, _Watch] = {}


def _subscribe(root: Path, event: asyncio.Event) -> None:
    with _lock:
        shared = _watches.get(root)
        if shared is None:
            shared = _watches[root] = _Watch(root)
            shared.thread.start()
        shared.subscribers[event] = asyncio.get_running_loop()


def _unsubscribe(root: Path, event: asyncio.Event) -> None:
    with _lock:
        shared = _watches[root]
        del shared.subscribers[event]
        if not shared.subscribers:
            del _watches[root]
            shared.stop()


async def directory_hints(root: Path) -> AsyncIterator[Hint]:
    """An item whenever something below ``root`` may have changed.

    The directory need not exist; it is noticed when it is made.
    """
    event = asyncio.Event()
    _subscribe(root, event)
    try:
        while True:
            await event.wait()
            event.clear()
            yield None
    finally:
        _unsubscribe(root, event)
