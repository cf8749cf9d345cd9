"""Hints on disk: inotify, in one process for all directories that anybody waits for.

A hint only says "look now": what inotify loses (it does, in directories made a moment before) the
next sweep finds.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from flagfall.logs import logger
from flagfall.stores import Hint

log = logger(__name__)

START_AGAIN = 60.0
"""Seconds after which a process that could not be started is started again."""
_COMMAND = [sys.executable, "-m", "flagfall.stores.inotify_process"]


class _Watch:
    """Who waits for hints of one directory.

    Attributes:
        why: Why there are none for the time being; empty where there are.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.subscribers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self.why = ""

    def tell(self, why: str) -> None:
        """Say why there are no hints, once; empty: there are."""
        if why and why != self.why:
            log.warning("%s: no hints (%s); sweeps go on", self.root, why)
        self.why = why

    def wake(self) -> None:
        """Pass a hint on."""
        for event, loop in list(self.subscribers.items()):
            with suppress(RuntimeError):  # its loop has been closed meanwhile
                loop.call_soon_threadsafe(event.set)


class _Watcher:
    """The process that watches, and the threads that talk with it.

    Attributes:
        watches: By directory.
        thread: Ends with the process, when nobody waits any more.
    """

    def __init__(self) -> None:
        self.watches: dict[str, _Watch] = {}
        self._lock = threading.Lock()
        self._commands: SimpleQueue[str | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self.thread = threading.Thread(target=self._run, name="hints", daemon=True)

    def subscribe(self, root: str, event: asyncio.Event) -> None:
        """Have an event set whenever there is a hint of a directory."""
        with self._lock:
            if root not in self.watches:
                self.watches[root] = _Watch(root)
                self._commands.put(_command("watch", root))
            self.watches[root].subscribers[event] = asyncio.get_running_loop()

    def unsubscribe(self, root: str, event: asyncio.Event) -> None:
        """Stop that; who was the last ends the process."""
        with self._lock:
            watch = self.watches[root]
            del watch.subscribers[event]
            if not watch.subscribers:
                del self.watches[root]
                self._commands.put(_command("leave", root))

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
                self._stopped.wait(1.0)
            except OSError as error:  # no memory, no process left, or no right to start one
                for watch in self._all():
                    watch.tell(f"cannot be watched: {error}")
                self._stopped.wait(START_AGAIN)

    def _all(self) -> list[_Watch]:
        with self._lock:
            return list(self.watches.values())

    def _listen(self) -> None:
        """Pass hints on until the watching process ends."""
        with subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as self._process:
            if self._stopped.is_set():
                self._process.terminate()
            assert self._process.stdout is not None, "asked for a pipe"
            speaking = threading.Thread(
                target=_speak, args=(self._process, self._begin()), name="hints to", daemon=True
            )
            speaking.start()
            for line in self._process.stdout:
                self._pass_on(*json.loads(line))
            self._commands.put(None)
            speaking.join()

    def _begin(self) -> SimpleQueue[str | None]:
        """Commands for a process that has just been started."""
        with self._lock:
            self._commands = SimpleQueue()
            for root in self.watches:
                self._commands.put(_command("watch", root))
            return self._commands

    def _pass_on(self, root: str, why: str) -> None:
        with self._lock:
            watch = self.watches.get(root)
        if watch is not None:
            watch.tell(why)
            watch.wake()

    def stop(self) -> None:
        """End the process, and with it the threads."""
        self._stopped.set()
        if self._process is not None:
            self._process.terminate()


def _command(what: str, root: str) -> str:
    return json.dumps([what, root]) + "\n"


def _speak(process: subprocess.Popen[str], commands: SimpleQueue[str | None]) -> None:
    """Pass commands on to the process, which may be busy for a while."""
    assert process.stdin is not None, "asked for a pipe"
    with suppress(OSError):  # it has ended
        for command in iter(commands.get, None):
            process.stdin.write(command)
            process.stdin.flush()


_lock = threading.Lock()
_watcher: _Watcher | None = None


def _subscribe(root: str, event: asyncio.Event) -> _Watcher:
    global _watcher
    with _lock:
        if _watcher is None:
            _watcher = _Watcher()
            _watcher.thread.start()
        _watcher.subscribe(root, event)
        return _watcher


def _unsubscribe(watcher: _Watcher, root: str, event: asyncio.Event) -> None:
    global _watcher
    with _lock:
        watcher.unsubscribe(root, event)
        if not watcher.watches:
            watcher.stop()
            _watcher = None


def why_no_hints(root: str) -> str:
    """Why there are no hints of a directory that this process waits for; empty where there are."""
    watcher = _watcher
    watch = watcher.watches.get(root) if watcher is not None else None
    return watch.why if watch is not None else ""


async def directory_hints(root: Path) -> AsyncIterator[Hint]:
    """An item whenever something below ``root`` may have changed.

    The directory need not exist; it is noticed when it is made.
    """
    event = asyncio.Event()
    watcher = _subscribe(str(root), event)
    try:
        while True:
            await event.wait()
            event.clear()
            yield None
    finally:
        _unsubscribe(watcher, str(root), event)
