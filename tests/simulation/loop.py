"""An event loop of asyncio on the simulated time; threads of its executor are actors."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from greenlet import getcurrent

from tests.simulation.schedule import Actor, Killed, Process, Schedule


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The event loop of a process.

    Args:
        schedule: Who runs when.
        process: Whose loop it is.
    """

    def __init__(self, schedule: Schedule, process: Process) -> None:
        self._schedule = schedule
        self._process = process
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._actor: Actor | None = None
        self._sleeps = False

    def time(self) -> float:
        return self._schedule.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A dead process tells nobody of tasks that it leaves behind."""

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._wake()
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        self._wake()
        return handle

    def _wake(self) -> None:
        if self._sleeps and self._actor is not None:
            self._sleeps = False
            self._schedule.wake(self._actor)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left out when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = self.create_future()
        if self._process.dead:
            future.cancel()
            return future

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:
                self.call_soon(_settle, future, None, error)
            else:
                self.call_soon(_settle, future, result, None)

        self._schedule.spawn(work, self._process, self._schedule.random.uniform(0, 0.002))
        return future

    def run(self, main: Coroutine[Any, Any, Any]) -> None:
        """Run until the process dies or ``main`` has ended; to be called by an actor."""
        actor = getcurrent()
        assert isinstance(actor, Actor)
        self._actor = actor
        task = self.create_task(main)
        try:
            while not task.done():
                self._turn()
                if not self._ready:
                    self._sleep()
        except Killed:
            self._bury(task)
            raise
        if not task.cancelled():
            task.result()

    def _turn(self) -> None:
        while self._timers and self._timers[0][0] <= self.time():
            self._ready.append(heapq.heappop(self._timers)[2])
        events._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(None)

    def _sleep(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        self._sleeps = True
        if self._timers and self._timers[0][0] < float("inf"):
            self._schedule.wait(self._timers[0][0] - self.time())
        else:
            self._schedule.park()
        self._sleeps = False

    def _bury(self, task: asyncio.Task[Any]) -> None:
        """Close what a dead process leaves, so that Python does not complain of it."""
        self._actor = None
        task.cancel()
        for _ in range(100):
            self._turn()
            if task.done() and not self._ready:
                break


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
