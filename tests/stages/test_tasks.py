"""Each task is judged by its own figures, from the files that came to the record in the lake."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from flagfall.cli.dataset_check import check_dataset
from flagfall.errors import DatasetInvalid, ModelInvalid
from flagfall.lake.records import Evaluation
from flagfall.scoring.drift import fit_reference
from flagfall.scoring.feature_maker import feature_maker
from flagfall.scoring.features import FeatureInvalid
from flagfall.scoring.labels import Says, check_label
from flagfall.scoring.own_code import CodeInvalid
from flagfall.stages.evaluate import evaluate
from tests.feeds import ToyFeed
from tests.kinds import make, rows_of, run, said, train

DAY = "2026-11-22"
TASKS = ("binary", "multiclass", "regression", "anomaly")


def _known(rows: pl.DataFrame, predictions: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
    known = rows["truth"].is_not_null()
    return rows["truth"].filter(known).to_numpy(), predictions.filter(known)


def test_a_binary_models_label_may_be_the_name_of_a_class(tmp_path: Path) -> None:
    feed, rows = make(tmp_path, "binary"), rows_of("binary")
    found, predictions = run(feed, DAY, rows)
    truth, known = _known(rows, predictions)
    assert (found.task, found.rows, found.labelled) == ("binary", 400, 380)
    assert found.auc == pytest.approx(metrics.roc_auc_score(truth == "yes", known["score"]))
    brier = metrics.brier_score_loss(truth == "yes", known["score"])
    assert found.brier == pytest.approx(brier, abs=1e-7)
    assert found.alerts == ()


def test_positive_class_turns_the_score_and_the_label_together(tmp_path: Path) -> None:
    feed, rows = make(tmp_path, "binary", model="positive_class: 'no'"), rows_of("binary")
    found, predictions = run(feed, DAY, rows)
    truth, known = _known(rows, predictions)
    assert found.positives == (truth == "no").sum()
    assert found.auc == pytest.approx(metrics.roc_auc_score(truth == "no", known["score"]))


def test_multiclass_figures_are_those_of_scikit_learn(tmp_path: Path) -> None:
    feed, rows = make(tmp_path, "multiclass"), rows_of("multiclass")
    found, predictions = run(feed, DAY, rows)
    truth, known = _known(rows, predictions)
    figures, classes = found.multiclass, ["ant", "bee", "cow"]
    assert figures is not None
    shares = known.select(f"probability.{name}" for name in classes).to_numpy()
    shares = shares.astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    expected = metrics.log_loss(truth, shares, labels=classes)
    assert figures.log_loss == pytest.approx(expected, abs=1e-6)
    assert figures.accuracy == metrics.accuracy_score(truth, known["class"])
    f1 = metrics.f1_score(truth, known["class"], average="macro")
    assert figures.macro_f1 == pytest.approx(f1, abs=1e-12)
    assert figures.shown == tuple(classes)
    matrix = metrics.confusion_matrix(truth, known["class"], labels=classes)
    assert np.array_equal(figures.confusion, matrix)
    given = {name: counts.predicted for name, counts in figures.counts.items()}
    assert given == Counter(predictions["class"])
    assert (found.labelled, found.auc, found.alerts) == (380, None, ())


def test_regression_figures_are_those_of_scikit_learn(tmp_path: Path) -> None:
    feed, rows = make(tmp_path, "regression"), rows_of("regression")
    found, predictions = run(feed, DAY, rows)
    truth, known = _known(rows, predictions)
    figures, values = found.regression, known["value"].to_numpy()
    assert figures is not None
    assert figures.mae == pytest.approx(metrics.mean_absolute_error(truth, values), abs=1e-12)
    assert figures.rmse == pytest.approx(metrics.root_mean_squared_error(truth, values))
    assert figures.r2 == pytest.approx(metrics.r2_score(truth, values), abs=1e-12)
    assert figures.bias == pytest.approx((values - truth).mean(), abs=1e-12)
    assert figures.bins is not None
    sums = {name: sum(numbers) for name, numbers in figures.bins.sums.items()}
    assert (sums["rows"], sums["known"]) == (400, 380)
    assert sums["error"] == pytest.approx((values - truth).sum())
    assert sums["square"] == pytest.approx(np.square(values - truth).sum())
    assert (found.labelled, found.auc, found.alerts) == (380, None, ())


def test_anomaly_figures_are_those_of_scikit_learn(tmp_path: Path) -> None:
    feed, rows = make(tmp_path, "anomaly"), rows_of("anomaly", 900)
    found, predictions = run(feed, DAY, rows)
    truth, known = _known(rows, predictions)
    figures = found.anomaly
    assert figures is not None
    assert figures.flagged == (rows["x"] > 0.7).sum() > 0
    assert figures.auc == pytest.approx(metrics.roc_auc_score(truth, known["score"]))
    assert figures.precision == metrics.precision_score(truth, known["label"])
    assert figures.recall == metrics.recall_score(truth, known["label"])
    assert (found.labelled, found.positives) == (855, truth.sum())
    assert figures.bins is not None
    assert sum(figures.bins.sums["positive"]) == truth.sum()


@pytest.mark.parametrize("task", TASKS)
def test_without_labels_every_task_says_what_can_be_said(tmp_path: Path, task: str) -> None:
    found, _ = run(make(tmp_path, task, label=""), DAY, rows_of(task))
    assert (found.rows, found.labelled, found.alerts) == (400, 0, ())
    if found.multiclass:
        assert found.multiclass.accuracy is None
    if found.regression:
        assert (found.regression.mae, found.regression.bins is None) == (None, False)
    if found.anomaly:
        assert (found.anomaly.auc, found.anomaly.flagged > 0) == (None, True)


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_without_rows_has_no_figures(tmp_path: Path, task: str) -> None:
    found, _ = run(make(tmp_path, task), DAY, rows_of(task).clear())
    assert (found.rows, found.labelled, found.alerts) == (0, 0, ())


@pytest.mark.parametrize("task", TASKS)
def test_without_a_reference_there_is_no_drift_and_with_one_there_is(
    tmp_path: Path, task: str
) -> None:
    feed = make(tmp_path, task)
    assert run(feed, "2026-11-21", rows_of(task))[0].drift == ()
    train(feed, task)
    drifts = run(feed, DAY, rows_of(task, seed=1))[0].drift
    inputs = ["a", "b", "predicted class"] if task == "multiclass" else ["x"]
    assert [drift.feature for drift in drifts] == [*inputs, "score"]
    assert all(drift.psi < 0.25 for drift in drifts), drifts


@pytest.mark.parametrize("task", TASKS)
def test_a_dataset_without_a_primary_key_is_evaluated(tmp_path: Path, task: str) -> None:
    found, predictions = run(make(tmp_path, task, key=False), DAY, rows_of(task))
    assert (found.rows, found.labelled) == (400, 380)
    assert predictions.columns[:2] == ["source.file", "source.row"]


def test_rows_without_a_primary_key_are_never_joined_to_predictions_of_others(
    tmp_path: Path,
) -> None:
    feed = make(tmp_path, "regression", key=False)
    run(feed, DAY, rows_of("regression"))
    [part] = (tmp_path / "lake/toy/predictions").rglob("*.parquet")
    pl.read_parquet(part).reverse().write_parquet(part)
    [record] = (tmp_path / "lake/toy/evaluations").rglob("record.json")
    record.unlink()
    with pytest.raises(AssertionError, match="not aligned"):
        evaluate(feed.dataset, feed.inbox().lake, feed.marker(DAY).batch_id)


def test_features_of_a_teams_own_function_drift_too(tmp_path: Path) -> None:
    """Numbers, texts, yes or no, and dates, as the function returns them."""
    (tmp_path / "features.py").write_text(
        "import polars as pl\nfrom datetime import date\ndef features(rows):\n"
        "    return rows.select('x', half=pl.when(pl.col('x') < 3).then(pl.lit('low'))"
        ".otherwise(pl.lit('high')), big=pl.col('x') > 5,"
        " day=date(2026, 1, 1) + pl.duration(days=pl.col('id')))\n"
    )
    own = f"features: {{python: {tmp_path}/features.py}}\n"
    feed = make(tmp_path, "regression", features=own)
    training = rows_of("regression", 4000, seed=9).with_columns(pl.col("id") % 400)
    raw = feature_maker(feed.dataset).raw(training)
    reference = fit_reference(feed.dataset, raw, said("regression", training))
    reference.write(str(tmp_path / "model"))
    drifts = run(feed, "2026-11-21", rows_of("regression"))[0].drift
    assert [drift.feature for drift in drifts] == ["x", "half", "big", "day", "score"]
    assert max(drift.psi for drift in drifts) < 0.25
    shifted = run(feed, DAY, rows_of("regression", shift=4.0))[0].drift
    assert min(drift.psi for drift in shifted if drift.feature != "day") > 0.25


def test_a_reference_may_lack_features_and_says_so_where_it_has_others(tmp_path: Path) -> None:
    feed = make(tmp_path, "multiclass")
    rows = rows_of("multiclass", 4000, seed=9)
    part = rows.select(pl.col("a").cast(pl.Float32()))
    fit_reference(feed.dataset, part, said("multiclass", rows)).write(str(tmp_path / "model"))
    drifts = run(feed, "2026-11-21", rows_of("multiclass"))[0].drift
    assert [drift.feature for drift in drifts] == ["a", "predicted class", "score"]
    fit_reference(feed.dataset, part.rename({"a": "z"}), said("multiclass", rows)).write(
        str(tmp_path / "model")
    )
    with pytest.raises(ModelInvalid, match=r"reference\.json has \['z'\].*flagfall model init"):
        run(feed, DAY, rows_of("multiclass"))


def test_a_reference_of_numbers_does_not_count_texts_of_that_name(tmp_path: Path) -> None:
    feed = make(tmp_path, "regression")
    rows = rows_of("regression", 400)
    (tmp_path / "model" / "model.py").write_text(
        "TASK = 'regression'\ndef load(folder): ...\n"
        "def predict(model, rows): return rows['x'].cast(float)\n"
    )
    own = "def features(rows):\n    return rows.select(rows['x'].cast(str))\n"
    (tmp_path / "features.py").write_text(own)
    train(feed, "regression")
    dataset = feed.dataset.model_copy(
        update={"features": (), "features_python": str(tmp_path / "features.py")}
    )
    with pytest.raises(ModelInvalid, match="numbers among them"):
        run(ToyFeed(tmp_path, dataset), DAY, rows)


def test_a_model_that_always_predicts_another_class_has_drifted(tmp_path: Path) -> None:
    feed = make(tmp_path, "multiclass", more="thresholds: {psi_max: 0.25}\n")
    train(feed, "multiclass")
    rows = rows_of("multiclass").with_columns(a=pl.col("a") * 0.01, b=pl.lit(0.05))
    found, _ = run(feed, DAY, rows)
    assert any(alert.startswith("drift of the model's predicted class ") for alert in found.alerts)


# Labels that cannot be the model's


WRONG = [
    ("binary", "x", "Float64, and a binary model's label is true or false"),
    ("binary", "truth || '!'", r"\['no!', 'yes!'\], and the model's classes are \['no', 'yes'"),
    ("multiclass", "a", "Float64, and the model's classes are"),
    ("multiclass", "truth || '!'", r"\['ant!', 'bee!', 'cow!'\]"),
    ("regression", "truth > 3", "Boolean, and a regression model predicts numbers"),
    ("regression", "CAST(truth AS VARCHAR)", "String, and a regression model predicts numbers"),
    ("anomaly", "id", r"\[2, 3, 4, 5, 6\]; true \(or 1\) means unusual"),
    ("anomaly", "x", "Float64; true"),
]


@pytest.mark.parametrize(("task", "label", "why"), WRONG)
def test_a_label_that_cannot_be_the_models_is_an_error_with_a_remedy(
    tmp_path: Path, task: str, label: str, why: str
) -> None:
    with pytest.raises(FeatureInvalid, match=f"toy.yaml: .*label: .*{why}.*; "):
        run(make(tmp_path, task, label=label), DAY, rows_of(task))


def test_a_text_is_no_label_of_a_model_whose_classes_nobody_named(tmp_path: Path) -> None:
    feed = make(tmp_path, "binary", model="task: binary")
    (tmp_path / "model" / "model.py").write_text(
        "TASK = 'binary'\ndef load(folder): ...\ndef predict(model, rows): return rows['x']\n"
    )
    with pytest.raises(FeatureInvalid, match=r"nobody named .*set model\.classes"):
        run(feed, DAY, rows_of("binary"))


@pytest.mark.parametrize(("task", "label", "why"), [w for w in WRONG if "!" not in w[1]])
def test_the_type_of_a_label_is_checked_without_rows(
    tmp_path: Path, task: str, label: str, why: str
) -> None:
    dataset = make(tmp_path, task, label=label).dataset
    says = Says(task, ("ant", "bee", "cow"))  # type: ignore[arg-type]
    if label == "id":
        check_label(dataset, says)  # an integer may be 0 or 1
    else:
        with pytest.raises(FeatureInvalid, match=why):
            check_label(dataset, says)


# Alerts


def test_a_binary_model_of_the_wrong_class_alerts_without_any_threshold(tmp_path: Path) -> None:
    rows = rows_of("binary").with_columns(x=1 - pl.col("x"))
    found, _ = run(make(tmp_path, "binary"), DAY, rows)
    [alert] = found.alerts
    assert alert == f"AUC {found.auc:.2f} is worse than chance (is model.positive_class right?)"


def test_an_auc_that_is_below_one_half_by_chance_does_not_alert(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    truth = random.choice(["no", "yes"], 60).tolist()
    rows = pl.DataFrame({"id": np.arange(60), "x": random.random(60), "truth": truth})
    rows = rows if _auc(rows) < 0.5 else rows.with_columns(x=1 - pl.col("x"))
    found, _ = run(make(tmp_path, "binary"), DAY, rows)
    assert found.auc is not None
    assert 0.35 < found.auc < 0.5
    assert found.alerts == ()


def _auc(rows: pl.DataFrame) -> float:
    return float(metrics.roc_auc_score(rows["truth"] == "yes", rows["x"]))


def test_a_model_in_another_unit_than_the_label_alerts_without_any_threshold(
    tmp_path: Path,
) -> None:
    found, _ = run(make(tmp_path, "regression", label="truth * 60"), DAY, rows_of("regression"))
    [alert] = found.alerts
    assert alert.startswith("R² -")
    assert alert.endswith("(is the label in the unit of the model's values?)")


def test_classes_in_the_wrong_order_alert_without_any_threshold(tmp_path: Path) -> None:
    label = "CASE truth WHEN 'ant' THEN 'bee' WHEN 'bee' THEN 'cow' WHEN 'cow' THEN 'ant' END"
    found, _ = run(make(tmp_path, "multiclass", label=label), DAY, rows_of("multiclass"))
    assert [alert.partition(" is ")[2] for alert in found.alerts] == [
        "worse than chance (are model.classes in the order of its probabilities?)"
    ]


def test_an_anomaly_score_that_is_upside_down_alerts_without_any_threshold(tmp_path: Path) -> None:
    rows = rows_of("anomaly", 900).with_columns(x=1 - pl.col("x"))
    found, _ = run(make(tmp_path, "anomaly"), DAY, rows)
    assert any(" is worse than chance (does a higher score" in alert for alert in found.alerts)


LIMITS = [
    (
        "multiclass",
        "{logloss_max: 0.01, f1_min: 0.99, accuracy_min: 0.99}",
        ("log loss", "F1", "accuracy"),
    ),
    (
        "regression",
        "{mae_max: 0.01, rmse_max: 0.01, r2_min: 0.99, bias_max: 0.01}",
        ("MAE", "RMSE", "R²", "bias"),
    ),
    (
        "anomaly",
        "{flagged_min: 0.9, auc_min: 1, precision_min: 1, recall_min: 1}",
        ("share flagged", "AUC", "precision", "recall"),
    ),
    ("anomaly", "{flagged_max: 0}", ("share flagged",)),
]


@pytest.mark.parametrize(("task", "limits", "names"), LIMITS)
def test_each_threshold_of_a_task_that_is_passed_is_one_sentence(
    tmp_path: Path, task: str, limits: str, names: tuple[str, ...]
) -> None:
    feed = make(tmp_path, task, more=f"thresholds: {limits}\n")
    alerts = run(feed, DAY, rows_of(task))[0].alerts
    assert len(alerts) == len(names)
    for alert, name in zip(alerts, names, strict=True):
        assert alert.startswith(f"{name} "), alerts
        assert " is above " in alert or " is below " in alert


def test_a_threshold_of_another_task_is_an_error_where_the_task_is_known(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match=r"thresholds\.mae_max: .*task: regression"):
        make(tmp_path, "binary", model="task: binary", more="thresholds: {mae_max: 1}\n")


# A function of the team's own


def _own(root: Path, body: str) -> str:
    (root / "own.py").write_text(f"def evaluate(rows, predictions):\n    {body}\n")
    return f"evaluate: {{python: {root}/own.py}}\n"


def test_a_teams_own_figures_and_alerts_are_in_the_record(tmp_path: Path) -> None:
    body = (
        "return {'loss': (rows['truth'] - predictions['value']).abs().max(),"
        " 'rows': rows.height, 'none': float('nan'), 'alerts': ['loss is large']}"
    )
    rows = rows_of("regression")
    found, predictions = run(make(tmp_path, "regression", more=_own(tmp_path, body)), DAY, rows)
    truth, known = _known(rows, predictions)
    largest = np.abs(truth - known["value"].to_numpy()).max()
    assert found.own == {"loss": pytest.approx(largest), "rows": 400.0, "none": None}
    assert found.alerts == ("loss is large",)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return rows['nothing']", r"evaluate\(\): line 2: ColumnNotFoundError"),
        ("return 3", "returned int, not names and their numbers"),
        ("return {'a': 'x'}", "returned 'x' for 'a', not a number"),
        ("return {'alerts': [3]}", "not a list of sentences"),
    ],
)
def test_a_function_that_fails_is_named_with_its_file(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(CodeInvalid, match=rf"own\.py: .*{why}"):
        run(make(tmp_path, "binary", more=_own(tmp_path, body)), DAY, rows_of("binary"))


# Records of older releases


def test_a_record_of_a_release_that_knew_binary_models_only_is_read() -> None:
    old = {
        "form": 1, "batch_id": "b", "rows": 1, "labelled": 1, "positives": 1, "auc": None,
        "average_precision": None, "brier": 0.1, "calibration_gap": 0.1,
        "scores": {"unlabelled": [0], "negative": [0], "positive": [1]},
        "drift": [{"feature": "score", "psi": 0, "missing_share": 0, "reference_missing_share": 0}],
        "alerts": [], "model_version": "1",
    }  # fmt: skip
    found = Evaluation.model_validate(old)
    assert (found.task, found.own, found.multiclass) == ("binary", {}, None)


# What `flagfall check` finds before any batch comes


@pytest.mark.parametrize("task", TASKS)
def test_check_calls_fine_what_can_be_evaluated(tmp_path: Path, task: str) -> None:
    assert check_dataset(make(tmp_path, task).dataset).startswith("fine; ")


@pytest.mark.parametrize(("task", "label", "why"), [w for w in WRONG if "[" not in w[2]])
def test_check_refuses_a_label_that_cannot_be_the_models(
    tmp_path: Path, task: str, label: str, why: str
) -> None:
    with pytest.raises(DatasetInvalid, match=f"label\\.expr: .*{why}"):
        check_dataset(make(tmp_path, task, label=label).dataset)


def test_check_refuses_a_threshold_of_another_task_than_the_model_tells(tmp_path: Path) -> None:
    dataset = make(tmp_path, "binary", more="thresholds: {f1_min: 0.5}\n").dataset
    with pytest.raises(DatasetInvalid, match=r"thresholds\.f1_min: expected none"):
        check_dataset(dataset)


def test_check_loads_the_teams_own_function(tmp_path: Path) -> None:
    dataset = make(tmp_path, "binary", more=f"evaluate: {{python: {tmp_path}/own.py}}\n").dataset
    with pytest.raises(DatasetInvalid, match=r"evaluate\.python: expected a Python file"):
        check_dataset(dataset)
