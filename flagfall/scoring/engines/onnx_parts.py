"""A model of trees whose trees are summed by masks once many rows have come: bit for bit the same.

It needs ``flagfall[trees]``. Without it, and for other models, onnxruntime does all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flagfall.extras import has
from flagfall.scoring.engines.onnx_session import FAILURES, Session, opened

if TYPE_CHECKING:
    from flagfall.scoring.engines.onnx_trees import Taken

MANY = 200_000
"""Rows that a process scores before it takes a model apart, which costs it one second or two."""

_log = logging.getLogger(__name__)


def faster_for_many(whole: Session, file: Path) -> Session:
    """A session that may become faster; ``whole`` where it cannot."""
    return _UntilMany(whole, file) if has("trees") else whole


class _UntilMany:
    """The whole model, until many rows have come and the parts say the same of those at hand."""

    def __init__(self, whole: Session, file: Path) -> None:
        self._best, self._file = whole, file
        self._rows = 0
        self._turn = threading.Lock()

    def run(self, wanted: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """See ``Session.run``."""
        found = self._best.run(wanted, inputs)
        if self._rows < MANY and self._is_now_many(len(next(iter(inputs.values())))):
            parts = _parts(self._file)
            if parts is not None and _says(parts, wanted, inputs, found, self._file):
                self._best = parts
        return found

    def _is_now_many(self, rows: int) -> bool:
        with self._turn:
            before, self._rows = self._rows, self._rows + rows
            return before < MANY <= self._rows


class Parts:
    """Head, trees and tail of a model, one after the other."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._head = opened(taken.head) if taken.head else None
        self._tail = opened(taken.tail)

    def run(self, wanted: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """See ``Session.run``."""
        taken = self._taken
        rows = self._head.run([taken.rows], inputs)[0] if self._head else inputs[taken.rows]
        sums = taken.trees.add_up(rows)
        given = {taken.sums: sums}
        if taken.shares:
            given[taken.shares] = taken.trees.shares(sums)
        found: list[Any] = self._tail.run(wanted, given)
        return found


def _parts(file: Path) -> Parts | None:
    try:
        from flagfall.scoring.engines.onnx_trees import KeptWhole, take_out
    except ImportError as why:  # such as a numba that is too old for this numpy
        _log.warning("flagfall[trees] cannot be used: %s", why)
        return None
    try:
        return Parts(take_out(file))
    except (KeptWhole, *FAILURES) as why:
        _log.info("%s: onnxruntime walks down its trees: %s", file, why)
        return None


def _says(
    parts: Session, wanted: Sequence[str], inputs: Mapping[str, Any], what: list[Any], file: Path
) -> bool:
    try:
        same = all(map(_are_same, parts.run(wanted, inputs), what))
    except (ValueError, OSError, *FAILURES) as why:  # OSError: a disk is full, for one
        _log.warning("%s: its parts do not run: %s", file, why)
        return False
    if not same:
        _log.warning("%s: its trees say something else by masks, which are not used", file)
    return same


def _are_same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return bool(found == expected)
    numbers = expected.dtype.kind == "f"
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=numbers)
