"""The Helm chart's values, checked against Airflow's own description of its settings."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any

import pytest
import yaml
from airflow.configuration import conf
from kubernetes.utils.quantity import parse_quantity

from sandbox.airflow import SETTINGS, read_settings
from sandbox.rehearsal import ENVIRONMENT, TASK_SETTINGS, as_variables
from tests.deploy.cluster import CORES, DEPLOY, POD_TEMPLATE, environment, values

DESCRIPTION = conf.configuration_description
SIZES = pytest.mark.parametrize("cores", CORES)
COMPONENTS = ("apiServer", "scheduler", "dagProcessor", "triggerer")


def settings(cores: int = 10) -> dict[str, str]:
    """All that Airflow is set to, in its configuration file and in the environment."""
    variables = {k: v for k, v in environment().items() if k.startswith("AIRFLOW__")}
    return {**as_variables(values(cores)["config"]), **variables}


def template() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(POD_TEMPLATE.read_text())
    return found


class TestSettings:
    @SIZES
    def test_every_setting_is_one_that_airflow_or_a_provider_describes(self, cores: int) -> None:
        known = {
            f"AIRFLOW__{section.upper()}__{option.upper()}"
            for section, described in DESCRIPTION.items()
            for option in described["options"]
        }
        assert "AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE" in known
        assert set(settings(cores)) - known == set()

    @SIZES
    def test_numbers_and_truths_are_of_the_type_that_is_described(self, cores: int) -> None:
        forms = {"integer": r"-?\d+", "float": r"\d+(\.\d+)?", "boolean": "True|False"}
        for section, options in values(cores)["config"].items():
            for option, value in options.items():
                form = forms.get(DESCRIPTION[section]["options"][option]["type"], ".+")
                assert re.fullmatch(form, str(value)), f"[{section}] {option} = {value!r}"

    @SIZES
    def test_they_say_the_same_as_airflow_env(self, cores: int) -> None:
        wanted = read_settings(SETTINGS)
        assert len(wanted) >= 6
        assert {k: v for k, v in settings(cores).items() if k in wanted} == wanted

    def test_a_component_is_called_by_its_address(self) -> None:
        """Its pod's name is not in DNS."""
        module, _, name = values()["config"]["core"]["hostname_callable"].rpartition(".")
        assert ip_address(getattr(import_module(module), name)())

    def test_the_versions_are_those_of_the_lock_file(self) -> None:
        assert values()["airflowVersion"] == version("apache-airflow")

    def test_the_secrets_backend_takes_its_arguments(self) -> None:
        secrets = values()["config"]["secrets"]
        module, _, name = secrets["backend"].rpartition(".")
        backend = getattr(import_module(module), name)(**json.loads(secrets["backend_kwargs"]))
        assert backend.connections_prefix == "flagfall/connections"


@SIZES
def test_how_many_tasks_run_follows_from_the_rules_beside_the_numbers(cores: int) -> None:
    chosen = values(cores)
    config, tasks = chosen["config"], all_tasks(chosen)
    asked = {
        name: parse_quantity(chosen[name]["resources"]["requests"]["cpu"])
        * chosen[name]["replicas"]
        for name in COMPONENTS
    }
    pod = template()["spec"]["containers"][0]["resources"]["requests"]["cpu"]
    room = (cores * 0.9 - float(sum(asked.values()))) / float(parse_quantity(pod))
    assert 0.8 * room <= tasks <= room, "they fit beside the control plane"
    share = config["core"]["max_active_tasks_per_dag"]
    assert share == tasks // 3, "one feed takes a third at most"
    assert config["core"]["default_pool_task_slot_count"] >= tasks, "the pool holds nobody up"
    executor = config["kubernetes_executor"]
    batch = executor["worker_pods_creation_batch_size"]
    assert share / 5 <= batch, "pods are made within a few loops"
    assert executor["pod_creation_max_concurrency"] <= batch, "and not all at once"
    assert config["scheduler"]["max_tis_per_query"] == max(16, config["core"]["parallelism"] // 10)
    assert chosen["apiServer"]["replicas"] * 200 >= tasks, "there are API servers for all tasks"
    triggerer = config["triggerer"]
    assert chosen["triggerer"]["replicas"] == 2
    assert triggerer["max_trigger_to_select_per_loop"] * 20 == triggerer["capacity"]


@SIZES
def test_a_component_may_take_no_more_memory_than_is_kept_for_it(cores: int) -> None:
    for name in COMPONENTS:
        resources = values(cores)[name]["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"], name
        assert "cpu" not in resources["limits"], name


def all_tasks(chosen: dict[str, Any]) -> int:
    number: int = chosen["config"]["core"]["parallelism"] * chosen["scheduler"]["replicas"]
    return number


def test_config_maps_are_rolled_back_with_the_release() -> None:
    """As hooks, which the chart makes of them else, they would stay as a later release had them."""
    for config_map in values()["extraConfigMaps"].values():
        assert config_map["useHelmHooks"] is False


class TestNamesThatMeet:
    """What one file names and another has."""

    def test_the_image(self) -> None:
        image = values()["images"]["airflow"]
        named = template()["spec"]["containers"][0]["image"]
        assert named == f"{image['repository']}:{image['tag']}"
        project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
        assert named == f"{project['name']}:{project['version']}"

    def test_the_account_of_tasks(self) -> None:
        account = values()["workers"]["kubernetes"]["serviceAccount"]
        assert account["create"]
        assert template()["spec"]["serviceAccountName"] == account["name"]

    def test_the_environment_of_tasks_and_components(self) -> None:
        of_tasks, everywhere = (
            [{"configMapRef": {"name": n}}] for n in (TASK_SETTINGS, ENVIRONMENT)
        )
        assert set(values()["extraConfigMaps"]) == {TASK_SETTINGS, ENVIRONMENT}
        assert yaml.safe_load(values()["extraEnvFrom"]) == everywhere
        assert template()["spec"]["containers"][0]["envFrom"] == of_tasks + everywhere

    def test_the_release(self) -> None:
        release = values()["fullnameOverride"]
        assert template()["metadata"]["labels"]["release"] == release
        assert (
            f"//{release}-api-server:" in environment()["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
        )

    def test_the_user_and_the_folders_that_are_written(self) -> None:
        spec, chosen = template()["spec"], values()
        assert spec["securityContext"] == chosen["securityContexts"]["pod"]
        assert spec["containers"][0]["securityContext"] == chosen["securityContexts"]["containers"]
        assert spec["containers"][0]["volumeMounts"] == chosen["volumeMounts"]
        assert chosen["volumeMounts"][0]["mountPath"] == chosen["airflowHome"]
        assert chosen["securityContexts"]["pod"]["runAsUser"] == chosen["uid"]


class TestSecrets:
    def test_none_stands_in_what_every_task_sees(self) -> None:
        suspicious = re.compile("SECRET|PASSWORD|TOKEN|FERNET|SQL_ALCHEMY|_CONN_|KEY$")
        assert [name for name in environment() if suspicious.search(name)] == []

    @SIZES
    def test_none_stands_in_the_values(self, cores: int) -> None:
        chosen = values(cores)
        assert set(chosen["data"]) == {"metadataSecretName", "brokerUrlSecretName"}
        for given in ("fernetKey", "apiSecretKey", "jwtSecret", "webserverSecretKey"):
            assert given not in chosen
        for option in ("fernet_key", "sql_alchemy_conn", "secret_key", "jwt_secret"):
            assert not any(option in options for options in chosen["config"].values())

    def test_no_user_with_a_known_password_is_made(self) -> None:
        assert values()["createUserJob"] == {"enabled": False}

    @pytest.mark.parametrize("name", ["dagProcessor", "triggerer"])
    def test_who_never_talks_to_kubernetes_has_no_token_for_it(self, name: str) -> None:
        assert values()[name]["serviceAccount"]["automountServiceAccountToken"] is False


def test_the_readme_of_the_values_names_files_that_are_there() -> None:
    named = re.findall(r"deploy/[\w./-]+\.\w+", (DEPLOY / "helm/values.yaml").read_text())
    assert len(named) > 4
    assert [name for name in named if not (DEPLOY.parent / name).exists()] == []
