"""A sample read as ingest reads it, with the columns that were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.schema import Dataset
from flagfall.errors import SampleInvalid
from flagfall.rows import DataFile, blocks_of
from flagfall.rows.rules import REASONS, RowRules
from flagfall.rows.source import Block
from flagfall.sample.files import Sample
from flagfall.sample.reading import first_rows


@dataclass(frozen=True)
class Typed:
    """The rows of a sample.

    Attributes:
        rows: Those that ingest accepts, with the dataset's columns.
        rejected: How many it rejects, by reason.
        rejected_rows: How many it rejects.
        is_whole: Whether all rows of all files were looked at.
    """

    rows: pl.DataFrame
    rejected: dict[str, int]
    rejected_rows: int
    is_whole: bool


class _Reading:
    def __init__(self, sample: Sample, dataset: Dataset) -> None:
        self._sample = sample
        self._dataset = dataset
        self._rules = RowRules(dataset)
        self._reasons: Counter[str] = Counter()
        self._rejected = 0
        self._where = ""
        self.is_whole = not sample.files_left_out

    def typed(self) -> Typed:
        frames = [frame for file in self._sample.files for frame in self._frames(file)]
        rows = pl.concat([polars_schema(self._dataset).to_frame(), *frames])
        if not rows.height:
            raise SampleInvalid(str(self._sample.path), self._why_there_is_none())
        return Typed(rows, dict(self._reasons.most_common()), self._rejected, self.is_whole)

    def _frames(self, file: DataFile) -> Iterator[pl.DataFrame]:
        blocks = blocks_of(file, self._dataset)
        for block in first_rows(blocks, self._sample):
            sifted = self._rules.split(block.rows)
            self._count(file, block, [*sifted.rejected[REASONS]])
            yield self._rules.values(sifted.accepted)
        self.is_whole = self.is_whole and next(blocks, None) is None

    def _count(self, file: DataFile, block: Block, rejected: list[pl.Series]) -> None:
        for reason, line in zip(block.broken["reason"], block.broken["line"], strict=True):
            self._where = self._where or f"{file.name}: line {line}: {reason}"
        self._reasons.update(block.broken["reason"].to_list())
        self._reasons.update(reason for reasons in rejected for reason in reasons)
        self._rejected += block.broken.height + len(rejected)

    def _why_there_is_none(self) -> str:
        if not self._rejected:
            return "a header and no rows; take a file with rows"
        first = self._where or next(iter(self._reasons))
        return f"no row can be read ({first}); correct the rows, or take another file"


def read_typed(sample: Sample, dataset: Dataset) -> Typed:
    """The rows of a sample with the columns of a dataset.

    Raises:
        SampleInvalid: There are none.
        BatchInvalid: A file cannot be read.
    """
    return _Reading(sample, dataset).typed()
