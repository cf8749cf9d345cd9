from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, get_ident

import polars as pl
import pytest

from flagfall.concurrency import MOST_THREADS, cache_last, in_order, thread_count
from flagfall.dataset.schema import Dataset
from tests.feeds import make_toy


def test_results_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    second_is_done = Barrier(2, timeout=30)

    def work(number: int) -> int:
        if number < 2:  # the first ends no sooner than the second
            second_is_done.wait()
        return number * 10

    assert list(in_order(work, range(20), threads=2)) == [number * 10 for number in range(20)]


def test_items_are_worked_on_by_several_threads_at_once() -> None:
    together = Barrier(3, timeout=30)

    def meet(_: int) -> int:
        together.wait()
        return get_ident()

    assert len(set(in_order(meet, range(3), threads=3))) == 3


def test_items_are_drawn_no_sooner_than_they_are_needed() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1_000):
            drawn.append(number)
            yield number

    results = in_order(str, items(), threads=2, ahead=3)
    for taken in range(1, 20):
        next(results)
        assert len(drawn) <= taken + 2 + 3


def test_what_an_item_raises_is_raised_in_its_place_and_nothing_more_is_drawn() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1_000):
            drawn.append(number)
            yield number

    def work(number: int) -> int:
        return 1 // (number - 5)

    results = in_order(work, items(), threads=2)
    assert [next(results) for _ in range(5)] == [-1] * 5
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(drawn) < 20


def test_what_the_items_raise_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(in_order(str, items(), threads=2))


@pytest.mark.parametrize("count", [1, 3])
def test_what_the_items_raise_comes_after_the_results_of_those_before(count: int) -> None:
    def items() -> Iterator[int]:
        yield from range(count)
        raise OSError("no more")

    results = in_order(str, items(), threads=2, ahead=5)
    assert [next(results) for _ in range(count)] == [str(number) for number in range(count)]
    with pytest.raises(OSError, match="no more"):
        next(results)


def test_a_task_has_as_many_threads_as_polars_within_a_bound() -> None:
    assert thread_count() == min(pl.thread_pool_size(), MOST_THREADS)


def test_it_is_made_once_for_a_dataset_and_anew_for_another(tmp_path: Path) -> None:
    made: list[Dataset] = []

    def make(dataset: Dataset) -> int:
        made.append(dataset)
        return len(made)

    one, same_again = (make_toy(tmp_path).dataset for _ in range(2))
    number = cache_last(make)
    assert [number(one), number(one), number(same_again), number(one)] == [1, 1, 2, 3]
