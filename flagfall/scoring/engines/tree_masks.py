"""Sums of decision trees, for many rows at once: each node strikes out leaves, no row branches.

The leaves of a tree are bits, from left to right. A node at which a row goes right strikes out the
leaves on its left; of what all nodes leave, the lowest bit is the row's leaf (QuickScorer: Lucchese
et al., SIGIR 2015). Every node is asked of every row. That is more work than to walk down a tree,
but a processor does it for 8 or 16 rows in one step, and there is no branch to mispredict.

To import this takes 0.2 s, and the first sum 1 s more, for numba compiles it. It keeps that for the
next process where there is a place: beside this file, or in ``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BITS = 32
"""Leaves of a mask; a tree with more has several."""
BLOCK = 512
"""Rows that are asked together: what is used of them stays in the nearest cache."""

_ALL = np.uint32(0xFFFFFFFF)
_DE_BRUIJN = 0x077CB531
_POSITION = np.zeros(BITS, np.int64)
"""The number of a single bit, by the five highest bits of its product with ``_DE_BRUIJN``."""
for _bit in range(BITS):
    _POSITION[((_DE_BRUIJN << _bit) & 0xFFFFFFFF) >> 27] = _bit


@dataclass(frozen=True)
class Leaf:
    """Where a row ends.

    Attributes:
        adds: What it adds, by the number of a sum.
    """

    adds: dict[int, float]


@dataclass(frozen=True)
class Node:
    """A row goes left where its value is at most ``threshold``.

    Attributes:
        column: Number of the value's column.
        missing_left: Whether a row goes left that has NaN there.
    """

    column: int
    threshold: float
    missing_left: bool
    left: Tree
    right: Tree


Tree = Node | Leaf


@dataclass
class _Mask:
    """At most ``BITS`` neighbouring leaves of a tree, and the nodes on whose left some are."""

    is_first: bool
    nodes: list[tuple[Node, int]] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)


class Trees:
    """Trees, as arrays.

    Args:
        trees: The trees.
        base: What each of the sums begins with.
    """

    def __init__(self, trees: Sequence[Tree], base: Sequence[float]) -> None:
        self._base = np.array(base, np.float32)
        masks = [mask for tree in trees for mask in _masks(tree)]
        nodes = [node for mask in masks for node in mask.nodes]
        adds = [_adds(mask) for mask in masks]
        self._columns = 1 + max((node.column for node, _ in nodes), default=-1)
        self._arrays = (
            np.array([mask.is_first for mask in masks], np.bool_),
            np.array([_bits(0, len(mask.leaves)) for mask in masks], np.uint32),
            _starts(len(mask.nodes) for mask in masks),
            np.array([node.column for node, _ in nodes], np.int64),
            np.array([node.threshold for node, _ in nodes], np.float32),
            np.array([node.missing_left for node, _ in nodes], np.bool_),
            np.array([kept for _, kept in nodes], np.uint32),
            _starts(map(len, adds)),
            np.array([number for one in adds for number in one], np.int64),
            np.array([values for one in adds for values in one.values()], np.float32),
        )

    def add_up(self, rows: Floats) -> Floats:
        """The sums of each row, in the order of the trees, without what they begin with.

        Args:
            rows: Shape [n, columns].

        Returns:
            Shape [n, sums].

        Raises:
            ValueError: A node asks for a column that is not there.
        """
        if rows.shape[1] < self._columns:
            raise ValueError(f"{rows.shape[1]} columns, and nodes ask for {self._columns}")
        found = np.zeros((len(self._base), len(rows)), np.float32)
        _add_up(np.ascontiguousarray(rows.T), *self._arrays, found)
        return np.ascontiguousarray(found.T)

    def shares(self, sums: Floats) -> Floats:
        """The softmax of each row's sums and what each begins with, as onnxruntime computes it.

        Args:
            sums: Shape [n, sums].

        Returns:
            The same shape.
        """
        found = np.empty_like(sums)
        _softmax(sums + self._base, found)
        return found


def _masks(tree: Tree) -> list[_Mask]:
    strikes: list[tuple[Node, int, int]] = []
    found: list[Leaf] = []
    _walk(tree, strikes, found)
    masks = []
    for first in range(0, len(found), BITS):
        mask = _Mask(first == 0, leaves=found[first : first + BITS])
        for node, begin, end in strikes:
            if struck := _bits(max(begin - first, 0), min(end - first, BITS)):
                mask.nodes.append((node, ~struck & int(_ALL)))
        masks.append(mask)
    return masks


def _walk(tree: Tree, strikes: list[tuple[Node, int, int]], leaves: list[Leaf]) -> None:
    """Note the leaves, and each node with the first leaf on its left and on its right."""
    if isinstance(tree, Leaf):
        leaves.append(tree)
        return
    first = len(leaves)
    _walk(tree.left, strikes, leaves)
    strikes.append((tree, first, len(leaves)))
    _walk(tree.right, strikes, leaves)


def _bits(first: int, end: int) -> int:
    return (1 << end) - (1 << first) if end > first else 0


def _starts(counts: Iterator[int]) -> npt.NDArray[np.int64]:
    return np.array([0, *accumulate(counts)], np.int64)


def _adds(mask: _Mask) -> dict[int, list[float]]:
    """What the leaves add, for each sum to which one adds something."""
    numbers = sorted({number for leaf in mask.leaves for number in leaf.adds})
    rest = [0.0] * (BITS + 1 - len(mask.leaves))  # the last one is of rows that are elsewhere
    return {n: [leaf.adds.get(n, 0.0) for leaf in mask.leaves] + rest for n in numbers}


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        kept: Callable[..., None] = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no place that may be written to
        kept = numba.njit(nogil=True)(function)
    return kept


@_compiled
def _add_up(
    columns: Any,
    is_first: Any,
    full: Any,
    node_starts: Any,
    node_column: Any,
    threshold: Any,
    missing_left: Any,
    kept: Any,
    add_starts: Any,
    add_to: Any,
    adds: Any,
    sums: Any,
) -> None:
    rows = columns.shape[1]
    masks, found = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.bool_)
    for start in range(0, rows, BLOCK):
        size = min(BLOCK, rows - start)
        mask, done = masks[:size], found[:size]
        for m in range(len(full)):
            if is_first[m]:
                done[:] = False
            mask[:] = full[m]
            for n in range(node_starts[m], node_starts[m + 1]):
                values = columns[node_column[n], start : start + size]
                if missing_left[n]:
                    _strike_above(values, threshold[n], kept[n], mask)
                else:
                    _strike_not_below(values, threshold[n], kept[n], mask)
            _lowest(mask, done)
            for a in range(add_starts[m], add_starts[m + 1]):
                _add(adds[a], mask, sums[add_to[a], start : start + size])


@numba.njit(nogil=True, inline="always")
def _strike_above(values: Any, threshold: Any, kept: Any, mask: Any) -> None:
    for row in range(values.size):
        mask[row] = np.uint32(mask[row] & (kept if values[row] > threshold else _ALL))


@numba.njit(nogil=True, inline="always")
def _strike_not_below(values: Any, threshold: Any, kept: Any, mask: Any) -> None:
    for row in range(values.size):
        mask[row] = np.uint32(mask[row] & (_ALL if values[row] <= threshold else kept))


@numba.njit(nogil=True, inline="always")
def _lowest(mask: Any, done: Any) -> None:
    """Have the position of the lowest bit instead of each mask; ``BITS`` where a row has none."""
    for row in range(mask.size):
        left = np.uint32(0) if done[row] else mask[row]
        one = np.uint32(left & np.uint32(~left + np.uint32(1)))
        place = _POSITION[np.uint32(one * np.uint32(_DE_BRUIJN)) >> np.uint32(27)]
        mask[row] = np.uint32(place) if left else np.uint32(BITS)
        done[row] = done[row] or left != 0


@numba.njit(nogil=True, inline="always")
def _add(adds: Any, position: Any, sums: Any) -> None:
    for row in range(position.size):
        sums[row] += adds[position[row]]


@_compiled
def _softmax(sums: Any, shares: Any) -> None:
    for row in range(sums.shape[0]):
        most, total = sums[row].max(), np.float32(0)
        for number in range(sums.shape[1]):
            shares[row, number] = math.exp(np.float32(sums[row, number] - most))
            total += shares[row, number]
        for number in range(sums.shape[1]):
            shares[row, number] /= total
