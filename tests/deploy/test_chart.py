"""Every values file as Helm renders it, with the user's chart (``CHART``) or one that stands in."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from helm_python import Chart

from tests.deploy.chart import FILES, invalid, main, ours, render

CHART = Path(os.environ.get("CHART") or Path(__file__).with_name("stand_in_chart"))
STAND_IN = Path(__file__).with_name("stand_in_chart")


def faults(given: dict[str, Any]) -> tuple[str, ...]:
    return render(STAND_IN, given).faults


@pytest.fixture
def given() -> dict[str, Any]:
    return deepcopy(FILES["values.yaml"])


def test_our_own_objects_are_ones_that_kubernetes_takes() -> None:
    assert len(ours()) == 5
    assert list(invalid(ours())) == []


@pytest.mark.parametrize("name", FILES)
def test_every_values_file_makes_objects_that_are_valid_and_fit_ours(name: str) -> None:
    rendered = render(CHART, FILES[name])
    assert len(rendered.objects) >= 4
    assert rendered.faults == ()


def test_every_values_file_is_rendered() -> None:
    folder = Path(__file__).parents[2] / "deploy" / "helm"
    assert {path.name for path in folder.iterdir()} == set(FILES)


def test_a_chart_in_an_archive_is_rendered_and_faults_end_with_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path(Chart.load(STAND_IN).save(tmp_path))
    assert main(archive) == 0
    assert "values-engine-pod.yaml: 4 objects, 0 faults" in capsys.readouterr().out
    monkeypatch.setitem(FILES["values.yaml"], "redis", {})
    assert main(archive) == 1
    assert "values.yaml: Secret flagfall-redis-password" in capsys.readouterr().out


class TestWhatIsSeen:
    def test_a_field_that_kubernetes_does_not_know(self, given: dict[str, Any]) -> None:
        given["securityContexts"]["pod"]["runAsNobody"] = True
        assert any("runAsNobody" in fault for fault in faults(given))

    def test_tolerations_that_a_tasks_pod_does_not_have(self, given: dict[str, Any]) -> None:
        given["tolerations"] = [{"key": "spot", "operator": "Exists"}]
        (fault,) = faults(given)
        assert "tolerations are not in pod_template.yaml" in fault

    def test_an_account_that_nobody_makes(self, given: dict[str, Any]) -> None:
        given["workers"]["kubernetes"]["serviceAccount"]["name"] = "other"
        assert faults(given) == ("Pod flagfall-task: there is no service account 'flagfall-task'",)

    def test_a_folder_that_is_not_mounted(self, given: dict[str, Any]) -> None:
        del given["volumeMounts"][1]
        (fault,) = faults(given)
        assert "nothing is mounted at /tmp" in fault

    def test_an_environment_that_is_not_there(self, given: dict[str, Any]) -> None:
        given["extraConfigMaps"] = {}
        assert sum("there is no ConfigMap" in fault for fault in faults(given)) == 2
