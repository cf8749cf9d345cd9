"""Threads for looks: storage that hangs holds its own, and not those of the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

MOST = 256
"""Threads: a feed takes two at most. The event loop's own pool has six on two cores."""

_pool = ThreadPoolExecutor(MOST, thread_name_prefix="flagfall-look")
_A = ParamSpec("_A")
_T = TypeVar("_T")


async def in_thread(do: Callable[_A, _T], *args: _A.args, **kwargs: _A.kwargs) -> _T:
    """As ``asyncio.to_thread``, in a pool of our own. A thread is started when none is idle."""
    call = partial(contextvars.copy_context().run, do, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)
