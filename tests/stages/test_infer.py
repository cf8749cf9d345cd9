from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.loader import find_dataset, read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.lake.output import Lake, part_name
from flagfall.lake.records import Challenged, Part, Predicted, Staged
from flagfall.scoring.features import Constants, feature_expressions
from flagfall.scoring.model import open_model, scorer_of
from flagfall.stages.infer import BATCH_ROWS, infer
from flagfall.stages.preprocess import preprocess
from sandbox.flights import all_flights
from tests.feeds import ToyFeed
from tests.kinds import make
from tests.kinds import rows_of as rows_of_kind
from tests.tiny_onnx import write_model

BATCH = "2013-12-14.0123456789abcdef"

ECHO = """\
title: Its score is its one feature
landing: {{uri: landing, marker: "{{date}}/_SUCCESS"}}
lake: {{uri: lake}}
schema:
  fields: [{{name: id, type: integer}}, {{name: x, type: number}}]
  primaryKey: [id]
features: [{{name: x}}]
model: {{path: {model}, task: binary, threshold: 0.3}}
"""


@pytest.fixture(scope="module")
def flights() -> Dataset:
    return find_dataset("flights")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "flights")


@pytest.fixture
def echo(tmp_path: Path) -> Dataset:
    """A dataset whose model gives its one feature back."""
    model = tmp_path / "model"
    model.mkdir()
    write_model(model, 1, {"scores": "Identity"})
    write_version(model, "1.0.0")
    (tmp_path / "echo.yaml").write_text(ECHO.format(model=model))
    return read_dataset(tmp_path / "echo.yaml")


def write_version(model: Path, version: str) -> None:
    constants = Constants(version=version, features=("x",), fill={"x": 0.0}, codes={})
    (model / "constants.json").write_text(constants.model_dump_json())


def stage(lake: Lake, frames: Sequence[pl.DataFrame]) -> Staged:
    """Staged output, one part for each frame."""
    parts = tuple(Part(name=part_name(i), rows=f.height) for i, f in enumerate(frames))
    rows = sum(frame.height for frame in frames)
    record = Staged(batch_id=BATCH, files=(), parts=parts, rows=rows, rejected_rows=0, reasons={})
    with lake.scratch() as folder:
        files = [folder / part.name for part in parts]
        for frame, file in zip(frames, files, strict=True):
            frame.write_parquet(file)
        return lake.finish(record, files)


def rows_of(scores: Sequence[float]) -> pl.DataFrame:
    return pl.DataFrame({"id": range(len(scores)), "x": scores}, schema_overrides={"x": pl.Float64})


def scored(dataset: Dataset, lake: Lake, frames: Sequence[pl.DataFrame]) -> Predicted:
    stage(lake, frames)
    preprocess(dataset, lake, BATCH)
    return infer(dataset, lake, BATCH)


def written(lake: Lake, record: Predicted | Challenged) -> list[pl.DataFrame]:
    with lake.scratch() as folder:
        return [pl.read_parquet(path) for path in lake.parts(record, folder)]


def two_weeks() -> pl.DataFrame:
    of_december = pl.col("date").is_between(date(2013, 12, 1), date(2013, 12, 14))
    return all_flights().filter(of_december).drop_nulls("tailnum")


def test_real_flights_are_scored_row_by_row_as_the_model_scores_them(
    flights: Dataset, lake: Lake
) -> None:
    """Two parts, the first larger than a batch of rows."""
    frames = [two_weeks().head(BATCH_ROWS + 1000), two_weeks().slice(BATCH_ROWS + 1000)]
    record = scored(flights, lake, frames)
    key = list(flights.table.primary_key)
    expressions = feature_expressions(flights, Constants.read(scorer_of(flights).path))
    model = open_model(flights)
    assert [part.rows for part in record.parts] == [frame.height for frame in frames]
    for found, staged in zip(written(lake, record), frames, strict=True):
        expected = model.predict(staged.select(expressions))
        assert found.select(key).equals(staged.select(key))
        assert found.select("score", "class").equals(expected)


def _stage(part: Path) -> tuple[str, str]:
    """The folder of its stage and its name, without the attempt's."""
    return part.parts[-3], part.name.rpartition("-")[0]


def test_the_same_bytes_are_written_whatever_the_threads(
    flights: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [two_weeks().head(7_000), two_weeks().head(0), *two_weeks().iter_slices(2_500)]
    monkeypatch.setattr("flagfall.stages.infer.BATCH_ROWS", 300)
    found = []
    for threads in (1, 4):
        monkeypatch.setattr("flagfall.stages.infer.thread_count", lambda n=threads: n)
        monkeypatch.setattr("flagfall.stages.preprocess.thread_count", lambda n=threads: n)
        lake = Lake(str(tmp_path / f"lake-{threads}"), "flights")
        record = scored(flights, lake, frames)
        files = sorted(tmp_path.glob(f"lake-{threads}/flights/*/*/part-*.parquet"), key=_stage)
        assert len(files) == 3 * len(frames)
        found.append((record.rows, record.mean_score, [file.read_bytes() for file in files]))
    assert found[0] == found[1]


def test_predictions_carry_key_score_class_and_model_version(flights: Dataset, lake: Lake) -> None:
    record = scored(flights, lake, [two_weeks()])
    (found,) = written(lake, record)
    key = flights.table.primary_key
    assert found.columns == [*key, "score", "class", "model_version"]
    assert found.drop(key).dtypes == [pl.Float32(), pl.Int8(), pl.String()]
    assert found["model_version"].unique().to_list() == [record.model_version] == ["1.0.0"]


def test_the_record_counts_its_rows(flights: Dataset, lake: Lake) -> None:
    record = scored(flights, lake, [two_weeks().head(5000), two_weeks().slice(5000)])
    found = pl.concat(written(lake, record))
    assert record.rows == found.height == two_weeks().height
    assert record.positives == found["class"].sum() == (found["score"] >= 0.5).sum() > 0
    assert record.mean_score == pytest.approx(found["score"].cast(pl.Float64).mean(), abs=1e-12)


def test_a_score_at_the_threshold_is_class_one(echo: Dataset, lake: Lake) -> None:
    record = scored(echo, lake, [rows_of([0.0, 0.2999, 0.3, 1.0])])
    (found,) = written(lake, record)
    assert found["class"].to_list() == [0, 0, 1, 1]
    assert record.positives == 2


def test_running_it_twice_gives_the_same_record_and_writes_nothing(
    flights: Dataset, lake: Lake, tmp_path: Path
) -> None:
    first = scored(flights, lake, [two_weeks().head(100)])
    before = {path: path.stat() for path in tmp_path.rglob("*")}
    second = infer(flights, lake, BATCH)
    after = {path: path.stat() for path in tmp_path.rglob("*")}
    assert second == first
    assert {p: (s.st_ino, s.st_mtime_ns) for p, s in after.items()} == {
        p: (s.st_ino, s.st_mtime_ns) for p, s in before.items()
    }


@pytest.mark.parametrize("parts", [[], [rows_of([])]], ids=["no part", "a part without rows"])
def test_a_batch_without_rows_has_no_mean_score(
    echo: Dataset, lake: Lake, parts: list[pl.DataFrame]
) -> None:
    record = scored(echo, lake, parts)
    assert (record.rows, record.positives, record.mean_score) == (0, 0, None)
    assert [frame.height for frame in written(lake, record)] == [0] * len(parts)


@pytest.mark.parametrize("wrong", [-0.001, 1.001, 3.4e38])
def test_a_score_that_is_no_probability_stops_the_batch(
    echo: Dataset, lake: Lake, wrong: float
) -> None:
    with pytest.raises(ModelInvalid, match="1 of 3 scores are no probabilities, such as"):
        scored(echo, lake, [rows_of([0.0, wrong, 1.0])])
    assert lake.find(Predicted, BATCH) is None


def test_a_score_that_is_not_a_number_stops_the_batch(
    echo: Dataset, lake: Lake, tmp_path: Path
) -> None:
    write_model(tmp_path / "model", 1, {"scores": "Log"})
    with pytest.raises(ModelInvalid, match="1 of 2 scores are no probabilities, such as nan"):
        scored(echo, lake, [rows_of([-1.0, 1.0])])


def test_features_of_another_version_of_the_model_are_refused(
    echo: Dataset, lake: Lake, tmp_path: Path
) -> None:
    stage(lake, [rows_of([0.5])])
    preprocess(echo, lake, BATCH)
    write_version(tmp_path / "model", "2.0.0")
    with pytest.raises(ModelInvalid, match=r"is version 2\.0\.0, .* made for 1\.0\.0; .*replay"):
        infer(echo, lake, BATCH)


def test_a_missing_model_is_refused(echo: Dataset, lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "model" / "model.onnx").unlink()
    with pytest.raises(ModelInvalid, match=r"model\.onnx is missing"):
        scored(echo, lake, [rows_of([0.5])])


def test_a_batch_without_features_is_not_there(flights: Dataset, lake: Lake) -> None:
    with pytest.raises(NotThere, match=r"features of batch .*; run preprocess first"):
        infer(flights, lake, BATCH)


def test_a_dataset_without_a_model_is_not_scored(toy: ToyFeed, lake: Lake) -> None:
    with pytest.raises(NotThere, match="no model of dataset 'toy'"):
        infer(toy.dataset, lake, BATCH)


def test_a_part_without_rows_has_the_columns_of_the_others(tmp_path: Path) -> None:
    feed = make(tmp_path, "multiclass")
    rows, lake = rows_of_kind("multiclass", 20), feed.inbox().lake
    tables = written(lake, scored(feed.dataset, lake, [rows.head(0), rows, rows.head(0)]))
    assert [table.height for table in tables] == [0, 20, 0]
    assert tables[0].schema == tables[1].schema == tables[2].schema
