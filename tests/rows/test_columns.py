"""Columns that a file may leave out, and columns that the dataset does not name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.dataset.schema import Dataset
from tests.rows.checking import Files, check, packed, refuse
from tests.rows.feeds_with_settings import column, dataset, parquet

LABELLED = (
    column("id", "integer", constraints={"required": True}),
    column("late", "boolean", optional=True),
)


def files_with(**columns: Any) -> dict[str, Files]:
    """The same two rows in every format."""
    frame = pl.DataFrame(columns)
    comma, tab = frame.write_csv(), frame.write_csv(separator="\t")
    return {
        "csv": {"a.csv": comma},
        "packed": {"a.csv.gz": packed(comma.encode())},
        "tsv": {"a.tsv": tab},
        "jsonl": {"a.jsonl": frame.write_ndjson()},
        "parquet": {"a.parquet": parquet(frame)},
    }


FORMATS = list(files_with(id=[1]))


class TestOptionalColumns:
    @pytest.mark.parametrize("form", FORMATS)
    def test_a_file_may_leave_it_out(self, tmp_path: Path, form: str) -> None:
        outcome = check(tmp_path, dataset(*LABELLED), files_with(id=[1, 2])[form])
        assert (outcome.rows, outcome.rejected) == ([(1, None), (2, None)], [])

    @pytest.mark.parametrize("form", FORMATS)
    def test_where_it_is_there_it_is_read(self, tmp_path: Path, form: str) -> None:
        files = files_with(id=[1, 2], late=[True, None])[form]
        assert check(tmp_path, dataset(*LABELLED), files).rows == [(1, True), (2, None)]

    @pytest.mark.parametrize("form", FORMATS)
    def test_another_one_may_not_be_left_out(self, tmp_path: Path, form: str) -> None:
        reason, message = refuse(tmp_path, dataset(*LABELLED), files_with(late=[True])[form])
        assert reason == "columns"
        assert "columns missing: id; found: 'late'" in message

    def test_a_file_that_has_it_may_lie_beside_one_that_has_not(self, tmp_path: Path) -> None:
        """Every Parquet file passes the sandbox, whatever the one before it lacks."""
        files = {
            "a.parquet": parquet(pl.DataFrame({"id": [1]})),
            "b.parquet": parquet(pl.DataFrame({"id": [2], "late": [True]})),
            "c.csv": "id\n3\n",
            "d.csv": "late,id\nfalse,4\n",
        }
        outcome = check(tmp_path, dataset(*LABELLED), files)
        assert outcome.rows == [(1, None), (2, True), (3, None), (4, False)]

    def test_a_bad_row_of_a_file_without_it_is_kept_with_its_line(self, tmp_path: Path) -> None:
        files: Files = {"a.csv": "id\nx\n", "b.parquet": parquet(pl.DataFrame({"id": ["x"]}))}
        outcome = check(tmp_path, dataset(*LABELLED), files)
        assert outcome.faults == [(2, ["id: not an integer"]), (1, ["id: not an integer"])]
        assert [row["row"] for row in outcome.rejected] == [{"id": "x", "late": None}] * 2


TWO = dataset(column("id", "integer"))


def with_unexpected(setting: str) -> Dataset:
    return dataset(column("id", "integer"), unexpected=setting)


class TestUnexpectedColumns:
    @pytest.mark.parametrize("form", FORMATS)
    def test_they_are_named_and_the_rows_are_read(self, tmp_path: Path, form: str) -> None:
        files = files_with(id=[1, 2], zebra=[1, None], ape=["x", "y"])[form]
        outcome = check(tmp_path, dataset(column("id", "integer")), files)
        assert outcome.rows == [(1,), (2,)]
        assert sorted(outcome.checked.unexpected) == ["ape", "zebra"]

    @pytest.mark.parametrize("form", FORMATS)
    def test_they_may_be_ignored(self, tmp_path: Path, form: str) -> None:
        files = files_with(id=[1, 2], zebra=[1, None])[form]
        outcome = check(tmp_path, with_unexpected("ignore"), files)
        assert (outcome.rows, outcome.checked.unexpected) == ([(1,), (2,)], ())

    @pytest.mark.parametrize("form", FORMATS)
    def test_they_may_reject_the_batch(self, tmp_path: Path, form: str) -> None:
        name, data = next(iter(files_with(id=[1, 2], zebra=[1, None])[form].items()))
        reason, message = refuse(tmp_path, with_unexpected("reject"), {name: data})
        assert reason == "columns"
        assert message.startswith(f"{name}: columns that the dataset does not name: 'zebra'; ")

    @pytest.mark.parametrize("form", FORMATS)
    def test_without_any_nothing_is_named(self, tmp_path: Path, form: str) -> None:
        outcome = check(tmp_path, with_unexpected("reject"), files_with(id=[1])[form])
        assert (outcome.rows, outcome.checked.unexpected) == ([(1,)], ())

    @pytest.mark.parametrize("form", FORMATS)
    def test_only_so_many_are_named_and_only_their_beginnings(
        self, tmp_path: Path, form: str
    ) -> None:
        more = {f"{number:02d}{'x' * 500}": [1] for number in range(30)}
        outcome = check(tmp_path, TWO, files_with(id=[1], **more)[form])
        named = outcome.checked.unexpected
        assert len(named) == 21
        assert max(map(len, named)) == 60
        assert named[0].startswith("00xxx")
        assert named[-1] == "and more"

    def test_keys_of_json_that_differ_in_every_row_take_no_memory(self, tmp_path: Path) -> None:
        text = "".join(f'{{"id": {number}, "k{number}": 1}}\n' for number in range(2_000))
        outcome = check(tmp_path, TWO, {"a.jsonl": text})
        assert outcome.checked.unexpected == (*(f"k{n}" for n in range(20)), "and more")

    def test_the_names_of_all_files_are_collected_once(self, tmp_path: Path) -> None:
        files: Files = {"a.csv": "id,x\n1,1\n", "b.csv": "x,id,y\n1,2,1\n"}
        assert check(tmp_path, TWO, files).checked.unexpected == ("x", "y")

    def test_what_would_steer_a_terminal_is_written_out(self, tmp_path: Path) -> None:
        header = f"id,\x1b]0;x\x07,\u202egnp,\x9b31m,{chr(27) * 60},Größe"
        named = check(tmp_path, TWO, {"a.csv": f"{header}\n1,,,,,\n"}).checked.unexpected
        assert named[:3] == ("\\x1b]0;x\\x07", "\\u202egnp", "\\x9b31m")
        assert len(named[3]) == 60
        assert named[4] == "Größe"

    def test_the_column_that_pandas_writes_without_a_name_is_one_too(self, tmp_path: Path) -> None:
        assert check(tmp_path, TWO, {"a.csv": ",id\n0,1\n"}).checked.unexpected == ("",)


class TestTogether:
    """Optional columns, columns that are folders, headers that come again, files without one."""

    def test_a_repeated_header_is_no_row_where_the_first_column_is_left_out(
        self, tmp_path: Path
    ) -> None:
        wanted = dataset(column("late", "boolean", optional=True), column("id"))
        outcome = check(tmp_path, wanted, {"a.csv": "id,x\n1,2\nid,x\n3,4\n"})
        assert (outcome.rows, outcome.rejected) == ([(None, "1"), (None, "3")], [])

    def test_the_names_are_no_row_of_a_file_without_a_header(self, tmp_path: Path) -> None:
        wanted = dataset(column("a"), column("b"), dialect={"header": False})
        assert check(tmp_path, wanted, {"a.csv": "a,b\n1,2\n"}).rows == [("1", "2")]

    def test_other_names_in_it_are_refused(self, tmp_path: Path) -> None:
        wanted = dataset(column("a"), column("b"), dialect={"header": False})
        reason, message = refuse(tmp_path, wanted, {"a.csv": "b,a\n1,2\n"})
        assert reason == "columns"
        assert "line 1: another header, in another order" in message

    def test_a_folder_is_a_column_of_a_file_without_a_header(self, tmp_path: Path) -> None:
        wanted = dataset(column("a"), column("day"), column("b"), dialect={"header": False})
        folder = tmp_path / "landed/day=1"
        folder.mkdir(parents=True)
        assert check(tmp_path, wanted, {"day=1/a.csv": "x,y\n"}).rows == [("x", "1", "y")]

    def test_a_key_of_json_may_be_left_out_of_all_rows(self, tmp_path: Path) -> None:
        wanted = dataset(column("id"), column("late", "boolean", optional=True))
        assert check(tmp_path, wanted, {"a.jsonl": '{"id": "1"}\n'}).rows == [("1", None)]
        (tmp_path / "x").mkdir()
        message = refuse(tmp_path / "x", wanted, {"a.jsonl": '{"late": true}\n'})[1]
        assert "columns missing: id; found: 'late'" in message
