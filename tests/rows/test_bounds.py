"""No data file, however large or malicious, takes more than a bounded share of the machine."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.schema import Dataset
from flagfall.errors import BatchInvalid
from flagfall.landing.limits import Limits
from flagfall.rows import Checked, DataFile, check_files
from tests.patience import SOON

LINE_LIMIT = Limits().row_bytes
EXPAND_BYTES, EXPAND_RATIO = Limits().expand_bytes, Limits().expand_ratio

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TEXT = Dataset.model_validate(
    {
        "name": "texts",
        "title": "Texts",
        "landing": {"uri": "/landing", "marker": "{day}/_SUCCESS"},
        "lake": {"uri": "/lake"},
        "schema": {"fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "string"}]},
    }
)


def check(folder: Path, name: str, content: bytes, **limits: int) -> Checked:
    path = folder / name
    path.write_bytes(content)
    output = folder / "output"
    output.mkdir(exist_ok=True)
    dataset = TEXT.model_copy(update={"limits": Limits(**limits)})
    return check_files([DataFile(name, path)], dataset, output)


def refuse(folder: Path, name: str, content: bytes, **limits: int) -> tuple[str, str]:
    with pytest.raises(BatchInvalid) as caught:
        check(folder, name, content, **limits)
    return caught.value.reason, str(caught.value)


# --------------------------------------------------------------------------------------- long lines


@pytest.mark.parametrize(
    "line",
    [b"x" * (LINE_LIMIT - 2) + b",y", b'"' + b"\n" * (LINE_LIMIT - 3) + b'",', b"," * LINE_LIMIT],
    ids=["one field", "a quoted field", "many fields"],
)
def test_a_line_may_have_line_limit_bytes_and_no_more(tmp_path: Path, line: bytes) -> None:
    assert len(line) == LINE_LIMIT
    before = b"a,b\n1,2\n"
    checked = check(tmp_path, "a.csv", before + line + b"\n3,4\n")
    assert checked.rows + checked.rejected_rows == 3
    reason, message = refuse(tmp_path, "a.csv", before + line + b",\n3,4\n")
    assert reason == "long-line"
    assert message.startswith(f"a.csv: line 3: a row of more than {LINE_LIMIT} bytes")


def test_a_json_line_may_have_line_limit_bytes_and_no_more(tmp_path: Path) -> None:
    first = b'{"a": "", "b": ""}\n'
    line = b'{"a": "' + b"x" * (LINE_LIMIT - 9) + b'"}'
    assert len(line) == LINE_LIMIT
    assert check(tmp_path, "a.jsonl", first + line + b"\n").rows == 2
    reason, message = refuse(tmp_path, "a.jsonl", b"{}\n" + line + b" \n")
    assert (reason, message[:17]) == ("long-line", "a.jsonl: line 2: ")


def test_a_quote_left_open_in_a_large_file_is_found_where_it_began(tmp_path: Path) -> None:
    content = b'a,b\n1,2\n"3,4\n' + b"5,6\n" * (LINE_LIMIT // 2)
    reason, message = refuse(tmp_path, "a.csv", content)
    assert reason == "long-line"
    assert message.startswith("a.csv: line 3: ")
    assert "is a quote left open" in message


def test_a_text_in_parquet_has_the_same_limit(tmp_path: Path) -> None:
    def content(length: int) -> bytes:
        written = io.BytesIO()
        pl.DataFrame({"a": ["x", "y" * length], "b": ["", ""]}).write_parquet(written)
        return written.getvalue()

    assert check(tmp_path, "a.parquet", content(LINE_LIMIT)).rows == 2
    expected = (
        f"a.parquet: row 2: a: a text of more than {LINE_LIMIT} bytes (limits.row_bytes);"
        " leave it out, or shorten it"
    )
    assert refuse(tmp_path, "a.parquet", content(LINE_LIMIT + 1)) == ("long-line", expected)


# ---------------------------------------------------------------------------------------- expansion


def zeros(rows: int) -> bytes:
    return gzip.compress(b"a,b\n" + (b"0" * 1000 + b",\n") * rows, 9)


def test_a_small_gzip_may_unpack_to_the_floor_and_no_more(tmp_path: Path) -> None:
    rows = ((10 << 20) - 4) // 1002
    content = zeros(rows)
    assert EXPAND_RATIO * len(content) < 10 << 20, "the ratio would allow more than the floor"
    assert check(tmp_path, "a.csv.gz", content, expand_bytes=10 << 20).rows == rows
    reason, message = refuse(tmp_path, "a.csv.gz", zeros(rows + 1), expand_bytes=10 << 20)
    assert reason == "expands"
    assert message.startswith("a.csv.gz: ")
    assert " bytes of it unpack to " in message


def test_a_bomb_is_refused_at_the_floor_however_large_it_is(tmp_path: Path) -> None:
    """What counts is the share of the file that has been read, not the whole file."""
    member = gzip.compress((b"0" * 1000 + b",\n") * (20 << 10), 9)
    content = gzip.compress(b"a,b\n") + member * 1_000
    assert EXPAND_RATIO * len(content) > 2 * EXPAND_BYTES
    reason, message = refuse(tmp_path, "a.csv.gz", content)
    assert reason == "expands"
    unpacked = re.search(r"unpack to (\d+) or more", message)
    assert unpacked is not None
    assert int(unpacked[1]) < 1.2 * EXPAND_BYTES


def test_a_gzip_with_real_data_may_unpack_beyond_the_floor(tmp_path: Path) -> None:
    text = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7919) for number in range(10_000))
    assert check(tmp_path, "a.csv.gz", gzip.compress(text), expand_bytes=1_000).rows == 10_000


@linux
def test_a_parquet_page_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    def content(page: int) -> bytes:
        written = io.BytesIO()
        texts = [f"{'x' * 20_000}{number}" for number in range(3_000)]
        frame = pl.DataFrame({"a": texts, "b": texts})
        frame.write_parquet(written, data_page_size=page, row_group_size=3_000)
        return written.getvalue()

    limits = {"parquet_memory": 200 << 20, "expand_bytes": 1 << 30}
    assert check(tmp_path, "a.parquet", content(1 << 20), **limits).rows == 3_000
    reason, message = refuse(tmp_path, "a.parquet", content(1 << 30), **limits)
    assert reason == "parquet"
    assert message.startswith("a.parquet: damaged, or its pages are too large (memory allocation")


def test_a_parquet_file_of_endless_equal_rows_is_refused(tmp_path: Path) -> None:
    def content(rows: int) -> bytes:
        written = io.BytesIO()
        pl.select(a=pl.repeat("", rows), b=pl.repeat("", rows)).write_parquet(written)
        return written.getvalue()

    most = (1 << 20) // 16
    assert EXPAND_RATIO * len(content(most)) < 1 << 20
    assert check(tmp_path, "a.parquet", content(most), expand_bytes=1 << 20).rows == most
    refused = refuse(tmp_path, "a.parquet", content(most + 1), expand_bytes=1 << 20)
    assert refused[0] == "expands"


# ------------------------------------------------------------------------------------------- memory


def test_rejected_rows_are_kept_up_to_a_bound_and_counted_beyond(tmp_path: Path) -> None:
    rows = 300_000
    content = b"a,b\n" + b"x\n" * rows
    checked = check(tmp_path, "a.csv", content, rejected_bytes=1 << 20)
    assert checked.rejected_rows == rows
    assert checked.reasons == {"row: 1 field, expected 2": rows}
    assert checked.rejected is not None
    assert 0 <= (1 << 20) - checked.rejected.stat().st_size < 1_000


MEASURE = """
import sys
from pathlib import Path
from flagfall.dataset.schema import Dataset
from flagfall.landing.limits import Limits
from flagfall.rows import DataFile, check_files

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

dataset = Dataset.model_validate_json(sys.argv[1])
source, output = Path(sys.argv[2]), Path(sys.argv[3])
before = peak()
checked = check_files([DataFile(source.name, source)], dataset, output)
print(checked.rows + checked.rejected_rows, (peak() - before) // 1024)
"""


def grown_by(folder: Path, source: Path, columns: list[dict[str, object]]) -> tuple[int, int]:
    """Rows, and MiB by which a process of its own grew while it checked a file."""
    dataset = TEXT.model_dump_json(by_alias=True, exclude={"table"})
    schema = {"fields": columns, "primaryKey": [columns[0]["name"]]}
    described = dataset[:-1] + f', "schema": {pl.Series([schema]).struct.json_encode()[0]}}}'
    output = folder / "output"
    output.mkdir()
    command = [sys.executable, "-c", MEASURE, described, str(source), str(output)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=SOON)
    rows, grown = done.stdout.split()
    return int(rows), int(grown)


@linux
def test_memory_does_not_follow_the_size_of_a_file(tmp_path: Path) -> None:
    rows = 600_000
    frame = pl.select(k=pl.int_range(rows)).with_columns(
        pl.format("N{}-{}", "k", pl.lit("x" * 60)).alias("name"),
        (pl.col("k") * 7919 % 100_003 / 7).alias("x"),
        pl.lit("2013-01-31").alias("day"),
    )
    source = tmp_path / "a.csv"
    frame.write_csv(source)
    assert source.stat().st_size > 50 << 20
    columns: list[dict[str, object]] = [
        {"name": "k", "type": "integer"},
        {"name": "name", "type": "string"},
        {"name": "x", "type": "number"},
        {"name": "day", "type": "date"},
    ]
    found, grown = grown_by(tmp_path, source, columns)
    assert found == rows
    assert grown < 320, f"grew by {grown} MiB"


@linux
def test_memory_does_not_follow_the_number_of_bad_rows(tmp_path: Path) -> None:
    rows = 600_000
    source = tmp_path / "a.csv"
    source.write_bytes(b"k,x\n" + b"1\n" * rows)
    columns: list[dict[str, object]] = [
        {"name": "k", "type": "integer"},
        {"name": "x", "type": "integer"},
    ]
    found, grown = grown_by(tmp_path, source, columns)
    assert found == rows
    assert grown < 320, f"grew by {grown} MiB"
