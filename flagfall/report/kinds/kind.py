"""What a page says that depends on the model's task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flagfall.dataset.schema import Dataset
from flagfall.report.batches import Batch
from flagfall.report.parts import Column, Picture, Series, Tile, Word
from flagfall.report.pooled import Pool
from flagfall.report.trend import Period, Trend


@dataclass(frozen=True)
class Facts:
    """What tiles are made of.

    Attributes:
        counted: Deliveries of the run that count.
        pool: Their evaluations.
        trend: The days before.
        alerts: Of these deliveries.
    """

    dataset: Dataset
    counted: Sequence[Batch]
    pool: Pool
    trend: Trend
    alerts: Sequence[str]


class Kind(Protocol):
    """A page's part for one task.

    Attributes:
        heading: Of the section with the pictures.
        pooled: What its lead says of pictures over several batches, after "of this run".
    """

    heading: str
    pooled: str

    def column(self, dataset: Dataset) -> Column | None:
        """The column of the table of batches; ``None`` for none."""

    def tiles(self, facts: Facts) -> list[Tile]:
        """Key figures."""

    def pictures(self, dataset: Dataset, pool: Pool) -> list[Picture]:
        """Pictures of the run's predictions; none where nothing was scored."""

    def trends(self, dataset: Dataset, periods: Sequence[Period]) -> list[Picture]:
        """Pictures of the last 30 days."""

    def values(self, dataset: Dataset) -> list[Series]:
        """Figures of each day or batch, for the table below these pictures."""

    def words(self, dataset: Dataset) -> list[Word]:
        """How to read them."""
