"""How many threads a stage works with, and work done by them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import polars as pl

MOST_THREADS = 4
"""More do not help: one thread reads for them, and one writes. Each also takes memory."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def thread_count() -> int:
    """Threads for the work of one task: as many as it has cores, ``MOST_THREADS`` at most.

    Cores are counted as polars does: those that the process may run on, no more than the CPU limit
    of its container, or ``POLARS_MAX_THREADS`` where that is set. A thread that has nothing to do
    sleeps, so tasks that run beside each other share the cores fairly.
    """
    return min(pl.thread_pool_size(), MOST_THREADS)


def in_order(
    do: Callable[[_Item], _Result], items: Iterable[_Item], threads: int, ahead: int = 1
) -> Iterator[_Result]:
    """The results of ``do``, in the order of the items.

    Args:
        do: What is done to each; several at once.
        items: Drawn one by one, here, and no sooner than they are needed.
        threads: How many work.
        ahead: Items that wait or are done already, beyond those that are worked on.

    Raises:
        Exception: Whatever ``do`` or ``items`` raises; nothing more is begun then.
    """
    running: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                running.append(pool.submit(do, item))
                if len(running) >= threads + ahead:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
