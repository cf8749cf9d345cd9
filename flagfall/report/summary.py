"""What a report says, as plain values: no page, no picture, no storage.

Many batches are pooled from the histograms of their evaluations, so memory follows the days shown
and the batches of one run, never the rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

from flagfall.dataset.schema import Dataset
from flagfall.lake.receipts import current_view
from flagfall.lake.records import HISTOGRAM_BINS, Drift, Evaluation, Predicted, Receipt
from flagfall.scoring.drift import DRIFT_OF, MOVED, alert_above

Verdict = Literal["normal", "attention"]
Counts = npt.NDArray[np.int64]

CALIBRATION_BINS = 10
BATCHES_IN_TREND = 30
SPARSE = 4
"""Days apart, on average, from which a time axis leaves out the days without a batch."""

NAME_SHOWN = 40
"""Longest name in a reason, in characters."""

MEDIAN_OF = 3
"""Fewest earlier days (or batches) of which a median is shown."""

_CENTRES = (np.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2}|\d{8})(?!\d)")


@dataclass(frozen=True)
class Batch:
    """One delivery of this run.

    Attributes:
        evaluation: ``None`` where the delivery was not accepted, or the dataset has no model.
        predicted: The same.
        replaced: A later delivery of the same marker was accepted in this run, so this one does not
            count any more.
    """

    receipt: Receipt
    evaluation: Evaluation | None = None
    predicted: Predicted | None = None
    replaced: bool = False

    @property
    def label(self) -> str:
        """The marker's readable name."""
        return self.receipt.marker.label

    @property
    def counts(self) -> bool:
        """Whether its rows are part of the dataset's current view."""
        return self.receipt.status == "accepted" and not self.replaced


@dataclass
class Pool:
    """Evaluations of one or more batches, added up.

    Attributes:
        scores: Rows by score bin: unlabelled, negative, positive.
    """

    batches: int = 0
    labelled: int = 0
    positives: int = 0
    scores: Counts = field(default_factory=lambda: np.zeros((3, HISTOGRAM_BINS), dtype=np.int64))
    _score_sum: float = 0.0
    _auc: float | None = None

    def add(self, evaluation: Evaluation) -> None:
        """Add one batch."""
        found = evaluation.scores
        self.scores = self.scores + np.array([found.unlabelled, found.negative, found.positive])
        self.batches += 1
        self.labelled += evaluation.labelled
        self.positives += evaluation.positives
        self._score_sum += evaluation.positives + (evaluation.calibration_gap or 0.0) * (
            evaluation.labelled
        )
        self._auc = evaluation.auc

    @property
    def auc(self) -> float | None:
        """Exact for one batch; for more, the trapezoid under the binned ROC curve."""
        return self._auc if self.batches == 1 else binned_auc(self.scores[1], self.scores[2])

    @property
    def positive_share(self) -> float | None:
        """Share of labelled rows that are positive; ``None`` without labels."""
        return self.positives / self.labelled if self.labelled else None

    @property
    def mean_score(self) -> float | None:
        """Over labelled rows, exact; without labels over all rows, from the middle of each bin."""
        if self.labelled:
            return self._score_sum / self.labelled
        rows = self.scores.sum()
        return float(self.scores.sum(axis=0) @ _CENTRES / rows) if rows else None

    def share_from(self, threshold: float) -> float | None:
        """Share of rows that score at least ``threshold``, to the nearest bin."""
        rows = self.scores.sum()
        first = round(threshold * HISTOGRAM_BINS)
        return float(self.scores[:, first:].sum() / rows) if rows else None


def binned_auc(negative: Counts, positive: Counts) -> float | None:
    """Area under the ROC curve through the bins' edges; ``None`` unless both classes are there.

    The chance that a positive's bin is above a negative's, plus half the chance that it is the same
    (J. A. Hanley and B. J. McNeil, Radiology 143, 1982).
    """
    if not negative.any() or not positive.any():
        return None
    false, true = roc(negative, positive)
    return float(np.trapezoid(true, false))


def roc(
    negative: Counts, positive: Counts
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False and true positive rates from (0, 0) to (1, 1), one step a bin from the top down."""
    false, true = (np.concatenate([[0], np.cumsum(c[::-1])]) for c in (negative, positive))
    return false / false[-1], true / true[-1]


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of similar score.

    Attributes:
        score: Their mean score, from the middle of each histogram bin.
        share: Share of them that are positive.
        low: Lower end of the 95 % Wilson interval of ``share``.
        high: Upper end.
    """

    rows: int
    score: float
    share: float
    low: float
    high: float


def calibration(negative: Counts, positive: Counts) -> list[CalibrationBin]:
    """Labelled rows in ``CALIBRATION_BINS`` bins of equal width; empty bins are left out."""
    width = HISTOGRAM_BINS // CALIBRATION_BINS
    parts = (slice(start, start + width) for start in range(0, HISTOGRAM_BINS, width))
    found = (_calibration_bin(negative[part], positive[part], _CENTRES[part]) for part in parts)
    return [one for one in found if one is not None]


def _calibration_bin(
    negative: Counts, positive: Counts, centres: npt.NDArray[np.float64]
) -> CalibrationBin | None:
    rows = int((negative + positive).sum())
    if not rows:
        return None
    share = float(positive.sum() / rows)
    low, high = wilson(share, rows)
    score = float((negative + positive) @ centres / rows)
    return CalibrationBin(rows, score, share, low, high)


def wilson(share: float, rows: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927)."""
    z = 1.959964
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * (share * (1 - share) / rows + (z / (2 * rows)) ** 2) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Moved:
    """Drift of one feature: the worst of the run's batches.

    Attributes:
        line: PSI above which it alerts; ``None`` where there were too few rows to tell.
        usual: Largest PSI of a training batch; ``None`` where not known.
        missing_share: Over all rows of the run.
        label: The batch that it was worst in.
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


def worst_drift(batches: Sequence[Batch], psi_max: float | None) -> list[Moved]:
    """One entry per feature, nearest to its line first."""
    by_feature: dict[tuple[str, bool], list[tuple[Batch, int, Drift]]] = {}
    for batch in batches:
        if batch.evaluation is not None:
            drifts = batch.evaluation.drift
            for drift in drifts:  # the score's entry comes last; a feature may be called so too
                found = by_feature.setdefault((drift.feature, drift is drifts[-1]), [])
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


@dataclass
class Period:
    """One day of the trend, or one batch.

    Attributes:
        label: Its date or the batch's name.
        position: Where it stands on a time axis: days, or the number of the batch.
        rows: Accepted rows.
        rejected_rows: Rows turned away from accepted batches.
        drift: Largest drift of a feature as a share of its line; ``None`` without one.
        score_drift: The same for the score.
        seconds: From marker to receipt, by batch.
        rejected: Rejected deliveries of this run that nothing has replaced.
        now: Whether a delivery of this run is in it.
    """

    label: str
    position: int
    rows: int = 0
    rejected_rows: int = 0
    pool: Pool = field(default_factory=Pool)
    drift: float | None = None
    score_drift: float | None = None
    seconds: list[float] = field(default_factory=list)
    rejected: int = 0
    now: bool = False


def _larger(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def batch_date(receipt: Receipt) -> date:
    """The day that a batch is about: the first field that begins with a date, else its landing."""
    for value in receipt.marker.fields.values():
        if match := _DATE.match(value):
            try:
                return date.fromisoformat(match[1])
            except ValueError:
                continue
    return receipt.marker.landed_at.astimezone(UTC).date()


class Trend:
    """The days behind this run, folded from one receipt after the other.

    By day; by batch where fewer than three days are there to see.

    Args:
        history: Current accepted deliveries.
        batches: Deliveries of this run.
        psi_max: The dataset's drift threshold.
    """

    def __init__(
        self, history: Sequence[Receipt], batches: Sequence[Batch], psi_max: float | None
    ) -> None:
        self._psi_max = psi_max
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
        """Fold in one of ``receipts``."""
        period = self._period(receipt)
        period.rows += receipt.rows
        period.rejected_rows += receipt.rejected_rows
        period.seconds.append(receipt.seconds)
        if evaluation is not None:
            period.pool.add(evaluation)
            self._add_drift(period, evaluation.drift)

    def _add_drift(self, period: Period, drifts: Sequence[Drift]) -> None:
        """The score's entry comes last; a feature may be called ``score`` too."""
        ratios = [drift_ratio(drift, self._psi_max) for drift in drifts]
        period.drift = _larger(period.drift, *ratios[:-1])
        period.score_drift = _larger(period.score_drift, *ratios[-1:])

    @property
    def periods(self) -> list[Period]:
        """In the order of time.

        Days stand where the calendar has them, unless they lie so far apart that most of the axis
        would be empty; then they stand side by side.
        """
        periods = [self._periods[position] for position in sorted(self._periods)]
        if periods and periods[-1].position - periods[0].position > SPARSE * len(periods):
            return [replace(period, position=place) for place, period in enumerate(periods)]
        return periods

    @property
    def has_earlier(self) -> bool:
        """Whether something is shown that is not this run's."""
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


@dataclass(frozen=True)
class Judgement:
    """Whether today is normal.

    Attributes:
        verdict: ``attention`` where there is a reason.
        sentence: The verdict as a person would say it.
        reasons: One short sentence each, the gravest first.
    """

    verdict: Verdict
    sentence: str
    reasons: tuple[str, ...]


def mark_replaced(batches: Sequence[Batch], history: Sequence[Receipt]) -> list[Batch]:
    """The same batches, knowing which of them a later accepted delivery has replaced."""
    receipts = [*history, *(batch.receipt for batch in batches)]
    last = {receipt.marker.uri: receipt for receipt in current_view(receipts)}

    def replaced(receipt: Receipt) -> bool:
        current = last.get(receipt.marker.uri)
        if current is None or receipt.status == "unchanged":
            return False
        return (current.marker.landed_at, current.received_at) > (
            receipt.marker.landed_at,
            receipt.received_at,
        )

    return [Batch(b.receipt, b.evaluation, b.predicted, replaced(b.receipt)) for b in batches]


def judge(dataset: Dataset, batches: Sequence[Batch]) -> Judgement:
    """Whether a run's deliveries are normal."""
    reasons = (
        *_rejections(batches),
        *_not_scored(dataset, batches),
        *_empty(batches),
        *_alerts(batches),
    )
    if reasons:
        return Judgement("attention", f"Needs attention: {_enumerate(reasons)}.", reasons)
    return Judgement("normal", _calm(batches), ())


def _calm(batches: Sequence[Batch]) -> str:
    if not batches:
        return "Nothing came in this run."
    if all(batch.receipt.status == "unchanged" for batch in batches):
        return f"Nothing new: {_plural(len(batches), 'batch', 'batches')} came again unchanged."
    return "Today is normal."


def _enumerate(reasons: Sequence[str], shown: int = 2) -> str:
    more = len(reasons) - shown
    tail = (f"{_plural(more, 'more reason', 'more reasons')} below",) if more > 0 else ()
    return "; ".join((*reasons[:shown], *tail))


def cut(text: str, length: int) -> str:
    """The text, or its first ``length`` characters and an ellipsis."""
    return text if len(text) <= length else f"{text[:length]}…"


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _rejections(batches: Sequence[Batch]) -> Iterable[str]:
    new = [b for b in batches if b.receipt.status != "unchanged" and not b.replaced]
    count = sum(batch.receipt.status == "rejected" for batch in new)
    if count and len(new) == 1:
        yield "the batch was rejected"
    elif count:
        yield f"{count:,} of {len(new):,} batches {'was' if count == 1 else 'were'} rejected"


def _not_scored(dataset: Dataset, batches: Sequence[Batch]) -> Iterable[str]:
    if dataset.model is None:
        return
    count = sum(batch.counts and batch.evaluation is None for batch in batches)
    if count:
        yield f"{_plural(count, 'accepted batch was', 'accepted batches were')} not scored"


def _empty(batches: Sequence[Batch]) -> Iterable[str]:
    empty = [batch for batch in batches if batch.counts and not batch.receipt.rows]
    if len(empty) == 1:
        yield f"{cut(empty[0].label, NAME_SHOWN)} has no rows"
    elif empty:
        yield f"{len(empty):,} batches have no rows"


def _alerts(batches: Sequence[Batch]) -> list[str]:
    """Alerts, those of one kind together: the figure goes, the number of batches comes."""
    counted = [batch for batch in batches if batch.counts]
    found = [
        (batch.label, alert)
        for batch in counted
        if batch.evaluation is not None
        for alert in batch.evaluation.alerts
    ]
    drifted = list(dict.fromkeys(_kind(alert) for _, alert in found if _is_drift(alert)))
    if len(drifted) > 1:
        found = [(label, alert) for label, alert in found if not _is_drift(alert)]
    times = Counter(_kind(alert) for _, alert in found)
    told = {_kind(alert): _told(label, alert, times, len(counted)) for label, alert in found}
    return [*told.values(), *_drifted(drifted)]


def _told(label: str, alert: str, times: Counter[str], batches: int) -> str:
    kind = _kind(alert)
    if times[kind] > 1:
        return f"{kind} in {times[kind]:,} of {batches:,} batches"
    return alert if batches == 1 else f"{alert} ({cut(label, NAME_SHOWN)})"


def _drifted(kinds: Sequence[str], shown: int = 3) -> Iterable[str]:
    """One sentence for all features that drifted; a single one has its own sentence."""
    if len(kinds) < 2:
        return
    features = [kind.removeprefix(DRIFT_OF).rpartition(" is above ")[0] for kind in kinds]
    names = [cut(feature, NAME_SHOWN) for feature in features]
    more = len(names) - shown
    tail = f" and {more:,} more" if more > 0 else ""
    yield f"{len(names):,} features have drifted: {', '.join(names[:shown])}{tail}"


def _is_drift(alert: str) -> bool:
    return alert.startswith(DRIFT_OF)


def _kind(alert: str) -> str:
    return re.sub(r" -?[\d.]+ (is (?:above|below) [\d.]+)$", r" \1", alert)
