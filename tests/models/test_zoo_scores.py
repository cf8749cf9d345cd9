"""Every model of the zoo becomes a feed; every broken one is refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.cli import deadline
from flagfall.errors import HOPELESS_EXIT
from tests.models.zoo_feed import NO_TASK, Scored, ZooFeed, all_models, flagfall, score_whole

pytestmark = pytest.mark.slow

REFUSED = {
    "batch": "scores differ by .* with 1 rows at once: a row's score must not depend on others",
    "double-zipmap": "model.onnx cannot be loaded: .*export it again",
    "empty": "model.onnx is empty; export it again",
    "many-values": "expected one number a row, got 10; correct model.task, or .* model.output",
    "nan": "values are no numbers, such as nan; give its features `missing`",
    "no-external-data": "model.onnx cannot be loaded: .*model.onnx.data.*with all its files",
    "no-probabilities": "scores are no probabilities, .* set model.logits or another model.task",
    "numbers-as-labels": "label: .* correct the label or model.classes",
    "other-classes": "label: .*'B', 'M'.* correct the label or model.classes",
    "other-types": "model.onnx: feature 'purpose' is String, input purpose: .* takes numbers",
    "other-width": "it takes 29 inputs, the dataset has 30 .* name them in the model's order",
    "pointer": "model.onnx is a pointer of Git LFS, not the file; run `git lfs pull`",
    "python-batch": "scores differ by .* with 1 rows at once",
    "python-column": 'model.py: line 9: ColumnNotFoundError: "income" not found',
    "python-endless": "no answer after 30 s; see whether its predict\\(\\) can end",
    "python-exit": "its process ended with exit code 3",
    "python-import": "model.py: line 1: ModuleNotFoundError: No module named 'team_features'",
    "python-length": "model.py: predict\\(\\) returned 441 rows for 442",
    "python-load": "model.py: line 2: ValueError: the weights are of version 3",
    "python-nan": "values are no numbers, such as nan",
    "python-no-file": "model.py: line 12: FileNotFoundError: .*model.joblib",
    "python-no-predict": "model.py: has no function predict\\(\\)",
    "python-no-probabilities": "scores are no probabilities, such as",
    "python-none": "model.py: predict\\(\\) returned NoneType",
    "python-other-classes": "the model names them \\['repaid', 'maybe'\\], in this order; correct",
    "python-segfault": "its process ended with signal 11",
    "python-syntax": "model.py: SyntaxError: expected ':' \\(model.py, line 1\\)",
    "python-texts": "model.py: output 'predict\\(\\)': expected numbers",
    "short-external-data": "model.onnx cannot be loaded: .*with all its files",
    "truncated": "model.onnx cannot be loaded: .*with all its files",
    "unknown-columns": "its inputs \\['yearly_income', 'years'\\] are no features and no columns",
    "unknown-operator": "model.onnx cannot be loaded: .*Secret",
}
CRASHES = {"python-exit", "python-segfault"}
"""Another try may help."""


@pytest.fixture(scope="module")
def scored(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scored]:
    """Every good model, from its file to an evaluated batch."""
    root = tmp_path_factory.mktemp("zoo")
    return {name: score_whole(zoo / name, root / name) for name in all_models(zoo)}


def test_every_model_is_taken_in_checked_and_scores_as_its_framework_does(
    scored: dict[str, Scored],
) -> None:
    assert len(scored) >= 50
    far = {name: found.largest for name, found in scored.items() if found.largest > 1e-5}
    assert far == {}
    assert {name for name, found in scored.items() if found.others} == set()


def test_every_row_is_scored_and_evaluated(scored: dict[str, Scored], zoo: Path) -> None:
    for name, found in scored.items():
        assert found.rows == found.evaluation.rows, name


def test_an_onnx_model_needs_no_line_of_python(scored: dict[str, Scored]) -> None:
    lines = {name: found.lines for name, found in scored.items() if "onnx" in found.about}
    assert len(lines) >= 45
    assert set(lines.values()) == {0}
    assert max(found.lines for found in scored.values()) <= 10


def test_the_dataset_file_only_says_what_the_model_does_not(scored: dict[str, Scored]) -> None:
    """A value may be a price or how unusual a row is: nobody can know."""
    asked = {key for found in scored.values() for key in found.asked}
    assert asked <= {"task", "classes", "output", "logits"}
    assert sum(not found.asked for found in scored.values()) >= 30


def test_a_clustering_is_refused(zoo: Path, tmp_path: Path) -> None:
    (name,) = NO_TASK
    assert "set model.logits or another model.task" in ZooFeed(zoo / name, tmp_path).init().err


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_model_is_refused_with_its_place_and_the_remedy(
    broken_zoo: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "ANSWER_WITHIN", 30.0)
    feed = ZooFeed(broken_zoo / name, tmp_path)
    ran = feed.init()
    if ran.code == 0:  # what is wrong shows only in how often it is asked
        with feed.here():
            ran = flagfall("check", feed.name, "--offline")
    assert ran.code == (1 if name in CRASHES else HOPELESS_EXIT)
    assert ran.out == ""
    assert ran.err.startswith("flagfall: ")
    assert ran.err.count("\n") == 1
    feed.assert_said(REFUSED[name], ran.err)


def test_every_broken_model_is_tried(broken_zoo: Path) -> None:
    assert set(REFUSED) == {path.parent.name for path in broken_zoo.glob("*/about.json")}
