"""A challenger scores the rows beside the model that counts, and never in its way."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.errors import StoreUnavailable
from flagfall.lake.records import Challenged, Evaluation
from flagfall.report.run import report_run
from flagfall.stages.challenge import FURTHEST
from flagfall.stages.evaluate import evaluate
from tests.feeds import ToyFeed
from tests.kinds import make, rows_of, run
from tests.stages.test_infer import BATCH, scored, written

TASKS = ["binary", "multiclass", "regression", "anomaly"]
OTHERS = {
    "binary": "return {'no': 1 - rows['x'] ** 2, 'yes': rows['x'] ** 2}",
    "multiclass": "return {'ant': rows['b'], 'bee': rows['a'], 'cow': 1 - rows['a'] - rows['b']}",
    "regression": "return rows['x'] * 2 + (rows['x'] > 5)",
    "anomaly": "return {'score': rows['x'], 'label': rows['x'] > 0.9}",
}


def challenged(root: Path, task: str, code: str) -> ToyFeed:
    """A feed with a challenger, whose ``predict`` is this code."""
    (root / "other").mkdir()
    lines = f"TASK = {task!r}\ndef load(folder): ...\ndef predict(model, rows):\n    {code}\n"
    (root / "other" / "model.py").write_text(lines)
    return make(root, task, model=f"challenger: {root}/other")


def record_of(feed: ToyFeed) -> Challenged:
    (path,) = (feed.root / "lake/toy/challenger").glob("*/record.json")
    found = feed.inbox().lake.find(Challenged, path.parent.name)
    assert found is not None
    return found


def page_of(feed: ToyFeed) -> str:
    report_run(feed.dataset, feed.inbox(), "a run", [feed.marker("2026-11-01")])
    return (feed.root / "lake/toy/reports/latest.html").read_text()


@pytest.mark.parametrize("task", TASKS)
def test_its_predictions_and_how_well_it_did_are_kept_apart(tmp_path: Path, task: str) -> None:
    feed = challenged(tmp_path, task, OTHERS[task])
    ours, predictions = run(feed, "2026-11-01", rows_of(task))
    theirs = record_of(feed)
    assert theirs.error == ""
    assert theirs.rows == ours.rows == 400
    assert theirs.evaluation is not None
    assert theirs.evaluation.labelled == ours.labelled > 300
    (part,) = feed.inbox().lake.parts(theirs, tmp_path)
    table = pl.read_parquet(part)
    assert table.columns == predictions.columns
    assert table["id"].equals(predictions["id"])
    name = "value" if task == "regression" else "score"
    gap = (table[name].cast(pl.Float64()) - predictions[name].cast(pl.Float64())).abs()
    if task == "multiclass":  # two probabilities are exchanged: half of both differences
        ant, bee = (predictions[f"probability.{one}"].cast(pl.Float64()) for one in ("ant", "bee"))
        gap = (ant - bee).abs()
        first = theirs.furthest[0]
        assert {first.our_class, first.their_class} == {"ant", "bee"}
    assert theirs.mean_difference == pytest.approx(gap.mean(), rel=1e-5)
    decided = {"binary": "class", "multiclass": "class", "anomaly": "label"}.get(task)
    other = None if decided is None else int((table[decided] != predictions[decided]).sum())
    assert theirs.other_class == other
    assert other != 0
    if task in ("binary", "regression"):
        assert len(theirs.furthest) == FURTHEST
        first = theirs.furthest[0]
        row = int(first.key["id"])
        assert abs(first.ours - first.theirs) == gap.max() == gap[row]


BROKEN = {
    "raises": ("raise ValueError('no')", "model.py: line 4: ValueError: no"),
    "too few": ("return [0.5]", "returned 1 rows for 400"),
    "another task": ("return {'a': rows['x'], 'b': 0 * rows['x'], 'c': 1 - rows['x']}", "its task"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_whatever_fails_in_it_the_feed_goes_on(tmp_path: Path, case: str) -> None:
    code, why = BROKEN[case]
    feed = challenged(tmp_path, "binary", code)
    if case == "another task":
        path = tmp_path / "other" / "model.py"
        path.write_text(path.read_text().replace("'binary'", "'multiclass'"))
    ours, _ = run(feed, "2026-11-01", rows_of("binary"))
    assert ours.auc is not None
    theirs = record_of(feed)
    assert why in theirs.error
    assert (theirs.parts, theirs.evaluation) == ((), None)
    page = page_of(feed)
    assert "It failed on" in page


def test_an_error_that_nobody_foresaw_is_its_own_and_not_the_feeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = challenged(tmp_path, "binary", OTHERS["binary"])

    def fails(*_: object) -> None:
        raise ZeroDivisionError("by chance")

    monkeypatch.setattr("flagfall.stages.challenge._predictions", fails)
    ours, _ = run(feed, "2026-11-01", rows_of("binary"))
    assert ours.auc is not None
    assert record_of(feed).error == "by chance"


def test_one_whose_process_died_is_not_tried_for_ever(tmp_path: Path) -> None:
    feed = challenged(tmp_path, "binary", OTHERS["binary"])
    run(feed, "2026-11-01", rows_of("binary"))
    batch_id = record_of(feed).batch_id
    folder = tmp_path / "lake/toy/challenger" / batch_id
    assert not (folder / "begun").exists()
    (folder / "record.json").unlink()
    (folder / "begun").touch()  # as a task that was killed leaves it
    evaluate(feed.dataset, feed.inbox().lake, batch_id)
    assert record_of(feed).error == "its process died as it scored the batch"


def test_storage_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = challenged(tmp_path, "binary", OTHERS["binary"])
    run(feed, "2026-11-01", rows_of("binary"))
    batch_id, lake = record_of(feed).batch_id, feed.inbox().lake
    (tmp_path / "lake/toy/challenger" / batch_id / "record.json").unlink()

    def fails(*_: object) -> None:
        raise StoreUnavailable("lake", "away")

    monkeypatch.setattr(lake, "parts", fails)
    with pytest.raises(StoreUnavailable):
        evaluate(feed.dataset, lake, batch_id)
    evaluate(feed.dataset, feed.inbox().lake, batch_id)
    assert record_of(feed).error == ""


def test_a_challenger_that_came_later_scores_what_is_evaluated_again(tmp_path: Path) -> None:
    feed = make(tmp_path, "binary")
    run(feed, "2026-11-01", rows_of("binary"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model.py").write_text((tmp_path / "model/model.py").read_text())
    file = tmp_path / "datasets/toy.yaml"
    file.write_text(
        file.read_text().replace(
            "engine: python,", f"engine: python, challenger: {tmp_path}/other,"
        )
    )
    (path,) = (tmp_path / "lake/toy/evaluations").iterdir()
    found = evaluate(read_dataset(file), feed.inbox().lake, path.name)
    assert isinstance(found, Evaluation)
    assert (record_of(feed).other_class, record_of(feed).mean_difference) == (0, 0.0)


def test_the_report_shows_both(tmp_path: Path) -> None:
    feed = challenged(tmp_path, "regression", OTHERS["regression"])
    run(feed, "2026-11-01", rows_of("regression"))
    page = page_of(feed)
    assert ">The challenger</h2>" in page
    assert "Mean absolute error</th>" in page
    assert "most of all here:" in page


def test_a_part_without_rows_is_none_of_its_concern(tmp_path: Path) -> None:
    feed = challenged(tmp_path, "multiclass", OTHERS["multiclass"])
    rows, lake = rows_of("multiclass", 20), feed.inbox().lake
    scored(feed.dataset, lake, [rows.head(0), rows])
    evaluate(feed.dataset, lake, BATCH)
    theirs = record_of(feed)
    assert (theirs.error, theirs.rows) == ("", 20)
    first, second = written(lake, theirs)
    assert first.schema == second.schema


def test_one_whose_score_is_of_the_other_class_is_refused(tmp_path: Path) -> None:
    code = "return {'yes': rows['x'], 'no': 1 - rows['x']}"
    feed = challenged(tmp_path, "binary", code)
    run(feed, "2026-11-01", rows_of("binary"))
    assert "its score is of the class 'no', that of the model of 'yes'" in record_of(feed).error
