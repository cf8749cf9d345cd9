from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.loader import find_dataset, read_dataset
from flagfall.dataset.model import Feature
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.lake.output import Lake, part_name
from flagfall.lake.records import Featured, Part, Staged
from flagfall.scoring.features import Constants, FeatureInvalid
from flagfall.scoring.model import scorer_of
from flagfall.scoring.own_code import CodeInvalid
from flagfall.stages.preprocess import preprocess
from sandbox.flights import flights_of
from tests.feeds import ToyFeed
from tests.kinds import make

BATCH = "2013-12-14.0123456789abcdef"
DAY = date(2013, 12, 14)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return find_dataset("flights")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "flights")


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


def written(lake: Lake, record: Featured) -> list[pl.DataFrame]:
    with lake.scratch() as folder:
        return [pl.read_parquet(path) for path in lake.parts(record, folder)]


def day_of_flights() -> pl.DataFrame:
    return flights_of(DAY).drop_nulls("tailnum")


def constants(dataset: Dataset) -> Constants:
    return Constants.read(scorer_of(dataset).path)


def test_features_have_the_rows_of_the_staged_parts_in_their_order(
    dataset: Dataset, lake: Lake
) -> None:
    frames = [day_of_flights().head(400), day_of_flights().slice(400)]
    stage(lake, frames)
    record = preprocess(dataset, lake, BATCH)
    key = list(dataset.table.primary_key)
    assert record.rows == 654
    assert [part.rows for part in record.parts] == [400, 254]
    for found, staged in zip(written(lake, record), frames, strict=True):
        assert found.select(key).equals(staged.select(key))


def test_features_are_float32_without_gaps_in_the_order_of_the_model(
    dataset: Dataset, lake: Lake
) -> None:
    stage(lake, [day_of_flights()])
    (found,) = written(lake, preprocess(dataset, lake, BATCH))
    key = dataset.table.primary_key
    features = found.drop(key)
    assert found.columns[: len(key)] == list(key)
    assert features.columns == [f"feature.{name}" for name in constants(dataset).features]
    assert set(features.dtypes) == {pl.Float32()}
    assert not any(features.null_count().row(0))
    assert not any(column.is_nan().any() for column in features)


def test_a_missing_number_takes_the_value_that_was_fitted_at_training(
    dataset: Dataset, lake: Lake
) -> None:
    flights = day_of_flights()
    stage(lake, [flights])
    (found,) = written(lake, preprocess(dataset, lake, BATCH))
    filled = found.filter(flights["seats"].is_null())["feature.seats"]
    assert filled.len() > 50
    assert filled.unique().to_list() == [149.0]
    assert constants(dataset).fill["seats"] == 149.0


def test_a_category_takes_its_code_and_an_unknown_one_minus_one(
    dataset: Dataset, lake: Lake
) -> None:
    flights = day_of_flights().head(3)
    dest = pl.Series("dest", ["ATL", "XYZ", None])
    stage(lake, [flights.with_columns(dest)])
    (found,) = written(lake, preprocess(dataset, lake, BATCH))
    code = constants(dataset).codes["dest"]["ATL"]
    assert code > 0
    assert found["feature.dest"].to_list() == [code, -1.0, -1.0]


def test_departure_is_in_minutes_after_midnight(dataset: Dataset, lake: Lake) -> None:
    times = pl.Series("sched_dep_time", [0, 515, 2359])
    stage(lake, [day_of_flights().head(3).with_columns(times)])
    (found,) = written(lake, preprocess(dataset, lake, BATCH))
    assert found["feature.departure"].to_list() == [0.0, 315.0, 1439.0]


def test_running_it_twice_gives_the_same_record_and_writes_nothing(
    dataset: Dataset, lake: Lake, tmp_path: Path
) -> None:
    stage(lake, [day_of_flights()])
    first = preprocess(dataset, lake, BATCH)
    before = {path: path.stat() for path in tmp_path.rglob("*")}
    second = preprocess(dataset, lake, BATCH)
    after = {path: path.stat() for path in tmp_path.rglob("*")}
    assert second == first
    assert {p: (s.st_ino, s.st_mtime_ns) for p, s in after.items()} == {
        p: (s.st_ino, s.st_mtime_ns) for p, s in before.items()
    }


def test_a_batch_without_rows_has_features_without_rows(dataset: Dataset, lake: Lake) -> None:
    stage(lake, [day_of_flights().clear()])
    record = preprocess(dataset, lake, BATCH)
    assert record.rows == 0
    assert [frame.height for frame in written(lake, record)] == [0]


def test_a_batch_that_is_not_staged_is_not_there(dataset: Dataset, lake: Lake) -> None:
    with pytest.raises(NotThere, match=r"staged output of batch .*; run ingest first"):
        preprocess(dataset, lake, BATCH)


def test_a_dataset_without_a_model_has_no_features(toy: ToyFeed, lake: Lake) -> None:
    with pytest.raises(NotThere, match="no model of dataset 'toy'"):
        preprocess(toy.dataset, lake, BATCH)


def test_a_model_of_other_features_is_refused(dataset: Dataset, lake: Lake) -> None:
    stage(lake, [day_of_flights()])
    changed = dataset.model_copy(update={"features": dataset.features[1:]})
    with pytest.raises(
        ModelInvalid,
        match=r"trained on .* declares .*; delete constants.json and run `flagfall model init`",
    ):
        preprocess(changed, lake, BATCH)
    assert lake.find(Featured, BATCH) is None


def test_a_model_folder_without_constants_is_refused(
    dataset: Dataset, lake: Lake, tmp_path: Path
) -> None:
    stage(lake, [day_of_flights()])
    scorer = scorer_of(dataset)
    shutil.copytree(scorer.path, tmp_path / "model")
    (tmp_path / "model" / "constants.json").unlink()
    moved = scorer.model_copy(update={"path": str(tmp_path / "model")})
    with pytest.raises(ModelInvalid, match=r"constants\.json is missing"):
        preprocess(dataset.model_copy(update={"model": moved}), lake, BATCH)


def test_an_expression_that_fails_on_the_values_is_named(dataset: Dataset, lake: Lake) -> None:
    stage(lake, [day_of_flights()])
    wrong = Feature(name="departure", expr="CAST(tailnum AS FLOAT)")
    changed = dataset.model_copy(update={"features": (wrong, *dataset.features[1:])})
    with pytest.raises(FeatureInvalid, match=r"features: departure: 'CAST.*': .*f64"):
        preprocess(changed, lake, BATCH)
    assert lake.find(Featured, BATCH) is None


OVERFLOWS = """\
title: Some values are no float32
landing: {{uri: landing, marker: "{{date}}/_SUCCESS"}}
lake: {{uri: lake}}
schema:
  fields: [{{name: id, type: integer}}, {{name: x, type: number}}, {{name: y, type: number}}]
  primaryKey: [id]
features: [{{name: x}}, {{name: share, expr: "x / y"}}, {{name: kind, expr: "y", encode: category}}]
model: {{path: {model}}}
"""


def test_a_value_that_is_infinite_as_float32_is_missing_and_named(
    tmp_path: Path, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model").mkdir()
    fitted = Constants(
        version="1",
        features=("x", "share", "kind"),
        fill={"x": 7.0, "share": 0.5},
        codes={"kind": {}},
    )
    (tmp_path / "model" / "constants.json").write_text(fitted.model_dump_json())
    (tmp_path / "overflows.yaml").write_text(OVERFLOWS.format(model=tmp_path / "model"))
    rows = {"id": [1, 2, 3, 4], "x": [0.5, 1e39, -1e300, 3.4e38], "y": [1.0, 1e39, 1.0, 0.0]}
    stage(lake, [pl.DataFrame(rows)])
    dataset = read_dataset(tmp_path / "overflows.yaml")
    (found,) = written(lake, preprocess(dataset, lake, BATCH))
    assert found["feature.x"].to_list() == pytest.approx([0.5, 7.0, 7.0, 3.4e38])
    assert found["feature.share"].to_list() == pytest.approx([0.5, 1.0, 0.5, 0.5])
    attempt = re.compile(r"(?<=part-00000)-[0-9a-f]+")
    assert [attempt.sub("", record.getMessage()) for record in caplog.records] == [
        "overflows: feature x: infinite as float32 in 2 rows, first in row 2 of"
        " part-00000.parquet, {'id': 2}; counted as missing",
        "overflows: feature share: infinite as float32 in 2 rows, first in row 3 of"
        " part-00000.parquet, {'id': 3}; counted as missing",
    ]


def test_a_function_that_returns_other_columns_for_other_parts_is_refused(tmp_path: Path) -> None:
    feed = make(tmp_path, "binary", features=f"features: {{python: {tmp_path}/features.py}}")
    code = "def features(rows):\n    return rows.select('truth').to_dummies()\n"
    (tmp_path / "features.py").write_text(code)
    rows, lake = pl.DataFrame({"id": [1], "x": [0.5], "truth": ["no"]}), feed.inbox().lake
    stage(lake, [rows, rows.with_columns(truth=pl.lit("yes"))])
    with pytest.raises(CodeInvalid, match=r"features\(\) returned .*truth_yes.* and .*truth_no"):
        preprocess(feed.dataset, lake, BATCH)


def test_a_part_without_rows_has_not_to_have_the_features_of_the_others(tmp_path: Path) -> None:
    feed = make(tmp_path, "binary", features=f"features: {{python: {tmp_path}/features.py}}")
    code = "def features(rows):\n    return rows.select('truth').to_dummies()\n"
    (tmp_path / "features.py").write_text(code)
    rows, lake = pl.DataFrame({"id": [1], "x": [0.5], "truth": ["no"]}), feed.inbox().lake
    stage(lake, [rows.head(0), rows])
    assert preprocess(feed.dataset, lake, BATCH).features == ("truth_no",)
