"""The judge of the campaign can say no."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.faults import harm
from tests.faults.comparison import Comparison, DiskFiles
from tests.faults.producer import Drop


@pytest.fixture
def judge(tmp_path: Path) -> Comparison:
    assert harm.month_without_airflow(tmp_path).verdict.is_clean
    return Comparison(DiskFiles(tmp_path / "lake/toy"), ["id"])


def staged(root: Path, judge: Comparison, drop: Drop) -> Path:
    folder = root / "lake/toy/staged" / judge.receipts[drop.key][0]["batch_id"]
    return folder / json.loads((folder / "record.json").read_text())["parts"][0]["name"]


def test_it_tells_what_is_lost_what_is_there_twice_and_what_is_left_undone(
    tmp_path: Path, judge: Comparison
) -> None:
    drop = Drop("date=000000/datapackage.json", frozenset({"0", "1"}))
    file = staged(tmp_path, judge, drop)
    rows = pl.read_parquet(file)
    assert judge.judge([drop]).is_clean
    pl.concat([rows, rows]).write_parquet(file)
    assert len(judge.judge([drop]).twice) == 2
    rows[:1].write_parquet(file)
    assert judge.judge([drop]).undone == (f"{drop.key}: staged",)
    assert judge.judge([Drop("never/landed", frozenset())]).lost == ("never/landed",)
    judge.receipts[drop.key] *= 2
    assert f"{drop.key}: 2 receipts" in judge.judge([drop]).twice
