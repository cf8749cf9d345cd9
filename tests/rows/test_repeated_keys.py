"""The log of keys: where the disk is full, and in whatever order threads read the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.rows import DataFile, check_files, csv_rows
from flagfall.rows.repeated_keys import KeyLog
from tests.rows.checking import column, dataset


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_it_is_closed_also_where_the_disk_is_full() -> None:
    log = KeyLog(["id"], Path("/dev/full"))
    rows = pl.DataFrame({"id": [1, 2]})
    log.split(rows, log.hashed(rows))
    with pytest.raises(OSError, match="No space left"):
        log.close()
    assert log._log.closed


def forwards(do: Callable[[Any], Any], items: Iterable[Any], threads: int) -> Iterator[Any]:
    """As ``in_order``, with one thread."""
    yield from map(do, items)


def backwards(do: Callable[[Any], Any], items: Iterable[Any], threads: int) -> Iterator[Any]:
    """As ``in_order``, with threads of which the last is the fastest."""
    yield from reversed([do(item) for item in reversed([*items])])


def test_a_second_pass_whose_threads_finish_in_another_order_rejects_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are read as numbers or as text by who came first were counted otherwise."""
    many = [f"a{n},{'bad' if n == 10 else n}" for n in range(100_000)]
    last = [f"s{n},1" for n in range(100)]
    more = [*(f"s{n},2" for n in range(50)), "a0,2", *(f"u{n},3" for n in range(500))]
    (tmp_path / "a.csv").write_text("\n".join(["id,x", *many, *last, ""]))
    (tmp_path / "b.csv").write_text("\n".join(["id,x", *more, ""]))
    files = [DataFile(name, tmp_path / name) for name in ("a.csv", "b.csv")]
    passes = chain([forwards] * len(files), [backwards] * len(files))
    monkeypatch.setattr(csv_rows, "in_order", lambda *given: next(passes)(*given))
    of = dataset(column("id"), column("x", "integer"), key=["id"])
    checked = check_files(files, of, tmp_path)
    assert not [*passes], "there were two passes"
    ids = pl.concat(pl.read_parquet(file) for file in checked.files)["id"]
    wanted = [row.partition(",")[0] for row in (*many[:10], *many[11:], *last, *more[51:])]
    assert ids.to_list() == wanted


def test_flags_of_other_rows_are_not_used(tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": [1, 2]})
    log = KeyLog(["id"], tmp_path / "log", known=pl.Series([True, False, False]).to_numpy())
    log.split(rows, log.hashed(rows))
    with pytest.raises(AssertionError, match="2 rows, not 3"):
        log.finish()
    log.close()
