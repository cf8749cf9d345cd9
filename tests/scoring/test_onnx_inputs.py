"""Rows become the tensors that a model takes, or a line says why they cannot."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from flagfall.scoring.engines.onnx_inputs import Feeder, Input, NotTaken


def column(name: str, kind: str, rank: int = 2) -> Input:
    return Input(name, kind, (None, 1)[:rank])


ROWS = pl.DataFrame(
    {"n": [1, 2], "x": [0.5, None], "text": ["a", None], "yes": [True, False]},
    schema={"n": pl.Int64, "x": pl.Float64, "text": pl.String, "yes": pl.Boolean},
).with_columns(day=pl.date(2026, 11, 29))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("n", "int64", np.array([[1], [2]], np.int64)),
        ("n", "int32", np.array([[1], [2]], np.int32)),
        ("n", "float", np.array([[1], [2]], np.float32)),
        ("x", "double", np.array([[0.5], [np.nan]], np.float64)),
        ("x", "float16", np.array([[0.5], [np.nan]], np.float16)),
        ("yes", "bool", np.array([[True], [False]])),
        ("yes", "int64", np.array([[1], [0]], np.int64)),
        ("text", "string", np.array([["a"], [""]], object)),  # ONNX has no missing text
    ],
)
def test_each_type_of_input_takes_its_column(name: str, kind: str, expected: Any) -> None:
    feeder = Feeder([column(name, kind), column("also", "int64", rank=1)])
    rows = ROWS.with_columns(also="n")
    feeder.check(rows.columns)
    found = feeder.tensors(rows)
    assert found[name].dtype == expected.dtype
    np.testing.assert_array_equal(found[name], expected)
    assert found["also"].shape == (2,)


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("text", "float", "feature 'text' is String, input text: float .* takes numbers"),
        ("day", "int64", "feature 'day' is Date, .* takes integers"),
        ("yes", "string", "feature 'yes' is Boolean, .* takes texts, and nobody says how"),
        ("n", "string", "feature 'n' is Int64, .* takes texts"),
        ("x", "int64", "has 1 missing values, which int64 cannot say; give it `missing`"),
    ],
)
def test_what_cannot_be_an_input_is_said(name: str, kind: str, why: str) -> None:
    with pytest.raises(NotTaken, match=why):
        Feeder([column(name, kind), column("n", "int64")]).tensors(ROWS)


def test_a_fraction_is_no_integer() -> None:
    rows = pl.DataFrame({"n": [1.0, 2.5], "x": [0.0, 0.0]})
    feeder = Feeder([column("n", "int64"), column("x", "float")])
    assert feeder.tensors(rows[:1])["n"].tolist() == [[1]]
    with pytest.raises(NotTaken, match=r"'n' has 1 values with a fraction, such as 2\.5"):
        feeder.tensors(rows)


def test_a_matrix_takes_all_features_in_their_order() -> None:
    feeder = Feeder([Input("any", "double", ("n", 2))])
    rows = pl.DataFrame({"b": [1, 2], "a": [0.5, None]})
    feeder.check(rows.columns)
    (found,) = feeder.tensors(rows).values()
    assert found.dtype == np.float64
    assert found.tolist()[0] == [1, 0.5]
    assert np.isnan(found[1, 1])
    with pytest.raises(NotTaken, match=r"takes 2 inputs, the dataset has 1 .*in the model's order"):
        feeder.check(["b"])


def test_an_input_takes_the_column_whose_name_exporters_write_so() -> None:
    feeder = Feeder([column("net_price", "float"), column("n", "float")])
    assert feeder.taken(["n", "net price"]) == ("net price", "n")
    assert feeder.taken(["n", "net price", "net_price"]) == ("net_price", "n")
    with pytest.raises(NotTaken, match=r"\['net_price'\] are no features and no columns"):
        feeder.check(["n", "net price", "net-price"])  # which of them?


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [Input("a", "float", (None, 1, 3))],
        [Input("a", "seq(tensor(float))", (None, 1))],
        [Input("a", "float", (2, 1)), Input("b", "float", (3, 1))],
        [Input("a", "float", (None, 4)), Input("b", "float", (None, 1))],
    ],
    ids=["none", "rank 3", "sequence", "other rows", "a matrix and a column"],
)
def test_inputs_that_no_table_fits_are_refused(inputs: list[Input]) -> None:
    with pytest.raises(NotTaken):
        Feeder(inputs)


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
