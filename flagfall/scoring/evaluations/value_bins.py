"""Bins over values of any range, such that those of several batches can be added up.

A bin's width is a power of two and edges are its multiples. So two neighbouring bins make one of
twice the width, and two batches always have a width in common.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from flagfall.lake.records import ValueBins
from flagfall.scoring.metrics import LARGEST

MOST_BINS = 64
"""Bins over a range, about; half as many at least, where it is wider than a point."""
_OUTER = 0.005
"""Share of rows at either end that a range may leave to the outer bins."""
_NARROWEST = 2.0**-40

Values = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating] | npt.NDArray[np.bool_] | npt.NDArray[np.integer]


def fit_range(values: Values, known: tuple[float, float] | None) -> tuple[float, float]:
    """The range to bin over: that of nearly all values (at least one) and of the reference."""
    low, high = (float(end) for end in np.quantile(values, (_OUTER, 1 - _OUTER)))
    return (low, high) if known is None else (min(low, known[0]), max(high, known[1]))


def fill(values: Values, over: tuple[float, float], sums: Mapping[str, Reals]) -> ValueBins:
    """Add up over bins of the value.

    Args:
        values: Finite ones.
        over: The range; what lies beyond is in the outer bins.
        sums: By name, what to add for each value.
    """
    low, high = over
    width = _width(low, high)
    first, last = _place(low, width), _place(high, width)
    places = np.clip(np.floor(values / width), first, last) - first
    bins, size = places.astype(np.int64), last - first + 1
    added = {
        name: tuple(_kept(np.bincount(bins, weights=more, minlength=size)).tolist())
        for name, more in {"rows": np.ones(values.size), **sums}.items()
    }
    return ValueBins(width=width, first=first, sums=added)


def _kept(sums: Reals) -> Values:
    """Sums that JSON has, and that can be added up again: a square may be infinite."""
    return np.clip(np.nan_to_num(sums, posinf=LARGEST, neginf=-LARGEST), -LARGEST, LARGEST)


def _width(low: float, high: float) -> float:
    """A power of two: fine enough for the range, and coarse enough that places are exact."""
    finest = max(abs(low), abs(high), 1.0) * _NARROWEST
    wanted = max((high - low) / (MOST_BINS - 1), finest)
    return float(2.0 ** np.ceil(np.log2(wanted)))


def _place(value: float, width: float) -> int:
    return int(np.floor(value / width))


def merged(one: ValueBins | None, other: ValueBins | None) -> ValueBins | None:
    """Both, added up, in bins that are at most twice as many as ``MOST_BINS``."""
    if one is None or other is None:
        return one or other
    one, other = _matched(one, other)
    first = min(one.first, other.first)
    end = max(_end(one), _end(other))
    sums = {
        name: tuple((_padded(one, name, first, end) + _padded(other, name, first, end)).tolist())
        for name in one.sums
        if name in other.sums
    }
    return ValueBins(width=one.width, first=first, sums=sums)


def _matched(one: ValueBins, other: ValueBins) -> tuple[ValueBins, ValueBins]:
    """Both of one width, which keeps the bins of both few."""
    while one.width != other.width:
        if one.width < other.width:
            one = coarser(one)
        else:
            other = coarser(other)
    while max(_end(one), _end(other)) - min(one.first, other.first) > 2 * MOST_BINS:
        one, other = coarser(one), coarser(other)
    return one, other


def coarser(bins: ValueBins) -> ValueBins:
    """The same in bins of twice the width."""
    first = bins.first // 2
    end = -(-_end(bins) // 2)
    sums = {
        name: tuple(_padded(bins, name, 2 * first, 2 * end).reshape(-1, 2).sum(axis=1).tolist())
        for name in bins.sums
    }
    return ValueBins(width=2 * bins.width, first=first, sums=sums)


def _end(bins: ValueBins) -> int:
    return bins.first + len(bins.sums["rows"])


def _padded(bins: ValueBins, name: str, first: int, end: int) -> Values:
    values = np.asarray(bins.sums[name], dtype=np.float64)
    return np.pad(values, (bins.first - first, end - _end(bins)))


def edges(bins: ValueBins) -> Values:
    """Edges of the bins, one more than there are."""
    return np.arange(bins.first, _end(bins) + 1, dtype=np.float64) * bins.width
