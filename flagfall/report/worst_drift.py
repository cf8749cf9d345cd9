"""Which features have drifted most, over the batches of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flagfall.lake.records import Drift
from flagfall.report.batches import Batch
from flagfall.scoring.drift import MOVED, alert_above


@dataclass(frozen=True)
class Moved:
    """Drift of one feature: the worst of the run's batches.

    Attributes:
        line: PSI above which it alerts; ``None`` where there were too few rows to judge.
        usual: Largest PSI of a training batch; ``None`` where not known.
        missing_share: Over all rows of the run.
        label: The batch in which it was worst.
    """

    feature: str
    psi: float
    line: float | None
    usual: float | None
    missing_share: float
    reference_missing_share: float
    label: str

    @property
    def ratio(self) -> float | None:
        """``psi`` as a share of ``line``: 1 is where it alerts."""
        return self.psi / self.line if self.line else None


def drift_ratio(drift: Drift, psi_max: float | None) -> float | None:
    """PSI as a share of the index that alerts (``MOVED`` where no threshold is set)."""
    line = alert_above(drift, MOVED if psi_max is None else psi_max)
    return drift.psi / line if line else None


def divided(drifts: Sequence[Drift]) -> tuple[Sequence[Drift], Sequence[Drift]]:
    """Drift of features, and of what the model says; a feature may be called ``score``, too.

    The score's entry comes last: records of older releases do not say its kind.
    """
    first = next((place for place, one in enumerate(drifts) if one.kind != "feature"), None)
    place = max(len(drifts) - 1, 0) if first is None else first
    return drifts[:place], drifts[place:]


def worst_drift(batches: Sequence[Batch], psi_max: float | None) -> list[Moved]:
    """One entry per feature, nearest to its line first."""
    by_feature: dict[tuple[str, bool], list[tuple[Batch, int, Drift]]] = {}
    for batch in batches:
        if batch.evaluation is not None:
            for is_said, drifts in enumerate(divided(batch.evaluation.drift)):
                for drift in drifts:
                    found = by_feature.setdefault((drift.feature, bool(is_said)), [])
                    found.append((batch, batch.evaluation.rows, drift))
    moved = [_moved(feature, found, psi_max) for (feature, _), found in by_feature.items()]
    return sorted(moved, key=lambda m: (m.ratio is None, -(m.ratio or 0.0), m.feature))


def _moved(feature: str, found: list[tuple[Batch, int, Drift]], psi_max: float | None) -> Moved:
    def nearness(entry: tuple[Batch, int, Drift]) -> tuple[float, float]:
        ratio = drift_ratio(entry[2], psi_max)
        return (-1.0 if ratio is None else ratio), entry[2].psi

    batch, _, worst = max(found, key=nearness)
    rows = sum(rows for _, rows, _ in found)
    return Moved(
        feature=feature,
        psi=worst.psi,
        line=alert_above(worst, MOVED if psi_max is None else psi_max),
        usual=worst.usual,
        missing_share=sum(drift.missing_share * rows for _, rows, drift in found) / rows,
        reference_missing_share=worst.reference_missing_share,
        label=batch.label,
    )
