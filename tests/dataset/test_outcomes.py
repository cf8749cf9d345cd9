"""Two dataset files that do not fit together are refused, each mistake with its line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.cli.dataset_check import check_dataset
from flagfall.dataset.loader import read_dataset
from flagfall.errors import DatasetInvalid
from tests.late import make_late


def checked(root: Path, file: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``flagfall check`` says after one change of one file."""
    make_late(root)
    path = root / "datasets" / f"{file}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    monkeypatch.setenv("FLAGFALL_DATASETS", str(root / "datasets"))
    return check_dataset(read_dataset(root / "datasets" / "toy.yaml"))


def test_two_files_that_fit_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(tmp_path, "toy", "truth", "truth", monkeypatch).startswith("fine")


@pytest.mark.parametrize(
    ("file", "old", "new", "place", "why"),
    [
        ("toy", "from: truth", "from: trut", "label.from", "got 'trut'; there are: truth"),
        ("toy", "from: truth", "from: toy", "label.from", "another dataset file"),
        ("toy", "title: Late", "key: [value]", "label.key", "columns of schema.primaryKey"),
        ("toy", "  primaryKey: [id]\n", "", "schema.primaryKey", "expected a primary key"),
        ("truth", "id", "uid", "label.from", "expected a column 'id' in truth.yaml"),
        ("truth", "type: integer", "type: string", "label.from", "it is string there"),
        ("truth", "  primaryKey: [id]\n", "", "label.from", "no two outcomes for one row"),
    ],
)
def test_each_mistake_has_its_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    old: str,
    new: str,
    place: str,
    why: str,
) -> None:
    with pytest.raises(DatasetInvalid) as raised:
        checked(tmp_path, file, old, new, monkeypatch)
    (problem,) = raised.value.problems
    assert problem.key == place
    assert problem.line is not None or place == "schema.primaryKey"
    assert why in problem.message


def test_outcomes_that_are_dropped_too_early_are_a_mistake_of_their_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetInvalid) as raised:
        checked(tmp_path, "truth", "/lake}", "/lake, keep: {staged: 30d}}", monkeypatch)
    said = str(raised.value)
    assert said.startswith(
        f"{tmp_path}/datasets/truth.yaml: line 3: lake.keep.staged: expected 67d"
    )
    assert "twice label.within of toy.yaml, and 7d; got 30d" in said


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("delai > 15", "delai"),
        ("delay", "a binary model's label is true or false"),
        ("delay > AVG(delay)", "expected an expression of one row"),
        ("NOT CAST(delay AS TEXT)", "it works for no row: "),
        ("CAST(delay AS DATE) > 2026-01-15", "such as DATE '2020-01-31'"),
    ],
)
def test_the_expression_is_tried_on_the_columns_of_the_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expr: str, why: str
) -> None:
    with pytest.raises(DatasetInvalid, match=why) as raised:
        checked(tmp_path, "toy", "delay > 15", expr, monkeypatch)
    (problem,) = raised.value.problems
    assert (problem.key, problem.line is not None) == ("label.expr", True)
    assert str(raised.value).startswith(f"{tmp_path}/datasets/toy.yaml")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("/lake}", "/lake, keep: {staged: 30d}}", "truth.yaml: line 3: lake.keep.staged"),
        ("id", "uid", "toy.yaml: line"),
    ],
)
def test_the_check_of_a_feed_says_what_it_breaks_in_the_file_of_what_it_brings_outcomes_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, place: str
) -> None:
    feeds = make_late(tmp_path)
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    assert check_dataset(feeds.truth.dataset).startswith("fine")
    file = tmp_path / "datasets" / "truth.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DatasetInvalid, match=f"{tmp_path}/datasets/{place}"):
        check_dataset(read_dataset(file))


def test_a_duration_of_nothing_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"label\.within: expected greater than 0s"):
        make_late(tmp_path, ", within: 0s")


@pytest.mark.parametrize("setting", ["key: [id]", "within: 3d", "enough: 0.2"])
def test_settings_of_late_outcomes_need_a_feed(tmp_path: Path, setting: str) -> None:
    make_late(tmp_path)
    path = tmp_path / "datasets" / "toy.yaml"
    path.write_text(path.read_text().replace("from: truth", setting))
    with pytest.raises(DatasetInvalid, match=r"it is for outcomes of another feed \(from\)"):
        read_dataset(path)


def test_within_is_a_duration(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"label\.within: expected a duration with a unit"):
        make_late(tmp_path, ", within: 30")
