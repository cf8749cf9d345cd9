from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flagfall.dataset.loader import find_dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.scoring.engines.onnx import OnnxEngine
from flagfall.scoring.model import open_model
from tests.feeds import ToyFeed
from tests.tiny_onnx import write_model

ROWS = pl.DataFrame(
    {"a": [0.1, 0.2, 0.3], "b": [0.9, 0.8, 0.7], "c": [0.5, 0.5, 0.5]},
    schema={"a": pl.Float32, "b": pl.Float32, "c": pl.Float32},
)


@pytest.mark.parametrize(
    ("width", "operator"),
    [(1, "Identity"), (1, "Squeeze"), (2, "Identity"), (3, "Identity")],
    ids=["[n, 1]", "[n]", "[n, 2]", "[n, 3]"],
)
def test_scores_are_read_from_each_shape_of_output(
    tmp_path: Path, width: int, operator: str
) -> None:
    write_model(tmp_path, width, {"scores": operator})
    engine = OnnxEngine(str(tmp_path), "1")
    scores = engine.predict(ROWS[:, :width]).scores
    assert engine.outputs == ("scores",)
    assert scores.dtype == np.float32
    assert scores.tolist() == ROWS[:, :width].to_numpy().tolist()


def test_an_output_that_has_not_a_line_for_each_row_is_no_score(tmp_path: Path) -> None:
    write_model(tmp_path, 3, {"scores": "ReduceMean"})
    with pytest.raises(ModelInvalid, match=r"'scores': expected shape .*, got \[1, 1\]"):
        OnnxEngine(str(tmp_path), "1").predict(ROWS)


def test_of_several_float_outputs_the_one_called_probabilities_is_used(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"raw": "Neg", "probabilities": "Identity"})
    engine = OnnxEngine(str(tmp_path), "1")
    assert engine.outputs == ("probabilities",)
    assert engine.predict(ROWS[:, :1]).scores[:, 0].tolist() == ROWS["a"].to_list()


def test_of_several_float_outputs_the_dataset_can_name_one(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"raw": "Neg", "probabilities": "Identity"})
    scores = OnnxEngine(str(tmp_path), "1", "raw").predict(ROWS[:, :1]).scores
    assert scores[:, 0].tolist() == (-ROWS["a"]).to_list()
    with pytest.raises(ModelInvalid, match=r"model\.output: expected one of .*, got 'other'"):
        OnnxEngine(str(tmp_path), "1", "other")


def test_several_float_outputs_without_that_name_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"raw": "Neg", "scores": "Identity"})
    with pytest.raises(ModelInvalid, match=r"one output with numbers, or model\.output to name it"):
        OnnxEngine(str(tmp_path), "1")


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"model\.onnx is missing; .*correct model\.path"):
        OnnxEngine(str(tmp_path), "1")


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_broken_model_file_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(
        ModelInvalid, match=r"model\.onnx (is empty|cannot be loaded).*; export it again"
    ):
        OnnxEngine(str(tmp_path), "1")


def test_a_model_of_another_width_than_the_features_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 2, {"scores": "Identity"})
    with pytest.raises(ModelInvalid, match=r"takes 2 inputs, the dataset has 3 features"):
        OnnxEngine(str(tmp_path), "1").check(ROWS.columns)


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_a_model_that_takes_a_fixed_number_of_rows_is_given_that_many(
    tmp_path: Path, rows: int
) -> None:
    write_model(tmp_path, 3, {"scores": "Identity"}, rows=rows)
    scores = OnnxEngine(str(tmp_path), "1").predict(ROWS).scores
    assert scores.tolist() == ROWS.to_numpy().tolist()


def test_features_of_another_width_than_the_model_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 2, {"scores": "Identity"})
    with pytest.raises(ModelInvalid, match=r"model\.onnx"):
        OnnxEngine(str(tmp_path), "1").predict(ROWS)


def test_a_model_of_another_version_than_its_folder_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"scores": "Identity"}, version="2.0.0")
    with pytest.raises(ModelInvalid, match=r"is version 2\.0\.0, its folder says 1\.0\.0"):
        OnnxEngine(str(tmp_path), "1.0.0")


def test_one_input_and_one_feature_need_no_common_name(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"scores": "Identity"})
    engine = OnnxEngine(str(tmp_path), "1")
    engine.check(["a"])
    assert engine.inputs(["a"]) == ("a",)
    assert engine.predict(ROWS[:, :1]).scores[:, 0].tolist() == ROWS["a"].to_list()
    with pytest.raises(ModelInvalid, match=r"its inputs \['x'\] are no features"):
        engine.check(["a", "b"])


def test_the_shipped_model_opens_with_the_version_of_its_constants() -> None:
    assert open_model(find_dataset("flights")).version == "1.0.0"


def test_a_dataset_without_a_model_has_no_engine(toy: ToyFeed) -> None:
    with pytest.raises(NotThere, match="no model of dataset 'toy'"):
        open_model(toy.dataset)


def test_nobody_is_told_of_a_model_that_is_opened(tmp_path: Path) -> None:
    """onnxruntime, left alone, keeps an id in the home folder and sends what it did with it."""
    code = (
        "from flagfall.dataset.loader import find_dataset\n"
        "from flagfall.scoring.model import open_model\n"
        "open_model(find_dataset('flights'))\n"
    )
    plain = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-W", "ignore", "-c", code]
    subprocess.run(command, env={**plain, "PYTHONPATH": path}, check=True)
    assert list(tmp_path.rglob("*")) == []
