"""The table of drift: what matters is shown, the rest is folded away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flagfall.dataset.thresholds import Thresholds
from flagfall.report.worst_drift import Moved
from flagfall.scoring.drift import MOVED

SHOWN = 5
"""Features that are always shown."""
NEAR = 0.5
"""Share of its line from which on a feature is shown."""
FOLDED = 40


@dataclass(frozen=True)
class DriftTable:
    """Drift as a page shows it.

    Attributes:
        shown: Features that a reader has to see, the nearest to its line first.
        folded: The others, as many as a page holds.
        hidden: How many there are beyond these.
        said: What the model says: its score, and its class.
        line: Index above which a feature alerts that has no line of its own.
        is_alert: Whether the dataset sets a threshold, so that crossing the line alerts.
        by_batch: Whether lines depend on how far training batches differed.
    """

    shown: Sequence[Moved]
    folded: Sequence[Moved]
    hidden: int
    said: Sequence[Moved]
    line: float
    is_alert: bool
    by_batch: bool

    @classmethod
    def of(cls, thresholds: Thresholds, moved: Sequence[Moved]) -> DriftTable:
        """Divide what has moved."""
        features = [one for one in moved if one.is_feature]
        shown = [one for place, one in enumerate(features) if place < SHOWN or _matters(one)]
        rest = [one for one in features if one not in shown]
        return cls(
            shown=shown,
            folded=rest[:FOLDED],
            hidden=len(rest[FOLDED:]),
            said=[one for one in moved if not one.is_feature],
            line=MOVED if thresholds.psi_max is None else thresholds.psi_max,
            is_alert=thresholds.psi_max is not None,
            by_batch=any(one.usual is not None for one in moved),
        )

    def __bool__(self) -> bool:
        return bool(self.shown or self.said)

    @property
    def line_name(self) -> str:
        """What the line is called, here and in pictures."""
        return line_name(self.is_alert)

    @property
    def most_folded(self) -> float | None:
        """The largest share of its line of a feature that is not shown."""
        return max((one.ratio for one in self.folded if one.ratio is not None), default=None)


def _matters(moved: Moved) -> bool:
    return bool(moved.notes) or moved.has_missing or (moved.ratio or 0.0) > NEAR


def line_name(is_alert: bool) -> str:
    """What the line is called that drift is compared with."""
    return "alert line" if is_alert else "customary line"
