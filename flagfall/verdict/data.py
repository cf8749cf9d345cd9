"""Reasons of what a day's batches hold: alerts, missing values, categories, no rows.

Missing values and categories are compared with training. The defaults in ``Thresholds`` find the
usual accidents without being set: a column that comes empty, codes that nobody knows, a source that
is left out. On the year of flights of the demo's model they would have alerted on 3 of 365 days, of
which each is an accident of the source (22 August, 30 and 31 December: no weather for hours).

*A column that is often missing is missing in clusters.* The air pressure is missing for 11% of the
flights of January to August, and on a day of storms for 60%. If every day were either without all
of its values or complete, the share of a day would have the standard deviation ``√(p·(1 − p))``.
So a rise counts from twice that on, and never below ``missing_rise``. A rise of 0.1 alone would
have alerted on 85 days.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt

from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import DRIFT_OF, Drift, Evaluation, Receipt
from flagfall.verdict.reason import Kind, Reason
from flagfall.verdict.words import cut, listed, percent, plural

FEWEST_ROWS = 30
"""Rows from which on a share says something."""

Evaluations = Mapping[str, Evaluation]


def data_reasons(
    dataset: Dataset, judged: Sequence[Receipt], evaluations: Evaluations
) -> Iterator[Reason]:
    """What is wrong with the deliveries that are judged."""
    yield from _alerts(dataset, judged, evaluations)
    yield from _missing(dataset, judged, evaluations)
    yield from _categories(dataset, judged, evaluations)
    yield from _empty(judged)


def outcome_reasons(
    dataset: Dataset, learned: Sequence[Receipt], evaluations: Evaluations
) -> Iterator[Reason]:
    """What outcomes that came later say of deliveries that were judged before."""
    yield from _alerts(dataset, learned, evaluations)


def rises(thresholds: Thresholds, drift: Drift) -> bool:
    """Whether a column has more missing values than training explains."""
    if thresholds.missing_rise is None:
        return False
    before = drift.reference_missing_share
    if drift.missing_share == 1:
        return before < 1 - thresholds.missing_rise
    least = max(thresholds.missing_rise, 2 * sqrt(before * (1 - before)))
    return drift.missing_share - before > least


def has_new_texts(thresholds: Thresholds, drift: Drift, rows: int) -> bool:
    """Whether more rows than chance explains have a text that training had rarely, or never."""
    if thresholds.unknown_rise is None or drift.other_share is None:
        return False
    before = drift.reference_other_share or 0.0
    least = max(thresholds.unknown_rise, 4 * sqrt(before * (1 - before) / max(rows, 1)))
    return drift.other_share - before > least


def vanished(thresholds: Thresholds, drift: Drift, rows: int) -> tuple[str, ...]:
    """Categories of which no row came, though so many rows let expect ``vanished_rows``."""
    if thresholds.vanished_rows is None:
        return ()
    least = thresholds.vanished_rows
    return tuple(text for text, share in drift.vanished.items() if share * rows >= least)


def _scored(
    judged: Iterable[Receipt], evaluations: Evaluations
) -> Iterator[tuple[Receipt, Evaluation]]:
    for receipt in judged:
        if (found := evaluations.get(receipt.batch_id)) is not None:
            yield receipt, found


def _drifts(
    judged: Iterable[Receipt], evaluations: Evaluations
) -> Iterator[tuple[Receipt, Evaluation, Drift]]:
    """Of features, of deliveries with enough rows."""
    for receipt, evaluation in _scored(judged, evaluations):
        if evaluation.rows >= FEWEST_ROWS:
            for drift in evaluation.drift:
                if drift.kind == "feature":
                    yield receipt, evaluation, drift


def _missing(
    dataset: Dataset, judged: Sequence[Receipt], evaluations: Evaluations
) -> Iterator[Reason]:
    found = [
        (receipt, drift)
        for receipt, _, drift in _drifts(judged, evaluations)
        if rises(dataset.thresholds, drift)
    ]
    if found:
        texts = [
            f"{cut(one.feature)} ({percent(one.missing_share)}, in training"
            f" {percent(one.reference_missing_share)})"
            for _, one in found
        ]
        what = f"missing values of {listed(list(dict.fromkeys(texts)))}"
        yield _of_columns(dataset, "missing", what, found)


def _categories(
    dataset: Dataset, judged: Sequence[Receipt], evaluations: Evaluations
) -> Iterator[Reason]:
    thresholds, found, texts = dataset.thresholds, [], []
    for receipt, evaluation, drift in _drifts(judged, evaluations):
        if gone := vanished(thresholds, drift, evaluation.rows):
            found.append((receipt, drift))
            texts.append(f"no row has {cut(drift.feature)} {listed(gone)}")
        if has_new_texts(thresholds, drift, evaluation.rows):
            found.append((receipt, drift))
            share = percent(drift.other_share or 0.0)
            texts.append(f"{share} of rows have a {cut(drift.feature)} that training hardly had")
    if found:
        what = "; ".join(list(dict.fromkeys(texts))[:2])
        yield _of_columns(dataset, "categories", what, found)


def _of_columns(
    dataset: Dataset, kind: Kind, what: str, found: Sequence[tuple[Receipt, Drift]]
) -> Reason:
    batch_ids = list(dict.fromkeys(receipt.batch_id for receipt, _ in found))
    return Reason(
        kind=kind,
        what=what,
        where=tuple(dict.fromkeys(drift.feature for _, drift in found)),
        since=min(receipt.received_at for receipt, _ in found),
        remedy="ask the producer what changed; if it is to stay, train the model anew",
        details=tuple(f"{receipt.marker.label}: {drift.feature}" for receipt, drift in found),
        keys=tuple(f"{kind}/{batch_id}" for batch_id in batch_ids),
    )


def _empty(judged: Sequence[Receipt]) -> Iterator[Reason]:
    empty = [receipt for receipt in judged if not receipt.rows]
    if empty:
        names = [receipt.marker.label for receipt in empty]
        one = f"{cut(names[0])} has no rows"
        yield Reason(
            kind="empty",
            what=one if len(empty) == 1 else f"{len(empty):,} batches have no rows",
            where=tuple(names),
            since=min(receipt.received_at for receipt in empty),
            remedy="ask the producer whether that is right",
            keys=tuple(f"empty/{receipt.batch_id}" for receipt in empty),
        )


def _alerts(
    dataset: Dataset, judged: Sequence[Receipt], evaluations: Evaluations
) -> Iterator[Reason]:
    """Alerts; several of one kind become one, with a number of batches instead of a figure."""
    found = [
        (receipt, alert)
        for receipt, evaluation in _scored(judged, evaluations)
        for alert in evaluation.alerts
    ]
    drifted = list(dict.fromkeys(_kind(alert) for _, alert in found if _is_drift(alert)))
    if len(drifted) > 1:
        of_drift = [(receipt, alert) for receipt, alert in found if _is_drift(alert)]
        found = [(receipt, alert) for receipt, alert in found if not _is_drift(alert)]
    by_kind: dict[str, list[tuple[Receipt, str]]] = {}
    for receipt, alert in found:
        by_kind.setdefault(_kind(alert), []).append((receipt, alert))
    for kind, same in by_kind.items():
        yield _alert(dataset, _with_count(kind, same, len(judged)), same)
    if len(drifted) > 1:
        yield _alert(dataset, _drifted(drifted), of_drift)


def _alert(dataset: Dataset, what: str, found: Sequence[tuple[Receipt, str]]) -> Reason:
    batch_ids = Counter(receipt.batch_id for receipt, _ in found)
    kinds = sorted({_kind(alert) for _, alert in found})
    kind = DRIFT_OF if _is_drift(kinds[0]) else kinds[0]
    names = list(dict.fromkeys(receipt.marker.label for receipt, _ in found))
    look = f"see the figures of {listed(names)}"  # a report may be about another batch
    return Reason(
        kind="alert",
        what=what,
        where=tuple(names),
        since=min(receipt.received_at for receipt, _ in found),
        remedy=f"{look}; ask the producer what changed, or train the model anew",
        details=tuple(f"{receipt.marker.label}: {alert}" for receipt, alert in found),
        keys=tuple(f"alert/{kind}/{batch_id}" for batch_id in batch_ids),
    )


def _with_count(kind: str, same: Sequence[tuple[Receipt, str]], batches: int) -> str:
    if len(same) > 1:
        return f"{kind} in {len(same):,} of {plural(batches, 'batch', 'batches')}"
    ((receipt, alert),) = same
    return alert if batches == 1 else f"{alert} ({cut(receipt.marker.label)})"


def _drifted(kinds: Sequence[str]) -> str:
    """One sentence for all drifted features, if there are two or more."""
    features = [kind.removeprefix(DRIFT_OF).rpartition(" is above ")[0] for kind in kinds]
    return f"{len(features):,} features have drifted: {listed(features)}"


def _is_drift(alert: str) -> bool:
    return alert.startswith(DRIFT_OF)


def _kind(alert: str) -> str:
    return re.sub(r" -?[\d.e+-]+ (is (?:(?:above|below) -?[\d.]+|worse than .*))$", r" \1", alert)
