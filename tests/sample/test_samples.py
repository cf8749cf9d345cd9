"""A dataset file that ``flagfall init`` writes takes its sample in, whatever the format."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from flagfall.dataset.table import Column
from flagfall.rows.casting import format_problem
from flagfall.sample import files as sample_files
from flagfall.sample.types import _DATES, _MOMENTS
from tests.rows.checking import OF_76_DIGITS
from tests.sample.starting import Files, parquet, refused, start

DAYS = [date(2013, 12, day) for day in (11, 12, 13)]
TIMES = [datetime(2013, 12, 11, hour, 30, tzinfo=UTC) for hour in (1, 2, 3)]
PLAIN = "id,name,when,x\n1,Ann,2013-12-11,0.5\n2,Bob,2013-12-12,\n3,Cid,2013-12-13,7\n"
GERMAN = "nr;betrag;datum;bezahlt\n1;1.234,5;01.12.2013;ja\n2;7,25;13.12.2013;nein\n3;;;ja\n"
US = 'id,sum,day\n1,"1,234,567",12/31/2013\n2,5,01/02/2014\n3,NA,\n'
LINES = '{"id": 1, "x": 1.5, "t": "2013-12-11T01:00Z"}\n{"id": 2, "b": true}\n{"id": 3, "x": 2}\n'
STORED = parquet(id=[1, 2, 3], day=DAYS, at=TIMES, ok=[True, None, False], x=[0.5, 1.5, None])
CATEGORY = pl.Series(["a", "b", "a"], dtype=pl.Categorical)
DECIMAL = pl.Series(["1.50", "2.25", None]).cast(pl.Decimal(10, 2))

PLAIN_TYPES = {"id": "integer", "name": "string", "when": "date", "x": "number"}
SAMPLES: dict[str, tuple[Files, int, dict[str, str]]] = {
    "CSV": ({"a.csv": PLAIN}, 3, PLAIN_TYPES),
    "CSV of Windows": ({"a.csv": PLAIN.replace("\n", "\r\n")}, 3, PLAIN_TYPES),
    "CSV with a byte order mark": ({"a.csv": b"\xef\xbb\xbf" + PLAIN.encode()}, 3, PLAIN_TYPES),
    "CSV in gzip": ({"a.csv.gz": gzip.compress(PLAIN.encode())}, 3, PLAIN_TYPES),
    "UTF-16": ({"a.csv": PLAIN.encode("utf-16")}, 3, PLAIN_TYPES),
    "UTF-16 without a mark": ({"a.csv": PLAIN.encode("utf-16-be")}, 3, PLAIN_TYPES),
    "semicolons": ({"a.csv": PLAIN.replace(",", ";")}, 3, PLAIN_TYPES),
    "bars": ({"a.csv": PLAIN.replace(",", "|")}, 3, PLAIN_TYPES),
    "tabs in CSV": ({"a.csv": PLAIN.replace(",", "\t")}, 3, PLAIN_TYPES),
    "TSV": ({"a.tsv": PLAIN.replace(",", "\t")}, 3, PLAIN_TYPES),
    "TSV in gzip": ({"a.tsv.gz": gzip.compress(PLAIN.replace(",", "\t").encode())}, 3, PLAIN_TYPES),
    "TSV with quotes": ({"a.tsv": '"a\tb"\tc\n"1\t2"\t3\n'}, 1, {"a\tb": "string", "c": "integer"}),
    "TSV with a quote": ({"a.tsv": 'a\tb\n5" pipe\t3\n'}, 1, {"a": "string", "b": "integer"}),
    "German Excel": (
        {"a.csv": f"Bericht\n\n{GERMAN}".replace("betrag", "Betr\xe4ge").encode("windows-1252")},
        3,
        {"nr": "integer", "Betr\xe4ge": "number", "datum": "date %d.%m.%Y", "bezahlt": "boolean"},
    ),
    "thousands": ({"a.csv": US}, 3, {"id": "integer", "sum": "integer", "day": "date %m/%d/%Y"}),
    "Excel's separator": ({"a.csv": "sep=;\nid;x\n1;2\n"}, 1, {"id": "integer", "x": "integer"}),
    "escapes of Spark": (
        {"a.csv": 'id,x\n1,"he said \\"hi\\", ok"\n2,b\n'},
        2,
        {"id": "integer", "x": "string"},
    ),
    "one column": ({"a.csv": "name\nAnn\nBob\n"}, 2, {"name": "string"}),
    "quoted line breaks": (
        {"a.csv": 'b,a\n1,"x\ny"\n2,"p,q"\n'},
        2,
        {"b": "integer", "a": "string"},
    ),
    "JSON lines": (
        {"a.jsonl": LINES},
        3,
        {"id": "integer", "x": "number", "t": "datetime", "b": "boolean"},
    ),
    "JSON in gzip": ({"a.json.gz": gzip.compress(b'{"a": 1}\n')}, 1, {"a": "integer"}),
    "JSON in Latin-1": ({"a.ndjson": '{"ä": "ö"}\n'.encode("latin-1")}, 1, {"ä": "string"}),
    "numbers in JSON's texts": ({"a.jsonl": '{"a": 1}\n{"a": "NA"}\n'}, 2, {"a": "integer"}),
    "Parquet": (
        {"a.parquet": STORED},
        3,
        {"id": "integer", "day": "date", "at": "datetime", "ok": "boolean", "x": "number"},
    ),
    "Parquet's other types": (
        {"a.parquet": parquet(c=CATEGORY, d=DECIMAL, n=[None] * 3, s=["2013-12-11", "", None])},
        3,
        {"c": "string", "d": "number", "n": "string", "s": "date"},
    ),
    "several files": (
        {
            "a.csv": "id,x\n1,2\n",
            "b.csv": "x,id,y\n3,4,5\n",
            "_SUCCESS": "",
            "datapackage.json": "{}",
        },
        2,
        {"id": "integer", "x": "integer", "y": "integer"},
    ),
    "folders with values": (
        {"day=2013-12-11/a.csv": "id\n1\n", "day=2013-12-12/a.csv": "id\n2\n"},
        2,
        {"id": "integer", "day": "date"},
    ),
    "several Parquet files": (
        {"a.parquet": parquet(a=[1], b=[None]), "b.parquet": parquet(a=[2.5], b=["x"])},
        2,
        {"a": "number", "b": "string"},
    ),
}


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGFALL_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_is_accepted_as_the_first_batch(tmp_path: Path, name: str) -> None:
    files, rows, types = SAMPLES[name]
    started = start(tmp_path, files)
    receipt, accepted = started.take_in()
    assert (receipt.status, receipt.rows, receipt.rejected_rows) == ("accepted", rows, 0), receipt
    assert started.types == types
    assert accepted.columns == list(types)
    assert receipt.unexpected == ()


class TestTypes:
    """``seen`` is a column of a CSV file."""

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            (["1", "-20"], "integer"),
            (["1", "2.5", "1e3"], "number"),
            (["00123", "45678"], "string"),
            (["+4917012345", "+4930123"], "string"),
            (["9223372036854775807"], "integer"),
            (["92233720368547758070"], "string"),
            (["inf", "1.5"], "string"),
            (["true", "false"], "boolean"),
            (["1", "0"], "integer"),
            (["yes", "no"], "boolean"),
            (["yes", "yes"], "string"),
            (["2013-02-28", "1999-12-31"], "date"),
            (["2013-02-30"], "string"),
            (["20130228", "19991231"], "date %Y%m%d"),
            (["20130228", "99999999"], "integer"),
            (["28.02.2013", "31.12.1999"], "date %d.%m.%Y"),
            (["28.02.13"], "date %d.%m.%y"),
            (["28/02/2013", "01/02/2013"], "date %d/%m/%Y"),
            (["02/28/2013", "01/02/2013"], "date %m/%d/%Y"),
            (["28 Feb 2013"], "date %d %b %Y"),
            (["2013-02-28T10:00:00Z", "2013-02-28 10:00"], "datetime"),
            (["28.02.2013 10:30"], "datetime %d.%m.%Y %H:%M"),
            (["02/28/2013 10:30:00 PM"], "datetime %m/%d/%Y %I:%M:%S %p"),
            (["10:30", "11:00"], "string"),
            (["1.2.3.4", "5.6.7.8"], "string"),
            (["1'234.5", "7"], "number"),
            (["a", "1"], "string"),
        ],
    )
    def test_values_have_a_type(self, tmp_path: Path, values: list[str], wanted: str) -> None:
        started = start(tmp_path, {"a.csv": _column(values)})
        assert started.types["seen"] == wanted
        receipt, _ = started.take_in()
        assert (receipt.status, receipt.rows) == ("accepted", len(values))

    @pytest.mark.parametrize("value", ["01/02/2013", "1-2-2013", "01/02/2013 10:30:00"])
    def test_a_day_that_may_be_a_month_stays_text_with_a_question(
        self, tmp_path: Path, value: str
    ) -> None:
        started = start(tmp_path, {"a.csv": _column([value])})
        assert started.types["seen"] == "string"
        assert "day or month first?" in started.below("seen")[0]

    def test_a_comma_that_may_be_either_stays_text_with_a_question(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "id;x\n1;1,234\n"})
        assert started.types["x"] == "string"
        assert started.below("x")[0].startswith("1,234: thousands or decimals?")

    def test_a_decimal_comma_in_one_column_explains_the_points_in_another(
        self, tmp_path: Path
    ) -> None:
        started = start(tmp_path, {"a.csv": "a;b;c\n1,5;1.234;7\n"})
        _, rows = started.take_in()
        assert rows.rows() == [(1.5, 1234, 7)]

    def test_a_number_of_thousands_is_that_number(self, tmp_path: Path) -> None:
        _, rows = start(tmp_path, {"a.csv": US}).take_in()
        assert rows["sum"].to_list() == [1_234_567, 5, None]

    def test_every_format_that_is_tried_can_be_used(self) -> None:
        tried = [_column_of(kind, form) for kind, form in (*_DATES, *_MOMENTS)]
        assert len(tried) > 400
        assert [column.format for column in tried if format_problem(column)] == []

    def test_columns_that_no_type_takes_are_left_out_with_the_reason(self, tmp_path: Path) -> None:
        text = '{"a": 1, "b": {"c": 1}, "d": "x"}\n{"a": 2, "d": 1}\n'
        started = start(tmp_path, {"a.jsonl": text})
        assert list(started.types) == ["a"]
        assert "# left out: b: it holds objects or lists" in started.text
        assert "# left out: d: its values are of several types" in started.text
        assert started.take_in()[0].status == "accepted"

    def test_lists_of_parquet_are_left_out(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.parquet": parquet(a=[1], b=[[1]])})
        assert list(started.types) == ["a"]
        assert "# left out: b: no type of a dataset takes List(Int64)" in started.text

    def test_decimals_of_more_digits_than_can_be_read_are_left_out(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.parquet": OF_76_DIGITS})
        assert list(started.types) == ["id"]
        assert "# left out: x: no type of a dataset takes Decimal(" in started.text
        assert started.take_in()[0].status == "accepted"


def _column_of(kind: str, form: str) -> Column:
    return Column.model_validate({"name": "x", "type": kind, "format": form})


def _column(values: list[str]) -> str:
    return "n,seen\n" + "".join(f'{n},"{value}"\n' for n, value in enumerate(values))


class TestMissingValues:
    @pytest.mark.parametrize("text", ["NA", "NULL", "null", "N/A", "\\N", "NaN", "-", "?", "None"])
    def test_a_text_among_numbers_is_no_value(self, tmp_path: Path, text: str) -> None:
        started = start(tmp_path, {"a.csv": f"id,x\n1,{text}\n2,5\n"})
        assert started.dataset.table.missing_values == ("", text)
        assert started.types["x"] == "integer"
        assert started.below("x") == ["1 of 2 rows have none; minimum: 5, maximum: 5"]
        assert started.take_in()[1]["x"].to_list() == [None, 5]

    def test_a_dash_among_texts_is_a_text(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "id,x\n1,-\n2,abc\n"})
        assert started.dataset.table.missing_values == ("",)

    def test_na_among_codes_of_countries_is_namibia(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "id,x\n1,NA\n2,DE\n"})
        assert started.take_in()[1]["x"].to_list() == ["NA", "DE"]

    def test_na_among_other_texts_is_no_value(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "id,x\n1,NA\n2,N14228\n"})
        assert started.dataset.table.missing_values == ("", "NA")

    def test_a_column_is_required_where_every_row_has_a_value(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": PLAIN})
        required = {c.name for c in started.dataset.table.fields if c.constraints.required}
        assert required == {"id", "name", "when"}

    def test_a_column_that_some_files_lack_is_optional(self, tmp_path: Path) -> None:
        started = start(tmp_path, SAMPLES["several files"][0])
        assert started.column("y").optional
        assert started.below("y") == ["some files lack it; minimum: 5, maximum: 5"]


class TestWhatIsSeen:
    def test_ranges_and_lists_are_comments_and_reject_nothing_tomorrow(
        self, tmp_path: Path
    ) -> None:
        rows = "".join(f"{n},{'abc'[n % 3]}\n" for n in range(30))
        started = start(tmp_path, {"a.csv": f"v,kind\n{rows}"})
        assert started.below("v") == ["minimum: 0, maximum: 29"]
        assert started.below("kind") == ["enum: [a, b, c]"]
        for column in started.dataset.table.fields:
            assert column.constraints.model_fields_set == {"required"}

    @pytest.mark.parametrize("name", ["v", "kind"])
    def test_a_suggestion_can_be_moved_into_the_constraints(
        self, tmp_path: Path, name: str
    ) -> None:
        rows = "".join(f"2013-12-{n + 1:02},{'abc'[n % 3]}\n" for n in range(30))
        started = start(tmp_path, {"a.csv": f"v,kind\n{rows}"})
        (suggested,) = started.below(name)
        column = {"name": name, "type": started.types[name]}
        constraints = yaml.safe_load(f"{{required: true, {suggested}}}")
        assert Column.model_validate({**column, "constraints": constraints})

    def test_the_file_says_what_it_was_written_from(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": PLAIN})
        first = started.text.splitlines()[0]
        assert first == "# Written by `flagfall init` from all 3 rows of a.csv."

    def test_bad_rows_of_the_sample_are_counted(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "a,b\n1,2\n3\n4,5\n"})
        assert "# 1 of 3 rows are bad rows: row: 1 field, expected 2" in started.text
        assert started.written.typed.rejected_rows == 1

    def test_only_the_first_rows_of_large_files_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sample_files, "SAMPLE_ROWS", 1_000)
        rows = "".join(f"{n}\n" for n in range(120_000))
        started = start(tmp_path, {"a.csv": f"id\n{rows}"})
        assert "from the first 50,000 rows of a.csv" in started.text

    def test_lines_that_are_left_out_are_mentioned(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "Report of May\na,b\n1,2\n3,4\n"})
        assert started.dataset.dialect.skip_rows == 1
        assert "# The lines that `skipRows` leaves out look like titles" in started.text

    def test_the_encoding_is_called_a_guess(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "a\nMüller\n".encode("windows-1252")})
        assert started.dataset.dialect.encoding == "windows-1252"
        assert "check that accented letters are right" in started.text
        assert started.take_in()[1]["a"].to_list() == ["Müller"]


class TestKeys:
    def test_a_unique_column_with_the_name_of_a_key_is_the_key(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "v,user_id\n10,1\n11,2\n"})
        assert started.dataset.table.primary_key == ("user_id",)
        assert "  primaryKey: [user_id]  # unique in 2 rows\n" in started.text
        assert "# primaryKey: [v]  # unique in 2 rows, too" in started.text

    def test_several_columns_are_a_key_together(self, tmp_path: Path) -> None:
        rows = [(day, place) for day in range(1, 29) for place in ("EWR", "JFK", "LGA")]
        text = "".join(f"2013-12-{day:02},{place},1\n" for day, place in rows)
        started = start(tmp_path, {"a.csv": f"day,origin,x\n{text}"})
        assert started.dataset.table.primary_key == ("day", "origin")
        assert started.take_in()[0].rejected_rows == 0

    @pytest.mark.parametrize(
        "text",
        ["id\n1\n", "id,x\n1,a\n1,a\n", "x,y\n1.5,2\n2.5,2\n", "id,x\n1,2\n,2\n", "people\n5\n7\n"],
        ids=["one row", "repeated rows", "a measurement", "without a value", "by chance"],
    )
    def test_there_is_no_key_where_it_would_be_chance(self, tmp_path: Path, text: str) -> None:
        assert start(tmp_path, {"a.csv": text}).dataset.table.primary_key == ()

    def test_columns_that_repeat_together_are_no_key(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "a_id,b_id\n1,1\n1,1\n2,2\n2,3\n"})
        assert "primaryKey" not in started.text

    def test_one_row_suggests_no_key(self, tmp_path: Path) -> None:
        assert "primaryKey" not in start(tmp_path, {"a.csv": "id\n1\n"}).text

    def test_what_may_be_unique_by_chance_is_a_comment(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "people\n5\n7\n"})
        assert "  # primaryKey: [people]  # unique in 2 rows of the sample\n" in started.text


NAMES = [
    *("yes", "no", "on", "y", "null", "true", "1e3", "010", "1:30", "2013-01-01", "~", "<<", "="),
    *(" leading", "a: b", "a #b", "x,y", "{x}", "[x]", "*x", "&x", "!x", "- x", "%", "@x", "'"),
    *("größe", "日本", "😀", "a\u00a0b", "\u200b", "\x7f", "\u2028", "a\\b", "${HOME}", "{batch}"),
]


class TestNames:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_column_may_be_called_anything(self, tmp_path: Path, name: str) -> None:
        started = start(tmp_path, {"a.csv": f'id,"{name}"\n1,2\n'})
        assert list(started.types) == ["id", name]
        assert started.take_in()[1][name].to_list() == [2]

    def test_a_column_without_a_name_is_left_out(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": ",id\n1,2\n"})
        assert list(started.types) == ["id"]
        assert started.take_in()[0].rows == 1

    def test_a_name_that_polars_takes_for_a_pattern_is_left_out(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": "*,^a$,id\n1,2,3\n"})
        assert list(started.types) == ["id"]
        assert started.take_in()[0].rows == 1

    def test_the_value_of_a_comment_cannot_begin_a_line(self, tmp_path: Path) -> None:
        started = start(tmp_path, {"a.csv": 'id,"x\ntitle: bad"\n1,2\n'})
        assert started.dataset.title == "Feed"
        assert list(started.types) == ["id", "x\ntitle: bad"]


DAMAGED = parquet(a=list(range(100)))
BAD: dict[str, tuple[Files, str]] = {
    "empty": ({"a.csv": ""}, r"a\.csv: empty; take a file with a header and rows"),
    "empty JSON": ({"a.jsonl": ""}, r"a\.jsonl: no line is a JSON object .*; write one object"),
    "only a header": ({"a.csv": "a,b\n"}, r"a header and no rows; take a file with rows"),
    "no header": (
        {"a.csv": "1,Ann,2.5\n2,Bob,3.5\n"},
        r"a\.csv: line 1: values .*; write a first line",
    ),
    "names twice": (
        {"a.csv": "\na,b,a\n1,2,3\n"},
        r"a\.csv: line 2: columns found twice: 'a'; name each",
    ),
    "no names": ({"a.csv": ",\n1,2\n"}, r"a\.csv: line 1: no column has a name; write"),
    "not text": (
        {"a.csv": b"PK\x03\x04\x00\xff"},
        r"a\.csv: ZIP \(or Excel\) data, not text; write",
    ),
    "NUL bytes": ({"a.csv": b"a\n1\n\x002\n"}, r"a\.csv: line 3: a NUL byte; .*: write it again"),
    "no gzip": ({"a.csv.gz": b"a\n1\n"}, r"a\.csv\.gz: not valid gzip .*; write it again, or name"),
    "a quote left open": ({"a.csv": 'a,b\n1,"2\n'}, r"a\.csv: line 2: a quote is opened and never"),
    "no Parquet": ({"a.parquet": b"a,b\n"}, r"a\.parquet: cut short, damaged .*; write it again"),
    "damaged Parquet": ({"a.parquet": DAMAGED[:-20]}, r"a\.parquet: .*; write it again"),
    "a list in JSON": ({"a.json": '[{"a": 1}]\n'}, r"a\.json: no line is a JSON object"),
    "keys twice": (
        {"a.jsonl": '{"a": 1, "a": 2}\n'},
        r"a\.jsonl: line 1: row: the key 'a' stands twice",
    ),
    "only mixed types": (
        {"a.jsonl": '{"a": 1}\n{"a": "x"}\n'},
        r"no column .*: a: its values are of several types; write them as one type",
    ),
    "another format": ({"a.xlsx": b"PK"}, r"no data file; understood are \.csv, \.tsv, "),
    "several formats": (
        {"a.csv": PLAIN, "b.jsonl": LINES},
        r"several formats \(csv, jsonl\); name one",
    ),
    "an empty folder": ({"_b/a.csv": PLAIN}, r"no data file; understood are"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sample_is_one_clear_error_and_leaves_no_file(tmp_path: Path, name: str) -> None:
    files, wanted = BAD[name]
    said = refused(tmp_path, files)
    assert re.search(wanted, said), said
    assert "\n" not in said


def test_years_as_names_are_names(tmp_path: Path) -> None:
    started = start(tmp_path, {"a.csv": "country,2010\nA,15.5\nB,12.5\n"})
    assert list(started.types) == ["country", "2010"]
