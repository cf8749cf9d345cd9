"""A team's ``model.py``: in this process, and in one of another Python."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import polars as pl
import pytest

from flagfall.errors import ModelCrashed, ModelInvalid
from flagfall.scoring.engines.python import PythonEngine

ROWS = pl.DataFrame({"x": [0.25, 0.5], "text": ["a", "b"]})
LOAD = "import os\nimport numpy as np\nimport polars as pl\ndef load(folder):\n    return folder\n"


@pytest.fixture(params=["", sys.executable], ids=["here", "another Python"])
def interpreter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def engine(folder: Path, body: str, interpreter: str, before: str = LOAD) -> PythonEngine:
    (folder / "model.py").write_text(f"{before}def predict(model, rows):\n    {body}\n")
    return PythonEngine(str(folder), interpreter)


@pytest.mark.parametrize(
    "body",
    [
        "return rows['x']",
        "return rows['x'].to_list()",
        "return rows['x'].to_numpy()",
        "return rows['x'].to_numpy().reshape(-1, 1)",
        "return {'score': rows['x']}",
        "return pl.DataFrame({'score': rows['x']})",
        "print('not an answer'); return rows['x']",
        "return np.array([0.25, np.float64(0.5)], dtype=object)",
        "return np.array([[0.25], [np.float32(0.5)]], dtype=object)",
    ],
)
def test_what_it_returns_is_its_scores(tmp_path: Path, body: str, interpreter: str) -> None:
    model = engine(tmp_path, body, interpreter)
    for _ in range(2):
        assert model.predict(ROWS).scores.tolist() == [[0.25], [0.5]]


def test_names_of_columns_are_classes(tmp_path: Path, interpreter: str) -> None:
    found = engine(tmp_path, "return {'no': 1 - rows['x'], 'yes': rows['x']}", interpreter)
    assert found.predict(ROWS).classes == ("no", "yes")


def test_its_constants_say_task_and_classes(tmp_path: Path, interpreter: str) -> None:
    before = LOAD + "TASK = 'binary'\nCLASSES = [0, 1]\n"
    found = engine(tmp_path, "return rows['x']", interpreter, before)
    assert (found.task, found.classes) == ("binary", ("0", "1"))


@pytest.mark.parametrize("kind", ["bool", "np.bool_"])
def test_a_class_that_is_true_or_false_is_called_as_labels_call_it(
    tmp_path: Path, kind: str, interpreter: str
) -> None:
    before = LOAD + f"CLASSES = [{kind}(1), {kind}(0)]\n"
    body = "return dict(zip(CLASSES, [rows['x'], 1 - rows['x']]))"
    found = engine(tmp_path, body, interpreter, before)
    assert found.classes == found.predict(ROWS).classes == ("true", "false")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "return {'score': rows['x'], 'label': [1, -1]}",
            r"label: expected 1 for the unusual and 0 for the rest, got \['-1'\]",
        ),
        ("return rows['x'][:1]", r"predict\(\) returned 1 rows for 2"),
        ("return ['a', 'b']", "expected numbers"),
        ("return np.array([0.5, object()], dtype=object)", r"predict\(\) returned ndarray"),
        ("return None", r"predict\(\) returned"),
        ("return rows['nope']", r"line 7: ColumnNotFoundError"),
        ("raise SystemExit(3)", r"it ends the process \(exit 3\)"),
    ],
)
def test_what_is_no_score_is_refused(tmp_path: Path, body: str, why: str, interpreter: str) -> None:
    with pytest.raises(ModelInvalid, match=rf"model\.py: .*{why}"):
        engine(tmp_path, body, interpreter).predict(ROWS)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def predict(model, rows): pass", r"has no function load\(\)"),
        ("def load(folder): pass", r"has no function predict\(\)"),
        ("x = 1\ny = 1 / 0", "line 2: ZeroDivisionError"),
        (LOAD.replace("return folder", "return open('no such file')")
         + "def predict(model, rows): pass", "line 5: FileNotFoundError"),
    ],
)  # fmt: skip
def test_code_that_cannot_be_loaded_is_refused_with_its_line(
    tmp_path: Path, code: str, why: str, interpreter: str
) -> None:
    (tmp_path / "model.py").write_text(code)
    with pytest.raises(ModelInvalid, match=rf"model\.py: {why}"):
        PythonEngine(str(tmp_path), interpreter)


@pytest.mark.parametrize(
    ("death", "how"),
    [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "signal 9")],
)
def test_a_crash_has_its_last_words_and_the_next_call_starts_it_again(
    tmp_path: Path, death: str, how: str
) -> None:
    body = f"if rows['x'][0] < 0: os.write(2, b'so long'); {death}\n    return rows['x']"
    model = engine(tmp_path, body, sys.executable)
    with pytest.raises(ModelCrashed, match=rf"ended with {how}; its last words: so long"):
        model.predict(ROWS.with_columns(-pl.col("x")))
    assert model.predict(ROWS).scores.tolist() == [[0.25], [0.5]]


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"/no/python: .*; correct model\.interpreter"):
        engine(tmp_path, "return rows['x']", "/no/python")


def test_the_end_of_its_process_is_seen_though_one_that_it_forked_lives_on(tmp_path: Path) -> None:
    body = "os.fork() or time.sleep(20); os._exit(3)"
    found = engine(tmp_path, body, sys.executable, LOAD + "import time\n")
    began = time.monotonic()
    with pytest.raises(ModelCrashed, match="exit code 3"):
        found.predict(ROWS)
    assert time.monotonic() - began < 15


def test_a_model_that_asks_somebody_gets_no_answer(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="EOFError"):
        engine(tmp_path, "return input()", sys.executable).predict(ROWS)


def test_each_model_imports_the_files_beside_it(tmp_path: Path) -> None:
    found = []
    for share in (0.25, 0.5):
        folder = tmp_path / str(share)
        folder.mkdir()
        (folder / "helper.py").write_text(f"SHARE = {share}\n")
        body = "return [helper.SHARE] * 2"
        found.append(engine(folder, body, "", LOAD + "import helper\n"))
    assert [one.predict(ROWS).scores[0, 0] for one in found] == [0.25, 0.5]


def test_a_missing_label_of_a_detector_leaves_the_others_flagged(
    tmp_path: Path, interpreter: str
) -> None:
    body = "return {'score': rows['x'], 'label': pl.Series([True, None])}"
    flagged = engine(tmp_path, body, interpreter).predict(ROWS).flagged
    assert flagged is not None
    assert flagged.tolist() == [True, False]
