"""From columns to an ONNX model's tensors: what would be another value is refused."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from flagfall.scoring.engines.onnx_inputs import Feeder, Input, NotTaken


@pytest.mark.parametrize(
    ("kind", "values", "why"),
    [
        ("int64", [1.0, 1.7], "has 1 values with a fraction, such as 1.7, which int64 cannot say"),
        ("int64", [1, None], "has 1 missing values, which int64 cannot say"),
        ("int8", [300], "conversion"),
        ("bool", ["x"], "is String, input x: bool .* takes true or false"),
        ("bool", [date(2024, 1, 1)], "is Date, input x: bool .* takes true or false"),
        ("float", ["x"], "is String, input x: float .* takes numbers"),
    ],
)
@pytest.mark.parametrize("width", [1, None])
def test_a_value_that_an_input_cannot_say_is_refused(
    kind: str, values: list[Any], why: str, width: int | None
) -> None:
    feeder = Feeder([Input("x", kind, (None, width))])
    with pytest.raises(NotTaken, match=f"feature 'x'.* {why}"):
        feeder.tensors(pl.DataFrame({"x": values}))
