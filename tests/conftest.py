from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

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


NOBODY = 65534


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder of a user to whom permissions apply, as whom the test runs; root may do anything."""
    is_root = os.geteuid() == 0
    codecs.lookup("utf-8-sig")  # root's Python may not be readable by that user
    with TemporaryDirectory() as folder:
        if is_root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            if is_root:
                os.seteuid(0)
