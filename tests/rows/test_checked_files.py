"""Untrusted data files: what is accepted, what is rejected, and the words for it."""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import io
import lzma
import math
import tarfile
import unicodedata
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from flagfall.errors import BatchInvalid, DatasetInvalid
from flagfall.landing.limits import Limits
from flagfall.rows import Checked, DataFile, check_files
from flagfall.rows import checked_files as check_module
from flagfall.rows import output as output_module
from flagfall.rows import repeated_keys as keys_module
from flagfall.rows import source as source_module
from flagfall.rows.output import PART_ROWS
from flagfall.rows.parquet_rows import parquet_rows
from flagfall.rows.repeated_keys import find_repeats
from flagfall.rows.source import Bounds
from tests.rows.checking import (
    OF_76_DIGITS,
    OF_INT96,
    Files,
    check,
    column,
    dataset,
    packed,
    parquet,
    refuse,
)

AB = dataset(column("a"), column("b"))


# ------------------------------------------------------------------------------------ single values

DAY = date(2013, 1, 31)
NOON = datetime(2013, 1, 31, 12, 0)

READABLE: list[tuple[str, str, str, Any]] = [
    ("integer", "default", "5", 5),
    ("integer", "default", "+1", 1),
    ("integer", "default", "-1", -1),
    ("integer", "default", "007", 7),
    ("integer", "default", "9223372036854775807", 2**63 - 1),
    ("integer", "default", "-9223372036854775808", -(2**63)),
    ("number", "default", "1.5", 1.5),
    ("number", "default", "-.5e-3", -0.0005),
    ("number", "default", "7", 7.0),
    ("number", "default", "1.7976931348623157e308", 1.7976931348623157e308),
    *(("boolean", "default", text, True) for text in ("true", "True", "TRUE", "1")),
    *(("boolean", "default", text, False) for text in ("false", "False", "FALSE", "0")),
    ("date", "default", "2013-01-31", DAY),
    ("date", "default", "2012-02-29", date(2012, 2, 29)),
    ("date", "default", "0001-01-01", date(1, 1, 1)),
    ("date", "default", "9999-12-31", date(9999, 12, 31)),
    ("date", "%d.%m.%Y", "31.01.2013", DAY),
    ("date", "%d/%m/%y", "31/01/13", DAY),
    ("date", "%d %b %Y", "31 Jan 2013", DAY),
    ("date", "%Y%m%d", "20130131", DAY),
    ("date", "%Y-%j", "2013-031", DAY),
    ("datetime", "default", "2013-01-31T12:00:00", NOON),
    ("datetime", "default", "2013-01-31 12:00:00", NOON),
    ("datetime", "default", "2013-01-31T12:00", NOON),
    ("datetime", "default", "2013-01-31T12:00:00Z", NOON),
    ("datetime", "default", "2013-01-31T12:00Z", NOON),
    ("datetime", "default", "2013-01-31T13:30:00+01:30", NOON),
    ("datetime", "default", "2013-01-31T13:00:00+0100", NOON),
    ("datetime", "default", "2013-01-31 07:00:00-05", NOON),
    (
        "datetime",
        "default",
        "2013-02-01T01:00:00.250+13:00",
        datetime(2013, 1, 31, 12, 0, 0, 250000),
    ),
    ("datetime", "default", "2013-01-31T12:00:00.123456", datetime(2013, 1, 31, 12, 0, 0, 123456)),
    ("datetime", "%d.%m.%Y %H:%M", "31.01.2013 12:00", NOON),
    ("datetime", "%m/%d/%Y %I:%M %p", "01/31/2013 12:00 PM", NOON),
    (
        "datetime",
        "%Y-%m-%d %H:%M:%S.%f",
        "2013-01-31 12:00:00.25",
        datetime(2013, 1, 31, 12, 0, 0, 250000),
    ),
    ("datetime", "%Y-%m-%dT%H:%M:%S%z", "2013-01-31T07:00:00-0500", NOON),
    ("datetime", "%Y%m%d %H%M", "20130131 1200", NOON),
    ("date", "%Y-%m-%d %H:%M", "2013-01-31 00:00", NOON.date()),
    ("date", "%Y-%m-%dT%H:%M:%S%z", "2013-01-30T19:00:00-0500", NOON.date()),
    ("date", "%d.%m.%Y", "31.1.2013", NOON.date()),
    ("string", "default", " x ", " x "),
    ("string", "default", "NA", "NA"),
    ("string", "default", "Zoë 😀", "Zoë 😀"),
]


@pytest.mark.parametrize(("type_", "format_", "text", "expected"), READABLE)
def test_a_text_is_read_as_its_value(
    tmp_path: Path, type_: str, format_: str, text: str, expected: Any
) -> None:
    outcome = check(tmp_path, dataset(column("x", type_, format_)), {"a.csv": f"x\n{text}\n"})
    assert outcome.rejected == []
    assert outcome.rows == [(expected,)]


UNREADABLE: list[tuple[str, str, str, str]] = [
    *(
        ("integer", "default", text, "x: not an integer")
        for text in (
            "1.0", " 1", "1 ", "1e3", "1_000", "0x1", "٣", "--1", "+", "true", "NaN", "x" * 300,
            "9223372036854775808", "-9223372036854775809",
        )
    ),
    *(
        ("number", "default", text, "x: not a number")
        for text in ("y", " 1", "1 ", "1_000", "0x1p3", "1e", ".", "true", "1.5.5", "1;5")
    ),
    *(
        ("number", "default", text, "x: not a finite number")
        for text in ("NaN", "nan", "inf", "-inf", "Infinity", "1e400")
    ),
    *(
        ("boolean", "default", text, "x: not a boolean")
        for text in ("yes", "tRUE", "t", "2", "01", " true")
    ),
    *(
        ("date", "default", text, "x: not a date")
        for text in (
            "2013-02-29", "2013-1-1", "2013-13-01", "2013-01-32", "0000-01-01", "10000-01-01",
            "+2013-01-1", "31.01.2013", "2013-01-31T00:00:00", "2013-01-31 ", "20130131",
        )
    ),
    ("date", "%d.%m.%Y", "2013-01-31", "x: not a date as %d.%m.%Y"),
    ("date", "%d.%m.%Y", "31.1.13", "x: not a date as %d.%m.%Y"),
    ("date", "%d.%m.%Y", "29.02.2013", "x: not a date as %d.%m.%Y"),
    ("date", "%d.%m.%Y", "31.01.0000", "x: not a date as %d.%m.%Y"),
    *(
        ("datetime", "default", text, "x: not a datetime")
        for text in (
            "2013-01-31", "2013-01-31T24:00:00", "2013-01-31T12:60:00", "2013-01-31T12:00:60",
            "2013-02-29T12:00:00", "0000-12-31T12:00:00", "9999-12-31T23:59:59-00:01",
            "0001-01-01T00:00:00+00:01", "2013-01-31T12", "2013-01-31T12:00:00 UTC", "1359633600",
        )
    ),
    ("datetime", "%d.%m.%Y %H:%M", "31.01.2013 24:00", "x: not a datetime as %d.%m.%Y %H:%M"),
    # Which digits are whose cannot be known, and no part of a value is dropped.
    ("datetime", "%Y-%m-%d %H%M", "2013-01-31 115", "x: not a datetime as %Y-%m-%d %H%M"),
    ("date", "%Y%m%d", "2013111", "x: not a date as %Y%m%d"),
    ("date", "%y%m%d", "50112", "x: not a date as %y%m%d"),
    ("date", "%Y-%m-%d %H:%M", "2013-01-31 15:30", "x: not a date as %Y-%m-%d %H:%M"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "format_", "text", "reason"), UNREADABLE)
def test_a_text_that_is_no_value_is_named(
    tmp_path: Path, type_: str, format_: str, text: str, reason: str
) -> None:
    outcome = check(tmp_path, dataset(column("x", type_, format_)), {"a.csv": f"x\n{text}\n"})
    assert outcome.rejected == [
        {"file": "a.csv", "line": 2, "reasons": [reason], "row": {"x": text[:200]}}
    ]
    assert outcome.checked.reasons == {reason: 1}
    assert outcome.checked.parts == ()


# -------------------------------------------------------------------------------------- constraints

LIMITS: list[tuple[dict[str, Any], list[str], list[str], str]] = [
    (column("x", "number", minimum=-40), ["-40", "-39.9"], ["-40.1"], "x: below minimum -40"),
    (column("x", "number", maximum=130), ["130", "129.9"], ["130.1"], "x: above maximum 130"),
    (column("x", "integer", minimum=1), ["1", "2"], ["0"], "x: below minimum 1"),
    (
        column("x", "date", minimum=date(2013, 1, 1)),
        ["2013-01-01"],
        ["2012-12-31"],
        "x: below minimum 2013-01-01",
    ),
    (
        column("x", "datetime", maximum=datetime(2013, 1, 31, 13, tzinfo=UTC)),
        ["2013-01-31T13:00:00Z", "2013-01-31T15:00:00+02:00"],
        ["2013-01-31T13:00:00.000001"],
        "x: above maximum 2013-01-31 13:00:00+00:00",
    ),
    (
        column("x", enum=["EWR", "JFK", "LGA"]),
        ["JFK"],
        ["jfk", "JFK "],
        "x: not one of EWR, JFK, LGA",
    ),
    (column("x", "integer", enum=[1, 2]), ["1", "+2"], ["3"], "x: not one of 1, 2"),
    (column("x", "date", enum=[DAY]), ["2013-01-31"], ["2013-02-01"], "x: not one of 2013-01-31"),
    (
        column("x", "datetime", enum=[DAY, NOON]),
        ["2013-01-31T00:00:00", "2013-01-31T13:00:00+01:00"],
        ["2013-01-31T00:00:01"],
        "x: not one of 2013-01-31, 2013-01-31 12:00:00",
    ),
    (column("x", "boolean", enum=[True]), ["1"], ["0"], "x: not one of True"),
    (
        column("x", "datetime", minimum=DAY),
        ["2013-01-31T00:00:00"],
        ["2013-01-30T23:59:59.999999"],
        "x: below minimum 2013-01-31",
    ),
    (
        column("x", enum=[f"v{number}" for number in range(12)]),
        ["v11"],
        ["v12"],
        "x: not one of v0, v1, v2, v3, v4, v5, v6, v7, v8, v9 and 2 more",
    ),
    (column("x", pattern="[A-Z]{3}"), ["ABC"], ["ABCD", "abc", "AB"], "x: does not match [A-Z]{3}"),
    (column("x", pattern="a|bc"), ["a", "bc"], ["ac", "abc"], "x: does not match a|bc"),
    (column("x", minLength=2), ["éé"], ["é"], "x: shorter than 2"),
    (column("x", maxLength=2), ["éé", ""], ["ééé"], "x: longer than 2"),
]


@pytest.mark.parametrize(("limited", "good", "bad", "reason"), LIMITS)
def test_a_constraint_holds_up_to_its_bound(
    tmp_path: Path, limited: dict[str, Any], good: list[str], bad: list[str], reason: str
) -> None:
    wanted = dataset(limited, column("y"))
    text = "".join(f"{value},\n" for value in (*good, *bad))
    outcome = check(tmp_path, wanted, {"a.csv": f"x,y\n{text}"})
    first_bad = 2 + len(good)
    assert outcome.faults == [(first_bad + place, [reason]) for place in range(len(bad))]
    assert len(outcome.rows) == len(good)


def test_what_is_not_finite_breaks_no_bound(tmp_path: Path) -> None:
    wanted = dataset(column("x", "number", minimum=0, maximum=1, enum=[1]))
    outcome = check(tmp_path, wanted, {"a.csv": "x\nNaN\n-inf\ninf\n"})
    reasons = ["x: not a finite number"]
    assert outcome.faults == [(2, reasons), (3, reasons), (4, reasons)]


def test_a_pattern_matches_to_the_very_end(tmp_path: Path) -> None:
    outcome = check(
        tmp_path, dataset(column("x", pattern="[A-Z]{3}")), {"a.csv": 'x\nABC\n"ABC\n"\n'}
    )
    assert outcome.faults == [(3, ["x: does not match [A-Z]{3}"])]


def test_a_row_is_given_all_its_reasons(tmp_path: Path) -> None:
    wanted = dataset(
        column("flight", "integer", required=True, minimum=1),
        column("tailnum", required=True),
        column("origin", enum=["EWR"], maxLength=3),
        missing=["", "NA"],
    )
    text = "flight,tailnum,origin\n1,N1,EWR\n0,NA,JFKX\nx,,\n,N2,EWR\n"
    outcome = check(tmp_path, wanted, {"a.csv": text})
    assert outcome.rejected == [
        {
            "file": "a.csv",
            "line": 3,
            "reasons": [
                "flight: below minimum 1",
                "tailnum: required",
                "origin: not one of EWR",
                "origin: longer than 3",
            ],
            "row": {"flight": "0", "tailnum": "NA", "origin": "JFKX"},
        },
        {
            "file": "a.csv",
            "line": 4,
            "reasons": ["flight: not an integer", "tailnum: required"],
            "row": {"flight": "x", "tailnum": "", "origin": ""},
        },
        {
            "file": "a.csv",
            "line": 5,
            "reasons": ["flight: required"],
            "row": {"flight": "", "tailnum": "N2", "origin": "EWR"},
        },
    ]
    assert outcome.rows == [(1, "N1", "EWR")]
    assert list(outcome.checked.reasons.items()) == [
        ("tailnum: required", 2),
        ("flight: below minimum 1", 1),
        ("flight: not an integer", 1),
        ("flight: required", 1),
        ("origin: longer than 3", 1),
        ("origin: not one of EWR", 1),
    ]


def test_missing_values_are_null_in_every_type(tmp_path: Path) -> None:
    types = ["string", "integer", "number", "boolean", "date", "datetime"]
    marks = ["NA", "-", "9"]
    wanted = dataset(*(column(type_, type_) for type_ in types), missing=marks)
    text = ",".join(types) + "\n" + "\n".join(",".join([mark] * 6) for mark in marks) + "\n"
    outcome = check(tmp_path, wanted, {"a.csv": text})
    assert outcome.rows == [(None,) * 6] * 3


def test_an_empty_text_is_a_value_unless_it_means_missing(tmp_path: Path) -> None:
    wanted = dataset(column("a", required=True), column("b", "integer"), missing=["NA"])
    outcome = check(tmp_path, wanted, {"a.csv": 'a,b\n,1\n"",2\nx,\n'})
    assert outcome.rows == [("", 1), ("", 2)]
    assert outcome.faults == [(4, ["b: not an integer"])]


@pytest.mark.parametrize(
    ("wrong", "place", "words"),
    [
        (column("x", pattern="(a)(?(1)b|c)"), "schema.fields[0].constraints.pattern", "lacks"),
        (column("x", "date", "%d.%m"), "schema.fields[0].format", "names a whole date"),
        (column("x", "datetime", "%Y-%m-%d %Q"), "schema.fields[0].format", "got %Q"),
        (column("x", "date", "%Y-%M-%d"), "schema.fields[0].format", "names a whole date"),
        *(
            (column("x", "date", form), "schema.fields[0].format", "names a whole date")
            for form in ("%Y", "%y", "%Y-%m", "%Y-%d", "%m/%y", "%B %Y", "%A %Y", "%H:%M %Y-%m")
        ),
        *(
            (column("x", "datetime", form), "schema.fields[0].format", "names a whole datetime")
            for form in ("%Y", "%Y-%m", "%H:%M", "%H:%M:%S", "%Y-%m %H:%M", "%Y-%d %H:%M:%S")
        ),
        *(
            (column("x", "datetime", f"%Y-%m-%d {more}"), "schema.fields[0].format", "a whole")
            for more in ("%M", "%S", "%H:%S", "%M:%S", "%I")
        ),
        (column("x", "date", "%Y %Y-%m-%d"), "schema.fields[0].format", "names a whole date"),
        (column("x", "datetime", "%d.%m.%Y %I:%M"), "schema.fields[0].format", "a whole datetime"),
        (column("x", "datetime", "%d.%m.%Y %H:%M %p"), "schema.fields[0].format", "whole datetime"),
    ],
)  # fmt: skip
def test_a_format_or_pattern_that_cannot_be_used_is_the_datasets_fault(
    tmp_path: Path, wrong: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(DatasetInvalid) as caught:
        check(tmp_path, dataset(wrong), {"a.csv": "x\n1\n"})
    assert str(caught.value).startswith(f"datasets/trips.yaml: {place}: ")
    assert words in str(caught.value)


# ---------------------------------------------------------------------------------------- CSV files


def test_columns_may_come_in_any_order_with_others_between(tmp_path: Path) -> None:
    outcome = check(tmp_path, AB, {"a.csv": "z,b,y,a,x\n0,B,0,A,0\n"})
    assert outcome.rows == [("A", "B")]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,4\n",
        "a,b\n1,2\n3,4",
        "a,b\r\n1,2\r\n3,4\r\n",
        "a,b\r\n1,2\r\n3,4",
        "a,b\r\r\n1,2\r\r\n3,4\r\r\n",
        "\ufeffa,b\n1,2\n3,4\n",
        '\ufeff"a","b"\r\n"1","2"\r\n"3","4"\r\n',
        '"a","b"\n"1",2\n3,"4"\n',
        "\n\na,b\n\n1,2\n\n\n3,4\n\n",
        "\r\na,b\r\n1,2\r\n\r\n3,4\r\n\r\n",
    ],
)
def test_every_usual_way_to_write_csv_gives_the_same_rows(tmp_path: Path, text: str) -> None:
    assert check(tmp_path, AB, {"a.csv": text}).rows == [("1", "2"), ("3", "4")]


def test_tabs_separate_in_tsv(tmp_path: Path) -> None:
    outcome = check(tmp_path, AB, {"a.TSV": "a\tb\n1,5\tx y\n"})
    assert outcome.rows == [("1,5", "x y")]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_what_the_csv_module_and_pandas_write_comes_back(tmp_path: Path, quoting: int) -> None:
    rows = [('5" pipe', "a,b"), ("line\nbreak", "x"), ('"', ""), ("Zoë", "CR\r\nLF"), ("", '""')]
    written = io.StringIO(newline="")
    csv.writer(written, quoting=quoting, lineterminator="\n").writerows([("a", "b"), *rows])
    outcome = check(
        tmp_path, dataset(column("a"), column("b"), missing=["NA"]), {"a.csv": written.getvalue()}
    )
    assert outcome.rows == rows


def test_a_line_is_counted_where_its_row_begins(tmp_path: Path) -> None:
    text = 'a,b\n"two\nlines",x\n,bad\n\n"three\n\nlines",\r\n,bad\n"\n\n",bad\n,bad\n'
    outcome = check(tmp_path, dataset(column("a", pattern=".*"), column("b")), {"a.csv": text})
    assert [place for place, _ in outcome.faults] == [2, 6, 10]
    wanted = dataset(column("a", required=True), column("b"))
    (tmp_path / "more").mkdir()
    outcome = check(tmp_path / "more", wanted, {"a.csv": text})
    assert outcome.faults == [(line, ["a: required"]) for line in (4, 9, 13)]


def test_rows_with_another_number_of_fields_are_rejected_alone(tmp_path: Path) -> None:
    text = 'a,b\n1,2\n3\n4,5,6\n"7,8"\n"x\ny"\n,\n1,2,3,4,5\n9,10\n'
    outcome = check(tmp_path, AB, {"a.csv": text})
    assert outcome.rows == [("1", "2"), (None, None), ("9", "10")]
    assert outcome.rejected == [
        broken(3, "row: 1 field, expected 2", "3"),
        broken(4, "row: 3 fields, expected 2", "4,5,6"),
        broken(5, "row: 1 field, expected 2", '"7,8"'),
        broken(6, "row: 1 field, expected 2", '"x\ny"'),
        broken(9, "row: more than 4 fields, expected 2", "1,2,3,4,5"),
    ]


def broken(line: int, reason: str, text: str) -> dict[str, Any]:
    return {"file": "a.csv", "line": line, "reasons": [reason], "row": {}, "text": text}


def test_a_stray_carriage_return_rejects_its_row_alone(tmp_path: Path) -> None:
    outcome = check(tmp_path, AB, {"a.csv": 'a,b\n1,2\rx\n\r3,4\n"5\r",6\n7,8\r\n'})
    reason = ["row: a carriage return outside quotes"]
    assert outcome.faults == [(2, reason), (3, reason)]
    assert outcome.rows == [("5\r", "6"), ("7", "8")]


@pytest.mark.parametrize(
    ("name", "torn"),
    [
        ("a.csv", '3" pipe,x\ry'),
        ("a.csv", '3,"x"\ry'),
        ("a.csv", '"3\n4",x\r"y"'),
        ("a.tsv", '3\tx\r5" pipe'),
    ],
)
def test_it_does_so_beside_quotes_within_fields(tmp_path: Path, name: str, torn: str) -> None:
    separator = "\t" if name == "a.tsv" else ","
    rows = ["a,b", '1" pipe,2', torn.replace("\t", ","), "5,6", "7,x\ry", ""]
    text = "\n".join(rows).replace(",", separator)
    outcome = check(tmp_path, AB, {name: text})
    reason, lines = ["row: a carriage return outside quotes"], 1 + torn.count("\n")
    assert outcome.faults == [(3, reason), (4 + lines, reason)]
    assert [row["text"] for row in outcome.rejected] == [torn, f"7{separator}x\ry"]
    assert outcome.rows == [('1" pipe', "2"), ("5", "6")]


def test_a_quote_within_an_unquoted_field_is_text(tmp_path: Path) -> None:
    text = 'a,b\n5" pipe,x\n"q,""\n",y\n6" pipe,\n'
    outcome = check(tmp_path, dataset(column("a"), column("b", required=True)), {"a.csv": text})
    assert outcome.rows == [('5" pipe', "x"), ('q,"\n', "y")]
    assert outcome.faults == [(5, ["b: required"])]


@pytest.mark.parametrize("block", [4, 7, 16, 4096])
def test_rows_do_not_depend_on_where_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
    text = '\ufeffa,b\r\n1,"two\r\nlines"\r\n5" é,😀\r\n\r\n"""",\r\nx\r\n3,4'
    outcome = check(tmp_path, AB, {"a.csv": text})
    assert outcome.rows == [("1", "two\r\nlines"), ('5" é', "😀"), ('"', None), ("3", "4")]
    assert outcome.faults == [(7, ["row: 1 field, expected 2"])]


def test_a_file_with_only_a_header_has_no_rows(tmp_path: Path) -> None:
    outcome = check(tmp_path, AB, {"a.csv": "a,b\n", "b.csv": "a,b"})
    assert outcome.checked == Checked((), (), None, 0, 0, {}, {}, (), None)


def test_one_column_takes_quoted_empty_rows_and_leaves_out_blank_lines(tmp_path: Path) -> None:
    outcome = check(tmp_path, dataset(column("a")), {"a.csv": 'a\nx\n""\n\ny\n'})
    assert outcome.rows == [("x",), (None,), ("y",)]


@pytest.mark.parametrize("start", ["x^", "x\x01", "\u200b", "#", " ", "\\"])
def test_a_row_may_begin_with_what_others_take_for_a_sign(tmp_path: Path, start: str) -> None:
    """The CSV reader of polars takes x^ for compressed data, and returns no row at all."""
    outcome = check(tmp_path, AB, {"a.csv": f"a,b\n{start},1\n2,3\n"})
    assert outcome.rows == [(start, "1"), ("2", "3")]


def test_a_header_that_no_one_can_have_meant_is_refused(tmp_path: Path) -> None:
    reason, message = refuse(tmp_path, AB, {"a.csv": f"a,b,{'x' * 200_000}\n"})
    assert reason == "columns"
    assert message.startswith("a.csv: line 1: the header cannot be read: field larger than")


def test_long_values_are_clipped_where_rows_are_kept(tmp_path: Path) -> None:
    text = f"a,b\n{'é' * 300},x\n{'y' * 900}\n"
    wanted = dataset(column("a", maxLength=1), column("b"))
    first, second = check(tmp_path, wanted, {"a.csv": text}).rejected
    assert first["row"] == {"a": "é" * 200, "b": "x"}
    assert second["text"] == "y" * 400


# --------------------------------------------------------------------------- files that are refused


def tar_of(data: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        member = tarfile.TarInfo("a.csv")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return written.getvalue()


REFUSED: list[tuple[str, bytes, str, str]] = [
    ("a.xlsx", b"PK", "format", "a.xlsx: format not known"),
    ("a.csv.zip", b"PK", "format", "a.csv.zip: format not known"),
    ("a.parquet.gz", b"x", "format", "a.parquet.gz: format not known"),
    ("noending", b"x", "format", "noending: format not known"),
    ("a.csv", b"", "empty", "a.csv: empty; expected a header"),
    ("a.csv", b"\n\r\n\n", "empty", "a.csv: empty"),
    ("a.csv", b"\xef\xbb\xbf", "empty", "a.csv: empty"),
    ("a.csv.gz", packed(b""), "empty", "a.csv.gz: empty"),
    ("a.csv", b"a,c\n1,2\n", "columns", "a.csv: columns missing: b; found: 'a', 'c'"),
    ("a.csv", b"A, b\n1,2\n", "columns", "a.csv: columns missing: a, b; found: 'A', ' b'"),
    ("a.csv", b"a;b\n1;2\n", "columns", "the separator seems to be a semicolon; expected a comma"),
    ("a.csv", b"a\tb\n1\t2\n", "columns", "the separator seems to be a tab; expected a comma"),
    ("a.tsv", b"a,b\n1,2\n", "columns", "the separator seems to be a comma; expected a tab"),
    ("a.csv", b"a,b,a\n1,2,3\n", "columns", "a.csv: columns found twice: a"),
    ("a.csv", b"a,b\r1,2\r3,4\r", "columns", "line 1: carriage returns alone as line ends"),
    ("a.csv", b"a,b\n1,2\n\xe9,4\n", "encoding", "a.csv: line 3: not UTF-8 (byte 0xe9)"),
    ("a.csv", "a,b\n1,2\n".encode("utf-16"), "encoding", "a.csv: line 1: UTF-16"),
    ("a.csv", "a,b\n1,2\n".encode("utf-16-le"), "nul-byte", "a.csv: line 1: a NUL byte"),
    ("a.csv", b"a,b\n1,2\n\n3,\x004\n", "nul-byte", "a.csv: line 4: a NUL byte"),
    ("a.csv", b'a,b\n1,2\n"3,4\n5,6\n', "open-quote", "a.csv: line 3: a quote is opened"),
    ("a.csv", b'a,b\n1,2\n5" x,"3\n5,6\n', "open-quote", "a.csv: line 3: a quote is opened"),
    ("a.csv", b'a,b\n1,2\n"3"x,4\n5,6\n', "quoting", "a.csv: line 3: ',' expected after '\"'"),
    ("a.csv", b'a,b\n"1,2\n3,4\n5,"x"\n', "quoting", "a.csv: lines 2 to 4: ',' expected"),
    ("a.csv.gz", b"a,b\n1,2\n", "gzip", "a.csv.gz: not valid gzip (Not a gzipped file)"),
    ("a.csv.gz", packed(b"a,b\n1,2\n" * 99)[:-9], "gzip", "the gzip data is cut short"),
    ("a.csv.gz", packed(b"a,b\n")[:-8] + b"\0" * 8, "gzip", "(CRC check failed"),
    ("a.csv.gz", packed(b"a,b\n1,2\n") + b"junk", "gzip", "not valid gzip to its end (Not a"),
    ("a.jsonl", b'{"a":"1","b":"\xff"}\n', "encoding", "a.jsonl: line 1: not UTF-8 (byte 0xff)"),
    ("a.jsonl", b'{"a":"1"}\n\n{"a":"\x00"}\n', "nul-byte", "a.jsonl: line 3: a NUL byte"),
    ("a.csv", packed(b"a,b\n1,2\n"), "format", "a.csv: gzip data, not text; name it a.csv.gz"),
    ("a.tsv", b"\x28\xb5\x2f\xfd\x04\x00", "format", "a.tsv: Zstandard data, not text"),
    ("a.jsonl", b"PK\x03\x04\x14\0", "format", "a.jsonl: ZIP (or Excel) data, not text"),
    ("a.csv", bz2.compress(b"a,b\n"), "format", "a.csv: bzip2 data, not text"),
    ("a.csv", lzma.compress(b"a,b\n"), "format", "a.csv: xz data, not text"),
    ("a.csv", b"PAR1\x15\x04", "format", "a.csv: Parquet data, not text; name it .parquet"),
    ("a.csv", b"ORC\x0a\x03\0", "format", "a.csv: ORC data, not text"),
    ("a.csv", tar_of(b"a,b\n1,2\n"), "format", "a.csv: tar data, not text"),
    ("a.csv.gz", packed(tar_of(b"a,b\n")), "format", "a.csv.gz: tar data within gzip, not text"),
    ("a.csv.gz", packed(packed(b"a,b\n")), "format", "a.csv.gz: gzip data within gzip, not text"),
    ("a.csv.gz", bz2.compress(b"a,b\n"), "gzip", "a.csv.gz: bzip2 data, not gzip"),
    ("a.parquet", packed(b"a,b\n"), "parquet", "a.parquet: gzip data, not Parquet"),
    ("a.parquet", b"PARE" + bytes(50), "parquet", "a.parquet: encrypted Parquet data, not"),
    ("a.csv", b"PARE,b\n1,2\n", "columns", "a.csv: columns missing: a"),
    ("a.csv", b"PARE,b\n" + b"x" * 501 + "é".encode() * 9, "columns", "columns missing: a"),
    ("a.csv", b"ORC,b\n\xfcber,2\n", "encoding", "a.csv: line 2: not UTF-8 (byte 0xfc)"),
    ("a.parquet", b"", "parquet", "a.parquet: cut short, damaged or not Parquet"),
    ("a.parquet", b"a,b\n1,2\n" * 9, "parquet", "a.parquet: cut short, damaged or not Parquet"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "reason", "words"), REFUSED)
def test_a_file_that_is_not_certain_refuses_the_batch(
    tmp_path: Path, name: str, content: bytes, reason: str, words: str
) -> None:
    found, message = refuse(tmp_path, AB, {name: content})
    assert found == reason
    assert words in message
    assert message.startswith(f"{name}: ")


def test_the_lines_before_a_damage_are_counted_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 50)
    text = b"a,b\n" + b"".join(b'"x\ny",%d\n' % number for number in range(100)) + b"\xff,1\n"
    assert refuse(tmp_path, AB, {"a.csv": text})[1].startswith("a.csv: line 202: not UTF-8")


def test_the_first_columns_of_a_wide_file_are_named(tmp_path: Path) -> None:
    header = ",".join(f"c{number}" for number in range(100))
    message = refuse(tmp_path, AB, {"a.csv": f"{header}\n"})[1]
    assert message.endswith("'c38', 'c39' and 60 more; write the missing ones, too")


def test_a_file_may_have_many_columns_but_not_any_number(tmp_path: Path) -> None:
    header = "a,b," + ",".join(str(number) for number in range(9_998))
    assert check(tmp_path, AB, {"a.csv": f"{header}\n"}).rows == []
    (tmp_path / "x").mkdir()
    reason, message = refuse(tmp_path / "x", AB, {"a.csv": f"{header},x\n"})
    assert (reason, message[:30]) == ("columns", "a.csv: more than 10000 columns")


# --------------------------------------------------------------------------------------- JSON lines


def test_json_lines_follow_the_rules_of_csv(tmp_path: Path) -> None:
    wanted = dataset(
        column("n", "integer"), column("x", "number"), column("s"), column("b", "boolean"),
        column("d", "date"), missing=["", "NA"],
    )  # fmt: skip
    lines = [
        '{"n": 1, "x": 2, "s": "a", "b": true, "d": "2013-01-31", "more": [1]}',
        '{"n": "5", "x": "1.5", "s": "Zo\\u00eb", "b": "False", "d": "2013-01-31"}',
        '{"n": 3.0, "x": 1e3, "s": "NA", "b": null, "d": ""}',
        '{"n": -3.5e1, "s": null}',
        "",
        "{}",
    ]
    outcome = check(tmp_path, wanted, {"a.jsonl": "\ufeff" + "\r\n".join(lines)})
    assert outcome.rejected == []
    assert outcome.rows == [
        (1, 2.0, "a", True, DAY),
        (5, 1.5, "Zoë", False, DAY),
        (3, 1000.0, None, None, None),
        (-35, None, None, None, None),
        (None, None, None, None, None),
    ]


JSON_FAULTS = [
    ('{"n": 1.5}', "n: not an integer"),
    ('{"n": true}', "n: not an integer"),
    ('{"n": 9223372036854775808}', "n: not an integer"),
    ('{"n": [1]}', "n: an object or a list"),
    ('{"s": {"t": 1}}', "s: an object or a list"),
    ('{"s": 1}', "s: not a string"),
    ('{"s": false}', "s: not a string"),
    ('{"x": true}', "x: not a number"),
    ('{"x": 1e400}', "x: not a finite number"),
    ('{"x": "inf"}', "x: not a finite number"),
    ('{"x": NaN}', "row: not JSON"),
    ("{'n': 1}", "row: not JSON"),
    ('{"n": 1', "row: not JSON"),
    ('{"n": 1}{"n": 2}', "row: not JSON"),
    ('{"s": "\\ud800"}', "row: not JSON"),
    ('{"n": ' + "9" * 5000 + "}", "row: not JSON"),
    ("[" * 100_000, "row: not JSON"),
    ("[1]", "row: not a JSON object"),
    ("null", "row: not a JSON object"),
]


@pytest.mark.parametrize(("line", "reason"), JSON_FAULTS)
def test_a_json_row_that_is_wrong_is_rejected_alone(tmp_path: Path, line: str, reason: str) -> None:
    wanted = dataset(column("n", "integer"), column("x", "number"), column("s"))
    first = '{"n": 1, "x": null, "s": null}'
    outcome = check(tmp_path, wanted, {"a.ndjson": f'{first}\n{line}\n{{"n": 2}}\n'})
    assert outcome.faults == [(2, [reason])]
    assert [row[0] for row in outcome.rows] == [1, 2]
    kept = outcome.rejected[0]
    assert kept.get("text", line[:600]) == line[:600]
    assert bool(kept["row"]) == ("text" not in kept)


@pytest.mark.parametrize("missing", [["NA"], ["-999"]])
def test_numbers_in_json_are_read_in_the_same_way_whatever_else_is_in_their_column(
    tmp_path: Path, missing: list[str]
) -> None:
    wanted = dataset(column("n", "integer"), column("x", "number"), missing=missing)
    lines = ['{"n": 1, "x": 1}', '{"n": 2.0, "x": 0.1}', '{"n": 2.5, "x": 18446744073709551616}']
    expected = [(1, 1.0), (2, 0.1)]
    for name, more in (("alone", []), ("mixed", ['{"n": "3", "x": "4"}']), ("big", [BIG])):
        (tmp_path / name).mkdir()
        outcome = check(tmp_path / name, wanted, {"a.jsonl": "\n".join([*lines, *more])})
        assert outcome.rows[:2] == expected
        assert outcome.faults[0] == (3, ["n: not an integer"])


BIG = f'{{"n": {2**64}, "x": {10**400}}}'


def test_a_number_in_json_may_mean_missing(tmp_path: Path) -> None:
    wanted = dataset(column("n", "integer"), missing=["-999"])
    files: Files = {"a.jsonl": '{"n": -999}\n{"n": 1}\n', "b.jsonl": '{"n": "-999"}\n'}
    assert check(tmp_path, wanted, files).rows == [(None,), (1,), (None,)]


AS_NUMBERS = ["-999", "-999.0", "-9.99e2"]


@pytest.mark.parametrize("meant", AS_NUMBERS)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "b.jsonl", "c.jsonl"])
def test_a_number_that_means_no_value_does_so_however_it_is_written(
    tmp_path: Path, name: str, meant: str
) -> None:
    """In JSON also beside texts, and beside integers of more than 64 bits."""
    rows = [(n, text) for n, text in enumerate(AS_NUMBERS)]
    first = {"b.jsonl": '{"n": 8, "x": "-999"}', "c.jsonl": f'{{"n": 9, "x": {2**70}}}'}
    lines = {
        "a.csv": ["n,x", *(f"{n},{text}" for n, text in rows)],
        "a.tsv": ["n\tx", *(f"{n}\t{text}" for n, text in rows)],
    }.get(name, [first.get(name, ""), *(f'{{"n": {n}, "x": {text}}}' for n, text in rows)])
    wanted = dataset(column("n", "integer"), column("x", "number"), missing=["", meant])
    outcome = check(tmp_path, wanted, {name: "\n".join(lines) + "\n"})
    assert outcome.rejected == []
    assert {x for n, x in outcome.rows if n < 9} == {None}


@pytest.mark.parametrize("written", ["-999", "-999.0", '"-999"'])
@pytest.mark.parametrize("meant", AS_NUMBERS)
def test_an_integer_of_json_that_means_no_value_does_so_too(
    tmp_path: Path, meant: str, written: str
) -> None:
    wanted = dataset(column("n", "integer"), column("x", "integer"), missing=[meant])
    outcome = check(tmp_path, wanted, {"a.jsonl": f'{{"n": 1, "x": {written}}}\n'})
    assert outcome.rows == [(1, None)]


def test_a_number_in_words_of_its_own_means_no_value_however_it_is_written(tmp_path: Path) -> None:
    amount = {"name": "x", "type": "number", "decimalChar": ",", "groupChar": "."}
    wanted = dataset(column("n", "integer"), amount, missing=["-1.999,5"])
    files: Files = {
        "a.tsv": "n\tx\n1\t-1.999,5\n2\t-1999,50\n3\t-1.999\n",
        "b.jsonl": '{"n": 4, "x": -1999.5}\n{"n": 5, "x": "-1999,5"}\n{"n": 6, "x": -1999}\n',
    }
    outcome = check(tmp_path, wanted, files)
    assert outcome.rows == [(1, None), (2, None), (3, -1999.0), (4, None), (5, None), (6, -1999.0)]


@pytest.mark.parametrize(
    ("text", "dtype"), [(str(2**64 - 1), pl.UInt64()), (str(-(2**100)), pl.Int128())]
)
def test_an_integer_of_more_than_64_bits_may_mean_no_value(
    tmp_path: Path, text: str, dtype: pl.DataType
) -> None:
    wanted = dataset(column("n", "integer"), column("x", "integer"), missing=[text])
    frame = pl.DataFrame({"n": [1], "x": pl.Series([int(text)], dtype=dtype)})
    files: Files = {
        "a.parquet": parquet(frame),
        "b.jsonl": f'{{"n": 2, "x": {text}}}\n',
        "c.csv": f"n,x\n3,{text}\n",
    }
    assert check(tmp_path, wanted, files).rows == [(1, None), (2, None), (3, None)]


def test_a_neighbour_of_what_means_no_value_is_a_value(tmp_path: Path) -> None:
    wanted = dataset(column("n", "integer"), column("x", "integer"), missing=[str(2**53 + 1)])
    files: Files = {"a.csv": f"n,x\n1,{2**53}\n2,{2**53 + 1}\n3,{2**53 + 2}\n"}
    assert check(tmp_path, wanted, files).rows == [(1, 2**53), (2, None), (3, 2**53 + 2)]


def test_a_column_that_no_row_of_a_json_file_has_is_missing(tmp_path: Path) -> None:
    good = '{"a": "1"}\n{"b": null}\n'
    assert check(tmp_path, AB, {"a.jsonl": good}).rows == [("1", None), (None, None)]
    (tmp_path / "x").mkdir()
    files: Files = {"a.jsonl": good, "b.jsonl": '{"b": "1"}\n{"A": "1"}\n'}
    reason, message = refuse(tmp_path / "x", AB, files)
    assert reason == "columns"
    assert message == "b.jsonl: columns missing: a; found: 'A', 'b'; write the missing ones, too"


def test_a_key_that_a_json_row_has_twice_rejects_the_row(tmp_path: Path) -> None:
    wanted = dataset(column("id", "integer"), column("v", "number"), column("é"))
    good = [
        '{"id": 1, "v": 10, "é": "\\"id\\":1,\\"id\\": 2"}',
        '{"id": 2, "more": {"id": 3, "id": 4}, "z": [{"v": 1}], "other": 1, "other": 2}',
        '{"id": 3, "Id": 4, "id ": 5, "i": "d\\":"}',
    ]
    bad = [
        ('{"id": 4, "v": 10, "v": 99}', "v"),
        ('{"id": 5, "id": 5}', "id"),
        ('{"id" \t: 6, "\\u0069d"\t:\t7}', "id"),
        ('{"\\u0069\\u0064":8,"id":9}', "id"),
        ('{"\\u00e9": "1", "é": "2", "id": 10}', "é"),
        ('{"id": null, "more": {"a": "x"}, "id": 11}', "id"),
        (f'{{"id": 1, "big": {"9" * 4000}, "id": 12}}', "id"),
    ]
    lines = [*good, *(line for line, _ in bad)]
    outcome = check(tmp_path, wanted, {"a.jsonl": "\n".join(lines)})
    assert [row[0] for row in outcome.rows] == [1, 2, 3]
    assert outcome.faults == [
        (4 + place, [f"row: the key {name!r} stands twice"]) for place, (_, name) in enumerate(bad)
    ]


def test_an_empty_json_file_has_no_rows(tmp_path: Path) -> None:
    wanted = dataset(column("a", required=True))
    assert check(tmp_path, wanted, {"a.jsonl": "", "b.jsonl.gz": packed(b"\n")}).rows == []


# ------------------------------------------------------------------------------------------ Parquet


NATIVE: list[tuple[str, pl.Series, list[Any], dict[int, str]]] = [
    ("integer", pl.Series([1, None], dtype=pl.Int8), [1, None], {}),
    ("integer", pl.Series([2**64 - 1, 5], dtype=pl.UInt64), [5], {1: "x: not an integer"}),
    (
        "integer",
        pl.Series([1.0, 1.5, None, float("nan"), 1e300]),
        [1, None],
        {2: "x: not an integer", 4: "x: not an integer", 5: "x: not an integer"},
    ),
    ("integer", pl.Series([Decimal("2.00"), Decimal("2.50")]), [2], {2: "x: not an integer"}),
    ("integer", pl.Series(["5", "1.0"]), [5], {2: "x: not an integer"}),
    ("number", pl.Series([1, 2], dtype=pl.Int32), [1.0, 2.0], {}),
    (
        "number",
        pl.Series([1.5, float("nan"), float("-inf")], dtype=pl.Float32),
        [1.5],
        {2: "x: not a finite number", 3: "x: not a finite number"},
    ),
    ("number", pl.Series([Decimal("2.50")]), [2.5], {}),
    ("boolean", pl.Series([True, None]), [True, None], {}),
    ("boolean", pl.Series(["1", "no"]), [True], {2: "x: not a boolean"}),
    ("date", pl.Series([DAY]), [DAY], {}),
    (
        "date",
        pl.Series([2**31 - 1, 0], dtype=pl.Int32).cast(pl.Date),
        [date(1970, 1, 1)],
        {1: "x: not a date"},
    ),
    (
        "date",
        pl.Series([datetime(2013, 1, 31), NOON], dtype=pl.Datetime("ns")),
        [DAY],
        {2: "x: not a date"},
    ),
    ("date", pl.Series(["2013-01-31", "31.01.2013"]), [DAY], {2: "x: not a date"}),
    ("datetime", pl.Series([NOON], dtype=pl.Datetime("ns")), [NOON], {}),
    ("datetime", pl.Series([NOON], dtype=pl.Datetime("ms", "America/New_York")), [NOON], {}),
    (
        "datetime",
        pl.Series([2**63 - 1, 0], dtype=pl.Int64).cast(pl.Datetime("ms")),
        [datetime(1970, 1, 1)],
        {1: "x: not a datetime"},
    ),
    ("string", pl.Series(["a", "b", None], dtype=pl.Categorical), ["a", "b", None], {}),
    ("string", pl.Series(["a"], dtype=pl.Enum(["a"])), ["a"], {}),
    ("string", pl.Series([None, None], dtype=pl.Null), [None, None], {}),
    ("date", pl.Series([None], dtype=pl.Null), [None], {}),
]  # fmt: skip


@pytest.mark.parametrize("type_", ["integer", "number", "boolean", "date", "datetime", "string"])
def test_parquets_own_types_are_cast_where_nothing_is_lost(tmp_path: Path, type_: str) -> None:
    cases = [case[1:] for case in NATIVE if case[0] == type_]
    files: Files = {
        f"{number}.parquet": parquet(values.to_frame("x"))
        for number, (values, _, _) in enumerate(cases)
    }
    outcome = check(tmp_path, dataset(column("x", type_)), files)
    assert [row[0] for row in outcome.rows] == [value for _, good, _ in cases for value in good]
    assert [(row["file"], row["row_number"], row["reasons"]) for row in outcome.rejected] == [
        (f"{number}.parquet", place, [reason])
        for number, (_, _, faults) in enumerate(cases)
        for place, reason in faults.items()
    ]


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("string", pl.Series([1])),
        ("integer", pl.Series([True])),
        ("number", pl.Series([DAY])),
        ("boolean", pl.Series([1])),
        ("date", pl.Series([1])),
        ("datetime", pl.Series([DAY])),
        ("string", pl.Series([b"x"])),
        ("string", pl.Series([["x"]])),
        ("integer", pl.Series([{"x": 1}])),
    ],
)  # fmt: skip
def test_parquet_columns_of_another_kind_refuse_the_batch(
    tmp_path: Path, type_: str, values: pl.Series
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet(values.to_frame("x")))
    table, bounds = dataset(column("x", type_)).table, Bounds(Limits())
    with pytest.raises(BatchInvalid) as caught:
        next(parquet_rows(DataFile("a.parquet", path), table, bounds))
    assert caught.value.reason == "types"
    assert str(caught.value).startswith("a.parquet: column x is ")
    assert str(caught.value).endswith(f", expected {type_}; write them so")


@pytest.mark.parametrize("type_", ["integer", "number", "string", "boolean"])
def test_a_decimal_that_polars_cannot_read_is_named_as_one(tmp_path: Path, type_: str) -> None:
    files: Files = {"a.parquet": OF_76_DIGITS}
    reason, message = refuse(tmp_path, dataset(column("id", "integer"), column("x", type_)), files)
    assert (reason, message) == (
        "types",
        "a.parquet: column x is Decimal(precision=76, scale=38),"
        f" expected {type_}, in Parquet of at most 38 digits; write them so",
    )


def test_a_decimal_that_nobody_wants_may_have_any_digits(tmp_path: Path) -> None:
    outcome = check(tmp_path, dataset(column("id", "integer")), {"a.parquet": OF_76_DIGITS})
    assert outcome.rows == [(1,)]


def test_a_parquet_rows_number_and_text_are_kept(tmp_path: Path) -> None:
    frame = pl.DataFrame({"z": [0] * 3, "b": [1, -5, 3], "a": [DAY] * 3, "c": [NOON] * 3})
    wanted = dataset(
        column("a", "date"), column("b", "integer", minimum=0), column("c", "datetime")
    )
    outcome = check(tmp_path, wanted, {"a.parquet": parquet(frame)})
    assert outcome.rows == [(DAY, 1, NOON), (DAY, 3, NOON)]
    assert outcome.rejected == [
        {
            "file": "a.parquet",
            "row_number": 2,
            "reasons": ["b: below minimum 0"],
            "row": {"a": "2013-01-31", "b": "-5", "c": "2013-01-31 12:00:00.000000"},
        }
    ]


def test_a_parquet_file_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    content = parquet(pl.DataFrame({"a": ["1"], "c": ["2"]}))
    reason, message = refuse(tmp_path, AB, {"a.parquet": content})
    assert reason == "columns"
    assert message == "a.parquet: columns missing: b; found: 'a', 'c'; write the missing ones, too"


@pytest.mark.parametrize("arrow", [True, False])
def test_a_name_that_a_parquet_file_has_twice_matters_where_it_is_wanted(
    tmp_path: Path, arrow: bool
) -> None:
    """As pyarrow writes it; polars writes none."""
    frame = pl.DataFrame(
        {"a": ["1"], "xx": [{"b": 1, "c": [2]}], "xy": [3], "xz": [[4]], "é": [5], "b": ["2"]}
    )
    content = parquet(frame)
    assert b"ARROW:schema" in content
    for name in (b"xy", b"xz", "é".encode()):
        content = content.replace(b"\x18\x02" + name, b"\x18\x02xx")
    if not arrow:
        content = content.replace(b"ARROW:schema", b"ARROW:nothing"[:12])
    assert (
        check(tmp_path, AB, {"a.parquet": content, "b.parquet": content}).rows == [("1", "2")] * 2
    )
    (tmp_path / "x").mkdir()
    wanted = dataset(column("xx", "integer"), column("a"))
    reason, message = refuse(tmp_path / "x", wanted, {"a.parquet": content})
    assert reason == "columns"
    assert message == "a.parquet: columns found twice: xx; name each once"


def test_a_name_that_a_parquet_file_has_twice_does_not_become_a_wanted_one(tmp_path: Path) -> None:
    """A frame of pandas without names calls its columns 0, 1, 2."""
    content = parquet(pl.DataFrame({"a": [1], "x": [2], "y": [3]}))
    content = content.replace(b"\x18\x01y", b"\x18\x01x")
    wanted = dataset(column("a", "integer"), column("0", "integer"))
    reason, message = refuse(tmp_path, wanted, {"a.parquet": content})
    assert reason == "columns"
    assert message.startswith("a.parquet: columns missing: 0; ")


def test_more_columns_of_one_letter_than_there_are_letters_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["1"], "b": ["2"], **{f"0{number:02}": [1] for number in range(50)}})
    content = parquet(frame)
    for number in range(50):
        content = content.replace(f"\x18\x030{number:02}".encode(), b"\x18\x03xxx")
    reason, message = refuse(tmp_path, AB, {"a.parquet": content})
    assert (reason, message) == ("columns", "a.parquet: columns found twice: xxx; name each once")


@pytest.mark.parametrize(
    "end", [b"\x19\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x1c" * 99_999, b"\x19"]
)
def test_a_footer_that_is_none_is_left_to_the_sandbox(tmp_path: Path, end: bytes) -> None:
    content = b"PAR1" + end + len(end).to_bytes(4, "little") + b"PAR1"
    reason, message = refuse(tmp_path, AB, {"a.parquet": content})
    assert reason == "parquet"
    assert "damaged" in message


def test_a_parquet_file_is_read_whole_whatever_its_row_groups(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(120_000)})
    for folder, group in (("one", 120_000), ("many", 777)):
        (tmp_path / folder).mkdir()
        content = parquet(frame, row_group_size=group)
        outcome = check(tmp_path / folder, dataset(column("x", "integer")), {"a.parquet": content})
        assert [row[0] for row in outcome.rows] == list(range(120_000))


# 100 rows as polars 2.1 writes them, compressed.
HUNDRED = zlib.decompress(
    base64.b85decode(
        rb"c-noDzfJ-{5XN^8LM({E#JO;I#U%s+ksvJK9d?VN5K#|;!IFdHgovEskU!QIHuTok7Wxu~*2ZVB_6gkGSQrZ@v%k"
        rb"rH-^>)dCT(QF4^3#+U>y)b5<ByZU{;U_<^=PC1;JfF(1vyjRv1DMfB-^1rmryeZ9Tk2-Y=q&tAp;c|Gcp*JiQ*~K"
        rb"mLl1C<K)P3WSs}_5jH%EPwHgPvdJyQROMzW0`FPNl8`wW7nO4gdiA`SbGfBRA#XmMOD=Jr=<R~OMa0+MqF6o_!_I"
        rb"5i0uytX`^x0+Vi^o-nA8e#5+8QOIegTj48X%>pyoP9aHMjeNpRl+hqQ1#`P+tm%sZ2bnY*NFU%t<taHkTOI2DDwa"
        rb"oXi5Pg)IcWlTgbBiafoKO@#HQk{#_O!&!V$yd<Np0F2djof*k#shl(Gs28!O+%pr<frfJLfny(H+Mib~aCR!^#vb"
        rb"QY<(QadfL^7fDi4`P;QHLMHqDZ!>py;{"
    )
)


@pytest.mark.parametrize(
    ("place", "byte"),
    [
        (67, 0xFF),  # polars asks for 2 EB of memory and ends its process
        (64, 0x00),  # polars panics
        (513, 0x00),
        (100, 0xFF),
        (512, 0x00),
    ],
)
def test_a_damaged_parquet_file_is_refused_and_ends_nothing(
    tmp_path: Path, place: int, byte: int
) -> None:
    damaged = bytearray(HUNDRED)
    damaged[place] = byte
    files: Files = {"a.parquet": HUNDRED, "b.parquet": bytes(damaged)}
    reason, message = refuse(tmp_path, dataset(column("s")), files)
    assert reason == "parquet"
    assert message.startswith("b.parquet: ")


# --------------------------------------------------------------------------------------------- keys

KEYED = dataset(column("k", "integer"), column("v"), key=["k"])


@pytest.mark.parametrize("group", [0, 1 << 20])
def test_the_first_row_with_a_key_is_kept_over_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(check_module, "GROUP_BYTES", group)
    outcome = check(
        tmp_path,
        KEYED,
        {
            "a.csv": "k,v\n1,a\n2,b\n+1,c\n",
            "b.csv": "k,v\n3,d\n2,e\n",
            "c.jsonl": '{"k": 3.0, "v": "f"}\n{"k": 4}\n',
            "d.parquet": parquet(pl.DataFrame({"k": [9, 4], "v": ["g", "h"]})),
        },
    )
    assert outcome.rows == [(1, "a"), (2, "b"), (3, "d"), (4, None), (9, "g")]
    reason = ["primaryKey: repeats an earlier row"]
    assert outcome.rejected == [
        {"file": "a.csv", "line": 4, "reasons": reason, "row": {"k": "+1", "v": "c"}},
        {"file": "b.csv", "line": 3, "reasons": reason, "row": {"k": "2", "v": "e"}},
        {"file": "c.jsonl", "line": 1, "reasons": reason, "row": {"k": "3", "v": "f"}},
        {"file": "d.parquet", "row_number": 2, "reasons": reason, "row": {"k": "4", "v": "h"}},
    ]
    assert outcome.checked.reasons == {"primaryKey: repeats an earlier row": 4}


def test_a_row_that_is_rejected_does_not_take_its_keys_place(tmp_path: Path) -> None:
    wanted = dataset(column("k", "integer"), column("v", required=True), key=["k"])
    outcome = check(tmp_path, wanted, {"a.csv": "k,v\n1,\n1,a\n", "b.csv": "k,v\n2,\n2,b\n1,\n"})
    assert outcome.rows == [(1, "a"), (2, "b")]
    assert outcome.faults == [(2, ["v: required"]), (2, ["v: required"]), (4, ["v: required"])]


def test_a_key_of_several_columns_is_one_name_and_never_missing(tmp_path: Path) -> None:
    wanted = dataset(column("a"), column("b"), key=["b", "a"])
    outcome = check(tmp_path, wanted, {"a.csv": "a,b\nx,yz\nxy,z\nx,\nx,yz\n"})
    assert outcome.rows == [("x", "yz"), ("xy", "z")]
    assert outcome.faults == [(4, ["b: required"]), (5, ["primaryKey: repeats an earlier row"])]


def test_a_file_that_is_delivered_twice_in_a_batch_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 300)
    monkeypatch.setattr(check_module, "GROUP_BYTES", 0)
    monkeypatch.setattr(output_module, "PART_ROWS", 64)
    monkeypatch.setattr(keys_module, "BUCKET_ROWS", 50)
    text = "k,v\n" + "".join(f"{number},v{number}\n" for number in range(500))
    outcome = check(tmp_path, KEYED, {"a.csv": text, "b.csv": text})
    assert [row[0] for row in outcome.rows] == list(range(500))
    assert [part.rows for part in outcome.checked.parts] == [64] * 7 + [52]
    assert [(row["file"], row["line"]) for row in outcome.rejected] == [
        ("b.csv", line) for line in range(2, 502)
    ]


@pytest.mark.parametrize("bucket", [1 << 20, 3])
def test_keys_that_only_share_a_hash_are_both_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: int
) -> None:
    monkeypatch.setattr(keys_module, "BUCKET_ROWS", bucket)
    values = [5, 6, 5, 7, 8, 6, 9, 5]
    log, first, second = (tmp_path / name for name in ("keys.log", "0.parquet", "1.parquet"))
    np.array([1, 1, 1, 1, 2, 1, 2, 1], np.uint64).tofile(log)
    pl.DataFrame({"k": values[:3]}).write_parquet(first)
    pl.DataFrame({"k": values[3:]}).write_parquet(second)
    flags = find_repeats(log, [first, second], [3, 5], ["k"])
    assert flags is not None
    assert flags.tolist() == [False, False, True, False, False, True, False, True]


def test_no_flags_are_made_where_all_keys_differ(tmp_path: Path) -> None:
    log, part = tmp_path / "keys.log", tmp_path / "0.parquet"
    np.array([1, 1, 2], np.uint64).tofile(log)
    pl.DataFrame({"k": ["a", "b", "c"]}).write_parquet(part)
    assert find_repeats(log, [part], [3], ["k"]) is None


def test_without_a_key_equal_rows_are_all_kept(tmp_path: Path) -> None:
    assert check(tmp_path, AB, {"a.csv": "a,b\n1,2\n1,2\n"}).rows == [("1", "2")] * 2


# ------------------------------------------------------------------------------------- parts, bytes


def read_all(files: Iterable[Path]) -> list[bytes]:
    return [path.read_bytes() for path in files]


def test_the_same_files_give_the_same_bytes_whatever_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = dataset(column("k", "integer"), column("v", maxLength=4), key=["k"])
    lines = (f"{number % 255_000},v{number % 1234}\n" for number in range(260_000))
    source = tmp_path / "a.csv.gz"
    source.write_bytes(gzip.compress(("k,v\n" + "".join(lines)).encode(), 1))
    outcomes = []
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 1 << 17)
    for name, threads in (("one", 1), ("four", 4)):
        monkeypatch.setattr(check_module, "thread_count", lambda n=threads: n)
        (tmp_path / name).mkdir()
        outcomes.append(check_files([DataFile("a.csv.gz", source)], wanted, tmp_path / name))
    first, second = outcomes
    assert (first.parts, first.reasons) == (second.parts, second.reasons)
    assert first.reasons["primaryKey: repeats an earlier row"] > 1_000
    assert first.rejected is not None
    assert second.rejected is not None
    assert read_all([*first.files, first.rejected]) == read_all([*second.files, second.rejected])


def test_a_part_holds_part_rows_at_most(tmp_path: Path) -> None:
    lines = "".join(f"{number}\n" for number in range(PART_ROWS + 1))
    outcome = check(tmp_path, dataset(column("x", "integer")), {"a.csv": f"x\n{lines}"})
    assert [(part.name, part.rows) for part in outcome.checked.parts] == [
        ("part-00000.parquet", PART_ROWS),
        ("part-00001.parquet", 1),
    ]
    assert [path.name for path in outcome.checked.files] == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert [row[0] for row in outcome.rows] == list(range(PART_ROWS + 1))


def test_a_part_of_large_rows_is_closed_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(check_module, "GROUP_BYTES", 0)
    monkeypatch.setattr(output_module, "PART_BYTES", 1 << 17)
    text = "x\n" + f"{'y' * 1000}\n" * 500
    parts = check(tmp_path, dataset(column("x")), {"a.csv": text}).checked.parts
    assert len(parts) == 4
    assert sum(part.rows for part in parts) == 500


def test_a_part_has_statistics_and_zstd(tmp_path: Path) -> None:
    path = check(tmp_path, dataset(column("x", "integer")), {"a.csv": "x\n1\n2\n"}).checked.files[0]
    found = pl.scan_parquet(path).filter(pl.col("x") > 2).collect().height
    assert found == 0
    assert b"\x28\xb5\x2f\xfd" in path.read_bytes(), "no zstd frame"


def test_rejected_rows_stand_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    wanted = dataset(column("k", "integer"), column("v", required=True), key=["k"])
    files: Files = {"b.csv": "k,v\n1,\nx\n1,a\n1,b\n2,\n", "a.csv": "k,v\n1,z\nx\n,\n"}
    outcome = check(tmp_path, wanted, files)
    places = [(row["file"], row["line"]) for row in outcome.rejected]
    assert places == [
        *(("b.csv", line) for line in (2, 3, 5, 6)),
        *(("a.csv", line) for line in (2, 3, 4)),
    ]


def test_columns_and_files_may_have_any_name(tmp_path: Path) -> None:
    names = ["filter", "row", "value 0", "reasons", "line", 'q"uote', "ä ö", "given 0", "validate"]
    wanted = dataset(*(column(name, required=True) for name in names), key=["row", "line"])
    written = io.StringIO(newline="")
    values = [f"{name}!" for name in names]
    csv.writer(written).writerows([names, values, [""] * len(names), values])
    outcome = check(tmp_path, wanted, {'d "é.csv': written.getvalue()})
    assert outcome.rows == [tuple(values)]
    assert outcome.faults == [
        (3, [f"{name}: required" for name in names]),
        (4, ["primaryKey: repeats an earlier row"]),
    ]
    assert outcome.rejected[1]["file"] == 'd "é.csv'
    assert outcome.rejected[1]["row"] == dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", pl.Series([-999, 1], dtype=pl.Int32())),
        ("integer", pl.Series([-999.0, 1.0])),
        ("number", pl.Series([-999.0, 1.0], dtype=pl.Float32())),
        ("number", pl.Series([float("nan"), 1.0])),
        ("number", pl.Series([Decimal("-999.0"), Decimal("1.0")])),
        ("date", pl.Series([date(1900, 1, 1), date(2013, 1, 31)])),
        ("datetime", pl.Series([datetime(1900, 1, 1), datetime(2013, 1, 31)])),
        ("string", pl.Series(["-999", "1"])),
        ("integer", pl.Series(["-999", "1"], dtype=pl.Categorical())),
    ],
    ids=str,
)
def test_what_means_no_value_does_so_in_parquet_too(
    tmp_path: Path, kind: str, values: pl.Series
) -> None:
    missing = ["-999", "NaN", "1900-01-01", "1900-01-01T00:00:00"]
    wanted = dataset(column("n", "integer"), column("x", kind), missing=missing)
    frame = pl.DataFrame({"n": [1, 2], "x": values})
    outcome = check(tmp_path, wanted, {"a.parquet": parquet(frame)})
    assert outcome.rejected == []
    first, second = outcome.rows
    assert first == (1, None)
    assert second[1] is not None


def test_a_day_that_means_no_value_does_so_as_its_midnight(tmp_path: Path) -> None:
    wanted = dataset(column("n", "integer"), column("x", "datetime"), missing=["1900-01-01"])
    times = [datetime(1900, 1, 1), datetime(1900, 1, 1, 1)]
    frame = pl.DataFrame({"n": [1, 2], "x": times})
    text = "n,x\n3,1900-01-01\n4,1900-01-01T00:00:00\n5,1900-01-01T01:00:00\n"
    outcome = check(tmp_path, wanted, {"a.parquet": parquet(frame), "b.csv": text})
    assert outcome.rejected == []
    assert [value for _, value in outcome.rows] == [None, times[1], None, None, times[1]]


@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize("dtype", [pl.Float32(), pl.Float16()])
@pytest.mark.parametrize("text", ["-999.9", "1e4", "-99999", "1e20", "NaN"])
def test_a_float_means_no_value_if_it_is_the_nearest_to_a_number_that_does(
    tmp_path: Path, kind: str, dtype: pl.DataType, text: str
) -> None:
    wanted = dataset(column("n", "integer"), column("x", kind), missing=["", text])
    stored = pl.Series([float(text)], dtype=pl.Float64).cast(dtype)
    outcome = check(tmp_path, wanted, {"a.parquet": parquet(pl.DataFrame({"n": [1], "x": stored}))})
    is_there = not math.isinf(stored[0])  # a float16 holds no -99999
    assert [row == (1, None) for row in outcome.rows] == ([True] if is_there else [])


def test_a_float_that_cannot_hold_what_means_no_value_has_its_own(tmp_path: Path) -> None:
    """As a float32 the first is 0 and the second infinite, and both are other numbers."""
    wanted = dataset(column("n", "integer"), column("x", "number"), missing=["1e-60", "1e300"])
    values = pl.Series([0.0, 1e-60, float("inf")], dtype=pl.Float32())
    files: Files = {"a.parquet": parquet(pl.DataFrame({"n": [1, 2, 3], "x": values}))}
    outcome = check(tmp_path, wanted, files)
    assert outcome.rows == [(1, 0.0), (2, 0.0)]
    assert outcome.faults == [(3, ["x: not a finite number"])]


def test_a_time_that_nanoseconds_cannot_name_is_shown_as_one(tmp_path: Path) -> None:
    """Instead of the last one that they can, which nobody wrote."""
    outcome = check(tmp_path, dataset(column("t", "datetime")), {"a.parquet": OF_INT96})
    assert outcome.rows == [(datetime(2020, 1, 1),)]
    shown = "a time before 1678 or after 2262 in nanoseconds (INT96)"
    assert [row["row"] for row in outcome.rejected] == [{"t": shown}, {"t": shown}]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize(("wanted", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_column_whose_name_has_other_bytes_is_said_to_have_them(
    tmp_path: Path, name: str, wanted: Literal["NFC", "NFD"], there: Literal["NFC", "NFD"]
) -> None:
    ours, theirs = unicodedata.normalize(wanted, "größe"), unicodedata.normalize(there, "größe")
    files: Files = {
        "a.csv": f"id,{theirs}\n1,2\n",
        "a.jsonl": f'{{"id": "1", "{theirs}": "2"}}\n',
        "a.parquet": parquet(pl.DataFrame({"id": ["1"], theirs: ["2"]})),
    }
    data = {name: files[name]}
    reason, message = refuse(tmp_path, dataset(column("id"), column(ours)), data)
    assert reason == "columns"
    assert message.endswith(
        f"{ours!r} has other bytes than the file's: one is in Unicode's form NFC, one is not;"
        f" write the file's names in {wanted}"
    )
