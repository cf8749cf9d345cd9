"""Runs as the stages before the report would leave them: receipts, and records in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.output import Lake
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Drift, Evaluation, Predicted, Receipt, Scores, Status
from flagfall.landing.marker import Marker
from flagfall.report.page import Report, write_report
from flagfall.scoring.evaluations.alerts import drift_alerts
from flagfall.scoring.evaluations.binary import Measures, binary_alerts, histogram
from flagfall.verdict.facts import Facts, Unfinished
from flagfall.verdict.verdict import Verdict, judge

NOW = datetime(2026, 11, 22, 6, 0, 9, tzinfo=UTC)
FEATURES = ("departure", "carrier", "temp")

PLAIN: dict[str, Any] = {
    "name": "flights",
    "title": "Flights out of New York",
    "landing": {"uri": "/landing", "marker": "date={date}/_SUCCESS"},
    "lake": {"uri": "/lake"},
    "schema": {"fields": [{"name": "delay", "type": "number"}]},
}
SCORED = {
    **PLAIN,
    "features": [{"name": name, "expr": "delay"} for name in FEATURES],
    "model": {"path": "/models/flights"},
    "thresholds": {"auc_min": 0.6, "psi_max": 0.25, "calibration_max": 0.2},
}
LABELLED = {**SCORED, "label": {"expr": "delay > 15", "title": "More than 15 minutes late"}}


def dataset(plain: dict[str, Any] = LABELLED, **changes: Any) -> Dataset:
    return Dataset.model_validate({**plain, **changes})


def marker(day: str, version: int = 0, landed_at: datetime = NOW) -> Marker:
    key = f"date={day}/_SUCCESS"
    return Marker(f"/landing/{key}", key, f"v{version}", landed_at, 0, {"date": day})


def receipt(
    day: str,
    status: Status = "accepted",
    *,
    version: int = 0,
    landed_at: datetime = NOW - timedelta(seconds=8),
    took: float = 1.5,
    **changes: Any,
) -> Receipt:
    found = marker(day, version, landed_at)
    rows = {"rows": 900, "rejected_rows": 9, "reasons": {"tailnum: required": 9}}
    return Receipt(
        batch_id=found.batch_id,
        marker=found,
        status=status,
        received_at=landed_at + timedelta(seconds=took),
        **{**(rows if status == "accepted" else {}), **changes},
    )


@dataclass
class Run:
    """A lake of its own, and what a report is written from."""

    root: Path
    dataset: Dataset
    receipts: list[Receipt] = field(default_factory=list)
    history: list[Receipt] = field(default_factory=list)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root), self.dataset.name)

    def take(self, decided: Receipt, **scoring: Any) -> Receipt:
        """A delivery of this run; scored where the dataset has a model and it was accepted."""
        self.receipts.append(decided)
        if decided.status == "accepted":
            self._remember(decided, **scoring)
        return decided

    def before(self, days: int, last: date = date(2013, 10, 19), **scoring: Any) -> None:
        """Accepted days before this run."""
        for back in range(days):
            day = last - timedelta(days=back)
            landed_at = NOW - timedelta(days=back + 1)
            self._remember(receipt(day.isoformat(), landed_at=landed_at), **scoring)

    def _remember(self, decided: Receipt, *, scored: bool = True, **scoring: Any) -> None:
        self.history.append(decided)
        if self.dataset.model is not None and scored:
            evaluation = evaluate(self.dataset, decided, **scoring)
            self.evaluations[decided.batch_id] = evaluation
            self._keep(evaluation)
            self._keep(_predicted(evaluation))

    def _keep(self, record: Evaluation | Predicted) -> None:
        """As ``Lake.finish``, but not flushed to the disk: a run may have a thousand batches."""
        path = Path(self.lake.uri(type(record), record.batch_id)) / "record.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(record.to_json())

    @property
    def verdict(self) -> Verdict:
        """On the feed after this run; what it accepted and did not evaluate is not finished."""
        return verdict(self.dataset, [*self.history, *self._rejected()], self.evaluations)

    def _rejected(self) -> list[Receipt]:
        return [one for one in self.receipts if one not in self.history]

    def report(self, run: str = "scheduled__2026-11-22T06:00:00+00:00") -> Report:
        feed, lake = self.dataset, self.lake
        return write_report(feed, lake, run, self.receipts, self.history, self.verdict)

    def page(self, **arguments: Any) -> str:
        return (self.lake_folder / self.report(**arguments).key).read_text(encoding="utf-8")

    @property
    def lake_folder(self) -> Path:
        return self.root / self.dataset.name


def verdict(
    feed: Dataset, receipts: Sequence[Receipt], evaluations: Mapping[str, Evaluation]
) -> Verdict:
    """What is said of a feed on which nothing else is open."""
    left = tuple(
        Unfinished(one.batch_id, one.marker.label, one.received_at)
        for one in current_view(receipts)
        if feed.model is not None and one.batch_id not in evaluations
    )
    found = sorted(receipts, key=lambda one: one.marker.landed_at)
    return judge(feed, Facts(NOW, tuple(found), evaluations, unfinished=left))


def evaluate(feed: Dataset, decided: Receipt, **scoring: Any) -> Evaluation:
    """What the stage of that name would leave; see ``_invented`` for ``scoring``."""
    labelled = feed.label is not None
    names = tuple(feature.name for feature in feed.features)
    arguments = tuple(sorted(scoring.items()))
    invented = _invent(feed.thresholds, names, decided.rows, labelled, arguments)
    return invented.model_copy(update={"batch_id": decided.batch_id})


@cache
def _invent(
    thresholds: Thresholds,
    names: tuple[str, ...],
    rows: int,
    labelled: bool,
    scoring: tuple[tuple[str, Any], ...],
) -> Evaluation:
    return _invented(thresholds, names, rows, labelled, **dict(scoring))


def _invented(
    thresholds: Thresholds,
    features: tuple[str, ...],
    rows: int,
    labelled: bool,
    *,
    shift: float = 0.12,
    psi: float = 0.02,
    usual: float | None = None,
    noise: float = 0.01,
    seed: int = 0,
) -> Evaluation:
    """Invented scores, and the figures that are really theirs; ``shift`` makes a model better."""
    random = np.random.default_rng(seed)
    known = random.random(rows) < (0.95 if labelled else 0)
    late = (random.random(rows) < 0.2) & known
    scores = np.clip(random.beta(2, 7, rows) + shift * late, 0, 1).astype(np.float32)
    both = bool(late.any())
    auc = float(roc_auc_score(late[known], scores[known])) if both else None
    gap = float(scores[known].mean() - late[known].mean()) if known.any() else None
    brier = float(np.square(scores[known] - late[known]).mean()) if known.any() else None
    names = [*features, "score"]
    drifts = tuple(
        Drift(
            feature=name,
            psi=psi / (place + 1),
            missing_share=0.01,
            reference_missing_share=0.0,
            usual=usual,
            noise=noise,
            kind="feature" if place < len(features) else "score",
        )
        for place, name in enumerate(names)
    )
    return Evaluation(
        batch_id="",
        rows=rows,
        labelled=int(known.sum()),
        positives=int(late.sum()),
        auc=auc,
        average_precision=auc,
        brier=brier,
        calibration_gap=gap,
        scores=Scores(
            unlabelled=tuple(histogram(scores[~known]).tolist()),
            negative=tuple(histogram(scores[known & ~late]).tolist()),
            positive=tuple(histogram(scores[late]).tolist()),
        ),
        drift=drifts if rows else (),
        alerts=(
            *binary_alerts(
                thresholds, Measures(int(known.sum()), int(late.sum()), auc, auc, brier, gap)
            ),
            *drift_alerts(thresholds.psi_max, drifts if rows else ()),
        ),
        model_version="2026.11",
    )


def _predicted(evaluation: Evaluation) -> Predicted:
    found = evaluation.scores
    counts = np.array([found.unlabelled, found.negative, found.positive]).sum(axis=0)
    return Predicted(
        batch_id=evaluation.batch_id,
        parts=(),
        rows=evaluation.rows,
        positives=int(counts[50:].sum()),
        mean_score=None,
        model_version=evaluation.model_version,
    )
