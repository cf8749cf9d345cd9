"""Values of a column whose type has changed since: kept where the new type can hold them."""

from __future__ import annotations

import math

import polars as pl
import pytest

from flagfall.tables.todays_columns import of_types

INTEGER, NUMBER, SCORE, TEXT = pl.Int64(), pl.Float64(), pl.Float32(), pl.String()
EXACT = 2**53
"""Up to here a number holds each integer."""


@pytest.mark.parametrize(
    ("was", "values", "now", "kept"),
    [
        (TEXT, ["1.5", "-2", "x", ""], NUMBER, [1.5, -2.0, None, None]),
        (TEXT, ["nan", "inf", "-Infinity", "1e400"], NUMBER, [None] * 4),
        (TEXT, ["7", "7.5", str(2**63)], INTEGER, [7, None, None]),
        (INTEGER, [7, EXACT, -EXACT, None], NUMBER, [7.0, EXACT, -EXACT, None]),
        (INTEGER, [EXACT + 1, EXACT + 2, 2**63 - 1], NUMBER, [None, EXACT + 2, None]),
        (NUMBER, [7.0, 7.5, 2.0**63, math.nan, math.inf], INTEGER, [7, *[None] * 4]),
        (NUMBER, [0.5, 1e39, None], SCORE, [0.5, None, None]),
        (INTEGER, [EXACT + 1, 7], TEXT, ["9007199254740993", "7"]),
    ],
)
def test_a_value_stays_where_the_new_type_can_hold_it(
    was: pl.DataType, values: list[object], now: pl.DataType, kept: list[object]
) -> None:
    rows = pl.LazyFrame({"value": pl.Series(values, dtype=was)})
    assert of_types(rows, {"value": now}).collect()["value"].to_list() == kept
