"""A time after which a command no longer waits for a model."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from flagfall.errors import ModelInvalid

ANSWER_WITHIN = 300.0
"""Seconds that a model may take for the rows that it is tried with."""


@contextmanager
def answering(path: str) -> Iterator[None]:
    """Stop a model that does not answer. Threads other than the main one wait as long as it takes.

    Args:
        path: The model's folder.

    Raises:
        ModelInvalid: It has not answered in time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _overdue)
    signal.setitimer(signal.ITIMER_REAL, ANSWER_WITHIN)
    try:
        yield
    except TimeoutError as overdue:
        raise ModelInvalid(path, f"{overdue}; see whether its predict() can end") from overdue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _overdue(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"no answer after {ANSWER_WITHIN:g} s")
