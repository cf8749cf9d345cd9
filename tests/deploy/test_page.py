"""What docs/kubernetes.md says stands in the files that it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from tests.deploy.cluster import CORES, DEPLOY, values
from tests.deploy.test_pods import TASKS, dag, pod_of, use_values
from tests.feeds import make_toy
from tests.test_docs import blocks

PAGE = (DEPLOY.parent / "docs" / "kubernetes.md").read_text()
COMPONENTS = {"triggerers": "triggerer", "schedulers": "scheduler", "API servers": "apiServer"}


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without code marks."""
    text = PAGE.partition(f"## {section}")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("`", "") for cell in line.split("|")[1:-1]] for line in lines[2:]]


def figure(what: str, cores: int) -> Any:
    found = values(cores)
    if what in COMPONENTS:
        return found[COMPONENTS[what]]["replicas"]
    section, option = what.partition(",")[0].split(".")
    return found["config"][section][option]


def test_a_setting_is_what_the_values_say() -> None:
    said = {row[0]: row[1:4] for row in rows("Values")}
    assert len(said) >= 10
    assert said == {name: [str(figure(name, cores)) for cores in CORES] for name in said}


def test_every_tasks_pod_is_what_the_provider_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_toy(tmp_path, more="features: [{name: value}]\nmodel: {path: models/toy}\n")
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    use_values(monkeypatch)
    tasks = dag()
    said = [row[:3] for row in rows("The pod of each task") if row[0] in TASKS]
    asked = {name: pod_of(tasks.get_task(name)).spec.containers[0].resources for name in TASKS}
    assert said == [[name, r.requests["cpu"], r.requests["memory"]] for name, r in asked.items()]
    assert all(r.limits == {"memory": r.requests["memory"]} for r in asked.values())


def test_the_dags_can_be_made_as_they_stand(tmp_path: Path) -> None:
    page = (DEPLOY.parent / "docs" / "own-dags.md").read_text()
    (code,) = (block for block in blocks(page, "python") if "hand_over" in block)
    (tmp_path / "mine.py").write_text(code)
    bag = DagBag(tmp_path)
    assert not bag.import_errors
    assert {name: made.task_ids for name, made in bag.dags.items()} == {
        "hand_over": ["publish"],
        "plan_the_gates": ["plan"],
    }
