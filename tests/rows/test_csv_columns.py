"""Numbers of CSV that are read as such: the same values, reasons and files as of their texts.

``check`` compares both in every test of this folder; here are files that nobody thought of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flagfall.dataset.schema import Dataset
from flagfall.rows import DataFile, blocks_of, csv_rows
from tests.rows.checking import assert_same_as_text, check, column, dataset

ODDITIES = (
    "", "NA", "-999", " 5", "\t5", '" 5"', '"\t5"', "5 ", "+5", "--5", "007", "-0", "-0.0", "1e5",
    "1e400", "5.", ".5", ".", "-", "+", "inf", "-Infinity", "nan", "NaN", "1_000", "0x1f", "٣",
    '"7"', '"NA"', '""', '"1,5"', '"a\nb"', '5" pipe', "true", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "9007199254740993", "1.7976931348623159e308",
)  # fmt: skip
ENDS = ("\n", "\r\n")
HEADERS = (
    ("id", "count", "value"), ("count", "id", "value"), ("value", "count", "id"), ("", "1", "NA"),
    ("1", "2", "nan"), ("NA", "", "5"), ("-999", "x", "y"),
)  # fmt: skip
MISSING = (("",), ("", "NA"), ("NA",), ("", "-999", "NA"), ("", "5.0", "nan"), ())

TYPES = st.permutations(["string", "integer", "number"]) | st.tuples(
    *[st.sampled_from(["integer", "number"])] * 3
)
NUMBERS = st.sampled_from(["1", "-7", "12"]) | st.integers().map(str)
TRASH = st.text("0123456789+-.eE na\t", max_size=6)


@st.composite
def lines(draw: st.DrawFn, header: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Rows of numbers, and a few fields of another kind, or a header."""
    odd = draw(st.lists(st.sampled_from(ODDITIES) | TRASH | st.floats().map(repr), max_size=2))
    field = NUMBERS | st.sampled_from(odd) if odd else NUMBERS
    headers = st.sampled_from([header, *HEADERS])
    rows: list[tuple[str, ...]] = draw(st.lists(st.tuples(field, field, field), max_size=6))
    if draw(st.integers(0, 4)) == 0:
        rows.insert(draw(st.integers(0, len(rows))), draw(headers))
    return rows


def feed(names: Sequence[str], types: Sequence[str], missing: Sequence[str]) -> Dataset:
    fields = [column(name, kind) for name, kind in zip(names, types, strict=True) if name]
    return dataset(*fields, missing=missing)


@settings(
    max_examples=500,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.data())
def _compare(tally: Counter[str], data: st.DataObject) -> None:
    header = data.draw(st.sampled_from(HEADERS))
    types, missing = data.draw(TYPES), data.draw(st.sampled_from(MISSING))
    ending, end = data.draw(st.sampled_from(["csv", "tsv"])), data.draw(st.sampled_from(ENDS))
    separator = "\t" if ending == "tsv" else ","
    text = "".join(separator.join(row) + end for row in [header, *data.draw(lines(header))])
    wanted = feed(header, types, missing)
    with TemporaryDirectory() as name:
        file = DataFile(f"a.{ending}", Path(name, "landed"))
        file.path.write_bytes(text.encode())
        tally[assert_same_as_text(Path(name), wanted, [file])] += 1


def test_whatever_stands_in_a_file_numbers_are_those_of_its_texts() -> None:
    tally: Counter[str] = Counter()
    _compare(tally)
    assert min(tally["numbers"], tally["texts"]) > 50, tally


def test_a_header_again_is_no_row_where_its_names_may_be_values(tmp_path: Path) -> None:
    wanted = feed(("NA", "1"), ("string", "integer"), ("", "NA"))
    outcome = check(tmp_path, wanted, {"a.csv": "NA,1\nx,5\nNA,1\ny,6\n"})
    assert outcome.rows == [("x", 5), ("y", 6)]
    assert outcome.rejected == []


@pytest.mark.parametrize(("bad", "texts"), [(0, range(100)), (50, [50])])
def test_a_value_that_is_no_number_makes_texts_of_its_column_in_its_block_or_after_the_first(
    tmp_path: Path, bad: int, texts: Sequence[int]
) -> None:
    rows = [f"x,{'one' if n == bad else '111'},2.5\n" for n in range(100)]
    path = tmp_path / "a.csv"
    path.write_text("id,count,value\n" + "".join(rows))
    wanted = feed(("id", "count", "value"), ("string", "integer", "number"), ("",))
    with pytest.MonkeyPatch.context() as small:
        small.setattr(csv_rows, "BLOCK_ROWS", 1)
        blocks = list(blocks_of(DataFile("a.csv", path), wanted))
    read = [block.rows.dtypes[1] for block in blocks]
    assert [n for n, dtype in enumerate(read) if dtype == pl.String()] == [*texts]
    assert [n for n, block in enumerate(blocks) if block.rows.dtypes[2] == pl.String()] == [bad]


@pytest.mark.parametrize("written", [{"decimalChar": ","}, {"groupChar": "'"}])
def test_a_number_that_is_to_be_written_otherwise_is_not_read_as_such(
    tmp_path: Path, written: dict[str, str]
) -> None:
    wanted = dataset(column("id"), column("value", "number") | written)
    text = check(tmp_path, wanted, {"a.csv": "id,value\nx,.5\nx,-5\n"})
    assert [row[1] for row in text.rows] == ([-5.0] if "decimalChar" in written else [0.5, -5.0])


def test_an_empty_number_is_missing_only_where_the_dataset_says_so(tmp_path: Path) -> None:
    wanted = feed(("id", "count"), ("string", "integer"), ("NA",))
    outcome = check(tmp_path, wanted, {"a.csv": "id,count\nx,\ny,NA\nz,1\n"})
    assert outcome.rows == [("y", None), ("z", 1)]
    assert outcome.faults == [(2, ["count: not an integer"])]
