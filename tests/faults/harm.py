"""The harm that is done, each a function of the world that gives a line of the table."""

from __future__ import annotations

import random
import time

from tests.faults.airflow import SECOND
from tests.faults.producer import Drop
from tests.faults.world import Line, World

POINTS = {
    "sweeping": ("during a sweep", "machine"),
    "detected": ("between detection and event", "machine"),
    "claim-returns": ("between claim and its XCom", "self"),
    "ingest-begins": ("between claim and ingest", "worker"),
    "copied": ("between copy and receipt", "worker"),
    "received": ("just after the receipt", "self"),
    "ingest-returns": ("between receipt and XCom", "machine"),
    "preprocess-returns": ("after preprocess, before its XCom", "self"),
    "infer-begins": ("before inference", "worker"),
    "infer-returns": ("after inference, before its XCom", "self"),
    "evaluate-returns": ("after evaluation, before its XCom", "machine"),
    "report-returns": ("after the report, before its XCom", "self"),
}
"""Points at which a process kills itself: in words, and who is to die with it."""
COMPONENTS = ("triggerer", "scheduler", "dag-processor", "api-server", "task")
SILENCE = 10.0
"""Seconds for which a triggerer is frozen: longer than ``triggerer_health_check_threshold``."""


def kill_at(world: World, point: str) -> Line:
    """Drop a batch; a process that works on it dies at a point."""
    words, who = POINTS[point]
    feed = world.feeds["night"]
    world.airflow.arm(point, who)
    drops = feed.producer.drop()
    world.airflow.died_at(point)
    return Line(f"kill {words} ({who})", 1, 1, world.judge(feed, drops))


def kill_at_all_points(world: World, count: int = 6) -> Line:
    """Arm every point at once and drop batches one by one, until all points were reached."""
    feed = world.feeds["night"]
    for point, (_, who) in POINTS.items():
        world.airflow.arm(point, who)
    drops: list[Drop] = []
    for _ in range(count):
        drops += feed.producer.drop()
        time.sleep(5)
    for point in POINTS:
        world.airflow.died_at(point, 300)
    return Line("kill at every point that matters", len(POINTS), count, world.judge(feed, drops))


def kill_between_event_and_run(world: World) -> Line:
    """Drop a batch; the scheduler dies when its event is stored, before a run is made of it."""
    feed = world.feeds["night"]
    events = "select max(id) as last from asset_event"
    before = world.airflow.query(events)[0]["last"]
    drops = feed.producer.drop()
    world.wait(lambda: world.airflow.query(events)[0]["last"] != before, "no event")
    world.airflow.kill("scheduler", "between event and run")
    return Line("kill between event and run (scheduler)", 1, 1, world.judge(feed, drops))


def kill_during_redelivery(world: World) -> Line:
    """Drop a batch on a paused DAG; the triggerer dies when it announces it again."""
    feed = world.feeds["night"]
    pause(world, feed.dag_id, True)
    events = "select max(id) as last from asset_event"
    before = world.airflow.query(events)[0]["last"]
    drops = feed.producer.drop()
    world.wait(lambda: world.airflow.query(events)[0]["last"] != before, "no event")
    world.airflow.arm("detected", "machine")
    world.airflow.died_at("detected")
    pause(world, feed.dag_id, False)
    return Line("kill during a redelivery (triggerer)", 1, 1, world.judge(feed, drops))


def kill_at_random(world: World, times: int, seed: int = 4) -> Line:
    """Drop a batch every few seconds; something dies as often."""
    chance = random.Random(seed)
    feed = world.feeds["night"]
    drops: list[Drop] = []
    for _ in range(times):
        drops += feed.producer.drop()
        time.sleep(chance.uniform(0.5, 8))
        _kill(world, chance.choice(COMPONENTS))
    verdict = world.judge(feed, drops, 600)
    return Line("kill of any component at random", times, len(drops), verdict)


def _kill(world: World, component: str) -> None:
    if component == "task":
        world.wait(world.airflow.kill_task, "no task ran")
    else:
        world.airflow.kill(component)


def kill_triggerer(world: World, times: int) -> Line:
    """Kill the triggerer; drop a batch when it is started again."""
    feed = world.feeds["burst"]
    drops: list[Drop] = []
    for _ in range(times):
        world.airflow.kill_and_restart("triggerer")
        drops += feed.producer.drop()
        world.judge(feed, drops)
    return Line(
        "kill of the triggerer; a marker as it is started again",
        times,
        len(drops),
        world.judge(feed, drops),
    )


def two_triggerers(world: World, times: int) -> Line:
    """Freeze a triggerer until its triggers have moved to another; let it go on beside it."""
    feed = world.feeds["burst"]
    world.airflow.second_triggerer()
    drops: list[Drop] = []
    for turn in range(times):
        mine = "triggerer" if turn % 2 == 0 else SECOND
        drops += feed.producer.drop(2)
        world.airflow.freeze(mine)
        drops += feed.producer.drop(3)
        time.sleep(SILENCE)
        world.airflow.thaw(mine)
        drops += feed.producer.drop(3)
    return Line(
        "a triggerer frozen until another has its triggers, then both",
        times,
        len(drops),
        world.judge(feed, drops),
    )


def burst(world: World, count: int, patience: float = 900.0) -> Line:
    """Rename prepared batches into the landing zone, as fast as that goes."""
    feed = world.feeds["burst"]
    ready = feed.producer.prepare(count)
    began = time.monotonic()
    drops = feed.producer.let_go(ready)
    took = time.monotonic() - began
    verdict = world.judge(feed, drops, patience)
    return Line(f"burst: {count:,} markers in {took:.2f} s", 1, count, verdict)


def burst_while_running(world: World) -> Line:
    """Drop batches while a run is under way, a few at a time."""
    feed = world.feeds["burst"]
    drops = feed.producer.drop(20)
    running = "select 1 from dag_run where dag_id = ? and state = 'running'"
    for _ in range(4):
        world.wait(lambda: world.airflow.query(running, feed.dag_id), "no run")
        drops += feed.producer.drop(20)
        time.sleep(1)
    return Line("markers land while a run is active", 4, len(drops), world.judge(feed, drops))


def capped(world: World, count: int = 100) -> Line:
    """Drop more than one run takes."""
    feed = world.feeds["capped"]
    drops = feed.producer.drop(count)
    cap = feed.dataset.limits.batches_per_run
    harm = f"a claim that is capped at {cap} batches"
    return Line(harm, 1, count, world.judge(feed, drops))


def pause_and_land(world: World, count: int = 50) -> Line:
    """Pause the DAG, drop batches, unpause it; no further marker."""
    feed = world.feeds["burst"]
    pause(world, feed.dag_id, True)
    drops = feed.producer.drop(count)
    time.sleep(5)
    pause(world, feed.dag_id, False)
    return Line("DAG paused while markers land", 1, count, world.judge(feed, drops))


def pause(world: World, dag_id: str, paused: bool) -> None:
    """Pause a DAG or have it go on."""
    world.airflow.run("dags", "pause" if paused else "unpause", "-y", dag_id)


def restart_postgres(world: World, times: int) -> Line:
    """Crash PostgreSQL while batches are taken in."""
    feed = world.feeds["night"]
    drops: list[Drop] = []
    for _ in range(times):
        drops += feed.producer.drop(5)
        time.sleep(4)
        world.postgres.restart()
    return Line("PostgreSQL crashes under load", times, len(drops), world.judge(feed, drops, 400))
