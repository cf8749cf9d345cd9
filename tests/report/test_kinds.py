"""Each task has a page of its own, whose figures over several batches are those of all rows."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from flagfall.dataset.thresholds import OF_TASKS
from flagfall.lake.records import ClassCounts, Drift, Evaluation
from flagfall.report import class_plots
from flagfall.report.pooled import Pool
from flagfall.report.run import report_run
from flagfall.report.tiles import LINES
from flagfall.report.worst_drift import divided
from flagfall.scoring.evaluations.alerts import above
from flagfall.stages.shard import Delivery, run_stage
from flagfall.verdict.data import _kind
from tests.browser import Browser
from tests.kinds import make, rows_of, run, train
from tests.report.test_report import Page, Seen, headings, plain, tiles

DAYS = ("2026-11-20", "2026-11-21", "2026-11-22")
TASKS = ("binary", "multiclass", "regression", "anomaly")
MORE = {
    "binary": "",
    "multiclass": "thresholds: {accuracy_min: 0.5}\n",
    "regression": "thresholds: {mae_max: 0.001}\n",
    "anomaly": "thresholds: {flagged_max: 0.9}\n",
}


class Made:
    """Three days of a task, and the page of the last two."""

    def __init__(self, root: Path, task: str) -> None:
        (root / "own.py").write_text(
            "def evaluate(rows, predictions):\n"
            "    return {'<b>cost</b>': rows.height * 1000.0, 'nothing': None}\n"
        )
        more = f"{MORE[task]}evaluate: {{python: {root}/own.py}}\n"
        feed = make(root, task, more=more)
        train(feed, task)
        sizes = (300, 500, 800)
        found = [
            (rows, *run(feed, day, rows))
            for day, rows in zip(
                DAYS, (rows_of(task, n, seed=n, shift=n / 400) for n in sizes), strict=True
            )
        ]
        self.evaluations: list[Evaluation] = [evaluation for _, evaluation, _ in found[1:]]
        self.rows = pl.concat([rows for rows, _, _ in found[1:]])
        self.predictions = pl.concat([predictions for _, _, predictions in found[1:]])
        report = report_run(feed.dataset, feed.inbox(), "run", [feed.marker(d) for d in DAYS[1:]])
        self.sentence = report["sentence"]
        self.path = Path(report["uri"])
        self.page = self.path.read_text(encoding="utf-8")

    @property
    def pool(self) -> Pool:
        pool = Pool()
        for evaluation in self.evaluations:
            pool.add(evaluation)
        return pool

    def known(self) -> tuple[np.ndarray, pl.DataFrame]:
        known = self.rows["truth"].is_not_null()
        return self.rows["truth"].filter(known).to_numpy(), self.predictions.filter(known)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    return {task: Made(tmp_path_factory.mktemp(task), task) for task in TASKS}


# Figures over several batches


def test_classes_of_several_batches_are_judged_as_one(made: dict[str, Made]) -> None:
    truth, known = made["multiclass"].known()
    pool = made["multiclass"].pool.multiclass
    assert pool.accuracy == pytest.approx(metrics.accuracy_score(truth, known["class"]))
    f1 = metrics.f1_score(truth, known["class"], average="macro")
    assert pool.macro_f1 == pytest.approx(f1, abs=1e-12)
    names, table = pool.confusion(10)
    assert np.array_equal(
        table, metrics.confusion_matrix(truth, known["class"], labels=np.array(names))
    )


def test_values_of_several_batches_are_judged_as_one(made: dict[str, Made]) -> None:
    truth, known = made["regression"].known()
    pool, values = made["regression"].pool.regression, known["value"].to_numpy()
    assert pool.mae == pytest.approx(metrics.mean_absolute_error(truth, values))
    assert pool.rmse == pytest.approx(metrics.root_mean_squared_error(truth, values))
    assert pool.r2 == pytest.approx(metrics.r2_score(truth, values))
    assert pool.bias == pytest.approx((values - truth).mean())
    assert pool.mean == pytest.approx(made["regression"].predictions["value"].mean())
    assert pool.bins is not None
    assert sum(pool.bins.sums["rows"]) == 1300


def test_flags_of_several_batches_are_judged_as_one(made: dict[str, Made]) -> None:
    truth, known = made["anomaly"].known()
    pool = made["anomaly"].pool.anomaly
    assert pool.precision == metrics.precision_score(truth, known["label"])
    assert pool.recall == metrics.recall_score(truth, known["label"])
    assert pool.share == made["anomaly"].predictions["label"].cast(pl.Int64).mean()


# The page


def test_each_task_has_its_key_figures(made: dict[str, Made]) -> None:
    found = {task: tiles(made[task].page) for task in TASKS}
    pool = made["multiclass"].pool.multiclass
    assert found["multiclass"]["Accuracy"].startswith(f"{100 * (pool.accuracy or 0):.0f}%")
    assert found["multiclass"]["F1"].startswith(f"{pool.macro_f1:.2f}")
    assert found["multiclass"]["Most frequent class"].startswith("ant ")
    mae = made["regression"].pool.regression.mae
    assert found["regression"]["Mean absolute error"].startswith(
        f"{mae:.3g} alert above 0.001; pooled over 2"
    )
    assert {"RMSE", "R²", "Bias", "Mean prediction"} <= set(found["regression"])
    assert {"Flagged", "Precision", "Recall", "AUC"} <= set(found["anomaly"])
    assert {"AUC", "Calibration gap", "Predicted positive"} <= set(found["binary"])


def test_each_figure_with_a_threshold_names_its_line(made: dict[str, Made]) -> None:
    """Not the Brier score alone."""
    assert "alert below 0.5;" in tiles(made["multiclass"].page)["Accuracy"]
    assert "alert above 0.9;" in tiles(made["anomaly"].page)["Flagged"]
    assert set(LINES) == set(OF_TASKS)


def test_only_binary_models_are_said_to_have_positives(made: dict[str, Made]) -> None:
    for task in TASKS[1:]:
        assert "Predicted positive" not in tiles(made[task].page)
        assert "Calibration" not in plain(made[task].page)


def test_a_figure_that_alerts_is_marked(made: dict[str, Made]) -> None:
    assert made["regression"].sentence.startswith("Needs attention: MAE is above 0.001 in 3 of 3")
    marked = re.findall(r'class="tile alert"><dt>(.*?)</dt>', made["regression"].page)
    assert "Mean absolute error" in marked


def test_models_that_are_worse_than_chance_are_one_reason_however_many_batches(
    tmp_path: Path,
) -> None:
    feed = make(tmp_path, "binary", model="positive_class: 'no'", label="truth = 'yes'")
    for day in DAYS[:2]:
        run(feed, day, rows_of("binary"))
    report = report_run(feed.dataset, feed.inbox(), "run", [feed.marker(d) for d in DAYS[:2]])
    assert [one["what"] for one in report["reasons"]] == [
        "AUC is worse than chance (is model.positive_class right?) in 2 of 2 batches"
    ]


@pytest.mark.parametrize(
    ("task", "name"),
    [("binary", "AUC"), ("multiclass", "Accuracy"), ("regression", "MAE"), ("anomaly", "Flagged")],
)
def test_the_table_of_batches_has_the_figure_of_the_task(
    made: dict[str, Made], task: str, name: str
) -> None:
    cells = re.findall(rf'data-name="{name}">(.*?)<', made[task].page)
    assert len(cells) == 2
    assert all(re.fullmatch(r"[\d.]+%?", cell) for cell in cells)


@pytest.mark.parametrize("task", TASKS)
def test_the_page_is_well_formed_and_every_picture_has_its_own_ids(
    made: dict[str, Made], task: str
) -> None:
    page = Page(made[task].page)
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    assert len(page.all("svg")) >= 6
    assert "How to read this page" in headings(made[task].page)


@pytest.mark.parametrize(
    ("task", "title"),
    [
        ("multiclass", "Accuracy from "),
        ("regression", "Mean absolute error from "),
        ("anomaly", "Share flagged from "),
    ],
)
def test_the_last_30_days_show_the_figure_of_the_task(
    made: dict[str, Made], task: str, title: str
) -> None:
    titles = [
        unescape(found) for found in re.findall(r"<title id=.*?>(.*?)</title>", made[task].page)
    ]
    assert any(found.startswith(title) for found in titles), titles


def test_a_teams_own_figures_are_tiles_and_their_names_are_text(made: dict[str, Made]) -> None:
    page = made["regression"].page
    assert "&lt;b&gt;cost&lt;/b&gt;" in page
    assert "650,000" in page
    assert "median; 500,000 to 800,000" in plain(page)
    assert tiles(page)["nothing"] == "– no value"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("label", ["", "truth"])
def test_a_first_day_and_one_without_labels_have_a_page(
    tmp_path: Path, task: str, label: str
) -> None:
    feed = make(tmp_path, task, label=label)
    run(feed, DAYS[0], rows_of(task, 40))
    report = report_run(feed.dataset, feed.inbox(), "run", [feed.marker(DAYS[0])])
    page = Path(report["uri"]).read_text(encoding="utf-8")
    Page(page)
    assert report["verdict"] == "unknown", "no thresholds"
    assert ("Outcome known" in tiles(page)) == bool(label)


@pytest.mark.parametrize("task", TASKS)
def test_on_a_phone_nothing_stands_out_to_the_side(
    browser: Browser, made: dict[str, Made], task: str
) -> None:
    with browser.new_context(viewport={"width": 360, "height": 740}) as phone:
        seen = Seen(phone, made[task].path)
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 360
        assert seen.overflow() == []
        assert seen.requests == [made[task].path.as_uri()]


# Classes


def test_names_of_classes_are_text_and_many_of_them_become_others() -> None:
    names = [f"{n}<b>\u202e\x00$\\frac{{" for n in range(30)]
    pool = Pool().multiclass
    pool.counts = {name: ClassCounts(predicted=9, real=9, given=9, right=9) for name in names}
    pool.pairs.update({(name, name): 9 for name in names})
    shown, table = pool.confusion(10)
    assert (len(shown), shown[-1], table[-1, -1], table.sum()) == (10, "others", 21 * 9, 270)
    for svg in (
        class_plots.confusion(shown, table),
        class_plots.class_shares(pool.shown(10), pool.counts, is_known=True),
    ):
        assert "<b>" not in svg
        assert not re.search("[\u202e\x00]", svg)


# Drift


def _drift(name: str, kind: str = "feature") -> Drift:
    plain = {"feature": name, "psi": 0.1, "missing_share": 0, "reference_missing_share": 0}
    return Drift.model_validate({**plain, "kind": kind})


def test_the_drift_of_predictions_is_told_from_that_of_features_of_the_same_name() -> None:
    now = [_drift("score"), _drift("predicted class", "class"), _drift("score", "score")]
    before = [_drift("score"), _drift("score")]
    assert tuple(map(len, divided(now))) == (1, 2)
    assert tuple(map(len, divided(before))) == (1, 1)
    assert tuple(map(len, divided([]))) == (0, 0)


def test_long_names_of_classes_that_end_differently_are_told_apart() -> None:
    names = [f"a class with the number {n}" for n in range(9)]
    svg = class_plots.confusion(names, np.eye(9))
    shown = set(re.findall(r">([^<]*…[^<]*)</text>", svg))
    assert {f"a cla…ber {n}" for n in range(9)} <= shown
    assert {f"a…{n}" for n in range(9)} <= shown


def test_a_rejected_batch_has_the_page_of_its_models_task_and_no_share_that_nobody_knows(
    tmp_path: Path,
) -> None:
    """How many of its rows were good is not in its receipt: 1 of 1 was said to be 100%."""
    feed = make(tmp_path, "multiclass")
    (tmp_path / "model" / "card.json").write_text('{"version": "1", "task": "multiclass"}')
    marker = feed.drop("2026-11-01", "id,a,b,truth\n1,x,y,ant\n2,0.5,0.5,ant\n3,z,0,bee\n")
    run_stage("ingest", feed.dataset, feed.inbox(), [Delivery(marker)])
    report_run(feed.dataset, feed.inbox(), "a run", [marker])
    page = (tmp_path / "lake/toy/reports/latest.html").read_text()
    assert tiles(page)["Rows rejected"].strip() == "2"
    assert "Accuracy</th>" in page
    assert "AUC</th>" not in page


@pytest.mark.parametrize("truth", [[1e200], [1e200, 0, 0, 0], [1.7e308, -1.7e308]])
def test_a_label_beyond_all_measure_breaks_no_record_and_is_told_in_a_line(
    tmp_path: Path, truth: list[float]
) -> None:
    """Its square is infinite, which JSON does not have: no one could read the evaluation.

    A figure that is not known would switch its threshold off.
    """
    limits = {"mae_max": 5, "rmse_max": 5, "r2_min": 0.5, "bias_max": 5}
    more = f"thresholds: {{{', '.join(f'{name}: {limit}' for name, limit in limits.items())}}}\n"
    feed = make(tmp_path, "regression", more=more)
    rows = rows_of("regression", 200)
    rows = rows.with_columns(truth=pl.Series(truth * (200 // len(truth))))
    evaluation, _ = run(feed, DAYS[0], rows)
    assert evaluation.labelled == 200
    assert all(len(alert) < 120 for alert in evaluation.alerts)
    said = {alert.split()[0] for alert in evaluation.alerts}
    assert said >= {"MAE", "RMSE", "bias" if sum(truth) else "RMSE", "R²" if truth[1:] else "MAE"}
    report = report_run(feed.dataset, feed.inbox(), "run", [feed.marker(DAYS[0])])
    assert report["verdict"] == "attention"
    assert "nan" not in plain(Path(report["uri"]).read_text(encoding="utf-8"))


def test_alerts_of_one_kind_are_one_reason_however_large_their_figures() -> None:
    for figure in (1e200, 12345678901.0, 7.25):
        (alert,) = above("MAE", figure, 5.0)
        assert _kind(alert) == "MAE is above 5.00"
        assert len(alert) < 40
