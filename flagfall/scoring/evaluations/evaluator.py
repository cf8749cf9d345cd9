"""What an evaluation of a task has to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from flagfall.dataset.thresholds import Thresholds


@dataclass(frozen=True)
class Findings:
    """What an evaluator found.

    Attributes:
        record: Fields of ``Evaluation``, by name.
        alerts: One sentence per threshold that was passed, and for a model that is worse than
            none.
    """

    record: Mapping[str, Any] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()


class Evaluator(Protocol):
    """Gathers the parts of a batch, and says how well it was scored."""

    def add(self, predictions: pl.DataFrame, labels: pl.Series) -> None:
        """Take more rows.

        Args:
            predictions: As ``Reading.predictions`` makes them.
            labels: One for each row, null where not known, of the task's type (``read_labels``).
        """

    def findings(self, thresholds: Thresholds) -> Findings:
        """The figures of all rows, and what is not normal."""
