from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from flagfall.scoring.metrics import Labels, Scores, average_precision, brier_score, roc_auc

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
