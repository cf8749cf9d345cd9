from __future__ import annotations

from pathlib import Path

import pytest

from tests.upkeep.feeds import Make, maker


@pytest.fixture(params=["disk", "S3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a feed with settings of upkeep (see ``maker``)."""
    return maker(request, tmp_path, request.param)
