"""compose.yaml: which containers there would be, with the secrets that are made for it."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.configuration import conf
from cryptography.fernet import Fernet
from sqlalchemy.engine import make_url

from sandbox.airflow import read_settings
from tests.deploy.cluster import DEPLOY
from tests.deploy.docker import steps

AIRFLOW = ("init", "api-server", "scheduler", "dag-processor", "triggerer")
SECRETS = ("DB_PASSWORD", "API_SECRET", "JWT_SECRET", "FERNET_KEY")
TEXT = (DEPLOY / "compose.yaml").read_text()
EVERY_AIRFLOW = pytest.mark.parametrize("name", AIRFLOW)


def secrets() -> dict[str, str]:
    script = DEPLOY / "compose_secrets.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services, with variables filled in as Compose does."""
    made = secrets()
    filled = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: made[match[1]], TEXT)
    assert "${" not in filled
    found: dict[str, dict[str, Any]] = yaml.safe_load(filled)["services"]
    return found


def test_there_are_all_components_and_two_triggerers(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", *AIRFLOW}
    commands = {name: services[name]["command"] for name in AIRFLOW}
    assert commands.pop("init") == ["airflow", "db", "migrate"]
    assert commands == {name: ["airflow", name] for name in commands}
    assert services["triggerer"]["deploy"] == {"replicas": 2}


def test_only_this_machine_reaches_it(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8080:8080"]
    assert not any("network_mode" in service for service in services.values())


@EVERY_AIRFLOW
def test_its_processes_are_not_root_and_write_only_where_they_must(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    user, _, group = service["user"].partition(":")
    assert int(user) == (os.getuid() or DEPLOY.parent.stat().st_uid or 50000)
    assert (int(user) > 0, group) == (True, "0")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [place.partition(":")[0] for place in service["tmpfs"]] == ["/tmp", "/opt/airflow"]
    assert service["volumes"] == ["../.flagfall/compose:/data"]


@EVERY_AIRFLOW
def test_every_setting_is_one_that_airflow_describes(services: dict[str, Any], name: str) -> None:
    for variable in services[name]["environment"]:
        if variable.startswith("AIRFLOW__"):
            _, section, option = variable.lower().split("__")
            assert option in conf.configuration_description[section]["options"]
    assert services[name]["env_file"] == ["airflow.env"]
    assert read_settings(DEPLOY / "airflow.env")


def test_components_start_when_the_database_is_made(services: dict[str, Any]) -> None:
    assert services["init"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in AIRFLOW[1:]:
        wanted = {"init": {"condition": "service_completed_successfully"}}
        assert services[name]["depends_on"] == wanted


class TestSecrets:
    def test_no_secret_stands_in_the_file(self) -> None:
        for name in SECRETS:
            assert f"${{FLAGFALL_{name}:?run deploy/compose_secrets.py first}}" in TEXT

    def test_they_are_new_each_time(self) -> None:
        one, other = secrets(), secrets()
        assert [
            name for name in SECRETS if one[f"FLAGFALL_{name}"] == other[f"FLAGFALL_{name}"]
        ] == []

    def test_airflow_takes_them(self, services: dict[str, Any]) -> None:
        environment = services["scheduler"]["environment"]
        Fernet(environment["AIRFLOW__CORE__FERNET_KEY"].encode())
        url = make_url(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        assert url.password == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
        assert (url.host, url.database) == ("postgres", "airflow")
        for name in ("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"):
            assert len(environment[name]) == 64

    @pytest.mark.parametrize("who", [0, 1234])
    def test_they_are_of_the_user_who_made_them_and_never_of_root(
        self, monkeypatch: pytest.MonkeyPatch, who: int
    ) -> None:
        monkeypatch.setattr(os, "getuid", lambda: who)
        user = runpy.run_path(str(DEPLOY / "compose_secrets.py"))["user"]()
        assert user == who or (who == 0 and user > 0)

    @pytest.mark.parametrize("owner", [0, 1234])
    def test_their_user_may_write_where_the_commands_of_the_file_make_the_folder(
        self, tmp_path: Path, owner: int
    ) -> None:
        """As root the owner of the project's folder is tried, too."""
        (tmp_path / "deploy").mkdir()
        shutil.copy(DEPLOY / "compose_secrets.py", tmp_path / "deploy")
        if os.getuid() == 0:
            os.chown(tmp_path, owner, owner)
        commands = TEXT.partition("#\n#   ")[2].partition("#   docker")[0].replace("\n#   ", "\n")
        subprocess.run(["sh", "-ec", commands], cwd=tmp_path, check=True)
        made = (tmp_path / ".flagfall" / "compose").stat()
        assert f"FLAGFALL_UID={made.st_uid}\n" in (tmp_path / "deploy/.env").read_text()
        assert made.st_uid > 0

    def test_git_leaves_them_alone(self) -> None:
        ignored = (DEPLOY.parent / ".gitignore").read_text().splitlines()
        assert "/deploy/.env" in ignored


def test_the_image_is_the_one_that_the_dockerfile_makes(services: dict[str, Any]) -> None:
    built = services["scheduler"]["build"]
    file = (DEPLOY / built["context"] / built["dockerfile"]).resolve()
    assert [step.name for step in steps(file)][-1] == "CMD"
    assert f"--tag {services['scheduler']['image']}" in file.read_text()
