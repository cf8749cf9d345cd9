"""A model of trees whose trees are summed by masks once many rows have come: bit for bit the same.

It needs ``flagfall[trees]``. Without it, and for other models, onnxruntime does all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from flagfall.extras import has
from flagfall.scoring.engines.onnx_session import KeptWhole, Session, opened

if TYPE_CHECKING:
    from flagfall.scoring.engines.onnx_trees import Taken

MANY = 200_000
"""Rows that a process scores before it takes a model apart, which costs it one second or two."""
COMPARED = 1_000
"""Least rows by which parts and whole are compared."""

_log = logging.getLogger(__name__)


def faster_for_many(whole: Session, file: Path) -> Session:
    """A session that may become faster; ``whole`` where it cannot."""
    return _UntilMany(whole, file) if has("trees") else whole


class _UntilMany:
    """The whole model, until many rows have come and the parts say the same of those at hand."""

    def __init__(self, whole: Session, file: Path) -> None:
        self._whole = self._best = whole
        self._file = file
        self._rows = 0
        self._is_decided = False
        self._turn = threading.Lock()

    def run(self, wanted: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """See ``Session.run``."""
        began = perf_counter()
        found = self._best.run(wanted, inputs)
        if not self._is_decided and self._is_due(len(next(iter(inputs.values())))):
            took = perf_counter() - began
            self._best = self._better(wanted, inputs, found, took) or self._whole
        return found

    def _is_due(self, rows: int) -> bool:
        with self._turn:
            self._rows += rows
            is_due = self._rows >= MANY and rows >= COMPARED and not self._is_decided
            self._is_decided = self._is_decided or is_due
            return is_due

    def _better(
        self, wanted: Sequence[str], inputs: Mapping[str, Any], found: list[Any], took: float
    ) -> Session:
        """What scores from here on; the task's log says why it is no other."""
        try:
            parts = self._parts(wanted, inputs, found, took)
        except KeptWhole as why:
            _log.info("%s: onnxruntime walks down its trees: %s", self._file, why)
        except Exception as why:  # whatever went wrong, onnxruntime scores as before
            _log.warning("%s: onnxruntime walks down its trees: %r", self._file, why)
        else:
            _log.info("%s: its trees are summed by masks from here on", self._file)
            return parts
        return self._whole

    def _parts(
        self, wanted: Sequence[str], inputs: Mapping[str, Any], found: list[Any], took: float
    ) -> Session:
        """The parts, if they say the same of these rows, and sooner."""
        from flagfall.scoring.engines.onnx_trees import take_out  # numba and onnx

        parts = Parts(take_out(self._file), self._whole)
        if not all(map(_are_same, parts.run(wanted, inputs), found)):
            raise ValueError("masks say something else")
        began = perf_counter()
        parts.run(wanted, inputs)  # once more, for the first time compiles
        if perf_counter() - began >= took:
            raise KeptWhole("masks are no faster")
        return parts


class Parts:
    """Head, trees and tail of a model, one after the other.

    Args:
        taken: The parts.
        whole: The model, for rows whose sums are not finite: a linear model makes NaN of these.
    """

    def __init__(self, taken: Taken, whole: Session) -> None:
        self._taken = taken
        self._whole = whole
        self._head = opened(taken.head) if taken.head else None
        self._tail = opened(taken.tail)

    def run(self, wanted: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """See ``Session.run``."""
        taken = self._taken
        rows = self._head.run([taken.rows], inputs)[0] if self._head else inputs[taken.rows]
        sums = taken.trees.add_up(rows)
        if not np.isfinite(sums).all():
            return self._whole.run(wanted, inputs)
        given = {taken.sums: sums}
        if taken.shares:
            given[taken.shares] = taken.trees.shares(sums)
        found: list[Any] = self._tail.run(wanted, given)
        return found


def _are_same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return bool(found == expected)
    numbers = expected.dtype.kind == "f"
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=numbers)
