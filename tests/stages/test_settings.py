"""Settings of a schema and a dialect: from the dataset file over a whole ingest to the receipt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.lake.records import Receipt, Staged
from flagfall.stages.ingest import ingest
from tests.feeds import ToyFeed

DAY = "2026-11-01"


def feed(root: Path, columns: str, more: str = "", dialect: str = "") -> ToyFeed:
    """A feed; ``more`` is YAML of its schema, one key a line."""
    text = f"""\
title: A toy feed
landing: {{uri: {root}/landing, marker: "date={{date}}/datapackage.json"}}
lake: {{uri: {root}/lake}}
thresholds: {{rejected_share: 0.5}}
{dialect and f"dialect: {dialect}"}
schema:
  fields: {columns}
{more}
"""
    path = root / "datasets/toy.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return ToyFeed(root, read_dataset(path))


def take_in(toy: ToyFeed, text: str | bytes, name: str = "rows.csv") -> Receipt:
    marker = toy.drop(DAY, text, name)
    receipt = ingest(toy.dataset, toy.inbox(), marker)
    assert receipt is not None
    return receipt


def rows_of(toy: ToyFeed, receipt: Receipt) -> list[tuple[Any, ...]]:
    lake = toy.inbox().lake
    record = lake.find(Staged, receipt.batch_id)
    assert record is not None
    return [row for path in lake.parts(record, toy.root) for row in pl.read_parquet(path).rows()]


ID_LATE = "[{name: id, type: integer}, {name: late, type: boolean, optional: true}]"


def test_a_column_may_be_optional(tmp_path: Path) -> None:
    receipt = take_in(feed(tmp_path, ID_LATE), "id\n1\n2\n")
    assert (receipt.status, receipt.rows, receipt.remarks) == ("accepted", 2, "")


def test_columns_that_the_dataset_does_not_name_are_in_the_receipt(tmp_path: Path) -> None:
    receipt = take_in(feed(tmp_path, ID_LATE), "id,\x1b[31m\n1,2\n")
    assert (receipt.status, receipt.unexpected) == ("accepted", ("\\x1b[31m",))
    assert receipt.remarks == "columns that the dataset does not name: '\\x1b[31m'"


def test_or_they_reject_the_batch(tmp_path: Path) -> None:
    receipt = take_in(feed(tmp_path, ID_LATE, "  unexpected: reject"), "id,x\n1,2\n")
    assert (receipt.status, receipt.reason) == ("rejected", "columns")
    assert "rows.csv: columns that the dataset does not name: 'x'; leave" in receipt.message


AMOUNTS = "[{name: net, type: number}, {name: gross, type: number}]"


def with_rule(root: Path, severity: str) -> ToyFeed:
    rule = f"{{name: gross is more, expr: gross >= net, severity: {severity}}}"
    return feed(root, AMOUNTS, f"  rules: [{rule}]")


def test_a_rule_may_warn(tmp_path: Path) -> None:
    receipt = take_in(with_rule(tmp_path, "warn"), "net,gross\n1,2\n2,1\n")
    assert (receipt.status, receipt.rows) == ("accepted", 2)
    assert receipt.warnings == {"rule: gross is more": 1}
    assert receipt.remarks == "rule: gross is more (1 row)"


def test_a_rule_may_reject_rows(tmp_path: Path) -> None:
    receipt = take_in(with_rule(tmp_path, "drop"), "net,gross\n1,2\n2,1\n")
    assert (receipt.status, receipt.rows, receipt.rejected_rows) == ("accepted", 1, 1)
    assert receipt.reasons == {"rule: gross is more": 1}


def test_a_rule_may_reject_the_batch(tmp_path: Path) -> None:
    toy = with_rule(tmp_path, "reject")
    receipt = take_in(toy, "net,gross\n1,2\nx,2\n2,1\n")
    assert (receipt.status, receipt.reason) == ("rejected", "rule")
    assert f"date={DAY}/rows.csv: line 4: the row breaks the rule" in receipt.message
    rows = toy.root / "lake/toy/rejected" / receipt.batch_id / "rows.jsonl"
    assert "net: not a number" in rows.read_text()
    assert toy.inbox().lake.find(Staged, receipt.batch_id) is None


def test_too_many_bad_rows_are_said_before_a_rule_is(tmp_path: Path) -> None:
    receipt = take_in(with_rule(tmp_path, "reject"), "net,gross\nx,2\nx,2\n2,1\n")
    assert receipt.reason == "too-many-bad-rows"


def test_a_batch_with_too_few_rows_is_rejected(tmp_path: Path) -> None:
    receipt = take_in(feed(tmp_path, AMOUNTS, "  rows: {minimum: 2}"), "net,gross\n1,2\n")
    assert (receipt.status, receipt.reason) == ("rejected", "too-few-rows")


def test_a_batch_that_lacks_too_many_values_is_rejected(tmp_path: Path) -> None:
    columns = "[{name: id, type: integer}, {name: x, type: number, missing: {maximum: 0.1}}]"
    receipt = take_in(feed(tmp_path, columns), "id,x\n1,1\n2,\n")
    assert (receipt.status, receipt.reason) == ("rejected", "missing-values")


GERMAN = (
    '[{name: id, type: integer}, {name: amount, type: number, decimalChar: ",", groupChar: "."},'
    " {name: paid, type: boolean, trueValues: [ja], falseValues: [nein]},"
    " {name: town, type: string}]"
)
EXCEL = 'Bericht\r\n\r\nid;amount;paid;town\r\n1;1.234,5;ja;"Köln; Süd"\r\n2;1.5;nein;Münster\r\n'


@pytest.mark.parametrize("encoding", ["windows-1252", "utf-16"])
def test_what_a_german_excel_writes_is_taken_in(tmp_path: Path, encoding: str) -> None:
    dialect = f'{{encoding: {encoding}, delimiter: ";", skipRows: 2}}'
    toy = feed(tmp_path, GERMAN, dialect=dialect)
    receipt = take_in(toy, EXCEL.encode(encoding))
    assert (receipt.status, receipt.rows, receipt.rejected_rows) == ("accepted", 1, 1)
    assert rows_of(toy, receipt) == [(1, 1234.5, True, "Köln; Süd")]
    rejected = toy.root / "lake/toy/rejected" / receipt.batch_id / "rows.jsonl"
    bad = json.loads(rejected.read_text(encoding="utf-8"))
    assert (bad["line"], bad["reasons"]) == (5, ["amount: not a number"])
    assert bad["row"]["town"] == "Münster"


def test_a_file_in_another_encoding_is_one_clear_rejection(tmp_path: Path) -> None:
    dialect = '{encoding: utf-16, delimiter: ";", skipRows: 2}'
    receipt = take_in(feed(tmp_path, GERMAN, dialect=dialect), EXCEL.encode("cp1252"))
    assert (receipt.status, receipt.reason) == ("rejected", "encoding")
    assert f"date={DAY}/rows.csv: line 1: no byte order mark of UTF-16" in receipt.message


def test_what_spark_writes_is_taken_in(tmp_path: Path) -> None:
    columns = "[{name: id, type: integer}, {name: text, type: string}]"
    toy = feed(tmp_path, columns, dialect='{escapeChar: "\\\\", header: false}')
    receipt = take_in(toy, '1,"say \\"hi\\", twice"\n2,C:\\temp\n')
    assert rows_of(toy, receipt) == [(1, 'say "hi", twice'), (2, "C:\\temp")]


def test_a_receipt_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    written = take_in(feed(tmp_path, ID_LATE), "id\n1\n")
    fields = written.model_dump(mode="json", exclude={"warnings", "unexpected"})
    assert Receipt.model_validate(fields).remarks == ""
