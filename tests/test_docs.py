"""What the pages say is tried: commands run, YAML is read, Python makes a task."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from pydantic import BaseModel

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.model import Feature, OwnCode, Pod, Scorer, Server
from flagfall.dataset.rules import Missing, RowCount, Rule
from flagfall.dataset.schema import Dataset, Notice
from flagfall.dataset.table import Column
from flagfall.dataset.tasks import TaskSettings
from flagfall.rows.rules import RowRules
from flagfall.scoring.features import Constants
from flagfall.scoring.model_folder import Card
from flagfall.scoring.own_code import own_function
from flagfall.scoring.own_figures import OwnFigures, own_figures
from flagfall.scoring.reference import CategoryBins, NumberBins, Reference
from sandbox.demo import DAYS
from sandbox.flights import write_evening
from tests.feeds import make_toy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODELS = (ROOT / "docs/models.md").read_text()
S3 = (ROOT / "docs/s3.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lines(language: str, start: str) -> list[str]:
    """Lines of every page that begin so, each once."""
    text = "\n".join(page.read_text() for page in PAGES)
    found = [line for block in blocks(text, language) for line in block.splitlines()]
    return list(dict.fromkeys(line for line in found if line.startswith(start)))


def test_the_commands_of_the_readme_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGFALL_DATA", str(tmp_path / ".flagfall/data"))
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    shutil.copytree(ROOT / "datasets", tmp_path / "datasets")  # `flagfall init` adds a file to it
    (tmp_path / "models").symlink_to(ROOT / "models")
    for day in DAYS:
        write_evening(day, tmp_path / ".flagfall/demo/producer" / str(day))
    commands = lines("sh", "flagfall ")
    assert len(commands) >= 4
    for command in commands:
        arguments = shlex.split(command)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "flagfall", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout


@pytest.mark.parametrize("line", [*lines("sh", "make "), "make check", "make lock", "make model"])
def test_the_make_targets_that_the_pages_name_exist(line: str) -> None:
    command = line.partition("#")[0].split()
    subprocess.run([*command, "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_the_dataset_in_the_readme_is_whole(tmp_path: Path) -> None:
    text = blocks(README, "yaml")[0]
    name = text.splitlines()[0].rpartition("/")[2]
    (tmp_path / name).write_text(text)
    assert read_dataset(tmp_path / name).model is None


def test_the_sensor_in_the_readme_makes_a_task() -> None:
    (block,) = (block for block in blocks(README, "python") if "MarkerSensor" in block)
    made: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), made)
    assert "MarkerSensor" in made


def test_the_dag_file_in_the_readme_is_read_by_airflow_and_makes_a_pipeline(tmp_path: Path) -> None:
    """Airflow skips a file without the words "airflow" and "dag", and says nothing."""
    make_toy(tmp_path / "feeds")
    (block,) = (block for block in blocks(README, "python") if "pipelines(" in block)
    (tmp_path / "dags").mkdir()
    text = block.replace("/path/to/datasets", str(tmp_path / "feeds" / "datasets"))
    (tmp_path / "dags" / "feeds.py").write_text(text)
    bag = DagBag(tmp_path / "dags")
    assert not bag.import_errors
    assert sorted(bag.dags, reverse=True) == ["toy_pipeline", "flagfall_watchman"]


def test_the_readme_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 150


def test_every_page_is_on_the_site() -> None:
    tree = "\n".join(blocks((ROOT / "docs/index.md").read_text(), "{toctree}"))
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages == {word.strip("<>") for word in tree.split()} & pages


def test_the_notifiers_in_the_docs_are_read_as_they_stand() -> None:
    page = (ROOT / "docs/dataset.md").read_text()
    shown = [block for block in blocks(page, "yaml") if block.startswith("notify:")]
    notices = [notice for block in shown for notice in yaml.safe_load(block)["notify"]]
    assert [Notice.model_validate(notice) for notice in notices]


def test_the_own_figures_in_the_docs_are_computed(tmp_path: Path) -> None:
    page = (ROOT / "docs/dataset.md").read_text()
    (block,) = (block for block in blocks(page, "python") if "def evaluate(" in block)
    (tmp_path / "costs.py").write_text(block)
    rows = pl.DataFrame({"amount": [9_000.0, 2_000.0, 70.0], "paid": [True, True, False]})
    found = own_figures(str(tmp_path / "costs.py"), rows, pl.DataFrame({"class": [1, 1, 1]}))
    assert found == OwnFigures({"lost in EUR": 11_000.0}, ("more than 10,000 EUR lost",))


def test_the_schemas_in_the_docs_can_be_used(tmp_path: Path) -> None:
    page = (ROOT / "docs/dataset.md").read_text()
    schemas = [block for block in blocks(page, "yaml") if block.startswith("schema:")]
    assert schemas
    for number, schema in enumerate(schemas):
        path = tmp_path / f"feed{number}.yaml"
        path.write_text(f"title: x\nlanding: {{uri: a, marker: _OK}}\nlake: {{uri: b}}\n{schema}")
        RowRules(read_dataset(path))


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        shown = field.alias or name
        inner = getattr(field.annotation, "model_fields", None)
        found += keys(field.annotation, f"{prefix}{shown}.") if inner else [f"{prefix}{shown}"]  # type: ignore[arg-type]
    return found


def test_every_key_of_a_dataset_file_is_explained() -> None:
    page = (ROOT / "docs/dataset.md").read_text()
    optional = (
        *(Feature, Scorer, Server, Pod, OwnCode),
        *(TaskSettings, Column, Rule, RowCount, Missing),
    )
    wanted = [*keys(Dataset), *(key for section in optional for key in keys(section))]
    last = {key.rpartition(".")[2] for key in wanted}
    here = {"name", "table", "features_python"}  # written in another way, or no key of the file
    unexplained = [key for key in sorted(last - here) if key not in page]
    assert unexplained == []


def test_every_key_of_a_models_files_is_explained() -> None:
    files = (Constants, Reference, NumberBins, CategoryBins, Card)
    wanted = {name for file in files for name in file.model_fields}
    assert {name for name in wanted if f"`{name}`" not in MODELS} == set()


def test_the_functions_on_the_page_of_models_run_as_they_stand(tmp_path: Path) -> None:
    code = {block.split()[1]: block for block in blocks(MODELS, "python") if block[0] == "#"}
    for name in ("features.py", "figures.py"):
        (tmp_path / name).write_text(code[name])
    rows = pl.DataFrame({"age": [1.0], "bmi": [2.0], "bp": [1.0], "target": [200.0]})
    made = own_function(str(tmp_path / "features.py"), "features")(rows)
    assert made.row(0, named=True) == {"age": 1.0, "bmi": 2.0, "pressure": 0.0}
    found = own_figures(str(tmp_path / "figures.py"), rows, pl.DataFrame({"value": [50.0]}))
    assert (found.figures, found.alerts) == ({"far off": 1.0}, ("many are far off",))


def test_the_table_of_models_has_a_line_for_each_kind() -> None:
    section = MODELS.partition("\n## Models that were tried\n")[2]
    kinds = re.findall(r"^\| .*\d \|$", section, re.MULTILINE)
    assert len(kinds) >= 20


def test_nobody_is_sent_to_a_training_script() -> None:
    """Flagfall's own model has one; somebody else's model has ``flagfall model init``."""
    for file in [*PAGES, *(ROOT / "flagfall").rglob("*.py")]:
        assert "training script" not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


OURS = "benchmarks|dags|deploy|docs|flagfall|operators|plugin|requirements|sandbox|tests|triggers"
NAMED = re.compile(rf"(?<![\w./$:-])(?:{OURS})/[\w./-]*\w\.[a-z]\w*\b(?![*<{{])")
"""A file in a folder of ours; those in ``datasets/`` and ``models/`` may be the reader's."""
SPEAKING = [
    *PAGES,
    *(path for path in (ROOT / "deploy").rglob("*") if path.is_file()),
    *(ROOT / name for name in ("Makefile", "CHANGELOG.md", "pyproject.toml")),
]


@pytest.mark.parametrize("page", SPEAKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_ours_that_are_named_exist(page: Path) -> None:
    named = set(NAMED.findall(page.read_text()))
    missing = [name for name in named if not any((d / name).exists() for d in (ROOT, page.parent))]
    assert missing == []


def test_every_invariant_has_a_test_that_is_marked_with_it() -> None:
    design = (ROOT / "docs/design.md").read_text()
    section = design.partition("## Invariants")[2].partition("\n## ")[0]
    numbers = set(re.findall(r"^(\d)\. ", section, re.MULTILINE))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert numbers == {"1", "2", "3", "4", "5", "6", "7"}
    assert numbers <= set(re.findall(r"mark\.invariant\((\d)\)", tests))


def test_the_demo_drops_days_that_the_model_was_not_trained_on() -> None:
    assert min(DAYS) > date(2013, 8, 31)
