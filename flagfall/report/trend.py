"""The last 30 days, by day or by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import NamedTuple

from flagfall.lake.receipts import current_view
from flagfall.lake.records import Drift, Evaluation, Receipt
from flagfall.report.batches import Batch
from flagfall.report.pooled import Pool
from flagfall.report.worst_drift import divided, drift_ratio
from flagfall.verdict.facts import batch_date

BATCHES_IN_TREND = 30

SPARSE = 4
"""If periods are more days apart than this on average, a time axis leaves empty days out."""

MEDIAN_OF = 3
"""A median needs this many earlier days (or batches)."""


class Scored(NamedTuple):
    """A batch of a period: when it was delivered and received, and its evaluation."""

    delivered: datetime
    received: datetime
    evaluation: Evaluation


@dataclass
class Period:
    """One day of the trend, or one batch.

    Attributes:
        label: Its date or the batch's name.
        position: Where it stands on a time axis: days, or the number of the batch.
        rows: Accepted rows.
        rejected_rows: Rejected rows of accepted batches.
        drift: Largest drift of a feature as a share of its line; ``None`` without one.
        score_drift: The same for the score, and for the class of a multiclass model.
        seconds: From marker to receipt, by batch.
        never: Scored rows whose outcome has not come and is not waited for any more.
        rejected: Rejected deliveries of this run that nothing has replaced.
        now: Whether a delivery of this run is in it.
        scored: Its batches that are evaluated.
    """

    label: str
    position: int
    rows: int = 0
    rejected_rows: int = 0
    pool: Pool = field(default_factory=Pool)
    drift: float | None = None
    score_drift: float | None = None
    seconds: list[float] = field(default_factory=list)
    never: int = 0
    rejected: int = 0
    now: bool = False
    scored: list[Scored] = field(default_factory=list)


def _larger(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


class Trend:
    """The periods before and of this run; ``add`` takes one receipt after the other.

    A period is a day. It is a batch if fewer than ``MEDIAN_OF`` days would be shown.

    Args:
        history: Current accepted deliveries.
        batches: Deliveries of this run.
        psi_max: The dataset's drift threshold.
        closed: Batches that were delivered before wait for no outcomes; ``None``: none does.
    """

    def __init__(
        self,
        history: Sequence[Receipt],
        batches: Sequence[Batch],
        psi_max: float | None,
        closed: datetime | None = None,
    ) -> None:
        self._psi_max = psi_max
        self._closed = closed
        run = [batch.receipt for batch in batches if batch.receipt.status != "unchanged"]
        accepted = current_view([*history, *run])
        days = {batch_date(receipt) for receipt in [*accepted, *run]}
        self.by_day = len(days) >= MEDIAN_OF or len(days) == len(accepted)
        self.receipts = accepted if self.by_day else accepted[-BATCHES_IN_TREND:]
        self._positions = {receipt.batch_id: place for place, receipt in enumerate(self.receipts)}
        self._run = {receipt.batch_id for receipt in run}
        self._periods: dict[int, Period] = {}
        for batch in batches:
            if batch.receipt.status == "rejected" and not batch.replaced and self.by_day:
                self._period(batch.receipt).rejected += 1

    def _period(self, receipt: Receipt) -> Period:
        day = batch_date(receipt)
        position = day.toordinal() if self.by_day else self._positions[receipt.batch_id]
        label = day.isoformat() if self.by_day else receipt.marker.label
        period = self._periods.setdefault(position, Period(label, position))
        period.now |= receipt.batch_id in self._run
        return period

    def add(self, receipt: Receipt, evaluation: Evaluation | None) -> None:
        """Add one of ``receipts``."""
        period = self._period(receipt)
        period.rows += receipt.rows
        period.rejected_rows += receipt.rejected_rows
        period.seconds.append(receipt.seconds)
        if evaluation is not None:
            period.pool.add(evaluation)
            delivered = receipt.marker.delivered_at
            period.scored.append(Scored(delivered, receipt.received_at, evaluation))
            if self._closed is not None and delivered <= self._closed:
                period.never += evaluation.rows - evaluation.labelled
            self._add_drift(period, evaluation.drift)

    def _add_drift(self, period: Period, drifts: Sequence[Drift]) -> None:
        of_features, of_predictions = divided(drifts)
        features = (drift_ratio(drift, self._psi_max) for drift in of_features)
        predictions = (drift_ratio(drift, self._psi_max) for drift in of_predictions)
        period.drift = _larger(period.drift, *features)
        period.score_drift = _larger(period.score_drift, *predictions)

    @property
    def periods(self) -> list[Period]:
        """Periods, in order of time.

        Their positions follow the calendar, unless most of the axis would be empty. Then they
        stand side by side.
        """
        periods = [self._periods[position] for position in sorted(self._periods)]
        if periods and periods[-1].position - periods[0].position > SPARSE * len(periods):
            return [replace(period, position=place) for place, period in enumerate(periods)]
        return periods

    @property
    def has_earlier(self) -> bool:
        """Whether a period before this run is shown."""
        return not all(period.now for period in self._periods.values())

    @property
    def rejected(self) -> bool:
        """Whether a rejected delivery is marked."""
        return any(period.rejected for period in self._periods.values())

    def median(self, figure: Callable[[Period], float | None]) -> float | None:
        """Median over the days before this run; ``None`` where there are too few of them."""
        before = [figure(period) for period in self.periods if not period.now and period.rows]
        known = [value for value in before if value is not None]
        return median(known) if len(known) >= MEDIAN_OF else None
