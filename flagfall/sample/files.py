"""The data files of a sample: one file, or those of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flagfall.errors import NotThere, SampleInvalid
from flagfall.landing.file_names import UNDERSTOOD, DataFormat, data_format, is_litter
from flagfall.publish import DEFAULT_MARKER
from flagfall.rows import DataFile
from flagfall.stores.places import is_file, is_folder, is_there

MOST_FILES = 200
"""Files of a folder that are looked at."""

SAMPLE_ROWS = 100_000
SAMPLE_BYTES = 64 << 20
"""Rows and bytes that are looked at, of all files together."""


@dataclass(frozen=True)
class Sample:
    """What a dataset file is written from.

    Attributes:
        path: What a person named.
        files: The data files; names begin below ``path``.
        format: The format of all of them.
        files_left_out: Further files of the folder, which are not looked at.
    """

    path: Path
    files: tuple[DataFile, ...]
    format: DataFormat
    files_left_out: int = 0

    @property
    def marker(self) -> str:
        """File name of its marker: the one that it has, if it is a batch that was published."""
        is_published = is_file(self.path / DEFAULT_MARKER)
        return DEFAULT_MARKER if is_published else "_SUCCESS"

    @property
    def rows_of_each(self) -> int:
        """How many rows of each file are looked at."""
        return max(1, SAMPLE_ROWS // len(self.files))

    @property
    def bytes_of_each(self) -> int:
        """After how many bytes no more of a file is looked at."""
        return max(1, SAMPLE_BYTES // len(self.files))


def find_sample(path: Path) -> Sample:
    """The data files at a path.

    Raises:
        NotThere: Nothing is there.
        SampleInvalid: It has no data file, or files of several formats.
        StoreError: It may not be read.
    """
    if not is_there(path):
        raise NotThere("sample", str(path), "name a data file, or a folder of data files")
    files = _in_folder(path) if is_folder(path) else [DataFile(path.name, path)]
    formats = {found for file in files if (found := data_format(file.name))}
    if not formats:
        raise SampleInvalid(str(path), f"no data file; understood are {UNDERSTOOD}")
    if len(formats) > 1:
        both = ", ".join(sorted(formats))
        raise SampleInvalid(str(path), f"files of several formats ({both}); name one of the files")
    return Sample(path, tuple(files[:MOST_FILES]), formats.pop(), len(files[MOST_FILES:]))


def _in_folder(folder: Path) -> list[DataFile]:
    keys = sorted(
        found.relative_to(folder).as_posix() for found in folder.rglob("*") if is_file(found)
    )
    return [DataFile(key, folder / key) for key in keys if _is_data(key)]


def _is_data(key: str) -> bool:
    is_hidden = any(part.startswith((".", "_")) for part in key.split("/"))
    is_marker = key.rpartition("/")[2] == DEFAULT_MARKER
    return not (is_hidden or is_marker or is_litter(key)) and data_format(key) is not None
