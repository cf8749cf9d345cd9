from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flagfall.dataset.loader import find_dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.scoring.engines import open_engine
from flagfall.scoring.engines.onnx import OnnxEngine
from tests.feeds import ToyFeed
from tests.tiny_onnx import write_model

ROWS = np.array([[0.1, 0.9, 0.5], [0.2, 0.8, 0.5], [0.3, 0.7, 0.5]], dtype=np.float32)


@pytest.mark.parametrize(
    ("width", "operator", "column"),
    [(1, "Identity", 0), (1, "Squeeze", 0), (2, "Identity", 1)],
    ids=["[n, 1]", "[n]", "[n, 2]"],
)
def test_scores_are_read_from_each_shape_of_output(
    tmp_path: Path, width: int, operator: str, column: int
) -> None:
    write_model(tmp_path, width, {"scores": operator})
    engine = OnnxEngine(str(tmp_path), "1", width)
    scores = engine.score(ROWS[:, :width])
    assert engine.output == "scores"
    assert scores.dtype == np.float32
    assert scores.tolist() == ROWS[:, column].tolist()


def test_an_output_of_three_columns_is_no_score(tmp_path: Path) -> None:
    write_model(tmp_path, 3, {"scores": "Identity"})
    with pytest.raises(ModelInvalid, match=r"'scores': expected shape .* got \[3, 3\]; export"):
        OnnxEngine(str(tmp_path), "1", 3).score(ROWS)


def test_of_several_float_outputs_the_one_called_probabilities_is_used(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"raw": "Neg", "probabilities": "Identity"})
    engine = OnnxEngine(str(tmp_path), "1", 1)
    assert engine.output == "probabilities"
    assert engine.score(ROWS[:, :1]).tolist() == ROWS[:, 0].tolist()


def test_several_float_outputs_without_that_name_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"raw": "Neg", "scores": "Identity"})
    with pytest.raises(ModelInvalid, match="one called 'probabilities'"):
        OnnxEngine(str(tmp_path), "1", 1)


def test_a_missing_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"model\.onnx is missing; run the .*training script"):
        OnnxEngine(str(tmp_path), "1", 1)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_broken_model_file_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelInvalid, match=r"model\.onnx cannot be loaded"):
        OnnxEngine(str(tmp_path), "1", 1)


def test_a_model_of_another_width_than_its_constants_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 2, {"scores": "Identity"})
    with pytest.raises(ModelInvalid, match=r"takes 2 inputs, constants\.json names 14"):
        OnnxEngine(str(tmp_path), "1", 14)


def test_a_model_that_takes_a_fixed_number_of_rows_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 2, {"scores": "Identity"}, rows=1)
    with pytest.raises(ModelInvalid, match=r"\[1, 2\], expected \[n, 2\]; .* dynamic batch dim"):
        OnnxEngine(str(tmp_path), "1", 2)


def test_features_of_another_width_than_the_model_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 2, {"scores": "Identity"})
    with pytest.raises(ModelInvalid, match=r"model\.onnx"):
        OnnxEngine(str(tmp_path), "1", 2).score(ROWS)


def test_a_model_of_another_version_than_its_constants_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, 1, {"scores": "Identity"}, version="2.0.0")
    with pytest.raises(ModelInvalid, match=r"is version 2\.0\.0, constants\.json is of 1\.0\.0"):
        OnnxEngine(str(tmp_path), "1.0.0", 1)


def test_the_shipped_model_opens_with_the_version_of_its_constants() -> None:
    assert open_engine(find_dataset("flights")).version == "1.0.0"


def test_a_dataset_without_a_model_has_no_engine(toy: ToyFeed) -> None:
    with pytest.raises(NotThere, match="no model of dataset 'toy'"):
        open_engine(toy.dataset)


def test_nobody_is_told_of_a_model_that_is_opened(tmp_path: Path) -> None:
    """onnxruntime, left alone, keeps an id in the home folder and sends what it did with it."""
    code = (
        "from flagfall.dataset.loader import find_dataset\n"
        "from flagfall.scoring.engines import open_engine\n"
        "open_engine(find_dataset('flights'))\n"
    )
    plain = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-W", "ignore", "-c", code]
    subprocess.run(command, env={**plain, "PYTHONPATH": path}, check=True)
    assert list(tmp_path.rglob("*")) == []
