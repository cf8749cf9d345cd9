"""Writes data files and checks them, for the tests of what is accepted and what is not."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.schema import Dataset
from flagfall.errors import BatchInvalid
from flagfall.rows import Checked, DataFile, check_files
from flagfall.rows.csv_columns import CsvColumns

Files = dict[str, str | bytes]

OF_76_DIGITS = zlib.decompress(
    base64.b64decode(
        "eNoLcAwyFGUQlRGV0RFlAjLYRNlkGBgYmECYkZEBAoDiPqI+WBQwoIGCG5/+tJ9S287nb5wA1sgiaWPKIMFW"
        "nJyRmpsoygIUUGWSYMpMYRDlE3UQZZJgrFDlApo9g1EnBkwB9YgxScpI6qgxyAA1q7IxSIKUiwJFxZzEnNQ4"
        "PGVEQc5hYrDRZJNUAzsDpJQPopSxAqyySKxIzQuLSrEtjGJMahxAikFDoSCxqLA0tUQ3uaBAN7GoKL9coSy1"
        "qDgzP0/ByEzPQM9QUgfoT5BXjwJxADCYADIPKww="
    )
)
"""Parquet of pyarrow, as polars cannot write it: ``id`` is 1, ``x`` is 1.5 in 76 digits."""

OF_INT96 = zlib.decompress(
    base64.b64decode(
        "eNoLcAwyFGUQDREN0RFlAzLYRNlkGBgYmICYjZEBCnT+BcKYDEEuUnD2oxZVBlEWSR1TBgm24uSM1NxEUSag"
        "EapMEowlDGJskjKSMmoMMqJskqpsDJJAMVGgoFiVWJUah6cM0C4GoGobTTZJNQY2oGFACTY1DrEqBg2FgsSi"
        "wtLUEt3kggLdxKKi/HKFstSi4sz8PAUjMz0DPUNJGZAbq4A4AOh8AD+gHdk="
    )
)
"""Parquet with INT96, as Spark wrote it: ``t`` is 9999-12-31, 0001-01-01 and 2020-01-01."""


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
    given = [DataFile(name, landed / name) for name in files]
    checked = check_files(given, wanted, output)
    assert_same_as_text(folder, wanted, given)
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


def assert_same_as_text(folder: Path, wanted: Dataset, files: Sequence[DataFile]) -> str:
    """Numbers that are read as such are what all rules make of their texts.

    Returns:
        ``numbers`` if some were read, else ``texts``.
    """
    read, kinds = CsvColumns.read, set()

    def watched(columns: CsvColumns, rows: bytes) -> pl.DataFrame:
        found = read(columns, rows)
        kinds.update("numbers" for dtype in found.dtypes if dtype.is_numeric())
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CsvColumns, "read", watched)
        as_numbers = found(folder / "as-numbers", wanted, files)
        patched.setattr(CsvColumns, "read", CsvColumns.texts)
        as_texts = found(folder / "as-texts", wanted, files)
    assert as_numbers == as_texts
    return kinds.pop() if kinds else "texts"


def found(folder: Path, wanted: Dataset, files: Sequence[DataFile]) -> object:
    """All that is made of files, or why they are refused."""
    folder.mkdir()
    try:
        checked = check_files(files, wanted, folder)
    except BatchInvalid as invalid:
        return invalid.reason, str(invalid)
    finally:
        made = {path.name: path.read_bytes() for path in folder.iterdir()}
        shutil.rmtree(folder)
    told = replace(checked, files=(), rejected=None, refusal=None)
    return told, str(checked.refusal), made


def refuse(folder: Path, wanted: Dataset, files: Files) -> tuple[str, str]:
    with pytest.raises(BatchInvalid) as caught:
        check(folder, wanted, files)
    return caught.value.reason, str(caught.value)


def parquet(frame: pl.DataFrame, **options: Any) -> bytes:
    written = io.BytesIO()
    frame.write_parquet(written, **options)
    return written.getvalue()
