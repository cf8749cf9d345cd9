"""Bins of several batches add up, whatever their ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagfall.lake.records import ValueBins
from flagfall.scoring.evaluations.value_bins import MOST_BINS, edges, fill, fit_range, merged

VALUES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40)


def _binned(values: list[float]) -> ValueBins:
    array = np.asarray(values, dtype=np.float64)
    return fill(array, (array.min(), array.max()), {"twice": 2 * np.ones(array.size)})


@given(VALUES, VALUES)
def test_no_row_is_lost_or_counted_in_another_bin(one: list[float], other: list[float]) -> None:
    both = merged(_binned(one), _binned(other))
    assert both is not None
    assert len(both.sums["rows"]) <= 2 * MOST_BINS
    counted, _ = np.histogram([*one, *other], bins=edges(both))
    # numpy's last bin has its upper edge, and these do not: no value is on it
    assert counted.tolist() == list(both.sums["rows"])
    assert sum(both.sums["twice"]) == 2 * (len(one) + len(other))


@pytest.mark.parametrize("value", [0.0, 1e-300, -7.0, 1e300, 12345.678])
def test_a_single_value_has_a_bin(value: float) -> None:
    assert sum(_binned([value, value]).sums["rows"]) == 2


def test_what_lies_beyond_the_range_is_in_the_outer_bins() -> None:
    bins = fill(np.array([-1e9, 0.0, 0.5, 1.0, 1e9]), (0.0, 1.0), {})
    rows = bins.sums["rows"]
    assert (rows[0], rows[-1], sum(rows)) == (2, 2, 5)


def test_the_range_has_nearly_all_values_and_the_reference() -> None:
    values = np.append(np.linspace(0, 1, 1000), 1e9)
    low, high = fit_range(values, None)
    assert (low, high) == pytest.approx((0, 1), abs=0.01)
    assert fit_range(values, (-5.0, 0.5)) == (-5.0, high)
