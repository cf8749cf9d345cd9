from __future__ import annotations

import subprocess
import sys

import pytest

from flagfall.operators.airflow_release import AirflowTooOld, release


@pytest.mark.parametrize(
    ("version", "found"), [("3.2.2", (3, 2)), ("3.3.0rc1", (3, 3)), ("3.10.1", (3, 10))]
)
def test_a_release_is_known_by_its_first_two_numbers(version: str, found: tuple[int, int]) -> None:
    assert release(version) == found


@pytest.mark.parametrize("version", ["3.1.8", "2.11.0"])
def test_an_older_one_is_refused_with_the_reason_and_the_remedy(version: str) -> None:
    with pytest.raises(AirflowTooOld, match=r"needs 3\.2 or 3\.3.*#64620.*upgrade Airflow"):
        release(version)


@pytest.mark.parametrize("module", ["flagfall.dags", "flagfall.operators.stages"])
def test_nothing_of_it_is_imported_there(module: str) -> None:
    code = f"import airflow; airflow.__version__ = '3.1.8'; import {module}.ml_pipeline"
    code = code if module == "flagfall.dags" else code.removesuffix(".ml_pipeline")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "Airflow 3.1.8 is too old" in ran.stderr


WITHOUT_POLICIES = """
import airflow
airflow.__version__ = "3.2.2"
from airflow.sdk.exceptions import AirflowFailException
from flagfall.errors import NotThere, StoreUnavailable
from flagfall.operators.airflow_release import fails_for_good, retry_what_may_heal

@fails_for_good
def fail(error):
    raise error

def kind(error):
    try:
        fail(error)
    except Exception as raised:
        return type(raised).__name__

assert retry_what_may_heal() == {}
print(kind(NotThere("dataset", "toy")), kind(StoreUnavailable("/lake", "away")))
"""


def test_on_3_2_a_task_fails_for_good_only_where_nothing_can_heal() -> None:
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_POLICIES]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["AirflowFailException", "StoreUnavailable"]
