"""Which features have drifted most, over the batches of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import Drift
from flagfall.report.batches import Batch
from flagfall.scoring.drift import MOVED, alert_above
from flagfall.verdict.data import FEWEST_ROWS, has_new_texts, rises, vanished
from flagfall.verdict.words import listed, percent


@dataclass(frozen=True)
class Moved:
    """Drift of one feature, or of what the model says: the worst of the run's batches.

    Attributes:
        is_feature: Whether it is a feature; a feature may be called as what the model says.
        line: PSI above which it alerts; ``None`` where there were too few rows to judge.
        usual: Largest PSI of a training batch; ``None`` where not known.
        missing_share: Over all rows of the run.
        label: The batch in which it was worst.
        has_missing: Whether a batch has more missing values than training explains.
        notes: What else is unusual about its values.
    """

    feature: str
    is_feature: bool
    psi: float
    line: float | None
    usual: float | None
    missing_share: float
    reference_missing_share: float
    label: str
    has_missing: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a page calls it."""
        return self.feature if self.is_feature else f"the model's {self.feature}"

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


def worst_drift(batches: Sequence[Batch], thresholds: Thresholds) -> list[Moved]:
    """One entry per feature, nearest to its line first."""
    by_feature: dict[tuple[str, bool], list[tuple[Batch, int, Drift]]] = {}
    for batch in batches:
        if batch.evaluation is not None:
            for is_said, drifts in enumerate(divided(batch.evaluation.drift)):
                for drift in drifts:
                    found = by_feature.setdefault((drift.feature, bool(is_said)), [])
                    found.append((batch, batch.evaluation.rows, drift))
    moved = [
        _moved(feature, not is_said, found, thresholds)
        for (feature, is_said), found in by_feature.items()
    ]
    return sorted(moved, key=lambda m: (m.ratio is None, -(m.ratio or 0.0), m.feature))


def _moved(
    feature: str,
    is_feature: bool,
    found: list[tuple[Batch, int, Drift]],
    thresholds: Thresholds,
) -> Moved:
    psi_max = thresholds.psi_max

    def nearness(entry: tuple[Batch, int, Drift]) -> tuple[float, float]:
        ratio = drift_ratio(entry[2], psi_max)
        return (-1.0 if ratio is None else ratio), entry[2].psi

    batch, _, worst = max(found, key=nearness)
    rows = sum(rows for _, rows, _ in found)
    judged = [drift for _, rows, drift in found if rows >= FEWEST_ROWS]
    return Moved(
        feature=feature,
        is_feature=is_feature,
        psi=worst.psi,
        line=alert_above(worst, MOVED if psi_max is None else psi_max),
        usual=worst.usual,
        missing_share=sum(drift.missing_share * rows for _, rows, drift in found) / rows,
        reference_missing_share=worst.reference_missing_share,
        label=batch.label,
        has_missing=is_feature and any(rises(thresholds, drift) for drift in judged),
        notes=_notes(thresholds, found) if is_feature else (),
    )


def _notes(thresholds: Thresholds, found: list[tuple[Batch, int, Drift]]) -> tuple[str, ...]:
    """Texts that training hardly had, and categories that are gone; as the verdict judges them."""
    notes: dict[str, None] = {}
    for _, rows, drift in found:
        if rows < FEWEST_ROWS:
            continue
        if has_new_texts(thresholds, drift, rows):
            share = percent(drift.other_share or 0.0)
            notes[f"{share} of rows have a value that training hardly had"] = None
        if gone := vanished(thresholds, drift, rows):
            notes[f"no row has {listed(gone)}"] = None
    return tuple(notes)
