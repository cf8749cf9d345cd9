"""Writes data files and checks them, for the tests of what is accepted and what is not."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.schema import Dataset
from flagfall.errors import BatchInvalid
from flagfall.rows import Checked, DataFile, check_files

Files = dict[str, str | bytes]


def packed(data: bytes) -> bytes:
    """The same bytes at any time: they are in the names of tests."""
    return gzip.compress(data, mtime=0)


def column(
    name: str, type_: str = "string", format_: str = "default", **limits: Any
) -> dict[str, Any]:
    return {"name": name, "type": type_, "format": format_, "constraints": limits}


def dataset(
    *columns: dict[str, Any], key: Sequence[str] = (), missing: Sequence[str] = ("",)
) -> Dataset:
    table = {"fields": list(columns), "primaryKey": list(key), "missingValues": list(missing)}
    landing = {"uri": "/landing", "marker": "{day}/_SUCCESS"}
    return Dataset.model_validate(
        {
            "name": "trips",
            "title": "Trips",
            "landing": landing,
            "lake": {"uri": "/lake"},
            "schema": table,
        }
    )


@dataclass(frozen=True)
class Outcome:
    checked: Checked
    rows: list[tuple[Any, ...]]
    rejected: list[dict[str, Any]]

    @property
    def faults(self) -> list[tuple[int, list[str]]]:
        return [(row.get("line", row.get("row_number")), row["reasons"]) for row in self.rejected]


def check(folder: Path, wanted: Dataset, files: Files) -> Outcome:
    landed = folder / "landed"
    landed.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (landed / name).write_bytes(data)
    output = folder / "output"
    output.mkdir()
    checked = check_files([DataFile(name, landed / name) for name in files], wanted, output)
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [path.name for path in checked.files] + (["rows.jsonl"] if checked.rejected else [])
    )
    rows = [row for path in checked.files for row in pl.read_parquet(path).rows()]
    lines = checked.rejected.read_text("utf-8").splitlines() if checked.rejected else []
    assert checked.rows == len(rows) == sum(part.rows for part in checked.parts)
    assert checked.rejected_rows == len(lines)
    for path in checked.files:
        assert pl.read_parquet_schema(path) == polars_schema(wanted)
    return Outcome(checked, rows, [json.loads(line) for line in lines])


def refuse(folder: Path, wanted: Dataset, files: Files) -> tuple[str, str]:
    with pytest.raises(BatchInvalid) as caught:
        check(folder, wanted, files)
    return caught.value.reason, str(caught.value)


def parquet(frame: pl.DataFrame, **options: Any) -> bytes:
    written = io.BytesIO()
    frame.write_parquet(written, **options)
    return written.getvalue()
