"""Reads training data as ingest reads a batch, so that training and scoring cannot differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from flagfall.dataset.columns import staged_schema
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere
from flagfall.lake.parquet import read_parquet
from flagfall.landing.file_names import data_format
from flagfall.rows.checked_files import Checked, check_files
from flagfall.rows.source import DataFile
from flagfall.stores.places import is_file, is_folder, is_there

REASONS_SHOWN = 3


@dataclass(frozen=True)
class TrainingRows:
    """Rows that ingest would accept.

    Attributes:
        rows: With the dataset's columns.
        files: For each row the number of its file.
        left_out: What was left out, a sentence each.
    """

    rows: pl.DataFrame
    files: pl.Series
    left_out: tuple[str, ...]


def read_training_rows(dataset: Dataset, given: Sequence[Path]) -> TrainingRows:
    """Read files, or folders of files, of the dataset's format.

    Raises:
        NotThere: There is no such file, no data file, or no row that is accepted.
        BatchInvalid: A file cannot be read.
    """
    tables = [pl.DataFrame(schema=staged_schema(dataset))]
    numbers: list[pl.Series] = []
    left_out: list[str] = []
    for number, file in enumerate(_files(dataset, given)):
        with TemporaryDirectory() as folder:
            checked = check_files([DataFile(file.name, file)], dataset, Path(folder))
            tables += [read_parquet(part) for part in checked.files]
            numbers += [pl.repeat(number, checked.rows, dtype=pl.Int32(), eager=True)]
        left_out += _left_out(file, checked)
    rows = pl.concat(tables)
    if not rows.height:
        names = ", ".join(map(str, given))
        raise NotThere("row that is accepted in", names, "; ".join(left_out) or "they are empty")
    return TrainingRows(rows, pl.concat(numbers), tuple(left_out))


def _files(dataset: Dataset, given: Sequence[Path]) -> Iterator[Path]:
    for path in given:
        if not is_there(path):
            raise NotThere("training data", str(path))
        inside = sorted(path.rglob("*")) if is_folder(path) else [path]
        found = [file for file in inside if is_file(file) and _is_data(dataset, file, path)]
        if not found:
            raise NotThere("data file in", str(path))
        yield from found


def _is_data(dataset: Dataset, file: Path, given: Path) -> bool:
    return file == given or data_format(file.name, dataset.landing.format) is not None


def _left_out(file: Path, checked: Checked) -> Iterator[str]:
    if checked.rejected_rows:
        reasons = list(checked.reasons.items())[:REASONS_SHOWN]
        why = ", ".join(f"{reason} ({rows:,})" for reason, rows in reasons)
        yield f"{file.name}: {checked.rejected_rows:,} rows that break a rule: {why}"
    if checked.unexpected:
        names = ", ".join(checked.unexpected)
        yield f"{file.name}: columns that the dataset does not name: {names}"
