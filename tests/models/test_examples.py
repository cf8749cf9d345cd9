"""The datasets of ``datasets/examples/`` run whole: from a marker to the report's page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Evaluation
from flagfall.report.run import report_run
from flagfall.scoring.model_folder import ModelFolder
from flagfall.scoring.reference import Reference
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from sandbox.examples import EXAMPLES, held_out_rows, training_rows, write_example
from tests.cli.test_cli import CommandLine

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "datasets" / "examples"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands find the examples; what they write goes to a temporary folder."""
    monkeypatch.setenv("FLAGFALL_DATASETS", str(FOLDER))
    monkeypatch.setenv("FLAGFALL_DATA", str(tmp_path / "data"))
    return tmp_path


@dataclass(frozen=True)
class Went:
    """A batch of held-out rows that went all the way."""

    evaluation: Evaluation
    verdict: str
    page: str


def go(name: str, folder: Path) -> Went:
    write_example(name, folder)
    dataset = find_dataset(name)
    batch = Path(dataset.landing.uri) / "monday"
    batch.mkdir(parents=True)
    (folder / "batch.csv").rename(batch / "batch.csv")
    (batch / "_SUCCESS").touch()
    inbox = Inbox(Feed.of(dataset))
    (marker,) = inbox.pending()
    deliveries = [Delivery(marker)]
    for stage in STAGES:
        deliveries = run_stage(stage, dataset, inbox, deliveries)
    report = report_run(dataset, inbox, "manual", [marker])
    evaluation = inbox.lake.find(Evaluation, marker.batch_id)
    assert isinstance(evaluation, Evaluation)
    page = Path(report["uri"]).read_text(encoding="utf-8")
    return Went(evaluation, report["verdict"], page)


def figures_of_card(name: str) -> list[str]:
    """The last row of the card's table of figures."""
    text = (ROOT / "models" / name / "README.md").read_text(encoding="utf-8")
    return [cell.strip() for cell in re.findall(r"^\|(.*)\|$", text, re.MULTILINE)[-1].split("|")]


def test_every_example_has_data() -> None:
    beside = {"flights"}  # see test_late_flights.py
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(EXAMPLES) | beside


def test_the_wines_are_scored_evaluated_and_reported_as_their_card_says(project: Path) -> None:
    went = go("wine", project / "wine")
    found = went.evaluation.multiclass
    assert found is not None
    assert went.verdict == "normal"
    assert "class_2" in went.page
    figures = [f"{found.log_loss:.3f}", f"{found.accuracy:.3f}", f"{found.macro_f1:.3f}"]
    assert [str(went.evaluation.rows), *figures] == figures_of_card("wine")


def test_the_patients_are_scored_evaluated_and_reported_as_their_card_says(project: Path) -> None:
    went = go("diabetes", project / "diabetes")
    found = went.evaluation.regression
    assert found is not None
    assert went.verdict == "normal"
    assert "Progression after a year" in went.page
    figures = [f"{found.mae:.1f}", f"{found.rmse:.1f}", f"{found.r2:.3f}", f"{found.bias:.1f}"]
    assert [str(went.evaluation.rows), *figures] == figures_of_card("diabetes")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_its_checks(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flagfall = CommandLine(monkeypatch, capsys)
    write_example(name, project)
    assert flagfall("check", name).code == 0
    assert flagfall("model", "check", name, "--train", project / "train.csv").code == 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_models_files_are_those_of_model_init(name: str) -> None:
    folder = str(ROOT / "models" / name)
    card = ModelFolder(folder).card
    assert card is not None
    assert card.version == "1"
    assert Reference.read(folder).rows == training_rows(name).height


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_row_of_the_batch_was_trained_on(name: str) -> None:
    key = held_out_rows(name).columns[0]
    both = pl.concat([held_out_rows(name), training_rows(name)])
    assert both[key].is_unique().all()
    assert both.height == EXAMPLES[name]().height
