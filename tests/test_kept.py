from __future__ import annotations

from pathlib import Path

from flagfall.concurrency import kept
from flagfall.dataset.schema import Dataset
from tests.feeds import make_toy


def test_it_is_made_once_for_a_dataset_and_anew_for_another(tmp_path: Path) -> None:
    made: list[Dataset] = []

    def make(dataset: Dataset) -> int:
        made.append(dataset)
        return len(made)

    one, same_again = (make_toy(tmp_path).dataset for _ in range(2))
    number = kept(make)
    assert [number(one), number(one), number(same_again), number(one)] == [1, 1, 2, 3]
