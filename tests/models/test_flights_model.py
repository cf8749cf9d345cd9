"""The shipped model does what its card says, through the code that scores."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.scoring.features import Constants, feature_expressions, label_expression
from flagfall.scoring.model import open_model, scorer_of
from flagfall.scoring.reference import Reference
from sandbox.flights import all_flights


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return find_dataset("flights")


@pytest.fixture(scope="module")
def folder(dataset: Dataset) -> Path:
    return Path(scorer_of(dataset).path)


def _september(dataset: Dataset) -> pl.DataFrame:
    of_september = pl.col("date").is_between(date(2013, 9, 1), date(2013, 9, 30))
    flights = all_flights().filter(of_september).drop_nulls("tailnum")
    return flights.with_columns(label_expression(dataset)).drop_nulls("label")


def _card_row(folder: Path, name: str) -> list[str]:
    card = (folder / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {name} \|(.*)\|$", card, re.MULTILINE)
    assert row is not None, f"the card has no row {name}"
    return [cell.strip() for cell in row[1].split("|")]


def test_the_shipped_model_has_the_figures_of_its_card_for_september(
    dataset: Dataset, folder: Path
) -> None:
    september = _september(dataset)
    expressions = feature_expressions(dataset, Constants.read(str(folder)))
    scores = open_model(dataset).predict(september.select(expressions))["score"].to_numpy()
    late = september["label"].cast(pl.Int8).to_numpy()
    found = [
        f"{late.size:,}",
        f"{late.mean():.3f}",
        f"{scores.mean():.3f}",
        f"{roc_auc_score(late, scores):.3f}",
        f"{brier_score_loss(late, scores):.3f}",
    ]
    card = _card_row(folder, "September")
    assert found == [*card[:4], card[5]]


def test_the_parts_of_the_model_fit_the_dataset_and_each_other(
    dataset: Dataset, folder: Path
) -> None:
    declared = [feature.name for feature in dataset.features]
    assert list(Constants.read(str(folder)).features) == declared
    assert list(Reference.read(str(folder)).features) == declared
    assert (folder / "model.onnx").stat().st_size < 1_000_000


def test_the_card_is_of_the_shipped_version(dataset: Dataset, folder: Path) -> None:
    title = (folder / "README.md").read_text(encoding="utf-8").splitlines()[0]
    assert title == f"# flights_delay {Constants.read(str(folder)).version}"


def test_a_score_does_not_depend_on_the_rows_beside_it(dataset: Dataset, folder: Path) -> None:
    expressions = feature_expressions(dataset, Constants.read(str(folder)))
    features = _september(dataset).head(300).select(expressions)
    model = open_model(dataset)
    alone = [model.predict(row) for row in features.iter_slices(1)]
    assert model.predict(features).equals(pl.concat(alone))
