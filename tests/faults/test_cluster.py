"""Celery workers that share nothing but S3: one machine after the other dies, the rest go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import cluster
from tests.faults.cluster import ClusterWorld, cluster_world
from tests.faults.test_campaign import check

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterWorld]:
    with cluster_world(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def test_tasks_run_on_both_workers(running: ClusterWorld) -> None:
    for _ in range(2):  # six tasks could all have been the one worker's
        check(cluster.go_well(running))
    ran = "select distinct hostname from task_instance where pid is not null"
    rows = running.cluster.query(ran)
    assert {row["hostname"] for row in rows} == set(running.cluster.workers)


@pytest.mark.invariant(1)
def test_a_triggerer_dies(running: ClusterWorld) -> None:
    check(cluster.kill_a_triggerer(running))


@pytest.mark.invariant(1)
def test_a_scheduler_dies(running: ClusterWorld) -> None:
    check(cluster.kill_a_scheduler(running))


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
def test_a_worker_dies(running: ClusterWorld) -> None:
    check(cluster.kill_a_worker(running))
    survivors = [name for name in running.cluster.workers if name in running.cluster.alive]
    assert len(survivors) == 1
