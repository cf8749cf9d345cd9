"""What is costly to make of a dataset, made once for all the batches that a process works on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flagfall.dataset import Dataset

_Made = TypeVar("_Made")


def kept(make: Callable[[Dataset], _Made]) -> Callable[[Dataset], _Made]:
    """The same function, which keeps what it made for as long as it is given the same dataset.

    A dataset is the same only where it is the same object: every task reads its file anew, and so
    sees what was changed since.
    """
    last: tuple[Dataset, _Made] | None = None

    def made(dataset: Dataset) -> _Made:
        nonlocal last
        now = last  # another thread may put its own there meanwhile
        if now is None or now[0] is not dataset:
            last = now = dataset, make(dataset)
        return now[1]

    return made
