"""The zoo of models, for tests that need it; see `tests.models.zoo`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ZOO = Path(__file__).resolve().parents[2] / ".flagfall" / "zoo-models"


def _built(part: str) -> Path:
    if not (ZOO / ".done").exists():
        why = "the zoo of models is not there, or not whole; run `make zoo`"
        if os.environ.get("FLAGFALL_REQUIRE_SERVERS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return ZOO / part


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Folder of the models that work."""
    return _built("good")


@pytest.fixture(scope="session")
def broken_zoo() -> Path:
    """Folder of the models that cannot work."""
    return _built("broken")
