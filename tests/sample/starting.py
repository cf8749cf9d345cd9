"""Starts a feed from a sample, and takes the sample in as its first batch."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flagfall.cli.dataset_check import check_dataset
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.dataset.table import Column
from flagfall.errors import InputError
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt, Staged
from flagfall.sample.draft import Written, write_dataset
from flagfall.sample.yaml_text import scalar
from flagfall.stages.ingest import ingest

Files = Mapping[str, str | bytes]


def parquet(**columns: Any) -> bytes:
    written = io.BytesIO()
    pl.DataFrame(columns).write_parquet(written)
    return written.getvalue()


@dataclass(frozen=True)
class Started:
    """A feed ``feed``, and the sample that it is from."""

    root: Path
    sample: Path
    written: Written

    @property
    def dataset(self) -> Dataset:
        return read_dataset(self.written.path)

    @property
    def text(self) -> str:
        return self.written.path.read_text(encoding="utf-8")

    @property
    def types(self) -> dict[str, str]:
        """The type of each column, with its format."""
        return {one.name: _type(one) for one in self.dataset.table.fields}

    def column(self, name: str) -> Column:
        return next(one for one in self.dataset.table.fields if one.name == name)

    def below(self, name: str) -> list[str]:
        """The comments below a column."""
        lines = self.text.splitlines()
        first = next(
            n for n, line in enumerate(lines) if line.startswith(f"    - {{name: {scalar(name)},")
        )
        rest = iter(lines[first + 1 :])
        comments = []
        while (line := next(rest)).startswith("      # "):
            comments.append(line.removeprefix("      # "))
        return comments

    def take_in(self) -> tuple[Receipt, pl.DataFrame]:
        """What becomes of the sample as a batch, by the real inbox and ingest."""
        check_dataset(self.dataset)
        batch = Path(self.dataset.landing.uri) / "first"
        shutil.copytree(self.sample, batch, ignore=shutil.ignore_patterns("datapackage.json"))
        (batch / self.written.sample.marker).touch()
        inbox = Inbox(Feed.of(self.dataset))
        (marker,) = inbox.pending()
        receipt = ingest(self.dataset, inbox, marker)
        assert receipt is not None
        record = inbox.lake.find(Staged, receipt.batch_id)
        parts = inbox.lake.parts(record, self.root) if record else []
        return receipt, pl.concat([pl.read_parquet(path) for path in parts] or [pl.DataFrame()])


def _type(column: Column) -> str:
    return column.type if column.format == "default" else f"{column.type} {column.format}"


def start(root: Path, files: Files) -> Started:
    """Write files into a folder, and a dataset file from them."""
    sample = root / "sample"
    for name, content in files.items():
        path = sample / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    source = (
        sample / next(iter(files)) if len(files) == 1 and "/" not in next(iter(files)) else sample
    )
    return Started(root, sample, write_dataset("feed", source, root / "datasets"))


def refused(root: Path, files: Files) -> str:
    """What is said about a sample that no dataset file can be written from."""
    with pytest.raises(InputError) as caught:
        start(root, files)
    assert not (root / "datasets").exists()
    return str(caught.value)
