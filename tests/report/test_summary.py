"""What a report says follows from the records, whatever the page looks like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.report.batches import Batch, mark_replaced
from flagfall.report.pooled import Pool, binned_auc, calibration, wilson
from flagfall.report.trend import Trend
from flagfall.report.worst_drift import worst_drift
from flagfall.verdict.facts import batch_date
from flagfall.verdict.verdict import Verdict
from tests.stages.runs import NOW, PLAIN, dataset, evaluate, receipt, verdict


def test_the_binned_auc_is_that_of_scores_rounded_to_their_bins() -> None:
    random = np.random.default_rng(0)
    negative, positive = random.integers(0, 100, 500), random.integers(20, 100, 300)
    labels = np.repeat([0, 1], [500, 300])
    counts = [np.bincount(bins, minlength=100) for bins in (negative, positive)]
    expected = roc_auc_score(labels, np.concatenate([negative, positive]))
    assert binned_auc(*counts) == pytest.approx(expected)


def test_without_both_classes_there_is_no_auc() -> None:
    some, none = np.ones(100, dtype=np.int64), np.zeros(100, dtype=np.int64)
    assert binned_auc(some, none) is None
    assert binned_auc(none, some) is None
    assert Pool().auc is None
    assert Pool().mean_score is None


def test_one_batch_keeps_its_exact_auc_and_two_are_pooled_to_within_a_bin() -> None:
    feed = dataset()
    first = evaluate(feed, receipt("2013-10-01"), seed=1)
    second = evaluate(feed, receipt("2013-10-02"), seed=2, shift=0.3)
    pool = Pool()
    pool.add(first)
    assert pool.auc == first.auc
    pool.add(second)
    assert pool.auc == pytest.approx((first.auc + second.auc) / 2, abs=0.02)
    assert abs(second.auc - first.auc) > 0.1
    labelled = first.labelled + second.labelled
    assert pool.positive_share == (first.positives + second.positives) / labelled
    gaps = first.calibration_gap * first.labelled + second.calibration_gap * second.labelled
    assert pool.mean_score - pool.positive_share == pytest.approx(gaps / labelled)


def test_calibration_counts_each_labelled_row_once_and_leaves_empty_bins_out() -> None:
    negative, positive = np.zeros(100, dtype=np.int64), np.zeros(100, dtype=np.int64)
    negative[[3, 9, 10]], positive[[9, 99]] = (6, 2, 5), (2, 1)
    low, next_, last = calibration(negative, positive)
    assert (low.rows, low.share) == (10, 0.2)
    assert low.score == pytest.approx((6 * 0.035 + 4 * 0.095) / 10)
    assert (next_.rows, next_.share, last.rows, last.share) == (5, 0.0, 1, 1.0)


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert wilson(0.1, 20) == pytest.approx((0.0279, 0.3010), abs=1e-4)  # 2 of 20
    low, high = wilson(0.0, 10)
    assert (low, round(high, 4)) == (0.0, 0.2775)


OPEN = "were rejected and not corrected since"


def _field(value: str) -> Receipt:
    landed = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    made = Marker("/l/x", "x", "v", landed, 0, {"part": value})
    return Receipt(batch_id="b", marker=made, status="accepted", received_at=landed)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2013-10-01", date(2013, 10, 1)),
        ("20131001", date(2013, 10, 1)),
        ("2013-10-01T05", date(2013, 10, 1)),
        ("2013-13-45", date(2026, 11, 22)),
        ("201310011", date(2026, 11, 22)),
        ("EWR", date(2026, 11, 22)),
    ],
)
def test_a_batch_is_about_the_date_in_its_marker_or_the_day_it_landed(
    value: str, expected: date
) -> None:
    assert batch_date(_field(value)) == expected


def judge(feed: Dataset, batches: Sequence[Batch]) -> Verdict:
    evaluations = {one.receipt.batch_id: one.evaluation for one in batches if one.evaluation}
    return verdict(feed, [one.receipt for one in batches], evaluations)


def _judged(*batches: Batch, **changes: object) -> tuple[str, str]:
    found = judge(dataset(**changes), batches)
    return found.word, found.sentence


def _scored(day: str, **scoring: float) -> Batch:
    accepted = receipt(day)
    return Batch(accepted, evaluate(dataset(), accepted, **scoring))


def test_a_scored_batch_without_alerts_is_normal() -> None:
    assert _judged(_scored("2013-10-20")) == ("normal", "Today is normal.")


@pytest.mark.parametrize(
    ("accepted", "rejected", "sentence"),
    [
        (1, 1, "2013-10-10 (no-data) was rejected and not corrected since"),
        (1, 2, f"2 batches {OPEN}: 2013-10-10 (no-data), 2013-10-11 (no-data)"),
        (0, 1, "2013-10-10 (no-data) was rejected and not corrected since"),
        (
            0,
            5,
            f"5 batches {OPEN}: 2013-10-10 (no-data), 2013-10-11 (no-data), 2013-10-12 (no-data)"
            " and 2 more",
        ),
    ],
)
def test_a_rejected_batch_needs_attention(accepted: int, rejected: int, sentence: str) -> None:
    batches = [_scored(f"2013-10-0{day + 1}") for day in range(accepted)]
    bad = (receipt(f"2013-10-1{day}", "rejected", reason="no-data") for day in range(rejected))
    assert _judged(*batches, *map(Batch, bad)) == ("attention", f"Needs attention: {sentence}.")


def test_one_batch_is_judged_in_the_words_of_its_alert() -> None:
    verdict, sentence = _judged(_scored("2013-10-20", shift=0.0))
    assert verdict == "attention"
    assert sentence.startswith("Needs attention: AUC 0.")
    assert sentence.endswith(" is below 0.60.")


def test_an_alert_of_one_of_many_names_its_batch_and_of_several_their_number() -> None:
    good, bad = _scored("2013-10-20"), _scored("2013-10-21", shift=0.0)
    worse = _scored("2013-10-22", shift=-0.05)
    assert _judged(good, bad)[1].endswith(" is below 0.60 (2013-10-21).")
    assert _judged(good, bad, worse)[1] == ("Needs attention: AUC is below 0.60 in 2 of 3 batches.")


def test_features_that_drifted_together_are_one_reason() -> None:
    sentence = _judged(_scored("2013-10-20", psi=1.5))[1]
    assert sentence == (
        "Needs attention: 4 features have drifted: departure, carrier, temp and 1 more."
    )
    assert _judged(_scored("2013-10-20", psi=0.3))[1] == (
        "Needs attention: drift of departure 0.30 is above 0.25."
    )


def test_of_many_reasons_the_sentence_tells_two() -> None:
    rejected = Batch(receipt("2013-10-21", "rejected"))
    empty = Batch(receipt("2013-10-22", rows=0))
    sentence = _judged(rejected, empty, _scored("2013-10-20", shift=0.0))[1]
    assert sentence == (
        "Failed: 2013-10-22 was accepted and is not evaluated; 2013-10-21 was rejected and not"
        " corrected since; 2 more reasons below."
    )


def test_an_accepted_batch_that_nobody_scored_needs_attention_unless_there_is_no_model() -> None:
    unscored = Batch(receipt("2013-10-20"))
    assert _judged(unscored)[1] == "Failed: 2013-10-20 was accepted and is not evaluated."
    assert judge(dataset(PLAIN), [unscored]).sentence == "Today is normal."


def test_an_accepted_batch_without_rows_needs_attention() -> None:
    empty = Batch(receipt("2013-10-20", rows=0))
    assert judge(dataset(PLAIN), [empty]).lines == ("2013-10-20 has no rows",)


def test_where_nothing_came_nobody_knows_and_a_batch_that_came_again_is_normal() -> None:
    good = receipt("2013-10-20", turn=1)
    again = receipt("2013-10-20", "unchanged", version=1, turn=2)
    assert _judged() == ("unknown", "Not known: nothing has come in the last 30 days.")
    batches = Batch(good, evaluate(dataset(), good)), Batch(again)
    assert _judged(*batches) == ("normal", "Today is normal.")


def test_a_rejected_batch_that_was_corrected_since_needs_no_attention() -> None:
    bad = receipt("2013-10-20", "rejected", landed_at=NOW - timedelta(hours=1))
    good = receipt("2013-10-20", version=1, turn=1)
    batches = mark_replaced([Batch(bad), Batch(good, evaluate(dataset(), good))], [good])
    assert [batch.replaced for batch in batches] == [True, False]
    assert judge(dataset(), batches).sentence == "Today is normal."


def test_a_rejected_redelivery_needs_attention_though_an_accepted_one_is_there() -> None:
    good = receipt("2013-10-20", landed_at=NOW - timedelta(hours=1), turn=1)
    bad = receipt("2013-10-20", "rejected", version=1, turn=1)
    batches = [Batch(good, evaluate(dataset(), good)), Batch(bad)]
    assert judge(dataset(), batches).word == "attention"


def test_drift_of_a_run_is_that_of_its_worst_batch_nearest_to_its_line_first() -> None:
    calm, moved = _scored("2013-10-20", psi=0.02), _scored("2013-10-21", psi=0.2)
    first, *_, last = worst_drift([calm, moved], Thresholds(psi_max=0.25))
    assert (first.feature, first.psi, first.label) == ("departure", 0.2, "2013-10-21")
    assert first.ratio == pytest.approx(0.8)
    assert last.feature == "score"


def test_a_feature_with_too_few_rows_to_tell_has_no_line() -> None:
    found = worst_drift([_scored("2013-10-20", noise=0.2)], Thresholds(psi_max=0.25))
    assert {moved.ratio for moved in found} == {None}


def test_without_a_threshold_the_line_is_the_customary_one() -> None:
    assert worst_drift([_scored("2013-10-20")], Thresholds())[0].line == 0.25


def _trend(history: list[Receipt], *run: Batch) -> Trend:
    trend = Trend(history, run, 0.25)
    for one in trend.receipts:
        trend.add(one, evaluate(dataset(), one))
    return trend


def test_the_trend_is_by_the_day_that_batches_are_about_and_marks_this_run() -> None:
    history = [receipt(f"2013-10-{day}", version=day) for day in (12, 10, 13)]
    today, bad = Batch(receipt("2013-10-15")), Batch(receipt("2013-10-14", "rejected"))
    periods = _trend(history, today, bad).periods
    told = [(period.label[-2:], period.rows, period.rejected, period.now) for period in periods]
    assert told == [
        ("10", 900, 0, False),
        ("12", 900, 0, False),
        ("13", 900, 0, False),
        ("14", 0, 1, True),
        ("15", 900, 0, True),
    ]


def test_days_that_lie_far_apart_stand_side_by_side() -> None:
    near = [receipt(day) for day in ("2013-10-01", "2013-10-05", "2013-10-12")]
    far = [*near, receipt("2011-01-01")]
    first, *_, last = _trend(near).periods
    assert last.position - first.position == 11
    assert [period.position for period in _trend(far).periods] == [0, 1, 2, 3]


def test_batches_of_one_day_are_added_up() -> None:
    days = ["2013-10-10", "2013-10-11", "2013-10-12", "2013-10-12T12"]
    *_, last = _trend([receipt(day) for day in days]).periods
    assert (last.label, last.rows, last.pool.batches, last.seconds) == (
        "2013-10-12",
        1800,
        2,
        [1.5, 1.5],
    )


def test_many_batches_of_one_day_are_shown_one_by_one_the_last_thirty() -> None:
    hours = [
        receipt(f"2013-10-10T{hour:02}-x", landed_at=NOW + timedelta(hours=hour))
        for hour in range(40)
    ]
    trend = _trend(hours)
    assert not trend.by_day
    assert [period.label for period in trend.periods][::29] == [
        "2013-10-10T10-x",
        "2013-10-10T39-x",
    ]


def test_the_median_leaves_this_run_out_and_wants_three_days() -> None:
    days = [receipt(f"2013-10-1{day}", rows=rows) for day, rows in enumerate((10, 20, 90))]
    today = Batch(receipt("2013-10-20", rows=5000))
    assert _trend(days, today).median(lambda period: period.rows) == 20
    assert _trend(days[:2], today).median(lambda period: period.rows) is None
