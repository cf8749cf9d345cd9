"""The short campaign: harm to a real Airflow on PostgreSQL, then the three lists are compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import habits, harm
from tests.faults.world import Line, World, world

FEEDS = ("night", "dusk", "dawn", "burst", "capped", "cloud", "success")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("faults"), FEEDS) as started:
        yield started


def check(line: Line) -> None:
    verdict = line.verdict
    assert not verdict.lost, f"{line.harm}: lost"
    assert not verdict.twice, f"{line.harm}: twice"
    assert not verdict.undone, f"{line.harm}: left undone"


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
@pytest.mark.release
def test_a_process_dies_at_every_point_that_matters(running: World) -> None:
    for line in harm.kill_at_points(running):
        check(line)


@pytest.mark.invariant(1)
def test_a_scheduler_dies_between_an_event_and_its_run(running: World) -> None:
    check(harm.kill_between_event_and_run(running))


@pytest.mark.invariant(1)
@pytest.mark.release
def test_components_die_at_random(running: World) -> None:
    check(harm.kill_at_random(running, 6))


def test_a_triggerer_is_killed_and_the_next_marker_is_taken_in(running: World) -> None:
    check(harm.kill_triggerer(running, 2))


@pytest.mark.invariant(1)
def test_two_triggerers_announce_the_same_markers(running: World) -> None:
    check(harm.two_triggerers(running, 1))


@pytest.mark.invariant(2)
def test_a_burst_of_1000_markers(running: World) -> None:
    check(harm.burst(running, 1_000))


@pytest.mark.invariant(2)
@pytest.mark.release
def test_a_claim_that_is_capped(running: World) -> None:
    check(harm.capped(running))


@pytest.mark.invariant(1)
@pytest.mark.release
def test_50_markers_land_while_the_dag_is_paused(running: World) -> None:
    check(harm.pause_and_land(running))


@pytest.mark.invariant(1)
@pytest.mark.release
def test_postgres_crashes_under_load(running: World) -> None:
    check(harm.restart_postgres(running, 2))


@pytest.mark.invariant(1)
def test_s3_answers_a_tenth_of_the_requests_badly(running: World) -> None:
    check(harm.harm_s3(running, "carried out, answer lost"))


@pytest.mark.invariant(1)
@pytest.mark.parametrize("habit", habits.HABITS, ids=lambda habit: habit.name)
def test_a_habit_of_producers_that_used_to_lose_rows(running: World, habit: habits.Habit) -> None:
    check(habits.live(running, habit, 2))


def test_nobody_looks_for_a_month(tmp_path: Path) -> None:
    check(harm.month_without_airflow(tmp_path))
