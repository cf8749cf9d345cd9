from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    r2_score,
    roc_auc_score,
)

from flagfall.scoring.metrics import (
    LARGEST,
    Labels,
    Scores,
    auc_error,
    average_precision,
    brier_score,
    expected_auc,
    held,
    log_losses,
    macro_f1,
    r_squared,
    roc_auc,
)

SCORES = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, 0.25, 0.5, 0.5000001, 1.0]),  # many ties, and nearly some
)
ROWS = st.lists(st.tuples(st.booleans(), SCORES), min_size=2, max_size=60)


def arrays(rows: list[tuple[bool, float]]) -> tuple[Labels, Scores]:
    labels, scores = zip(*rows, strict=True)
    return np.array(labels, np.bool_), np.array(scores, np.float32)


@given(ROWS.filter(lambda rows: len({label for label, _ in rows}) == 2))
def test_they_are_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    labels, scores = arrays(rows)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


@given(ROWS.filter(lambda rows: any(label for label, _ in rows)))
def test_average_precision_needs_no_negative_row(rows: list[tuple[bool, float]]) -> None:
    labels, scores = arrays(rows)
    expected = average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


@given(ROWS)
def test_the_brier_score_needs_no_two_classes(rows: list[tuple[bool, float]]) -> None:
    labels, scores = arrays(rows)
    expected = brier_score_loss(labels.tolist(), scores, pos_label=True, labels=[False, True])
    assert brier_score(labels, scores) == pytest.approx(expected, abs=1e-7)


def test_on_a_million_rows_too() -> None:
    random = np.random.default_rng(7)
    scores = random.random(1_000_000).astype(np.float32).round(3)
    labels = random.random(1_000_000) < scores
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learns_over_the_classes_that_occur(
    pairs: list[tuple[int, int]],
) -> None:
    real, given_class = np.array(pairs).T
    table = np.zeros((4, 4), np.int64)
    np.add.at(table, (real, given_class), 1)
    found = macro_f1(table.diagonal(), table.sum(axis=0), table.sum(axis=1))
    assert found == pytest.approx(f1_score(real, given_class, average="macro"), abs=1e-12)


def test_a_probability_of_0_costs_much_and_not_infinitely_much() -> None:
    shares = np.array([[0.0, 1.0], [1.0, 0.0], [0.25, 0.75]], np.float32)
    found = log_losses(shares[np.arange(3), [0, 0, 1]]).mean()
    assert found == pytest.approx(log_loss([0, 0, 1], shares), rel=1e-6)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=30))
def test_r_squared_is_scikit_learns_and_none_without_differences(
    pairs: list[tuple[int, int]],
) -> None:
    real, predicted = np.array(pairs, np.float64).T
    found = r_squared(real, predicted)
    if (real == real[0]).all():
        assert found is None
    else:
        assert found == pytest.approx(r2_score(real, predicted), abs=1e-9)


def test_r_squared_of_nearly_equal_values_and_huge_errors_is_known() -> None:
    real = np.array([1.0, 1.0 + 1e-12])
    assert r_squared(real, held(np.array([1e200, 0.0]))) == -LARGEST


def test_the_error_of_an_auc_is_that_of_scores_that_say_nothing() -> None:
    random = np.random.default_rng(5)
    labels = np.arange(200) < 40
    found = [roc_auc(labels, random.random(200).astype(np.float32)) for _ in range(400)]
    assert np.std(found) == pytest.approx(auc_error(40, 160), rel=0.1)
    assert auc_error(0, 9) == 0


@pytest.mark.parametrize("scores", [[0.3, 0.3, 0.9], [0.001, 0.002, 0.0004], [0.0, 1.0], [0.5]])
def test_the_auc_to_expect_is_scikit_learns_with_scores_as_weights(scores: list[float]) -> None:
    both = np.array([*scores, *scores])
    labels = np.repeat([1, 0], len(scores))
    weights = np.where(labels == 1, both, 1 - both)
    wanted = roc_auc_score(labels, both, sample_weight=weights)
    assert expected_auc(np.array(scores)) == pytest.approx(wanted)


@pytest.mark.parametrize("scores", [[], [0.0, 0.0], [1.0]])
def test_no_auc_is_to_be_expected_of_one_class(scores: list[float]) -> None:
    assert expected_auc(np.array(scores, np.float32)) is None
