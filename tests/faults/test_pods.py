"""The KubernetesExecutor on the stand-in: a pod dies, the API forgets, the scheduler dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.pods import HARM, PodsWorld, harm_pods, pods_world
from tests.faults.test_campaign import check

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsWorld]:
    with pods_world(tmp_path_factory.mktemp("pods")) as started:
        yield started


def test_harm_is_done_200_times_in_the_long_campaign() -> None:
    assert sum(times for _, times in HARM.values()) == 200


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
@pytest.mark.parametrize(
    "what",
    ["pod out of memory", "watch expired (410)", "kill of the scheduler with a pod under way"],
)
def test_nothing_is_lost_and_nothing_twice(running: PodsWorld, what: str) -> None:
    check(harm_pods(running, what, 1))
