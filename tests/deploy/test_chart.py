"""Every values file as Helm renders it, with the user's chart (``CHART``) or one that stands in."""

from __future__ import annotations

import os
import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart

from sandbox.rehearsal import TASK_SETTINGS, as_variables, settings_of_tasks
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


def settings(given: dict[str, Any]) -> dict[str, str]:
    """What a task's pod knows of Airflow's configuration file, which it does not have."""
    found = [
        one for one in render(CHART, given).objects if one["metadata"]["name"] == TASK_SETTINGS
    ]
    data: dict[str, str] = found[0]["data"]
    return data


class TestWhatATaskReadsOfTheConfiguration:
    @pytest.mark.parametrize("name", FILES)
    def test_it_has_what_the_components_have(self, name: str) -> None:
        wanted = settings_of_tasks(FILES[name])
        assert "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG" in wanted
        assert wanted.items() <= settings(FILES[name]).items()

    def test_it_is_all_that_our_code_asks_for(self, given: dict[str, Any]) -> None:
        root = Path(__file__).parents[2]
        code = "".join(
            path.read_text()
            for room in ("dags", "operators", "triggers")
            for path in (root / room).rglob("*.py")
        )
        asked = set(re.findall(r"""\bconf\.get\w*\(\s*"(\w+)",\s*"(\w+)""", code))
        assert len(asked) >= 5
        for section, option in asked:
            given["config"].setdefault(section, {})[option] = "mine: 1"
        wanted = [as_variables({section: {option: "mine: 1"}}) for section, option in asked]
        found = settings(given)
        assert [one for one in wanted if not one.items() <= found.items()] == []

    def test_metrics_go_there_whole_and_templates_are_filled_in(
        self, given: dict[str, Any]
    ) -> None:
        given["config"]["metrics"] = {"statsd_on": True, "statsd_host": "{{ .Release.Name }}-s"}
        found = settings(given)
        assert found["AIRFLOW__METRICS__STATSD_ON"] == "true"
        assert found["AIRFLOW__METRICS__STATSD_HOST"] == "flagfall-s"

    def test_nothing_else_goes_there(self, given: dict[str, Any]) -> None:
        given["config"]["core"]["fernet_key"] = "secret"
        given["config"]["smtp"] = {"smtp_password": "secret"}
        assert "secret" not in settings(given).values()


def test_every_values_file_is_rendered() -> None:
    folder = Path(__file__).parents[2] / "deploy" / "helm"
    assert {path.name for path in folder.iterdir()} == set(FILES)


def test_a_chart_in_an_archive_is_rendered_and_faults_end_with_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path(Chart.load(STAND_IN).save(tmp_path))
    assert main(archive) == 0
    assert "values-engine-pod.yaml: 5 objects, 0 faults" in capsys.readouterr().out
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
        assert sum("there is no ConfigMap" in fault for fault in faults(given)) == 3

    def test_an_environment_from_a_secret_is_one(self, given: dict[str, Any]) -> None:
        sources = [*yaml.safe_load(given["extraEnvFrom"]), {"secretRef": {"name": "mine"}}]
        given["extraEnvFrom"] = yaml.safe_dump(sources)
        assert faults(given) == ()

    def test_a_mount_without_a_path_is_said_by_the_validator(self, given: dict[str, Any]) -> None:
        given["volumeMounts"][1]["mountPat"] = given["volumeMounts"][1].pop("mountPath")
        assert any("'mountPath' is a required property" in fault for fault in faults(given))

    @pytest.mark.parametrize(
        ("where", "setting", "says"),
        [
            ("pod", {"runAsUser": 0}, "it may run as root"),
            ("pod", {"runAsNonRoot": False}, "it may run as root"),
            ("containers", {"runAsUser": 0}, "it may run as root"),
            ("containers", {"allowPrivilegeEscalation": True}, "it may gain privileges"),
            ("containers", {"privileged": True}, "it may gain privileges"),
            ("containers", {"capabilities": {"add": ["SYS_ADMIN"]}}, "it keeps capabilities"),
            (
                "containers",
                {"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}},
                "it keeps capabilities",
            ),
            ("containers", {"capabilities": None}, "it keeps capabilities"),
        ],
    )
    def test_rights_that_no_container_needs(
        self, given: dict[str, Any], where: str, setting: dict[str, Any], says: str
    ) -> None:
        given["securityContexts"][where] |= setting
        assert faults(given) == (f"Deployment flagfall-triggerer: triggerer: {says}",)

    @pytest.mark.parametrize(
        "key",
        [
            "AIRFLOW__CORE__FERNET_KEY",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
            "AIRFLOW__API_AUTH__JWT_SECRET",
            "AIRFLOW_CONN_LAKE",
            "AWS_SECRET_ACCESS_KEY",
            "SMTP_PASSWORD",
            "FLAGFALL_TOKEN_SCORING",
        ],
    )
    def test_a_secret_that_everybody_may_read(self, given: dict[str, Any], key: str) -> None:
        given["extraConfigMaps"]["flagfall-environment"]["data"] += f"{key}: x\n"
        (fault,) = faults(given)
        assert fault.startswith(f"ConfigMap flagfall-environment: {key} looks like a secret")

    def test_a_setting_that_is_no_secret(self, given: dict[str, Any]) -> None:
        harmless = "AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID: x\nFLAGFALL_CONN_ID: x\n"
        given["extraConfigMaps"]["flagfall-environment"]["data"] += harmless
        assert faults(given) == ()

    def test_a_request_that_is_over_its_limit(self, given: dict[str, Any]) -> None:
        given["triggerer"]["resources"] = {
            "requests": {"memory": "4Gi"},
            "limits": {"memory": "4G"},
        }
        (fault,) = faults(given)
        assert fault.endswith("triggerer: it requests more memory than its limit")

    def test_an_amount_that_is_none(self, given: dict[str, Any]) -> None:
        given["triggerer"]["resources"] = {"limits": {"memory": "4 gigs"}}
        (fault,) = faults(given)
        assert "4 gigs" in fault

    def test_a_secret_for_the_registry_that_a_tasks_pod_does_not_have(
        self, given: dict[str, Any]
    ) -> None:
        given["imagePullSecrets"] = [{"name": "registry"}]
        (fault,) = faults(given)
        assert "imagePullSecrets are not in pod_template.yaml: a task's pod gets no image" in fault


@pytest.mark.parametrize(
    ("chart", "says"), [("", "name the chart's file"), ("/no/such.tgz", "no file /no/such.tgz")]
)
def test_make_names_the_chart_that_is_not_there(chart: str, says: str) -> None:
    ran = subprocess.run(
        ["make", "--old-file", ".venv/.dev", "chart", f"CHART={chart}"],
        cwd=STAND_IN.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert says in ran.stdout


def test_a_kind_of_object_that_kubernetes_does_not_have_is_said() -> None:
    scaled = {"apiVersion": "keda.sh/v1", "kind": "ScaledObject", "metadata": {"name": "a"}}
    assert "ScaledObject a: Kubernetes 1.37: keda.sh/v1 is not known" in list(invalid((scaled,)))
