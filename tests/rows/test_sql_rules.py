"""Rules over a whole row and a whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.dataset.schema import Dataset
from flagfall.errors import BatchInvalid, DatasetInvalid
from flagfall.rows import checked_files as check_module
from flagfall.rows import source as source_module
from flagfall.rows.rules import check_rules
from tests.rows.feeds_with_settings import column, dataset, parquet
from tests.rows.test_checked_files import check, refuse

COLUMNS = (
    column("id", "integer"),
    column("net", "number"),
    column("gross", "number"),
    column("day", "date"),
    column("name"),
)


def ruled(expr: str, severity: str = "drop", **table: Any) -> Dataset:
    rule = {"name": "gross is more", "expr": expr, "severity": severity}
    return dataset(*COLUMNS, rules=[rule], **table)


HEADER = "id,net,gross,day,name"
ROWS = f"{HEADER}\n1,2,3,2013-01-31,a\n2,3,1,2013-01-31,b\n3,,1,2013-01-31,c\n4,9,1,2013-02-01,d\n"


class TestRowRules:
    def test_a_row_that_breaks_one_is_rejected_with_its_name(self, tmp_path: Path) -> None:
        outcome = check(tmp_path, ruled("gross >= net"), {"a.csv": ROWS})
        reasons = ["rule: gross is more"]
        assert outcome.faults == [(3, reasons), (5, reasons)]
        assert [row[0] for row in outcome.rows] == [1, 3]
        assert outcome.checked.reasons == {"rule: gross is more": 2}

    def test_a_row_for_which_it_is_unknown_passes(self, tmp_path: Path) -> None:
        """As with CHECK in SQL: row 3 has no net."""
        assert 3 in [row[0] for row in check(tmp_path, ruled("gross >= net"), {"a.csv": ROWS}).rows]

    def test_it_may_only_warn(self, tmp_path: Path) -> None:
        outcome = check(tmp_path, ruled("gross >= net", "warn"), {"a.csv": ROWS})
        assert (len(outcome.rows), outcome.rejected) == (4, [])
        assert outcome.checked.warnings == {"rule: gross is more": 2}
        assert outcome.checked.refusal is None

    def test_without_a_row_that_breaks_it_there_is_no_warning(self, tmp_path: Path) -> None:
        assert check(tmp_path, ruled("id > 0", "warn"), {"a.csv": ROWS}).checked.warnings == {}

    @pytest.mark.parametrize("form", ["csv", "parquet"])
    def test_it_may_reject_the_batch(self, tmp_path: Path, form: str) -> None:
        frame = pl.read_csv(ROWS.encode())
        files: dict[str, str | bytes] = {
            "a.csv": f"{HEADER}\n1,1,1,,\n",
            "b.csv": ROWS,
        }
        if form == "parquet":
            files["b.parquet"] = parquet(frame)
            del files["b.csv"]
        refusal = check(tmp_path, ruled("gross >= net", "reject"), files).checked.refusal
        place = "b.csv: line 3" if form == "csv" else "b.parquet: row 2"
        assert isinstance(refusal, BatchInvalid)
        assert refusal.reason == "rule"
        assert str(refusal) == (
            f"{place}: the row breaks the rule 'gross is more', as 2 of 5 rows do; correct them"
        )

    def test_rows_that_are_rejected_anyway_count_for_no_warning(self, tmp_path: Path) -> None:
        wanted = ruled("gross >= net", "warn", primaryKey=["id"])
        text = f"{ROWS}2,3,1,2013-01-31,repeats\nx,3,1,,\n"
        outcome = check(tmp_path, wanted, {"a.csv": text})
        assert outcome.checked.rejected_rows == 2
        assert outcome.checked.warnings == {"rule: gross is more": 2}

    def test_rows_of_all_blocks_are_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(source_module, "BLOCK_BYTES", 64)
        monkeypatch.setattr(check_module, "GROUP_ROWS", 1)
        rows = "".join(f"{n},2,{1 if n % 10 == 3 else 3},,\n" for n in range(100))
        wanted = ruled("gross >= net", "reject")
        checked = check(tmp_path, wanted, {"a.csv": f"{HEADER}\n{rows}"}).checked
        assert str(checked.refusal).startswith("a.csv: line 5: ")
        assert "10 of 100 rows do" in str(checked.refusal)

    @pytest.mark.parametrize(
        "expr",
        [
            "day >= DATE '2013-01-01'",
            "name IN ('a', 'b') OR name IS NULL",
            "CASE WHEN net > 1 THEN gross > 0 ELSE TRUE END",
            "EXTRACT(YEAR FROM day) = 2013 AND name LIKE 'a%'",
            "COALESCE(net, 0) BETWEEN 0 AND 10",
            "ABS(net - gross) < 0.01",
            "name ~ '^(Agg|Over|Len)$'",
            "name <> 'Len'",
            "name <> 'current_date'",
            "TRY_CAST(name AS INTEGER) IS NULL",
            "SUBSTR(name, 1, 2) = LEFT(name, 2)",
            "LPAD(RIGHT(name, 1), 3, '0') <> '00x'",
            "day - DATE '2013-01-01' <= INTERVAL '5 days'",
            "day BETWEEN DATE '2013-01-01' AND DATE '2014-01-01'",
            "CAST(name AS INTEGER) > 1",
            "STRPTIME(name, '%d.%m.%Y') > day",
            "STRPTIME(CAST(id AS VARCHAR), '%Y%m%d') <= day",
            "DATE(name, '%d.%m.%Y') > day",
            "STRPTIME(CONCAT(name, ' 2013'), '%d.%m. %Y') > day",
            "STRPTIME(name, '%d.%m.%Y') > day AND CAST(name AS INTEGER) > 1",
            "CAST(net AS TINYINT) = 1",
            "CASE WHEN name ~ '^[0-9]+$' THEN CAST(name AS BIGINT) > 5 END",
        ],
    )
    def test_what_sql_can_say_of_a_row_can_be_a_rule(self, expr: str) -> None:
        check_rules(ruled(expr))

    def test_a_rule_that_cannot_be_computed_on_a_row_rejects_the_batch(
        self, tmp_path: Path
    ) -> None:
        reason, message = refuse(tmp_path, ruled("CAST(name AS INTEGER) > 0"), {"a.csv": ROWS})
        assert reason == "rule"
        assert message.startswith("the rule 'gross is more' cannot be computed: conversion from")
        assert message.endswith("; use TRY_CAST instead of CAST, then replay the batch")

    def test_a_remedy_is_named_only_where_it_helps(self, tmp_path: Path) -> None:
        _, message = refuse(tmp_path, ruled("STRPTIME(name, '%d.%m.%Y') > day"), {"a.csv": ROWS})
        assert "TRY_CAST" not in message
        assert "; instead of STRPTIME give the column a type of times and its format" in message


class TestRulesThatCannotBe:
    @pytest.mark.parametrize(
        ("expr", "says"),
        [
            ("nope > 1", 'unable to find column "nope"'),
            ("name > 1", "cannot compare string with numeric type"),
            ("net >", "expected an SQL expression"),
            ("net > 1; gross > 1", "expected an SQL expression"),
            ("", "expected an SQL expression"),
            ("*", "expected an SQL expression"),
            ('"^.*t$" > 1', "names of columns"),
            ("COLUMNS('net') > 1", "names of columns"),
            ("TRUE", "names of columns"),
            ("net + gross", "true or false, got Float64"),
            ("net > AVG(net)", "one row"),
            ("SUM(net) > 1", "one row"),
            ("net > QUANTILE_CONT(net, 0.5)", "one row"),
            ("CORR(net, gross) > net", "one row"),
            ("day <= CURRENT_DATE", "the same value tomorrow"),
            ("day <= current_timestamp", "the same value tomorrow"),
            ("day <= NOW ()", "the same value tomorrow"),
            ("day <= LOCALTIMESTAMP", "the same value tomorrow"),
            ("COUNT(*) > id", "one row"),
            ("day >= 2013-01-01", "DATE '2020-01-31'"),
            ("net > 1 AND day - DATE '2013-01-01' <= 30", "INTERVAL '5 days'"),
            ("LAG(net) OVER (ORDER BY id) > 1", "one row"),
            ("ROW_NUMBER() OVER (ORDER BY id) > net", "one row"),
            ("net > (SELECT 1)", "one row"),
            (" OR ".join(f"id = {number}" for number in range(3_000)), "shorter expression"),
            ("net IN (VALUES (1))", "one row"),
            ("EXISTS (SELECT 1) AND net > 1", "one row"),
            ("CAST(name AS DATE) >= DATE '2020-01-01'", "not supported; give the column a type of"),
            ("TRY_CAST(name AS DATE) >= DATE '2020-01-01'", "casting from string to date"),
            (
                "name::timestamp > TIMESTAMP '2020-01-01 00:00:00'",
                "casting from string to datetime",
            ),
            ("CAST(name AS TIME) > TIME '10:00:00'", "casting from string to time"),
            ("CAST(name AS BOOLEAN)", "Boolean not supported"),
            ("NOT name", "Boolean not supported; compare it, as in COLUMN = 'true'"),
            ("CAST(day AS BOOLEAN)", "from Date to Boolean not supported"),
            ("net > 1 AND CAST(day AS TIME) > TIME '10:00:00'", "Date to Time not supported"),
            ("CAST(name AS INTEGER[]) IS NULL", "list type is not supported"),
            ("CAST(name AS INTEGER) > 1 AND TRY_CAST(name AS DATE) > day", "string to date"),
            ("CASE WHEN name = 'x' THEN CAST(name AS DATE) > day END", "string to date"),
            ("STRPTIME(name, '%d.%m.%Y') > day OR NOT name", "Boolean not supported"),
            ("STRPTIME(name, '%Y-%W') > day", "STRPTIME cannot read what is written as '%Y-%W'"),
            ("DATE(name) > day", "write it, as in DATE(x, '%d.%m.%Y')"),
            ("net > 1 OR TIMESTAMP(name) > day", "guessed from the first row"),
            ("TIME(name) > TIME '10:00:00'", "guessed from the first row"),
        ],
        ids=lambda text: text[:40],
    )
    def test_it_is_refused_with_its_place(self, expr: str, says: str) -> None:
        with pytest.raises(DatasetInvalid) as caught:
            check_rules(ruled(expr))
        (problem,) = caught.value.problems
        assert problem.key == "schema.rules[0].expr"
        assert says in problem.message

    @pytest.mark.parametrize(
        "query",
        ["SELECT column_1 FROM {}", "FROM {}", "SELECT 1 FROM {} AS x"],
    )
    @pytest.mark.parametrize("call", ["read_csv", "READ_CSV", '"read_csv"', "read_csv /* x */ "])
    def test_it_reads_no_file(self, tmp_path: Path, query: str, call: str) -> None:
        secret = tmp_path / "secret.csv"
        secret.write_text("password\nhunter2\n")
        table = f"{call}('{secret}')"
        expr = f"name IN ({query.format(table)})"
        with pytest.raises(DatasetInvalid) as caught:
            check_rules(ruled(expr))
        assert "expected no function that reads a file" in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert "password" not in str(caught.value)


class TestRowCount:
    def counted(self, tmp_path: Path, **rows: Any) -> Any:
        wanted = dataset(column("id", "integer"), rows=rows)
        return check(tmp_path, wanted, {"a.csv": "id\n1\nx\n", "b.csv": "id\n3\n"}).checked

    @pytest.mark.parametrize("rows", [{"minimum": 3}, {"maximum": 3}, {"minimum": 1, "maximum": 5}])
    def test_bad_rows_count_too(self, tmp_path: Path, rows: dict[str, int]) -> None:
        checked = self.counted(tmp_path, **rows)
        assert (checked.refusal, checked.warnings) == (None, {})

    @pytest.mark.parametrize(
        ("rows", "reason", "says"),
        [
            ({"minimum": 4}, "too-few-rows", "the batch has 3 rows, expected at least 4"),
            ({"maximum": 2}, "too-many-rows", "the batch has 3 rows, expected at most 2"),
        ],
    )
    def test_a_batch_with_another_number_is_rejected(
        self, tmp_path: Path, rows: dict[str, int], reason: str, says: str
    ) -> None:
        refusal = self.counted(tmp_path, **rows).refusal
        assert refusal.reason == reason
        assert str(refusal).startswith(says)

    def test_or_it_only_warns(self, tmp_path: Path) -> None:
        checked = self.counted(tmp_path, minimum=4, severity="warn")
        assert (checked.refusal, checked.warnings) == (None, {"rows: fewer than 4": 3})


class TestMissingValues:
    def missing(self, tmp_path: Path, text: str, **missing: Any) -> Any:
        wanted = dataset(column("id", "integer"), column("name", missing=missing))
        return check(tmp_path, wanted, {"a.csv": text}).checked

    def test_so_many_may_be_missing(self, tmp_path: Path) -> None:
        checked = self.missing(tmp_path, "id,name\n1,a\n2,\n", maximum=0.5)
        assert (checked.refusal, checked.warnings) == (None, {})

    def test_where_more_are_missing_the_batch_is_rejected(self, tmp_path: Path) -> None:
        refusal = self.missing(tmp_path, "id,name\n1,a\n2,\n3,\n", maximum=0.5).refusal
        assert refusal.reason == "missing-values"
        assert str(refusal).startswith("name: 2 of 3 rows have no value, more than 50%")

    def test_or_it_only_warns(self, tmp_path: Path) -> None:
        checked = self.missing(tmp_path, "id,name\n1,\n", maximum=0.005, severity="warn")
        assert checked.warnings == {"name: more than 0.5% missing": 1}

    def test_a_batch_without_rows_lacks_nothing(self, tmp_path: Path) -> None:
        assert self.missing(tmp_path, "id,name\n", maximum=0.0).refusal is None

    def test_only_rows_that_are_accepted_count(self, tmp_path: Path) -> None:
        checked = self.missing(tmp_path, "id,name\n1,a\nx,\ny,\n", maximum=0.0)
        assert (checked.rows, checked.refusal) == (1, None)
