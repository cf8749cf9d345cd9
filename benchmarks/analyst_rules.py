"""What the scripts of an analyst know by heart: the rules of the flights, the model's files."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightgbm

KEY = ["date", "carrier", "flight", "origin"]
REQUIRED = [*KEY, "tailnum", "dest", "sched_dep_time", "sched_arr_time", "distance"]
RANGES = {
    "flight": (1, math.inf), "sched_dep_time": (0, 2400), "sched_arr_time": (0, 2400),
    "distance": (1, 6000), "seats": (1, 900), "built": (1950, 2013), "temp": (-40, 130),
    "humid": (0, 100), "wind_speed": (0, 150), "precip": (0, math.inf), "pressure": (900, 1100),
    "visib": (0, 10),
}  # fmt: skip
PATTERNS = {"carrier": "[A-Z0-9]{2}", "origin": "EWR|JFK|LGA", "dest": "[A-Z]{3}"}
TEXTS = ("carrier", "tailnum", "origin", "dest")
WHOLE = ("flight", "sched_dep_time", "sched_arr_time", "distance")
GAPPY = (
    "seats",
    "built",
    "temp",
    "humid",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
    "arr_delay",
)
COLUMNS = ("date", "carrier", "flight", *TEXTS[1:], *WHOLE[1:], *GAPPY)
"""As they stand in the file."""
MISSING = ["", "NA"]
MODEL, CONSTANTS = "model.txt", "constants.json"


class Times:
    """Seconds by part of the script."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what is done within."""
        began = time.monotonic()
        yield
        self.seconds[part] += time.monotonic() - began


Score = Callable[[Path, Path, lightgbm.Booster, dict[str, Any]], Times]
"""Scores a file: source, target, model, and what the model's features need."""


def main(score: Score, what: str | None) -> None:
    """Score the file that the command line names, and say in JSON how long each part took."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("source", type=Path, help="CSV file")
    parser.add_argument("target", type=Path, help="Parquet file")
    parser.add_argument("model", type=Path, help=f"folder with {MODEL} and {CONSTANTS}")
    asked = parser.parse_args()
    booster = lightgbm.Booster(model_file=asked.model / MODEL)
    constants = json.loads((asked.model / CONSTANTS).read_text())
    print(json.dumps(score(asked.source, asked.target, booster, constants).seconds))
