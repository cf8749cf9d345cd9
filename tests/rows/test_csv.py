"""CSV and TSV: what is a row, and what is a header, a quote or a mark that stands in between."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from flagfall.rows import source as source_module
from tests.rows.checking import Files, check, column, dataset, packed, refuse

AB = dataset(column("a"), column("b"))
NOTES = dataset(column("id", "integer", required=True), column("value", "number"), column("note"))
AGAIN = "row: the header again"
SWALLOWED = ["row: within a quoted field that holds whole rows"]


# ------------------------------------------------------------------------------------ quotes in TSV


def test_tabs_separate_in_tsv(tmp_path: Path) -> None:
    outcome = check(tmp_path, AB, {"a.TSV": "a\tb\n1,5\tx y\n"})
    assert outcome.rows == [("1,5", "x y")]


@pytest.mark.parametrize("block", [5, 1 << 20])
def test_a_quote_in_tsv_is_a_character_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
    notes = ['"Awake', "plain", 'Asleep"', '"', '"whole"', '""', '5" pipe', "'", 'x"\\n']
    lines = "".join(f"{number}\t1\t{note}\n" for number, note in enumerate(notes))
    outcome = check(tmp_path, NOTES, {"a.tsv": f"id\tvalue\tnote\n{lines}"})
    assert outcome.rejected == []
    assert outcome.rows == [(number, 1.0, note) for number, note in enumerate(notes)]


def test_a_tsv_file_with_quoted_names_says_what_is_wrong(tmp_path: Path) -> None:
    """As R writes it."""
    reason, message = refuse(tmp_path, AB, {"a.tsv": '"a"\t"b"\n"1"\t"2"\n'})
    assert reason == "columns"
    assert message.endswith(
        "a quote is a character like others here, so write the names without quotes"
    )


# ------------------------------------------------------------------------- quotes that swallow rows


def faults_of(folder: Path, wanted: Any, text: str) -> tuple[list[Any], list[Any]]:
    outcome = check(folder, wanted, {"a.csv": text})
    return [row[0] for row in outcome.rows], outcome.faults


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_that_a_quote_swallows_are_rejected_each_with_its_line(
    tmp_path: Path, end: str
) -> None:
    text = 'id,value,note\n1,1,"Awake\n2,2,plain\n3,3,Asleep"\n4,4,last\n'.replace("\n", end)
    outcome = check(tmp_path, NOTES, {"a.csv": text})
    assert outcome.rows == [(4, 4.0, "last")]
    assert outcome.faults == [(line, SWALLOWED) for line in (2, 3, 4)]
    assert [row["text"] for row in outcome.rejected] == ['1,1,"Awake', "2,2,plain", '3,3,Asleep"']


@pytest.mark.parametrize(
    "text",
    [
        '1,"Awake,x\n2,b,y\n3,Asleep",z\n',
        '1,"a,b","Awake\n2,""c"",plain\n3,d,Asleep"\n',
        '1,x,"Awake\n\n2,y,plain\n,z,no number\n3,5"" pipe,Asleep"\n',
        '1,x,"Awake\n2,y,Asleep"\n',
    ],
)
def test_swallowed_rows_are_found_wherever_the_quotes_stand(tmp_path: Path, text: str) -> None:
    wanted = dataset(column("n", "integer"), column("s"), column("t"))
    rows, faults = faults_of(tmp_path, wanted, f"n,s,t\n{text}4,x,y\n")
    assert rows == [4]
    assert faults == [(line, SWALLOWED) for line in range(2, 2 + text.count("\n"))]


@pytest.mark.parametrize(
    "note",
    [
        "Dear Sir,\nwe came, saw, and won\nYours, A, B",
        "a\nb\nc",
        "one, two\n3, 4, 5\n6, 7, 8",
        "x,y,z\nu,v,w\n",
        "\n\n\n",
        ",,\n,,\n,,",
        "see:\n1,2,3\nand so on\nand on",
        "line\r\nbreak",
    ],
)
def test_a_text_of_several_lines_stays_a_text(tmp_path: Path, note: str) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows([("id", "value", "note"), (1, 2, note), (2, 3, "x")])
    outcome = check(tmp_path, NOTES, {"a.csv": written.getvalue()})
    assert outcome.rows == [(1, 2.0, note), (2, 3.0, "x")]


@pytest.mark.parametrize("text", ["Dear Sir\nyes,please", "a\nb, c\nd, e", "x\n\ny,z"])
def test_a_text_among_texts_stays_one_unless_it_looks_like_rows(tmp_path: Path, text: str) -> None:
    outcome = check(tmp_path, AB, {"a.csv": f'a,b\n1,"{text}"\n'})
    assert outcome.rows == [("1", text)]


def test_rows_swallowed_among_texts_are_rejected(tmp_path: Path) -> None:
    rows, faults = faults_of(tmp_path, AB, 'a,b\nu,"x\nv,y\nw,z"\np,q\n')
    assert (rows, faults) == (["p"], [(line, SWALLOWED) for line in (2, 3, 4)])


def test_a_long_text_is_neither_a_header_nor_rows(tmp_path: Path) -> None:
    """Python's csv module reads no field of more than 128 KiB."""
    long = "x" * 200_000
    text = f'id,value,note\n1,1,"a\n2,2,{long}\n3\r,\u2028,x"\n'
    assert len(check(tmp_path, NOTES, {"a.csv": text}).rows) == 1
    (tmp_path / "x").mkdir()
    outcome = check(tmp_path / "x", AB, {"a.csv": f"a,b\na,{long}\nb,a\ra\n"})
    assert outcome.rows == [("a", long)]
    (tmp_path / "y").mkdir()
    outcome = check(tmp_path / "y", AB, {"a.tsv": f"a\tb\na\t{long}\n"})
    assert outcome.rows == [("a", long)]


def test_one_column_has_texts_of_any_lines(tmp_path: Path) -> None:
    outcome = check(tmp_path, dataset(column("a")), {"a.csv": 'a\n"x\ny\nz"\n'})
    assert outcome.rows == [("x\ny\nz",)]


# ------------------------------------------------------------------------ files one after the other

FIRST, SECOND = "id,value,note\n1,1,x\n", "id,value,note\n2,2,y\n"


@pytest.mark.parametrize(
    "files",
    [
        {"a.csv": FIRST + SECOND},
        {"a.csv": FIRST + "\n" + SECOND},
        {"a.csv": (FIRST + SECOND).replace("\n", "\r\n")},
        {"a.csv": "\ufeff" + FIRST + "\ufeff" + SECOND},
        {"a.csv": "\ufeff\ufeff" + FIRST + SECOND},
        {"a.csv": FIRST + '"id",value,"note"\n2,2,y\n'},
        {"a.csv": FIRST + FIRST[:14] + FIRST[:14] + SECOND},
        {"a.tsv": (FIRST + SECOND).replace(",", "\t")},
        {"a.csv.gz": packed(FIRST.encode()) + packed(SECOND.encode())},
        {"a.csv.gz": packed(("\ufeff" + FIRST).encode()) + packed(("\ufeff" + SECOND).encode())},
    ],
    ids=str,
)
@pytest.mark.parametrize("block", [4, 1 << 20])
def test_the_header_of_a_file_within_a_file_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Files, block: int
) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
    outcome = check(tmp_path, NOTES, files)
    assert outcome.rejected == []
    assert outcome.rows == [(1, 1.0, "x"), (2, 2.0, "y")]


def test_a_header_of_one_column_may_be_a_value_and_is_rejected(tmp_path: Path) -> None:
    outcome = check(tmp_path, dataset(column("name")), {"a.csv": "name\nx\nname\ny\n"})
    assert outcome.rows == [("x",), ("y",)]
    assert outcome.faults == [(3, [AGAIN])]


def test_a_row_that_shares_names_with_the_header_is_a_row(tmp_path: Path) -> None:
    text = "a,b,c\na,c,x\na,a,a\nb,b,b\n"
    assert check(tmp_path, AB, {"a.csv": text}).rows == [("a", "c"), ("a", "a"), ("b", "b")]


def test_another_header_in_the_middle_refuses_the_batch(tmp_path: Path) -> None:
    reason, message = refuse(tmp_path, AB, {"a.csv": "a,b\n1,2\nb,a\n3,4\n"})
    assert reason == "columns"
    assert message == (
        "a.csv: line 3: another header, in another order of the columns; write one file for each"
        " header"
    )


@pytest.mark.parametrize("again", ["c,b,a", "b,a,d", "x,a,b"])
def test_so_does_one_that_has_the_wanted_columns_in_other_places(
    tmp_path: Path, again: str
) -> None:
    reason, message = refuse(tmp_path, AB, {"a.csv": f"a,b,c\n1,2,3\n{again}\n4,5,6\n"})
    assert reason == "columns"
    assert message.startswith("a.csv: line 3: another header")


def test_one_with_other_columns_that_nobody_wants_is_no_row(tmp_path: Path) -> None:
    outcome = check(tmp_path, AB, {"a.csv": "a,b,c\n1,2,3\na,b,d\n4,5,6\n"})
    assert (outcome.rows, outcome.rejected) == ([("1", "2"), ("4", "5")], [])


def test_a_byte_order_mark_before_a_line_is_no_data(tmp_path: Path) -> None:
    lines = '\ufeff{"a": "1", "b": "2"}\n\ufeff{"a": "3", "b": "\ufeff4"}\n'
    assert check(tmp_path, AB, {"a.jsonl": lines}).rows == [("1", "2"), ("3", "\ufeff4")]
    (tmp_path / "x").mkdir()
    outcome = check(tmp_path / "x", AB, {"a.csv": "a,b\n\ufeff1,2\nx\ufeff,\ufeff4\n"})
    assert outcome.rows == [("1", "2"), ("x\ufeff", "\ufeff4")]


def test_files_that_do_not_end_a_line_lose_no_row_silently(tmp_path: Path) -> None:
    content = gzip.compress(b"a,b\n1,2\n3,4") + gzip.compress(b"a,b\n5,6")
    outcome = check(tmp_path, AB, {"a.csv.gz": content})
    assert outcome.rows == [("1", "2"), ("5", "6")]
    assert outcome.faults == [(3, ["row: 3 fields, expected 2"])]
