"""What another release of Airflow changes. Its release is what its distribution's metadata says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flagfall.extras import AirflowTooOld, airflow_release, require


def installed(folder: Path, version: str) -> Path:
    """A folder for ``sys.path`` whose metadata says that Airflow of this release is installed."""
    about = folder / f"apache_airflow_core-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: apache-airflow-core\nVersion: {version}\n"
    )
    return folder


def python(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, with ``path`` in front."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("version", "found"), [("3.2.2", (3, 2)), ("3.3.0rc1", (3, 3)), ("3.10.1", (3, 10))]
)
def test_a_release_is_known_by_its_first_two_numbers(
    version: str, found: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path, version))
    assert airflow_release() == found


@pytest.mark.parametrize("version", ["3.1.8", "2.11.0"])
def test_an_older_one_is_refused_with_the_reason_and_the_remedy(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path, version))
    with pytest.raises(AirflowTooOld, match=r"needs 3\.2 or 3\.3.*#64620.*upgrade Airflow"):
        require("airflow")


@pytest.mark.parametrize(
    "module",
    [
        "flagfall.dags",
        "flagfall.operators.sensors",
        "flagfall.operators.stages",
        "flagfall.triggers.markers",  # a DAG of the user's own may need nothing else
    ],
)
def test_nothing_of_it_is_imported_there(module: str, tmp_path: Path) -> None:
    ran = python(f"import {module}", installed(tmp_path, "3.1.8"))
    assert ran.returncode == 1
    assert "Airflow 3.1.8 is too old" in ran.stderr


WITHOUT_POLICIES = """
from airflow.sdk.exceptions import AirflowFailException
from flagfall.errors import NotThere, StoreUnavailable
from flagfall.operators.airflow_release import fails_for_good, failure, retry_what_may_heal

@fails_for_good
def fail(error):
    raise error

def kinds(error):
    try:
        fail(error)
    except Exception as raised:
        return type(raised).__name__, type(failure({"exception": raised})).__name__

assert retry_what_may_heal() == {}
print(*kinds(NotThere("dataset", "toy")), *kinds(StoreUnavailable("/lake", "away")))
"""


def test_on_3_2_a_task_fails_for_good_only_where_nothing_can_heal_and_notices_name_the_cause(
    tmp_path: Path,
) -> None:
    ran = python(WITHOUT_POLICIES, installed(tmp_path, "3.2.2"))
    assert ran.stdout.split() == [
        *("AirflowFailException", "NotThere"),
        *("StoreUnavailable", "StoreUnavailable"),
    ], ran.stderr
