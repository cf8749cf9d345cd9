from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.expressions import looks_at_other_rows, parse_expression


def test_no_expression_of_a_dataset_file_reads_a_file(tmp_path: Path) -> None:
    """Features and labels, too."""
    secret = tmp_path / "secret.csv"
    secret.write_text("password\nhunter2\n")
    with pytest.raises(pl.exceptions.PolarsError, match="no function that reads a file"):
        parse_expression(f"x IN (FROM read_csv('{secret}'))")


def test_a_column_may_have_a_name_that_begins_so() -> None:
    assert (
        pl.select(pl.lit(3).alias("read_count")).select(parse_expression("read_count > 2")).item()
    )


@pytest.mark.parametrize("word", ["Agg", "Len", "Over", "SubPlan"])
def test_names_and_texts_are_no_aggregates(word: str) -> None:
    expression = parse_expression(f"\"{word}\" = '{word}' OR {word} IN ('{word}')")
    assert not looks_at_other_rows(expression)
