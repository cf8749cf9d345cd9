"""What a model's numbers mean: each task, and what each mistake is answered with."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from flagfall.dataset.model import Scorer
from flagfall.scoring.engines.outputs import Outputs
from flagfall.scoring.model_folder import Card
from flagfall.scoring.reading import NotUnderstood, Reading, columns_of, read_outputs


def outputs(
    rows: list[list[float]], labels: list[str] | None = None, classes: tuple[str, ...] = ()
) -> Outputs:
    found = None if labels is None else np.array(labels, dtype=np.str_)
    return Outputs(np.array(rows, np.float32), classes, found)


def read(given: Outputs, **settings: Any) -> pl.DataFrame:
    return read_outputs(Scorer(path="m", **settings), None, given).predictions(given)


THREE = [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]


def test_a_binary_model_gives_the_probability_of_its_second_class() -> None:
    found = read(outputs([[0.75, 0.25], [0.25, 0.75]]))
    assert found.to_dict(as_series=False) == {"score": [0.25, 0.75], "class": [0, 1]}
    assert dict(found.schema) == columns_of("binary")


def test_a_binary_model_gives_the_probability_of_the_positive_class() -> None:
    found = read(outputs([[0.75, 0.25]], classes=("bad", "good")), positive_class="bad")
    assert found.to_dict(as_series=False) == {"score": [0.75], "class": [1]}


def test_a_multiclass_model_gives_each_class_its_column() -> None:
    found = read(outputs(THREE, classes=("a", "b", "c")))
    assert found.to_dict(as_series=False) == {
        "class": ["a", "c"],
        "score": [0.5, 0.5],
        "probability.a": [0.5, 0.25],
        "probability.b": [0.25, 0.25],
        "probability.c": [0.25, 0.5],
    }
    assert dict(found.schema) == columns_of("multiclass", "abc")


def test_a_regression_gives_its_value() -> None:
    found = read(outputs([[-3.5], [1e6]]), task="regression")
    assert found.to_dict(as_series=False) == {"value": [-3.5, 1e6]}
    assert dict(found.schema) == columns_of("regression")


def test_a_detector_is_turned_round_and_flags_by_its_own_decision() -> None:
    found = read(outputs([[-0.25], [0.5]], labels=["-1", "1"]))
    assert found.to_dict(as_series=False) == {"score": [0.25, -0.5], "label": [1, 0]}
    assert dict(found.schema) == columns_of("anomaly")


def test_an_anomaly_is_flagged_from_the_threshold_on() -> None:
    found = read(outputs([[1.5], [2.0]]), task="anomaly", threshold=2)
    assert found["label"].to_list() == [0, 1]


def test_logits_become_probabilities() -> None:
    assert read(outputs([[0.0]]), logits=True)["score"].to_list() == [0.5]
    two = read(outputs([[3.0, 3.0]]), task="binary", logits=True)
    assert two["score"].to_list() == [0.5]


def test_a_probability_that_rounding_put_above_one_is_one() -> None:
    assert read(outputs([[1.000001]]), task="binary")["score"].to_list() == [1.0]


@pytest.mark.parametrize(
    ("given", "settings", "why"),
    [
        (outputs([[0.5]]), {}, "does not tell its task; set model.task to one of binary, "),
        (outputs([[np.nan]]), {"task": "binary"}, "1 of 1 scores are no prob.*such as nan"),
        (outputs([[1.0005]]), {"task": "binary"}, "no probabilities, such as 1.000"),
        (outputs([[-0.1]]), {"task": "binary"}, "no probabilities, .*set model.logits"),
        (outputs([[0.5, 0.25]]), {"task": "binary"}, "of 1 rows do not sum to 1; export it"),
        (outputs(THREE), {"classes": ("a", "b", "c", "d")}, "returns 3 numbers a row, and has"),
        (outputs(THREE), {"task": "binary"}, "a binary model has two classes"),
        (outputs([[0.5, 0.5]]), {"positive_class": "x"}, "correct model.positive_class"),
        (outputs([[0.5, 0.5]], ["yes"]), {}, "does not say which .* list them in model.classes"),
        (outputs([[0.9, 0.1]], ["c"]), {"classes": ("a", "b")}, "with the classes ..c.., which"),
        (outputs([[0.9, 0.1]], ["b"]), {"classes": ("a", "b")}, "not in the order of the classes"),
        (outputs(THREE), {"task": "regression"}, "expected one number a row, got 3; correct"),
        (outputs([[np.inf]]), {"task": "regression"}, "1 of 1 values are no numbers, such as inf"),
        (outputs([[0.5]]), {"task": "anomaly"}, "scores and no decision; set model.threshold"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_to_change(
    given: Outputs, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(NotUnderstood, match=why):
        read(given, **settings)


def test_the_dataset_goes_before_the_model_and_the_model_before_its_card() -> None:
    card = Card(version="1", task="regression", classes=("a", "b"))
    one = outputs([[0.5]])

    def task(scorer: Scorer, own: Any) -> str:
        return read_outputs(scorer, card, one, own).task

    assert task(Scorer(path="m", task="binary"), "anomaly") == "binary"
    assert task(Scorer(path="m"), "anomaly") == "anomaly"
    assert task(Scorer(path="m"), None) == "regression"
    named = read_outputs(Scorer(path="m", task="binary"), card, one)
    assert (named.classes, named.positive, named.is_named) == (("a", "b"), "b", True)


def test_an_unknown_task_of_the_model_is_refused() -> None:
    with pytest.raises(NotUnderstood, match="TASK is 'sorting', expected one of binary"):
        read_outputs(Scorer(path="m"), None, outputs([[0.5]]), "sorting")


def test_a_reading_can_be_used_for_other_rows() -> None:
    reading = Reading("multiclass", ("a", "b", "c"))
    assert reading.predictions(outputs(THREE[1:]))["class"].to_list() == ["c"]


def test_columns_in_another_order_than_before_are_not_mixed_up() -> None:
    first = outputs([[0.75, 0.25]], classes=("no", "yes"))
    reading = read_outputs(Scorer(path="m"), None, first)
    found = reading.predictions(outputs([[0.25, 0.75]], classes=("yes", "no")))
    assert found["score"].to_list() == [0.25]
    with pytest.raises(NotUnderstood, match="it returns the columns"):
        reading.predictions(outputs([[0.25, 0.75]], classes=("yes", "maybe")))
    card = Card(version="1", classes=("yes", "no"))
    as_trained = read_outputs(Scorer(path="m"), card, first)
    assert as_trained.predictions(first)["score"].to_list() == [0.75]


def test_one_column_is_of_the_second_class_whichever_is_positive() -> None:
    given = outputs([[0.25]], classes=())
    settings: dict[str, Any] = {"classes": ("no", "yes"), "task": "binary"}
    assert read(given, **settings)["score"].to_list() == [0.25]
    assert read(given, **settings, positive_class="no")["score"].to_list() == [0.75]


def test_a_few_rows_near_the_middle_may_be_decided_otherwise() -> None:
    """As by a support vector machine, or a threshold of the model's own."""
    found = read(outputs([[0.55, 0.45]], ["1"]))
    assert found["score"].to_list() == [np.float32(0.45)]
