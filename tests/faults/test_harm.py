"""What harm to pods counts, and how rounds of it are done side by side; without an Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox.kubernetes.selectors import Object
from tests.faults.pods import as_they_come, was_hit


def pod(phase: str, **metadata: str) -> Object:
    return {"status": {"phase": phase}, "metadata": metadata}


@pytest.mark.parametrize(
    ("last", "is_hit"),
    [
        (pod("Failed"), True),
        (pod("Succeeded"), False),
        (pod("Succeeded", deletionTimestamp="2026-11-30T02:00:00Z"), True),
    ],
    ids=["it failed", "it had done its work", "it was deleted and ended in time"],
)
def test_a_pod_was_hit_if_it_ran_and_did_not_end_as_it_wanted(last: Object, is_hit: bool) -> None:
    assert was_hit([(1.0, pod("Pending")), (2.0, pod("Running")), (4.0, last)], 3.0) is is_hit


def test_a_pod_that_had_ended_was_not_hit() -> None:
    assert not was_hit([(1.0, pod("Running")), (2.0, pod("Failed"))], 3.0)


def test_what_threads_give_comes_at_once_and_what_one_raises_comes_last() -> None:
    def breaks() -> Iterator[str]:
        yield "first"
        raise ValueError("broken")

    found: list[str] = []
    sources = [breaks(), iter(["second", "third"])]
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="broken"):
        found.extend(as_they_come(pool, sources))
    assert sorted(found) == ["first", "second", "third"]
