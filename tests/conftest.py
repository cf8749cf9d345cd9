from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.feeds import Clock, ToyFeed, make_toy

os.environ["AIRFLOW_HOME"] = mkdtemp(prefix="flagfall-tests-")  # before Airflow is imported
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture
def toy(tmp_path: Path) -> ToyFeed:
    return make_toy(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()
