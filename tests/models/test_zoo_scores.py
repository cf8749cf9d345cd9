"""Every model of the zoo becomes a feed; every broken one is refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from flagfall.errors import HOPELESS_EXIT
from tests.models.zoo_feed import ZooFeed, score_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
