"""The zoo's models are what their ``about.json`` says, so that other tests can rely on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

TASKS = {"binary", "multiclass", "regression", "anomaly", "clustering"}


def _all(folder: Path) -> dict[str, dict[str, Any]]:
    found = sorted(folder.glob("*/about.json"))
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}


def test_every_model_gives_what_its_framework_predicts(zoo: Path) -> None:
    parity = {name: about.get("onnx") or about["python"] for name, about in _all(zoo).items()}
    assert len(parity) >= 50
    assert {name for name, is_ in parity.items() if is_["rows_of_another_class"]} == set()
    assert {name for name, is_ in parity.items() if is_["largest_difference"] > 2e-4} == set()


def test_every_row_has_a_prediction_and_every_class_a_probability(zoo: Path) -> None:
    for name, about in _all(zoo).items():
        rows = pl.read_parquet(zoo / name / "train.parquet")
        expected = pl.read_parquet(zoo / name / "expected.parquet")
        assert expected.height == rows.height, name
        assert set(about["features"]) | {about["label"]} <= {*rows.columns, ""}, name
        if about["task"] in {"binary", "multiclass"}:
            assert set(expected["class"]) <= set(about["classes"]), name
            probabilities = expected.select(f"probability.{one}" for one in about["classes"])
            assert probabilities.sum_horizontal().is_between(0.9999, 1.0001).all(), name


def test_every_task_has_models(zoo: Path) -> None:
    assert {about["task"] for about in _all(zoo).values()} == TASKS


def test_a_model_in_its_own_framework_takes_ten_lines(zoo: Path) -> None:
    lines = {
        name: about["python"]["lines"] for name, about in _all(zoo).items() if "python" in about
    }
    assert len(lines) >= 6
    assert max(lines.values()) <= 10, lines


def test_every_broken_model_tells_its_problem(broken_zoo: Path) -> None:
    problems = {name: about["problem"] for name, about in _all(broken_zoo).items()}
    assert len(problems) >= 12
    assert all(problems.values())
