"""Text files as producers write them: encodings, delimiters, quotes, escapes, headers."""

from __future__ import annotations

import csv
import gzip
import io
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.rows import source as source_module
from tests.rows.feeds_with_settings import column, dataset, parquet
from tests.rows.test_checked_files import check, refuse

AB = (column("a"), column("b"))
TEXT = "a,b\nZoë,1\n„Grüße“,2\n"


def rows(folder: Path, data: str | bytes, name: str = "a.csv", **dialect: Any) -> list[Any]:
    outcome = check(folder, dataset(*AB, dialect=dialect), {name: data})
    assert outcome.rejected == []
    return outcome.rows


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "written"),
        [
            ("windows-1252", "cp1252"),
            ("cp1252", "cp1252"),
            ("Windows-1252", "cp1252"),
            ("utf-16", "utf-16"),
            ("UTF-16", "utf-16-be-marked"),
            ("utf-16-le", "utf-16-le"),
            ("utf-16-le", "utf-16"),
            ("utf-16-be", "utf-16-be"),
            ("utf-16-be", "utf-16-be-marked"),
            ("gb18030", "gb18030"),
            ("utf-8", "utf-8"),
            ("utf-8", "utf-8-sig"),
            ("utf-8-sig", "utf-8"),
            ("utf-8-sig", "utf-8-sig"),
            ("UTF8", "utf-8-sig"),
        ],
    )
    @pytest.mark.parametrize("block", [1, 2, 3, 7, 4 << 20])
    def test_a_file_in_the_encoding_that_the_dataset_says_is_read(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        encoding: str,
        written: str,
        block: int,
    ) -> None:
        if encoding[:3].lower() != "utf" or "16" in encoding or block > 2:
            monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
        marked = written.removesuffix("-marked")
        data = (f"\ufeff{TEXT}" if marked != written else TEXT).encode(marked)
        assert rows(tmp_path, data, encoding=encoding) == [("Zoë", "1"), ("„Grüße“", "2")]

    @pytest.mark.parametrize("encoding", ["iso-8859-1", "latin-1", "iso-8859-15", "cp850"])
    def test_so_are_older_ones(self, tmp_path: Path, encoding: str) -> None:
        data = "a,b\nZoë,é\n".encode(encoding)
        assert rows(tmp_path, data, encoding=encoding) == [("Zoë", "é")]

    @pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv", "a.tsv.gz", "a.jsonl", "a.jsonl.gz"])
    def test_it_holds_for_every_text_file(self, tmp_path: Path, name: str) -> None:
        text = '{"a": "Zoë", "b": "1"}\n' if "json" in name else "a,b\nZoë,1\n"
        data = text.replace(",", "\t" if "tsv" in name else ",").encode("utf-16")
        data = gzip.compress(data) if name.endswith(".gz") else data
        assert rows(tmp_path, data, name, encoding="utf-16") == [("Zoë", "1")]

    def test_parquet_has_its_own(self, tmp_path: Path) -> None:
        data = parquet(pl.DataFrame({"a": ["Zoë"], "b": ["1"]}))
        assert rows(tmp_path, data, "a.parquet", encoding="utf-16") == [("Zoë", "1")]

    @pytest.mark.parametrize("block", [1, 3, 4 << 20])
    @pytest.mark.parametrize(
        ("encoding", "data", "says"),
        [
            ("windows-1252", b"a,b\n1,2\n\x81,2\n", "line 3: not windows-1252 (byte 0x81)"),
            (
                "utf-16-le",
                "a,b\n1,2\n".encode("utf-16-le") + b"x\xd8y\x00",
                "line 3: not utf-16-le",
            ),
            ("utf-16", "a,b\n1,2\n".encode("utf-16")[:-1], "line 2: not utf-16 (byte 0x0a)"),
            ("ascii", "a,b\nZoë,2\n".encode(), "line 2: not ascii (byte 0xc3)"),
            ("gb18030", b"a,b\n1,2\n\xff,2\n", "line 3: not gb18030 (byte 0xff)"),
            ("utf-16", "a,b\n1,2\n".encode("utf-16-le"), "line 1: no byte order mark of UTF-16"),
            ("utf-16", TEXT.encode("utf-8-sig"), "line 1: no byte order mark of UTF-16"),
            ("windows-1252", TEXT.encode("utf-8-sig"), "line 1: the byte order mark of utf-8;"),
            ("windows-1252", TEXT.encode("utf-16"), "line 1: the byte order mark of utf-16-le;"),
            ("utf-16-be", TEXT.encode("utf-16"), "line 1: the byte order mark of utf-16-le;"),
            ("utf-8", TEXT.encode("utf-16"), "line 1: UTF-16"),
            ("utf-8", TEXT.encode("cp1252"), "line 2: not UTF-8 (byte 0xeb)"),
        ],
    )
    def test_a_file_in_another_one_is_refused_with_its_place(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        encoding: str,
        data: bytes,
        says: str,
        block: int,
    ) -> None:
        if encoding != "utf-8":  # its byte order mark is looked for in the first block
            monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
        wanted = dataset(*AB, dialect={"encoding": encoding})
        reason, message = refuse(tmp_path, wanted, {"a.csv": data})
        assert reason == "encoding"
        assert message.startswith(f"a.csv: {says}")
        assert "; write " in message

    def test_an_empty_file_is_empty_in_any_encoding(self, tmp_path: Path) -> None:
        wanted = dataset(*AB, dialect={"encoding": "utf-16"})
        assert refuse(tmp_path, wanted, {"a.csv": b""})[0] == "empty"

    def test_lines_of_bad_rows_are_those_of_the_file(self, tmp_path: Path) -> None:
        wanted = dataset(column("a", "integer"), column("b"), dialect={"encoding": "utf-16"})
        text = 'a,b\r\n1,"x\r\ny"\r\nbad,é\r\n'
        outcome = check(tmp_path, wanted, {"a.csv": text.encode("utf-16")})
        assert outcome.faults == [(4, ["a: not an integer"])]
        assert outcome.rejected[0]["row"]["b"] == "é"


class TestDelimiters:
    @pytest.mark.parametrize("delimiter", [";", "|", "\t", "^", "\x01", "~", " ", "*", "]", "\\"])
    def test_any_character_may_be_one(self, tmp_path: Path, delimiter: str) -> None:
        data = 'a,b\n1,"x,\n""y"\n2,\n'.replace(",", delimiter)
        found = rows(tmp_path, data, delimiter=delimiter)
        assert found == [("1", f'x{delimiter}\n"y'), ("2", None)]

    def test_a_tsv_file_has_tabs_whatever_it_is(self, tmp_path: Path) -> None:
        assert rows(tmp_path, "a\tb\n1\t2\n", "a.tsv", delimiter=";") == [("1", "2")]

    def test_in_a_tsv_file_without_quotes_a_tab_may_be_escaped(self, tmp_path: Path) -> None:
        text = 'a\tb\nx\\\ty\t"z\n'
        assert rows(tmp_path, text, "a.tsv", escapeChar="\\") == [("x\ty", '"z')]

    def test_fields_of_a_tsv_file_are_in_quotes_only_where_that_is_said(
        self, tmp_path: Path
    ) -> None:
        text = 'a\tb\n"1"\t5" x\n'
        assert rows(tmp_path, text, "a.tsv") == [('"1"', '5" x')]
        (tmp_path / "x").mkdir()
        assert rows(tmp_path / "x", text, "a.tsv", quoteChar='"') == [("1", '5" x')]

    def test_the_columns_of_a_file_with_another_one_are_missing(self, tmp_path: Path) -> None:
        wanted = dataset(*AB, dialect={"delimiter": "^"})
        message = refuse(tmp_path, wanted, {"a.csv": "a,b\n1,2\n"})[1]
        assert "the separator seems to be a comma; expected '^'" in message


class TestQuotesAndEscapes:
    @pytest.mark.parametrize(
        ("written", "value"),
        [
            (r'"say \"hi\""', 'say "hi"'),
            (r'"a\\b"', r"a\b"),
            (r'"C:\temp, x"', r"C:\temp, x"),
            (r"C:\temp", r"C:\temp"),
            (r'"ends with \\"', "ends with \\"),
            (r'"\\\""', '\\"'),
            ('"two\nlines \\"and\\" more"', 'two\nlines "and" more'),
            ('"doubled ""too"""', 'doubled "too"'),
            (r"\N", r"\N"),
            ('5" pipe \\', '5" pipe \\'),
            (r'""', None),
        ],
    )
    @pytest.mark.parametrize("block", [5, 4 << 20])
    def test_spark_and_postgres_escape_quotes_with_a_backslash(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        written: str,
        value: str | None,
        block: int,
    ) -> None:
        monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
        data = f'a,b\n{written},x\n"p\\"q",{written}\n'
        assert rows(tmp_path, data, escapeChar="\\") == [(value, "x"), ('p"q', value)]

    def test_other_quotes(self, tmp_path: Path) -> None:
        data = "a,b\n'x, \"y\"','it''s'\n\"q\",5\" pipe\n"
        found = rows(tmp_path, data, quoteChar="'")
        assert found == [('x, "y"', "it's"), ('"q"', '5" pipe')]

    def test_no_quotes_at_all(self, tmp_path: Path) -> None:
        data = 'a|b\n"x|5" pipe\n"y"|it\'s\n'
        found = rows(tmp_path, data, quoteChar=None, delimiter="|")
        assert found == [('"x', '5" pipe'), ('"y"', "it's")]

    @pytest.mark.parametrize("block", [5, 4 << 20])
    def test_without_quotes_a_delimiter_and_a_line_end_may_be_escaped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        """As MySQL, Hive and Redshift's UNLOAD … ESCAPE write them."""
        monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
        data = 'a|b\nx\\|y|two\\\nlines\n\\\\|\\N\n"q\\|"|"r"\nC:\\temp|\\\\\\\\\n'
        wanted = dataset(
            *AB,
            dialect={"quoteChar": None, "delimiter": "|", "escapeChar": "\\"},
            missingValues=["", "\\N"],
        )
        outcome = check(tmp_path, wanted, {"a.csv": data})
        assert outcome.rows == [
            ("x|y", "two\nlines"),
            ("\\", None),
            ('"q|"', '"r"'),
            ("C:\\temp", "\\\\"),
        ]

    def test_a_bad_row_keeps_its_line(self, tmp_path: Path) -> None:
        wanted = dataset(column("a", "integer"), column("b"), dialect={"escapeChar": "\\"})
        data = 'a,b\n1,"x\n\\"y"\nbad,"\\"z"\n2,3,4\n'
        outcome = check(tmp_path, wanted, {"a.csv": data})
        assert outcome.faults == [
            (4, ["a: not an integer"]),
            (5, ["row: 3 fields, expected 2"]),
        ]
        assert outcome.rejected[0]["row"] == {"a": "bad", "b": '"z'}

    @pytest.mark.parametrize("block", [16, 4 << 20])
    @pytest.mark.parametrize(
        ("bad", "dialect"),
        [
            ("2,3,4", {"escapeChar": "\\"}),
            (r'"\"z",3,4', {"escapeChar": "\\"}),
            ('"two\n\\"lines",3,4', {"escapeChar": "\\"}),
            ("'it''s',3,4", {"quoteChar": "'"}),
            (r'x\,y,"3",4', {"quoteChar": None, "escapeChar": "\\"}),
            ('5" pipe,3,4', {}),
            ("2, 3 ,4", {}),
        ],
    )
    def test_a_bad_row_is_kept_as_it_stands_in_the_file(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        bad: str,
        dialect: dict[str, Any],
        block: int,
    ) -> None:
        monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
        data = f'a,b\r\nx,5" y\r\n\r\n{bad}\r\nx,y\\z\r\n{bad}\r\n'
        outcome = check(tmp_path, dataset(*AB, dialect=dialect), {"a.csv": data})
        lines = bad.count("\n")
        assert [row["line"] for row in outcome.rejected] == [4, 6 + lines]
        assert [row["text"] for row in outcome.rejected] == [bad, bad]

    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_a_last_row_that_ends_in_an_escape_has_no_open_quote(
        self, tmp_path: Path, name: str
    ) -> None:
        wanted = dataset(*AB, dialect={"quoteChar": None, "escapeChar": "\\"})
        text = "a,b\n1,2\n3,4\\\n".replace(",", "\t" if name == "a.tsv" else ",")
        reason, message = refuse(tmp_path, wanted, {name: text})
        assert reason == "quoting"
        assert message.startswith(f"{name}: line 3: the row ends in an escape, at the end of")

    def test_a_quote_that_stays_open_is_named_with_its_line(self, tmp_path: Path) -> None:
        wanted = dataset(*AB, dialect={"escapeChar": "\\"})
        reason, message = refuse(tmp_path, wanted, {"a.csv": 'a,b\n1,2\n3,"x\\"\n4,5\n'})
        assert reason == "open-quote"
        assert message.startswith("a.csv: line 3: a quote is opened and never closed")

    @pytest.mark.parametrize("seed", range(20))
    def test_what_is_written_so_is_read_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
    ) -> None:
        chance = random.Random(seed)
        monkeypatch.setattr(source_module, "BLOCK_BYTES", chance.choice([7, 50, 4 << 20]))
        quote = chance.choice(["'", '"'])

        def written(text: str) -> str:
            inner = text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
            return f"{quote}{inner}{quote}"

        numbered = random_rows(chance, "ab,;'\"\\\n")
        lines = (f"{n};{written(a)};{written(b)}\n" for n, a, b in numbered)
        dialect = {"quoteChar": quote, "escapeChar": "\\", "delimiter": ";"}
        outcome = check(
            tmp_path, dataset(*NAB, dialect=dialect), {"a.csv": "n;a;b\n" + "".join(lines)}
        )
        assert outcome.rows == numbered

    @pytest.mark.parametrize("seed", range(10))
    def test_other_quotes_are_read_as_pythons_csv_reads_them(
        self, tmp_path: Path, seed: int
    ) -> None:
        numbered = random_rows(random.Random(seed), "ab,'\"\n")
        file = io.StringIO(newline="")
        writer = csv.writer(file, quotechar="'", lineterminator="\n")
        writer.writerows([("n", "a", "b"), *numbered])
        wanted = dataset(*NAB, dialect={"quoteChar": "'"})
        assert check(tmp_path, wanted, {"a.csv": file.getvalue()}).rows == numbered


NAB = (column("n", "integer"), *AB)


def random_rows(chance: random.Random, letters: str) -> list[tuple[int, str, str]]:
    """Rows whose texts hold whatever is written in another way, and no lines that are rows."""

    def text() -> str:
        return "".join(chance.choices(letters, k=chance.randint(1, 8)))

    return [(number, text(), text()) for number in range(20)]


class TestHeaders:
    def test_without_one_the_names_are_those_of_the_schema(self, tmp_path: Path) -> None:
        assert rows(tmp_path, "1,2\n3,4\n", header=False) == [("1", "2"), ("3", "4")]

    def test_a_row_of_another_width_is_bad(self, tmp_path: Path) -> None:
        wanted = dataset(*AB, dialect={"header": False})
        outcome = check(tmp_path, wanted, {"a.csv": "1,2\n1\n1,2,3\n"})
        assert outcome.faults == [
            (2, ["row: 1 field, expected 2"]),
            (3, ["row: 3 fields, expected 2"]),
        ]

    def test_a_file_without_rows_has_none(self, tmp_path: Path) -> None:
        assert rows(tmp_path, "", header=False) == []

    def test_parquet_and_json_have_names_anyway(self, tmp_path: Path) -> None:
        assert rows(tmp_path, '{"b": "2", "a": "1"}\n', "a.jsonl", header=False) == [("1", "2")]

    @pytest.mark.parametrize("block", [1, 9, 4 << 20])
    def test_lines_before_it_may_be_skipped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        monkeypatch.setattr(source_module, "BLOCK_BYTES", block)
        wanted = dataset(column("a", "integer"), column("b"), dialect={"skipRows": 2})
        data = 'Report of "today\n\na,b\n1,2\nx,2\n'
        outcome = check(tmp_path, wanted, {"a.csv": data})
        assert (outcome.rows, outcome.faults) == ([(1, "2")], [(5, ["a: not an integer"])])

    @pytest.mark.parametrize("data", ["", "x\n", "x\ny\n", "x\ny"])
    def test_a_file_that_ends_before_is_empty(self, tmp_path: Path, data: str) -> None:
        wanted = dataset(*AB, dialect={"skipRows": 2})
        assert refuse(tmp_path, wanted, {"a.csv": data})[0] == "empty"


class TestNumbersAndBooleans:
    @pytest.mark.parametrize(
        ("type_", "settings", "text", "value"),
        [
            ("number", {"decimalChar": ","}, "1,5", 1.5),
            ("number", {"decimalChar": ","}, "-,5e1", -5.0),
            ("number", {"decimalChar": ","}, "7", 7.0),
            ("number", {"decimalChar": ",", "groupChar": "."}, "1.234.567,89", 1234567.89),
            ("number", {"decimalChar": ",", "groupChar": "."}, "1234567,89", 1234567.89),
            ("number", {"groupChar": ","}, "-12,345.5", -12345.5),
            ("number", {"groupChar": "'"}, "1'234.50", 1234.5),
            ("number", {"decimalChar": ",", "groupChar": "\u00a0"}, "1\u00a0234,5", 1234.5),
            ("integer", {"groupChar": "."}, "+1.234.567", 1234567),
            ("integer", {"groupChar": "^"}, "1^234", 1234),
            ("boolean", {"trueValues": ["J"], "falseValues": ["N"]}, "J", True),
            ("boolean", {"trueValues": ["J"], "falseValues": ["N", "-"]}, "-", False),
            ("boolean", {"trueValues": ["yes"]}, "false", False),
        ],
    )
    def test_a_value_in_the_words_of_the_producer_is_read(
        self, tmp_path: Path, type_: str, settings: dict[str, Any], text: str, value: Any
    ) -> None:
        wanted = dataset(column("x", type_, **settings), dialect={"delimiter": ";"})
        files = {"a.csv": f"x\n{text}\n", "b.jsonl": f'{{"x": "{text}"}}\n'}
        files_of_all: dict[str, str | bytes] = {
            **files,
            "c.parquet": parquet(pl.DataFrame({"x": [text]})),
        }
        outcome = check(tmp_path, wanted, files_of_all)
        assert (outcome.rows, outcome.rejected) == ([(value,)] * 3, [])

    @pytest.mark.parametrize(
        ("type_", "settings", "text"),
        [
            ("number", {"decimalChar": ","}, "1.5"),
            ("number", {"decimalChar": ","}, "1,2,3"),
            ("number", {"decimalChar": ",", "groupChar": "."}, "1.5"),
            ("number", {"decimalChar": ",", "groupChar": "."}, "1.2345"),
            ("number", {"decimalChar": ",", "groupChar": "."}, "1.234.56"),
            ("number", {"decimalChar": ",", "groupChar": "."}, "1234.567"),
            ("number", {"decimalChar": ",", "groupChar": "."}, "1,234.5"),
            ("number", {"decimalChar": ",", "groupChar": "."}, ".234"),
            ("number", {"decimalChar": ",", "groupChar": "."}, ","),
            ("number", {"decimalChar": ",", "groupChar": "."}, ""),
            ("number", {"decimalChar": ",", "groupChar": "."}, "0.125"),
            ("number", {"decimalChar": ",", "groupChar": "."}, "-012.500"),
            ("number", {"groupChar": ","}, "1,23"),
            ("number", {"groupChar": ","}, "1.234,567"),
            ("number", {"groupChar": " "}, " 1"),
            ("integer", {"groupChar": "."}, "1.23"),
            ("integer", {"groupChar": "."}, "1.234.5"),
            ("boolean", {"trueValues": ["J"], "falseValues": ["N"]}, "true"),
            ("boolean", {"trueValues": ["J"], "falseValues": ["N"]}, "j"),
        ],
    )
    def test_another_value_is_none(
        self, tmp_path: Path, type_: str, settings: dict[str, Any], text: str
    ) -> None:
        """A decimal point where a group is expected would be a number a thousand times as large."""
        wanted = dataset(
            column("x", type_, **settings), dialect={"delimiter": ";"}, missingValues=["NA"]
        )
        outcome = check(tmp_path, wanted, {"a.csv": f'x\n"{text}"\n'})
        assert [len(reasons) for _, reasons in outcome.faults] == [1]
        assert "x: not a" in outcome.faults[0][1][0]

    def test_numbers_and_booleans_of_json_and_parquet_need_no_words(self, tmp_path: Path) -> None:
        """Whatever else is in their column."""
        wanted = dataset(
            column("x", "number", decimalChar=",", groupChar="."),
            column("y", "boolean", trueValues=["J"], falseValues=["N"]),
            column("n", "integer", groupChar="."),
        )
        lines = [
            '{"x": 1.5, "y": true, "n": 1000}',
            '{"x": "1,5", "y": "N", "n": "1.000"}',
            '{"x": 1234567.5, "y": false, "n": 2000.0}',
            '{"x": 1e30, "y": null, "n": 1}',
        ]
        frame = pl.DataFrame({"x": [1.5], "y": [True], "n": [1000]})
        outcome = check(
            tmp_path, wanted, {"a.jsonl": "\n".join(lines), "b.parquet": parquet(frame)}
        )
        assert outcome.rejected == []
        assert outcome.rows == [
            (1.5, True, 1000),
            (1.5, False, 1000),
            (1234567.5, False, 2000),
            (1e30, None, 1),
            (1.5, True, 1000),
        ]

    @pytest.mark.parametrize("group", [".", ","])
    def test_a_json_number_with_a_fraction_is_no_integer_with_groups(
        self, tmp_path: Path, group: str
    ) -> None:
        wanted = dataset(column("x", "integer", groupChar=group))
        values = ["1.234", "0.125", "1234.0", f'"1{group}234"']
        lines = "".join(f'{{"x": {value}}}\n' for value in values)
        outcome = check(tmp_path, wanted, {"a.jsonl": lines})
        assert outcome.rows == [(1234,), (1234,)]
        assert outcome.faults == [(n, ["x: not an integer"]) for n in (1, 2)]
