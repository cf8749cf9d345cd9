"""Drift is measured against what the model was trained on, and noise is not taken for it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flagfall.dataset.model import Feature
from flagfall.dataset.schema import Dataset, Lake, Landing
from flagfall.dataset.table import Column, Table
from flagfall.errors import ModelInvalid
from flagfall.lake.records import Drift
from flagfall.scoring.drift import (
    MOVED,
    Tally,
    alert_above,
    fit_reference,
    noise,
    psi,
    too_few_rows,
)
from flagfall.scoring.reference import CategoryBins, NumberBins, Reference

Random = np.random.Generator


@pytest.fixture
def random() -> Random:
    return np.random.default_rng(7)


def _dataset(*features: Feature) -> Dataset:
    columns = tuple(Column(name=f.name, type="number") for f in features)
    landing, lake = Landing(uri="/landing", marker="{day}/_SUCCESS"), Lake(uri="/lake")
    table = Table(fields=columns)
    return Dataset(
        name="toy", title="Toy", landing=landing, lake=lake, table=table, features=features
    )


def _drift_of(
    reference: Reference, raw: pl.DataFrame, scores: np.ndarray | None = None
) -> dict[str, Drift]:
    tally = Tally(reference)
    tally.add(raw, np.full(raw.height, 0.5) if scores is None else scores)
    return {drift.feature: drift for drift in tally.drift()}


def _number(values: list[float | None] | np.ndarray) -> Reference:
    raw = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float32)})
    return fit_reference(_dataset(Feature(name="x")), raw, np.full(raw.height, 0.5))


def test_psi_is_the_sum_over_bins_of_the_differences_times_the_log_ratios() -> None:
    expected = (0.5 - 0.25) * math.log(0.5 / 0.25) + (0.5 - 0.75) * math.log(0.5 / 0.75)
    found = psi(np.array([2_500_000, 7_500_000]), np.array([500_000, 500_000]))
    assert found == pytest.approx(expected, rel=1e-4)


def test_psi_of_the_same_distribution_is_0_and_of_a_vanished_one_is_finite() -> None:
    assert psi(np.array([30, 70]), np.array([30, 70])) == 0
    assert 1 < psi(np.array([1000, 0]), np.array([0, 1000])) < 100


def test_bins_that_are_empty_on_both_sides_do_not_count() -> None:
    assert psi(np.array([30, 0, 70]), np.array([3, 0, 17])) == psi(
        np.array([30, 70]), np.array([3, 17])
    )


def test_numbers_are_put_into_deciles_of_the_reference() -> None:
    reference = _number(np.arange(1000.0))
    assert isinstance(bins := reference.features["x"], NumberBins)
    assert bins.counts == (100,) * 10


def test_a_value_that_repeats_has_one_bin_of_its_own() -> None:
    reference = _number([0.0] * 930 + [float(n) for n in range(1, 71)])
    assert isinstance(bins := reference.features["x"], NumberBins)
    assert bins.edges[0] == 0
    assert bins.counts[0] == 930


def test_values_beyond_the_reference_are_counted_in_the_outer_bins() -> None:
    reference = _number(np.arange(1000.0))
    found = reference.features["x"].count(pl.Series([-1e9, -math.inf, 1e9, math.inf]))
    assert found.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]


def test_null_and_nan_are_missing_and_missing_is_a_bin_that_drifts() -> None:
    reference = _number([*np.arange(990.0), None, *[math.nan] * 9])
    assert reference.features["x"].missing == 10
    values = pl.Series([*np.arange(0.0, 990.0, 2.0), *[None] * 495], dtype=pl.Float32)
    found = _drift_of(reference, pl.DataFrame({"x": values}))["x"]
    assert (found.reference_missing_share, found.missing_share) == (0.01, 0.5)
    assert found.psi > MOVED


def test_rare_and_unknown_texts_share_a_bin() -> None:
    feature = Feature(name="c", encode="category")
    texts = ["a"] * 600 + ["b"] * 395 + [f"rare{n}" for n in range(5)]
    raw = pl.DataFrame({"c": texts})
    bins = fit_reference(_dataset(feature), raw, np.zeros(1000)).features["c"]
    assert isinstance(bins, CategoryBins)
    assert bins.counts == {"a": 600, "b": 395}
    assert bins.other == 5
    assert bins.count(pl.Series(["b", "new", "rare3", None, "a", "a"])).tolist() == [2, 1, 2, 1]


def test_parts_add_up_to_the_whole(random: Random) -> None:
    values = random.normal(size=3000).astype(np.float32)
    reference = _number(values)
    raw, scores = pl.DataFrame({"x": values[:1000] + 1}), random.random(1000)
    whole, parts = Tally(reference), Tally(reference)
    whole.add(raw, scores)
    for start in range(0, 1000, 300):
        parts.add(raw[start : start + 300], scores[start : start + 300])
    assert parts.drift() == whole.drift()


def test_the_score_drifts_too_and_is_not_taken_for_a_feature_of_that_name() -> None:
    raw = pl.DataFrame({"score": np.arange(1000.0)})
    scores = np.linspace(0, 1, 1000)
    reference = fit_reference(_dataset(Feature(name="score")), raw, scores)
    tally = Tally(reference)
    tally.add(raw, scores / 10)
    feature, score = tally.drift()
    assert feature.psi == 0
    assert score.psi > 1


def test_without_rows_there_is_no_drift() -> None:
    reference = _number(np.arange(1000.0))
    assert _drift_of(reference, pl.DataFrame({"x": []}, schema={"x": pl.Float32})) == {}


def test_noise_is_one_less_than_the_bins_in_use_times_both_sampling_errors() -> None:
    assert noise(np.array([50, 50, 0]), np.array([10, 10, 0])) == pytest.approx(1 / 100 + 1 / 20)


def test_noise_is_about_the_index_of_two_samples_of_one_distribution(
    random: Random,
) -> None:
    reference = _number(random.normal(size=5000).astype(np.float32))
    samples = (pl.DataFrame({"x": random.normal(size=400).astype("f4")}) for _ in range(200))
    found = [_drift_of(reference, sample)["x"] for sample in samples]
    assert np.mean([drift.psi for drift in found]) == pytest.approx(found[0].noise, rel=0.15)


def test_a_batch_of_few_rows_raises_no_alert_and_one_of_enough_does() -> None:
    reference = _number(np.arange(100_000.0))
    few = _drift_of(reference, pl.DataFrame({"x": np.full(100, 5e4)}))["x"]
    enough = _drift_of(reference, pl.DataFrame({"x": np.full(130, 5e4)}))["x"]
    assert alert_above(few, 0.25) is None
    assert alert_above(enough, 0.25) == 0.25
    assert enough.psi > 0.25


def test_noise_rarely_passes_the_threshold_of_a_large_enough_batch(
    random: Random,
) -> None:
    reference = _number(np.arange(100_000.0))
    samples = (random.uniform(0, 1e5, size=130) for _ in range(500))
    found = [_drift_of(reference, pl.DataFrame({"x": sample}))["x"] for sample in samples]
    assert not any(too_few_rows(drift, MOVED) for drift in found)
    assert sum(drift.psi > MOVED for drift in found) < 5


def _weeks(days: int, rows: int = 200) -> tuple[pl.DataFrame, np.ndarray]:
    day = np.repeat(np.arange(days), rows)
    return pl.DataFrame({"weekday": (day % 7).astype(np.float32)}), day


def test_a_day_like_those_of_the_training_is_no_alert_where_its_batches_are_known() -> None:
    """One day has one weekday, so its index is large: 0.25 would alert every day."""
    raw, day = _weeks(70)
    scores = np.full(raw.height, 0.5)
    by_day = fit_reference(_dataset(Feature(name="weekday")), raw, scores, day.tolist())
    at_once = fit_reference(_dataset(Feature(name="weekday")), raw, scores)
    monday = pl.DataFrame({"weekday": np.zeros(200, dtype=np.float32)})
    known, unknown = _drift_of(by_day, monday)["weekday"], _drift_of(at_once, monday)["weekday"]
    assert known.psi > 1
    assert known.psi < (alert_above(known, MOVED) or 0)
    assert unknown.usual is None
    assert alert_above(unknown, MOVED) == MOVED


def test_a_day_unlike_any_of_the_training_is_an_alert() -> None:
    raw, day = _weeks(70)
    scores = np.full(raw.height, 0.5)
    reference = fit_reference(_dataset(Feature(name="weekday")), raw, scores, day.tolist())
    gone = pl.DataFrame({"weekday": pl.Series([None] * 200, dtype=pl.Float32)})
    found = _drift_of(reference, gone)["weekday"]
    assert found.psi > (alert_above(found, MOVED) or math.inf)


def test_a_training_batch_of_few_rows_does_not_raise_the_line(random: Random) -> None:
    values = random.normal(size=5000).astype(np.float32)
    raw = pl.DataFrame({"x": np.append(values, np.float32(99))})
    day = [*np.repeat(np.arange(5), 1000).tolist(), 5]
    reference = fit_reference(_dataset(Feature(name="x")), raw, np.full(5001, 0.5), day)
    assert (reference.features["x"].usual or 0) < 0.05


def test_a_reference_reads_back_what_was_written(tmp_path: Path, random: Random) -> None:
    features = (Feature(name="x"), Feature(name="c", encode="category"))
    raw = pl.DataFrame({"x": random.normal(size=500).astype("f4"), "c": ["a", "b"] * 250})
    reference = fit_reference(_dataset(*features), raw, random.random(500), [0, 1] * 250)
    reference.write(str(tmp_path))
    assert Reference.read(str(tmp_path)) == reference


def test_a_missing_reference_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"reference\.json is missing; `flagfall model init`"):
        Reference.read(str(tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"rows": 1, "features": {}})])
def test_a_broken_reference_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "reference.json").write_text(text)
    with pytest.raises(ModelInvalid, match=r"reference\.json: "):
        Reference.read(str(tmp_path))
