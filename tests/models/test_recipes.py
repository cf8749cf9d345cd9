"""The recipes of docs/models.md run as they stand: from a fitted model to an evaluated batch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Evaluation, Predicted
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from tests.models.conftest import ZOO

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/models.md").read_text(encoding="utf-8")
CHAPTER = PAGE.partition("## From a fitted model to a feed")[2].partition("\n## ")[0]
STEPS, *RECIPES = re.split(r"^### ", CHAPTER, flags=re.MULTILINE)
FRAMEWORKS = {"scikit-learn", "LightGBM", "XGBoost", "CatBoost", "PyTorch", "A Python function"}
INTERPRETER = ".venv-of-the-model/bin/python"
FLAGFALL = f'flagfall() {{ "{sys.executable}" -m flagfall "$@"; }}\nset -e\n'


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def names_a_file(block: str) -> bool:
    """Whether a block's first line is a comment with the file that it is in."""
    return bool(re.match(r"# \S+/\S+\n", block))


@dataclass
class Recipe:
    """A recipe in a project folder of its own.

    Args:
        text: Its section of the page.
        root: The folder.
    """

    text: str
    root: Path

    def __post_init__(self) -> None:
        (self.yaml,) = blocks(self.text, "yaml")
        self.name = Path(self.yaml.split()[1]).stem

    def shell(self, block: str) -> None:
        """Run commands."""
        script = FLAGFALL + block.replace("NAME", self.name)
        self._run(["bash", "-c", script], {"PYTHONPATH": str(ROOT)})

    def python(self, block: str) -> None:
        """Run a block in the environment that has the frameworks, or write it to its file."""
        if names_a_file(block):
            file = self.root / block.split()[1]
            file.parent.mkdir(parents=True)
            file.write_text(block, encoding="utf-8")
        else:
            python = str(ZOO.parent / "zoo/bin/python")
            self._run([python, "-W", "ignore", "-c", block], {"PYTHONPATH": ""})

    def describe(self) -> None:
        """Add to the dataset file what the recipe says."""
        with (self.root / self.yaml.split()[1]).open("a", encoding="utf-8") as file:
            file.write(self.yaml.replace(INTERPRETER, str(ZOO.parent / "zoo/bin/python")))

    def score(self) -> tuple[pl.DataFrame, Evaluation]:
        """Take the batch in that was dropped; its predictions and its evaluation."""
        dataset = read_dataset(self.root / "datasets" / f"{self.name}.yaml")
        inbox = Inbox(Feed.of(dataset))
        (marker,) = inbox.pending()
        batch = [Delivery(marker)]
        for stage in STAGES:
            batch = run_stage(stage, dataset, inbox, batch)
        predicted = inbox.lake.find(Predicted, marker.batch_id)
        evaluation = inbox.lake.find(Evaluation, marker.batch_id)
        assert isinstance(predicted, Predicted)
        assert isinstance(evaluation, Evaluation)
        return pl.concat(map(pl.read_parquet, inbox.lake.parts(predicted, self.root))), evaluation

    def _run(self, command: list[str], more: dict[str, str]) -> None:
        env = {key: value for key, value in os.environ.items() if key != "FLAGFALL_DATASETS"}
        ran = subprocess.run(
            command,
            cwd=self.root,
            env={**env, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{command[-1]}\n{ran.stdout}\n{ran.stderr}"


@pytest.mark.parametrize("text", RECIPES, ids=lambda text: text.partition("\n")[0])
def test_a_recipe_leads_from_a_fitted_model_to_an_evaluated_batch(
    zoo: Path, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAGFALL_DATA", raising=False)
    recipe = Recipe(text, tmp_path)
    (data,) = blocks(STEPS, "python")
    begin, finish = blocks(STEPS, "bash")
    recipe.python(data)
    recipe.shell(begin)
    for block in blocks(text, "python"):
        recipe.python(block)
    recipe.describe()
    recipe.shell("".join(blocks(text, "bash")) or finish)
    predictions, evaluation = recipe.score()

    expected = pl.read_csv(tmp_path / "scores.csv")
    assert predictions.height == expected.height == evaluation.rows == 442
    for name in expected.columns:
        if name == "class":
            assert predictions[name].to_list() == expected[name].to_list()
        else:
            assert predictions[name].to_list() == pytest.approx(expected[name].to_list(), rel=1e-4)


def test_every_framework_has_a_recipe_of_few_lines() -> None:
    assert {text.partition("\n")[0] for text in RECIPES} == FRAMEWORKS
    for text in RECIPES:
        code = [line for block in blocks(text, "python") for line in block.splitlines() if line]
        logic = [line for line in code if not line.startswith(("import ", "from ", "#"))]
        assert len(logic) <= 15, text.partition("\n")[0]
