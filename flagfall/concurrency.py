"""Threads: how many a stage works with, work that keeps its order, and what they share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import chain, islice
from threading import Thread
from typing import TypeVar

AT_ONCE = 16
"""Small objects that are read at the same time."""

MOST_THREADS = 4
"""More do not help: one thread reads for them, and one writes. Each also takes memory."""

_Argument = TypeVar("_Argument")
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
_Key = TypeVar("_Key")
_Result = TypeVar("_Result")


def thread_count() -> int:
    """Threads for the work of one task: as many as it has cores, ``MOST_THREADS`` at most.

    Cores are counted as polars does: those that the process may run on, no more than the CPU limit
    of its container, or ``POLARS_MAX_THREADS`` where that is set. A thread that has nothing to do
    sleeps, so tasks that run beside each other share the cores fairly.
    """
    import polars as pl  # only where there is work: a triggerer imports this module, too

    return min(pl.thread_pool_size(), MOST_THREADS)


def in_order(
    do: Callable[[_Item], _Result], items: Iterable[_Item], threads: int, ahead: int = 1
) -> Iterator[_Result]:
    """The results of ``do``, in the order of the items.

    Args:
        do: What is done to each; several at once.
        items: Drawn one by one, here, and no sooner than they are needed. One alone is done here.
        threads: How many work.
        ahead: Items that wait or are done already, beyond those that are worked on.

    Raises:
        Exception: Whatever ``do`` or ``items`` raises first, in the order of the items; nothing
            more is begun then.
    """
    failed: list[Exception] = []
    todo = _until_failed(items, failed)
    first = list(islice(todo, 2))
    if len(first) < 2:
        yield from map(do, first)  # starting a thread takes longer than many a small item
    else:
        yield from _in_order(do, chain(first, todo), threads, ahead)
    if failed:
        raise failed[0]


def _until_failed(items: Iterable[_Item], failed: list[Exception]) -> Iterator[_Item]:
    try:
        yield from items
    except Exception as error:
        failed.append(error)


def _in_order(
    do: Callable[[_Item], _Result], items: Iterable[_Item], threads: int, ahead: int
) -> Iterator[_Result]:
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


def in_parallel(
    function: Callable[[_Argument], _Result], arguments: Iterable[_Argument]
) -> Iterator[_Result]:
    """Results of a function that waits for storage, in order; never more ahead than a few.

    On S3 each call waits for tens of milliseconds; a thousand calls one by one are a minute.
    """
    todo = iter(arguments)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while chunk := list(islice(todo, 4 * AT_ONCE)):
            yield from pool.map(function, chunk)


def aside(do: Callable[[], _Result]) -> Future[_Result]:
    """Begin something in a thread of its own that holds nobody up when the process ends.

    For what may hang for ever, as storage and code of others does. A ``ThreadPoolExecutor`` is
    waited for.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(do())
        except BaseException as error:  # whoever asks for the result gets it
            future.set_exception(error)

    Thread(target=copy_context().run, args=(run,), name="flagfall-aside", daemon=True).start()
    return future


def cache_last(make: Callable[[_Key], _Made]) -> Callable[[_Key], _Made]:
    """Cache the last result of ``make``, for as long as it is given the same object.

    For what is expensive to build from a dataset (rules, an engine). Every task reads its dataset
    file anew and so has an object of its own.
    """
    last: tuple[_Key, _Made] | None = None

    def made(key: _Key) -> _Made:
        nonlocal last
        now = last  # another thread may replace it meanwhile
        if now is None or now[0] is not key:
            last = now = key, make(key)
        return now[1]

    return made
