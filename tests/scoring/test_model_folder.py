"""A model's folder has a version, and says when its files are others than they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.errors import ModelInvalid
from flagfall.scoring.model_folder import Card, ModelFolder


def folder(path: Path) -> ModelFolder:
    return ModelFolder(str(path))


def test_the_version_is_that_of_the_card_or_the_constants_or_the_content(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    by_content = folder(tmp_path).version
    assert by_content == f"sha256-{folder(tmp_path).sha256[:12]}"
    (tmp_path / "constants.json").write_text('{"version": "3", "features": []}')
    assert folder(tmp_path).version == "3"
    (tmp_path / "card.json").write_text(Card(version="4").model_dump_json())
    assert folder(tmp_path).version == "4"


def test_notes_beside_a_model_change_nothing_and_its_files_do(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    before = folder(tmp_path).sha256
    for name in ("README.md", "reference.json", "train.csv", ".hidden", "__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert folder(tmp_path).sha256 == before
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    assert folder(tmp_path).sha256 != before


def test_files_that_changed_since_the_card_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    card = Card(version="1", sha256=folder(tmp_path).sha256)
    (tmp_path / "card.json").write_text(card.model_dump_json())
    assert folder(tmp_path).version == "1"
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(ModelInvalid, match=r"are not those that card\.json .version 1. is of; run"):
        _ = folder(tmp_path).version


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"version": 3}'])
def test_a_card_that_is_none_names_the_key_and_no_library(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ModelInvalid, match=r"card\.json: ") as refused:
        _ = folder(tmp_path).version
    assert "pydantic" not in str(refused.value)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        ModelInvalid, match=r"no such folder; correct model\.path, or `flagfall model init`"
    ):
        _ = folder(tmp_path / "nope").version
