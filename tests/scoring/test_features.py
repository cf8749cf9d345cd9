"""What a feature becomes: missing values, raw values, times."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, ModelInvalid
from flagfall.scoring.feature_maker import feature_maker
from flagfall.scoring.features import FeatureInvalid, check_expressions
from flagfall.scoring.own_code import CodeInvalid

TEXT = """\
title: x
landing: {{uri: landing, marker: "{{d}}/_SUCCESS"}}
lake: {{uri: lake}}
schema:
  fields:
    - {{name: x, type: number}}
    - {{name: kind, type: string}}
    - {{name: day, type: date}}
features: {features}
model: {{path: model, task: regression}}
label: {{expr: "{label}"}}
"""
ROWS = pl.DataFrame({"x": [1.5, None], "kind": ["a", None], "day": [None, None]}).with_columns(
    pl.col("day").cast(pl.Date())
)


def dataset(root: Path, features: str, label: str = "x") -> Dataset:
    (root / "datasets").mkdir(exist_ok=True)
    path = root / "datasets" / "toy.yaml"
    path.write_text(TEXT.format(features=features, label=label))
    return read_dataset(path)


def made(root: Path, features: str) -> list[object]:
    table = feature_maker(dataset(root, features)).make(ROWS)
    return table.to_series().to_list()


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ("{name: x, missing: -1}", [1.5, -1.0]),
        ("{name: x, missing: 0}", [1.5, 0.0]),
        ("{name: x, missing: keep}", [1.5, float("nan")]),
        ("{name: x, encode: raw}", [1.5, None]),
        ("{name: x, encode: raw, missing: 7}", [1.5, 7.0]),
        ("{name: kind, encode: raw}", ["a", None]),
        ("{name: kind, encode: raw, missing: none}", ["a", "none"]),
    ],
)
def test_a_missing_value_becomes_what_the_feature_says(
    tmp_path: Path, feature: str, expected: list[object]
) -> None:
    assert str(made(tmp_path, f"[{feature}]")) == str(expected)


def test_a_median_needs_what_training_fitted(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"constants\.json is missing; `flagfall model init`"):
        made(tmp_path, "[{name: x}]")


@pytest.mark.parametrize(
    ("feature", "why"),
    [
        ("{name: x, missing: most}", "expected median, keep or a number, got 'most'"),
        ("{name: kind, encode: category, missing: keep}", "expected nothing: a missing category"),
        ("{name: kind, encode: raw, missing: median}", "a median needs encode: number"),
    ],
)
def test_a_missing_value_that_cannot_be_is_an_error(tmp_path: Path, feature: str, why: str) -> None:
    with pytest.raises(DatasetInvalid, match=why):
        dataset(tmp_path, f"[{feature}]")


@pytest.mark.parametrize("expr", ["day", "DATE '2026-01-31' - day"])
def test_a_time_is_no_number_until_somebody_says_of_what(tmp_path: Path, expr: str) -> None:
    """It was given to the model in microseconds."""
    one = dataset(tmp_path, f'[{{name: age, expr: "{expr}", missing: 0}}]')
    for check in (check_expressions, feature_maker):
        with pytest.raises(FeatureInvalid, match="not numbers: say what is counted, as in EXTRACT"):
            check(one)
    assert made(tmp_path, '[{name: age, expr: "EXTRACT(YEAR FROM day)", missing: 3}]') == [3, 3]


@pytest.mark.parametrize(
    ("features", "label"),
    [
        ('[{name: late, expr: "day >= 2020-01-01", missing: 0}]', "x"),
        ("[]", "CASE WHEN day >= 2020-01-01 THEN 1.0 ELSE 0.0 END"),
    ],
)
def test_a_date_is_not_compared_with_a_number(tmp_path: Path, features: str, label: str) -> None:
    """Without quotes that is 2018 days after 1970."""
    with pytest.raises(FeatureInvalid, match=r"such as DATE '2020-01-31'"):
        check_expressions(dataset(tmp_path, features, label))


@pytest.mark.parametrize(
    ("features", "label"),
    [
        ("[{name: a, expr: CAST(kind AS DATE), encode: raw}]", "x"),
        ('[{name: a, expr: "EXTRACT(YEAR FROM TRY_CAST(kind AS DATE))", missing: 0}]', "x"),
        ("[]", "NOT kind"),
        ("[]", "CASE WHEN x > 100 THEN CAST(kind AS BOOLEAN) END"),
    ],
)
def test_what_works_for_no_row_is_refused(tmp_path: Path, features: str, label: str) -> None:
    """As long as there is no row, polars takes it."""
    with pytest.raises(FeatureInvalid, match="it works for no row: casting from"):
        check_expressions(dataset(tmp_path, features, label))


def test_a_text_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(FeatureInvalid, match="String, not numbers: give it encode: category or"):
        check_expressions(dataset(tmp_path, "[{name: kind, missing: 0}]"))


def test_without_features_the_columns_go_to_the_model_as_they_are(tmp_path: Path) -> None:
    assert feature_maker(dataset(tmp_path, "[]")).make(ROWS).equals(ROWS)


def test_the_label_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(FeatureInvalid, match=r"toy\.yaml: label: 'nope'"):
        check_expressions(dataset(tmp_path, "[]", label="nope"))


OWN = [
    ("def features(rows):\n    return rows.select(y='x')", None),
    ("def features(rows):\n    return rows.head(1)", r"features\(\) returned 1 rows for 2"),
    ("def features(rows):\n    return 3", r"returned int, not a polars DataFrame"),
    ("def features(rows):\n    return rows['nope']", r"line 2: ColumnNotFoundError"),
    ("x = 1", r"has no function features\(\)"),
    ("raise ValueError('no')", r"line 1: ValueError: no"),
    (None, "is missing"),
]


@pytest.mark.parametrize(("code", "why"), OWN)
def test_a_function_of_the_teams_own_makes_the_features(
    tmp_path: Path, code: str | None, why: str | None
) -> None:
    if code is not None:
        (tmp_path / "own.py").write_text(code)
    one = dataset(tmp_path, "{python: own.py}")
    if why is None:
        assert feature_maker(one).make(ROWS).columns == ["y"]
        return
    with pytest.raises(CodeInvalid, match=why) as refused:
        feature_maker(one).make(ROWS)
    assert str(tmp_path / "own.py") in str(refused.value)
