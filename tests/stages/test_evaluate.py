"""Evaluate says how good the scores of a batch were, exactly, and whether that is normal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset, Thresholds
from flagfall.errors import ModelInvalid, NotThere
from flagfall.lake.output import Lake, part_name
from flagfall.lake.records import Drift, Evaluation, Part, Predicted, Staged
from flagfall.scoring.drift import fit_reference
from flagfall.scoring.evaluations.alerts import drift_alerts
from flagfall.scoring.evaluations.binary import Measures, binary_alerts, histogram
from flagfall.scoring.features import FeatureInvalid, fit_constants, raw_expression
from flagfall.stages.evaluate import evaluate

BATCH = "2026-11-22.0123456789abcdef"
FEED = """\
title: Loans
landing: {{uri: {root}/landing, marker: "date={{date}}/_SUCCESS"}}
lake: {{uri: {root}/lake}}
schema:
  fields:
    - {{name: id, type: integer}}
    - {{name: income, type: number}}
    - {{name: city, type: string}}
    - {{name: label, type: number}}
  primaryKey: [id]
features:
  - {{name: id, expr: "income / 1000"}}
  - {{name: city, encode: category}}
model: {{path: "{root}/model"}}
{more}
"""
LABEL = "label: {expr: label > 0, title: Not paid back}"


@dataclass
class Feed:
    """A feed whose batches are written as ingest and infer would leave them."""

    root: Path
    dataset: Dataset
    lake: Lake

    def scored(self, *parts: tuple[pl.DataFrame, np.ndarray], batch_id: str = BATCH) -> None:
        with self.lake.scratch() as folder:
            files = [folder / part_name(index) for index in range(len(parts))]
            for file, (rows, _) in zip(files, parts, strict=True):
                rows.write_parquet(file)
            self.lake.finish(_staged(batch_id, [rows for rows, _ in parts]), files)
            for file, (rows, scores) in zip(files, parts, strict=True):
                _predictions(rows, scores).write_parquet(file)
            self.lake.finish(_predicted(batch_id, [scores for _, scores in parts]), files)

    def evaluate(self) -> Evaluation:
        return evaluate(self.dataset, self.lake, BATCH)


def _parts(lengths: list[int]) -> tuple[Part, ...]:
    return tuple(Part(name=part_name(i), rows=rows) for i, rows in enumerate(lengths))


def _staged(batch_id: str, parts: list[pl.DataFrame]) -> Staged:
    listed = _parts([rows.height for rows in parts])
    total = sum(part.rows for part in listed)
    return Staged(
        batch_id=batch_id, files=(), parts=listed, rows=total, rejected_rows=0, reasons={}
    )


def _predicted(batch_id: str, parts: list[np.ndarray]) -> Predicted:
    listed = _parts([scores.size for scores in parts])
    return Predicted(
        batch_id=batch_id,
        parts=listed,
        rows=sum(part.rows for part in listed),
        positives=0,
        mean_score=None,
        model_version="v1",
    )


def _predictions(rows: pl.DataFrame, scores: np.ndarray) -> pl.DataFrame:
    return rows.select("id").with_columns(
        pl.Series("score", scores, dtype=pl.Float32),
        pl.Series("class", (scores >= 0.5).astype(np.int8)),
        pl.lit("v1").alias("model_version"),
    )


def _rows(count: int, labels: list[float | None] | np.ndarray, start: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(start)
    return pl.DataFrame(
        {
            "id": np.arange(start, start + count),
            "income": random.normal(50_000, 9_000, count),
            "city": random.choice(["Bern", "Basel", "Chur"], count),
            "label": pl.Series(labels, dtype=pl.Float64),
        }
    )


def _make(root: Path, more: str) -> Feed:
    (root / "datasets").mkdir()
    (root / "model").mkdir()
    file = root / "datasets" / "loans.yaml"
    file.write_text(FEED.format(root=root, more=more))
    dataset = read_dataset(file)
    training = _rows(4000, np.zeros(4000), start=9)
    constants = fit_constants(dataset, training, "v1").model_dump_json()
    (root / "model" / "constants.json").write_text(constants)
    raw = training.select(raw_expression(feature) for feature in dataset.features)
    scores = np.random.default_rng(1).random(4000)
    fit_reference(dataset, raw, scores).write(str(root / "model"))
    return Feed(root, dataset, Lake(f"{root}/lake", "loans"))


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return _make(tmp_path, LABEL)


def _scores(count: int, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random(count)
    return (0.7 * noise + 0.3 * labels * noise**0.2).astype(np.float32)


def test_the_figures_are_those_of_scikit_learn_over_all_parts(feed: Feed) -> None:
    labels = (np.random.default_rng(3).random(700) < 0.3).astype(float)
    scores = _scores(700, labels)
    feed.scored(
        (_rows(300, labels[:300]), scores[:300]),
        (_rows(400, labels[300:], start=300), scores[300:]),
    )
    found = feed.evaluate()
    assert (found.rows, found.labelled, found.positives) == (700, 700, labels.sum())
    assert found.auc == roc_auc_score(labels, scores)
    assert found.average_precision == average_precision_score(labels, scores)
    assert found.brier == pytest.approx(brier_score_loss(labels, scores), abs=1e-7)
    assert found.calibration_gap == pytest.approx(scores.mean() - labels.mean(), abs=1e-6)
    assert found.model_version == "v1"
    assert [drift.feature for drift in found.drift] == ["id", "city", "score"]


def test_rows_whose_label_is_not_known_are_scored_but_not_judged(feed: Feed) -> None:
    scores = np.array([0.1, 0.9, 0.85, 0.2], dtype=np.float32)
    feed.scored((_rows(4, [0.0, 1.0, None, None]), scores))
    found = feed.evaluate()
    assert (found.rows, found.labelled, found.positives, found.auc) == (4, 2, 1, 1.0)
    assert found.brier == pytest.approx(0.01, abs=1e-6)
    assert _filled(found.scores.unlabelled) == {20: 1, 85: 1}
    assert _filled(found.scores.negative) == {10: 1}
    assert _filled(found.scores.positive) == {90: 1}


def _filled(counts: tuple[int, ...]) -> dict[int, int]:
    return {place: count for place, count in enumerate(counts) if count}


def test_a_score_on_the_edge_of_a_bin_is_in_the_upper_one_and_1_in_the_last() -> None:
    found = histogram(np.array([0.0, 0.0099, 0.01, 0.7, 1.0], dtype=np.float32))
    assert _filled(tuple(found)) == {0: 2, 1: 1, 70: 1, 99: 1}
    assert found.size == 100


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_with_one_class_there_is_a_brier_score_and_no_auc(feed: Feed, only: float) -> None:
    feed.scored((_rows(3, [only] * 3), np.full(3, 0.25, dtype=np.float32)))
    found = feed.evaluate()
    assert (found.auc, found.average_precision) == (None, None)
    assert found.brier == pytest.approx((0.25 - only) ** 2)
    assert found.calibration_gap == pytest.approx(0.25 - only)


@pytest.mark.parametrize("parts", [0, 1])
def test_a_batch_without_rows_has_no_figures_and_no_alerts(feed: Feed, parts: int) -> None:
    none = pl.DataFrame(schema=polars_schema(feed.dataset))
    feed.scored(*[(none, np.empty(0, dtype=np.float32))] * parts)
    found = feed.evaluate()
    assert (found.rows, found.labelled, found.auc, found.brier) == (0, 0, None, None)
    assert (found.calibration_gap, found.drift, found.alerts) == (None, (), ())
    assert sum(found.scores.unlabelled) == 0


def test_a_part_without_rows_has_no_label_that_could_be_wrong(tmp_path: Path) -> None:
    """Its record does not know the classes: the model has not said anything."""
    feed = _make(tmp_path, "label: {expr: city}")
    none = pl.DataFrame(schema=polars_schema(feed.dataset))
    feed.scored((none, np.empty(0, dtype=np.float32)))
    assert feed.evaluate().labelled == 0


def test_a_dataset_without_a_label_has_drift_and_scores_only(tmp_path: Path) -> None:
    feed = _make(tmp_path, "")
    feed.scored((_rows(200, np.zeros(200)), np.full(200, 0.3, dtype=np.float32)))
    found = feed.evaluate()
    assert (found.rows, found.labelled, found.auc, found.brier) == (200, 0, None, None)
    assert sum(found.scores.unlabelled) == 200
    assert len(found.drift) == 3


def test_what_passes_a_threshold_is_an_alert(tmp_path: Path) -> None:
    feed = _make(tmp_path, f"{LABEL}\nthresholds: {{psi_max: 0.25, auc_min: 0.6}}")
    labels = np.tile([0.0, 1.0], 150)
    rows = _rows(300, labels).with_columns(pl.col("income") * 2)
    feed.scored((rows, np.linspace(0.3, 0.2, 300, dtype=np.float32)))
    auc, drifted, score = feed.evaluate().alerts
    assert auc.startswith("AUC 0.50 is below 0.60")
    assert drifted.startswith("drift of id ")
    assert drifted.endswith(" is above 0.25")
    assert score.startswith("drift of the model's score ")


def test_an_evaluated_batch_is_not_evaluated_again(feed: Feed) -> None:
    feed.scored((_rows(3, [0.0, 1.0, 1.0]), np.full(3, 0.25, dtype=np.float32)))
    first = feed.evaluate()
    for part in (feed.root / "lake").rglob("*.parquet"):
        part.unlink()
    assert feed.evaluate() == first


def test_a_batch_that_was_not_ingested_or_scored_says_what_to_run_first(feed: Feed) -> None:
    with pytest.raises(NotThere, match="run ingest first"):
        feed.evaluate()
    feed.lake.finish(_staged(BATCH, []))
    with pytest.raises(NotThere, match="run infer first"):
        feed.evaluate()


def test_a_reference_of_other_features_is_refused(feed: Feed) -> None:
    path = feed.root / "model" / "reference.json"
    path.write_text(path.read_text().replace('"city"', '"town"'))
    feed.scored((_rows(3, [0.0, 1.0, 1.0]), np.full(3, 0.25, dtype=np.float32)))
    with pytest.raises(
        ModelInvalid, match=r"reference\.json has \['id', 'town'\].*flagfall model init"
    ):
        feed.evaluate()


def test_a_label_that_fails_on_the_rows_is_named(tmp_path: Path) -> None:
    feed = _make(tmp_path, 'label: {expr: "CAST(city AS INTEGER) > 0"}')
    feed.scored((_rows(3, [0.0, 1.0, 1.0]), np.full(3, 0.25, dtype=np.float32)))
    with pytest.raises(FeatureInvalid, match=r"loans\.yaml: label: 'CAST"):
        feed.evaluate()


def test_predictions_of_other_rows_are_never_joined_to_labels(feed: Feed) -> None:
    rows = _rows(3, [0.0, 1.0, 1.0])
    feed.scored((rows, np.full(3, 0.25, dtype=np.float32)))
    part = next((feed.root / "lake/loans/predictions" / BATCH).rglob("*.parquet"))
    pl.read_parquet(part).reverse().write_parquet(part)
    with pytest.raises(AssertionError, match="not aligned"):
        feed.evaluate()


LIMITS = Thresholds(auc_min=0.6, brier_max=0.25, psi_max=0.25, calibration_max=0.1)


def _drift(psi: float, usual: float | None = None, noise: float = 0.01) -> Drift:
    return Drift(
        feature="temp",
        psi=psi,
        missing_share=0,
        reference_missing_share=0,
        usual=usual,
        noise=noise,
    )


def _alerts(
    thresholds: Thresholds,
    auc: float | None,
    brier: float | None,
    gap: float | None,
    drifts: list[Drift],
) -> tuple[str, ...]:
    measures = Measures(6, 3, auc, None, brier, gap)
    return binary_alerts(thresholds, measures) + drift_alerts(thresholds.psi_max, drifts)


def test_each_threshold_that_is_passed_is_one_sentence() -> None:
    assert _alerts(LIMITS, 0.55, 0.3, -0.12, [_drift(0.31)]) == (
        "AUC 0.55 is below 0.60",
        "Brier score 0.30 is above 0.25",
        "calibration gap 0.12 is above 0.10",
        "drift of temp 0.31 is above 0.25",
    )


def test_a_figure_on_its_threshold_is_no_alert() -> None:
    assert _alerts(LIMITS, 0.6, 0.25, 0.1, [_drift(0.25)]) == ()


def test_no_figure_and_no_threshold_never_alert() -> None:
    assert _alerts(LIMITS, None, None, None, []) == ()
    assert _alerts(Thresholds(), 0.01, 0.99, 0.99, [_drift(99)]) == ()


def test_a_figure_that_rounds_to_its_threshold_is_told_apart() -> None:
    assert _alerts(LIMITS, 0.59996, None, None, []) == ("AUC 0.59996 is below 0.60000",)


def test_drift_alerts_above_what_training_batches_reached_and_not_on_few_rows() -> None:
    assert _alerts(LIMITS, None, None, None, [_drift(2.1, usual=2.0)]) == ()
    assert _alerts(LIMITS, None, None, None, [_drift(2.3, usual=2.0)]) == (
        "drift of temp 2.30 is above 2.20",
    )
    assert _alerts(LIMITS, None, None, None, [_drift(2.3, noise=0.09)]) == ()
