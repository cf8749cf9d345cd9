"""Machines that cannot reach a service for a while: both sides go on, and nothing is twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import partitions
from tests.faults.cluster import ClusterWorld
from tests.faults.network import why_not
from tests.faults.test_campaign import check

pytestmark = [
    pytest.mark.slow,
    pytest.mark.release,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterWorld]:
    with partitions.partitioned_world(tmp_path_factory.mktemp("partitions")) as started:
        yield started


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
def test_a_task_is_given_to_another_worker_and_the_first_one_comes_back(
    running: ClusterWorld,
) -> None:
    check(partitions.cut_a_worker(running, "Airflow's API"))


@pytest.mark.invariant(1)
def test_a_triggerer_that_reaches_s3_and_not_the_database(running: ClusterWorld) -> None:
    check(partitions.cut_a_triggerer(running, "the database"))
