"""What Spark, DuckDB, pandas, pyarrow and dask write by default: names, folders, formats."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.dataset.schema import Dataset
from flagfall.errors import BatchInvalid
from flagfall.rows import DataFile, check_copies, check_files


def dataset(**landing: str) -> Dataset:
    fields = [
        {"name": "id", "type": "integer", "constraints": {"required": True}},
        {"name": "day", "type": "date"},
        {"name": "airport", "type": "string"},
    ]
    return Dataset.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "landing": {"uri": "/landing", "marker": "_SUCCESS", **landing},
            "lake": {"uri": "/lake"},
            "schema": {"fields": fields},
            "thresholds": {"rejected_share": 1},
        }
    )


def rows_of(folder: Path, name: str, data: bytes, **landing: str) -> list[tuple[Any, ...]]:
    path, output = folder / "source", folder / "output"
    path.write_bytes(data)
    output.mkdir(exist_ok=True)
    checked = check_files([DataFile(name, path)], dataset(**landing), output)
    return [row for part in checked.files for row in pl.read_parquet(part).rows()]


def parquet(folder: Path, **columns: Any) -> bytes:
    path = folder / "columns.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path.read_bytes()


LINE_OF_CSV = b"id,day,airport\n1,2013-05-01,JFK\n"
LINES = b'{"id": 1, "day": "2013-05-01", "airport": "JFK"}\n'


@pytest.mark.parametrize(
    ("name", "data", "landing"),
    [
        ("part-0.json", LINES, {}),
        ("part-0.json.gz", gzip.compress(LINES, mtime=0), {}),
        ("DATA.JSON", LINES, {}),
        ("0.part", LINE_OF_CSV, {"format": "csv"}),
        (
            "0.part.gz",
            gzip.compress(LINE_OF_CSV, mtime=0),
            {"format": "csv"},
        ),
        ("0000_part_00", b"id\tday\tairport\n1\t2013-05-01\tJFK\n", {"format": "tsv"}),
        ("000000_0", LINES, {"format": "jsonl"}),
        ("x.json", LINES, {"format": "csv"}),
    ],
)
def test_a_format_is_known_by_its_name_or_by_the_setting(
    tmp_path: Path, name: str, data: bytes, landing: dict[str, str]
) -> None:
    rows = rows_of(tmp_path, name, data, **landing)
    assert [(row[0], str(row[1]), row[2]) for row in rows] == [(1, "2013-05-01", "JFK")]


def test_a_file_whose_format_nobody_knows_is_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(BatchInvalid, match=r"0\.part: format not known.*landing\.format"):
        rows_of(tmp_path, "0.part", b"id\n1\n")


NOTHING = {"b.csv": b"", "b.csv.gz": gzip.compress(b""), "b.tsv": b"", "b.json": b""}


@pytest.mark.parametrize("name", NOTHING)
def test_a_part_without_a_byte_has_no_rows_where_the_feed_allows_it(
    tmp_path: Path, name: str
) -> None:
    assert not rows_of(tmp_path, name, NOTHING[name], empty_files="allow")


@pytest.mark.parametrize("name", ["b.csv", "b.csv.gz", "b.tsv"])
def test_it_is_refused_otherwise(tmp_path: Path, name: str) -> None:
    with pytest.raises(BatchInvalid, match="empty; expected a header"):
        rows_of(tmp_path, name, NOTHING[name])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("b.parquet", b"", "not Parquet"),
        ("b.csv.gz", b"nonsense", "not valid gzip"),
        ("b.csv.gz", b"\x1f\x8b", "cut short"),
        ("b.csv", b"\n", "empty; expected a header"),
    ],
)
def test_what_is_damaged_is_not_empty(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(BatchInvalid, match=words):
        rows_of(tmp_path, name, data, empty_files="allow")


def test_parts_without_a_byte_stand_beside_others(tmp_path: Path) -> None:
    for name, data in {**NOTHING, "c.csv": b"", "a.csv": b"id,day,airport\n1,,\n"}.items():
        (tmp_path / name).write_bytes(data)
    files = [DataFile(name, tmp_path / name) for name in (*NOTHING, "a.csv", "c.csv")]
    wanted, output = dataset(empty_files="allow"), tmp_path / "output"
    output.mkdir()
    assert check_files(files, wanted, output).rows == 1
    check_copies(files, ["a", "b", "a", "a", "c", "a"], wanted)


def formats(folder: Path) -> dict[str, bytes]:
    return {
        "a.csv": b"id\n1\n",
        "a.tsv.gz": gzip.compress(b"id\n1\n", mtime=0),
        "a.json": b'{"id": 1}\n',
        "a.parquet": parquet(folder, id=[1]),
    }


@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "a.json", "a.parquet"])
@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ("day=2013-05-01/airport=JFK", (1, "2013-05-01", "JFK")),
        ("day=2013-05-01/airport=__HIVE_DEFAULT_PARTITION__", (1, "2013-05-01", None)),
        ("day=__HIVE_DEFAULT_PARTITION__/airport=a%2Fb%20c%3D", (1, "None", "a/b c=")),
        ("run=7/airport=S%C3%A3o=1/day=2013-05-01/part", (1, "2013-05-01", "São=1")),
    ],
)
def test_folders_are_the_columns_that_the_schema_names(
    tmp_path: Path, name: str, folders: str, expected: tuple[Any, ...]
) -> None:
    rows = rows_of(tmp_path, f"{folders}/{name}", formats(tmp_path)[name])
    assert [(row[0], str(row[1]), row[2]) for row in rows] == [expected]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_column_in_the_file_goes_before_the_folder(tmp_path: Path, kind: str) -> None:
    data = {
        "csv": b"id,day,airport\n1,2013-05-02,\n",
        "json": b'{"id": 1, "day": "2013-05-02", "airport": null}\n',
        "parquet": parquet(tmp_path, id=[1], day=["2013-05-02"], airport=[None]),
    }[kind]
    rows = rows_of(tmp_path, f"day=2013-05-01/airport=JFK/a.{kind}", data)
    assert [(row[0], str(row[1]), row[2]) for row in rows] == [(1, "2013-05-02", None)]


def test_folders_that_are_no_columns_may_be_called_anything(tmp_path: Path) -> None:
    name = "run=%FF/x=1/x=2/=/day=2013-05-01/airport=JFK/a.csv"
    assert len(rows_of(tmp_path, name, b"id\n1\n")) == 1


def test_a_folder_that_is_no_date_makes_its_rows_bad(tmp_path: Path) -> None:
    assert not rows_of(tmp_path, "day=monday/airport=JFK/a.csv", b"id\n1\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("day=2013-05-01/a.csv", "columns missing: airport"),
        ("id=1/day=2013-05-01/airport=JFK/a.csv", "columns missing"),
        ("day=1/day=2/airport=JFK/a.csv", "two values"),
        ("day=2013-05-01/airport=%FF/a.csv", "not UTF-8"),
    ],
)
def test_folders_that_do_not_say_it_are_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(BatchInvalid, match=words):
        rows_of(tmp_path, name, b"other\n1\n" if "id=" in name else b"id\n1\n")


def test_every_parquet_file_is_read_in_the_sandbox_whatever_its_folders_say(
    tmp_path: Path,
) -> None:
    (tmp_path / "good").write_bytes(parquet(tmp_path, id=[1], airport=["JFK"]))
    (tmp_path / "bad").write_bytes(parquet(tmp_path, id=[1])[:-9] + b"\xff" * 9)
    files = [
        DataFile("day=2013-05-01/a.parquet", tmp_path / "good"),
        DataFile("day=2013-05-01/airport=JFK/b.parquet", tmp_path / "bad"),
    ]
    with pytest.raises(BatchInvalid, match=r"b\.parquet: .*not Parquet"):
        check_files(files, dataset(), tmp_path)
