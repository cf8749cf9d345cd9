"""The libraries that others read tables with, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = Path(__file__).parents[2] / ".flagfall" / "readers"
READERS = ["duckdb", "pandas", "pyarrow", "spark"]
"""Polars reads in all other tests."""

Rows = list[list[Any]]


def required_readers() -> Path:
    """Python of the environment of ``make readers``; without it a test is skipped, or fails."""
    if not (ENVIRONMENT / ".done").exists():
        why = "DuckDB, pandas and Spark are not installed, or not whole; run `make readers`"
        if os.environ.get("FLAGFALL_REQUIRE_SERVERS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return ENVIRONMENT / "bin/python"


@contextmanager
def reading(name: str, uri: str, *columns: str) -> Iterator[Callable[[], Rows]]:
    """Gives a function that reads these columns of a table as it is then."""
    script = Path(__file__).with_name("readers.py")
    command = [str(required_readers()), str(script), name, uri, *columns]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=inherited
    ) as reader:
        asked, answers = reader.stdin, reader.stdout
        assert asked is not None
        assert answers is not None

        def read() -> Rows:
            print(file=asked, flush=True)
            rows: Rows = json.loads(answers.readline())
            return rows

        yield read
        asked.close()
    assert reader.returncode == 0
