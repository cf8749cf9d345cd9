"""Writes a dataset file from a sample of its data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import NameRefused, SampleInvalid, StoreRefused
from flagfall.sample.dialects import dialect_of
from flagfall.sample.files import Sample, find_sample
from flagfall.sample.headers import check_header
from flagfall.sample.keys import find_keys
from flagfall.sample.reading import Columns, columns_of
from flagfall.sample.typed import Typed, read_typed
from flagfall.sample.types import guess_all
from flagfall.sample.yaml_text import Draft, dataset_text, names_of, text_before_reading
from flagfall.stores.places import is_folder, is_there

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Written:
    """A dataset file that was written.

    Attributes:
        path: The file.
        dataset: What it says.
        typed: The sample's rows.
        sample: Where they are from.
    """

    path: Path
    dataset: Dataset
    typed: Typed
    sample: Sample


def write_dataset(name: str, source: Path, folder: Path) -> Written:
    """Write ``<folder>/<name>.yaml`` from a data file, or from a folder of data files.

    Raises:
        NameRefused: There is such a dataset already, or it cannot be called so.
        NotThere: There is no sample.
        SampleInvalid: No columns or rows can be found in it.
        BatchInvalid: A file of it cannot be read.
        StoreRefused: The dataset file cannot be written.
    """
    path = folder / f"{name}.yaml"
    _check_name(name, path)
    sample = find_sample(source)
    text, typed = _text(name, sample)
    _write(path, text)
    return Written(path, read_dataset(path), typed, sample)


def _check_name(name: str, path: Path) -> None:
    if not _NAME.fullmatch(name):
        raise NameRefused(name, "use lower-case letters, digits and _, a letter first")
    if is_there(path) or path.is_symlink():
        raise _exists(name, path)


def _exists(name: str, path: Path) -> NameRefused:
    return NameRefused(name, f"{path} is there already; use another name, or move the file away")


def _text(name: str, sample: Sample) -> tuple[str, Typed]:
    dialect = dialect_of(sample)
    columns = columns_of(sample, dialect)
    guesses = guess_all(columns.found, "\t" if sample.format == "tsv" else dialect.delimiter)
    check_header(sample, columns, guesses, dialect)
    draft = Draft(
        name,
        sample,
        dialect,
        guesses.guesses,
        guesses.missing,
        _optional(columns),
        columns.left_out | guesses.left_out,
    )
    if not draft.guesses:
        raise _no_columns(draft)
    typed = read_typed(sample, _first_reading(draft))
    needed = [name for name in names_of(draft.guesses) if name not in draft.optional]
    return dataset_text(draft, typed, find_keys(typed.rows, needed)), typed


def _no_columns(draft: Draft) -> SampleInvalid:
    name, why = next(iter(draft.left_out.items()))
    return SampleInvalid(
        str(draft.sample.path), f"no column that a dataset can have: {name}: {why}"
    )


def _optional(columns: Columns) -> frozenset[str]:
    return frozenset(found.name for found in columns.found if not found.is_everywhere)


def _first_reading(draft: Draft) -> Dataset:
    """The dataset, with which the sample is read as ingest will read it."""
    with TemporaryDirectory(prefix="flagfall-init-") as folder:
        path = Path(folder) / f"{draft.name}.yaml"
        path.write_text(text_before_reading(draft), encoding="utf-8")
        return read_dataset(path)


def _write(path: Path, text: str) -> None:
    """Write a new file; one that has come meanwhile stays as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        if is_folder(path.parent):
            raise _exists(path.stem, path) from error
        raise StoreRefused(str(path.parent), "not a directory; move it away") from error
    except OSError as error:
        why = f"cannot be written ({error.strerror}); set FLAGFALL_DATASETS to another folder"
        raise StoreRefused(str(path), why) from error
