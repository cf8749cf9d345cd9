"""The harm that is done, each a function of the world that gives a line of the table."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, replace
from datetime import timedelta
from itertools import chain, cycle, islice
from pathlib import Path

from flagfall.dataset.feed import Feed
from flagfall.inbox.inbox import Inbox
from flagfall.stages.shard import Delivery, run_stage
from tests.faults import bad_inputs
from tests.faults.airflow import SECOND
from tests.faults.comparison import Comparison, DiskFiles, Verdict, seconds_of
from tests.faults.producer import Drop, Producer, ToyRows
from tests.faults.world import FeedUnderTest, Line, World
from tests.feeds import Clock, make_toy

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
NIGHTS = ("night", "dusk", "dawn")
"""Feeds that are scored."""
HOLDERS = "select distinct triggerer_id from trigger where classpath like '%FeedTrigger'"
"""Which triggerers hold the feeds' triggers."""
SILENCE = 10.0
"""Seconds for which a triggerer is frozen: longer than ``triggerer_health_check_threshold``."""


TRIES = 5
"""Batches that are dropped until a process gets to its point."""


def kill_at(world: World, point: str, feed: FeedUnderTest) -> Line:
    """Drop a batch; a process that works on it dies at a point.

    Another feed's harm may end the process just before; where its batch is through, the next is
    dropped.
    """
    words, who = POINTS[point]
    name = f"{point}@{feed.dataset.name}"
    world.airflow.arm(name, who)
    drops: list[Drop] = []
    while world.airflow.is_armed(name):
        assert len(drops) < TRIES, f"nobody died at {name!r}"
        drops += feed.producer.drop()
        world.wait(
            lambda: not world.airflow.is_armed(name) or world.is_quiet(feed),
            f"nobody died at {name!r}",
            400,
        )
    world.airflow.kills.append(f"at {name}")
    return Line(f"kill {words} ({who})", 1, len(drops), world.judge(feed, drops, 400))


def kill_at_points(world: World, rounds: int = 1) -> list[Line]:
    """Kill at every point, on several feeds side by side; a line for each point."""
    feeds = [world.feeds[name] for name in NIGHTS]
    points = list(POINTS) * rounds
    shares = [points[n :: len(feeds)] for n in range(len(feeds))]

    def work(feed: FeedUnderTest, share: list[str]) -> list[Line]:
        return [kill_at(world, point, feed) for point in share]

    with ThreadPoolExecutor(len(feeds)) as pool:
        done = [line for lines in pool.map(work, feeds, shares) for line in lines]
    return [
        _sum([line for line in done if line.harm == f"kill {words} ({who})"])
        for words, who in POINTS.values()
    ]


def _sum(lines: Sequence[Line]) -> Line:
    """Several lines of the same harm as one."""
    verdicts = [line.verdict for line in lines]
    total = Verdict(*(tuple(chain(*parts)) for parts in zip(*map(astuple, verdicts), strict=True)))
    times, markers = sum(line.times for line in lines), sum(line.markers for line in lines)
    return Line(lines[0].harm, times, markers, total)


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
    """Drop a batch while no scheduler is at work; the triggerer dies as it announces it again."""
    feed = world.feeds["night"]
    events = "select max(id) as last from asset_event"
    before = world.airflow.query(events)[0]["last"]
    world.airflow.freeze("scheduler")
    drops = feed.producer.drop()
    world.wait(lambda: world.airflow.query(events)[0]["last"] != before, "no event")
    world.airflow.arm("detected@night", "machine")
    world.airflow.died_at("detected@night")
    world.airflow.thaw("scheduler")
    return Line("kill during a redelivery (triggerer)", 1, 1, world.judge(feed, drops))


def kill_at_random(world: World, times: int, seed: int = 4) -> Line:
    """Drop a batch every few seconds, in turn on several feeds; something dies as often."""
    chance = random.Random(seed)
    feeds = cycle([world.feeds[name] for name in NIGHTS])
    drops: dict[FeedUnderTest, list[Drop]] = {}
    for feed in islice(feeds, times):
        drops.setdefault(feed, []).extend(feed.producer.drop())
        time.sleep(chance.uniform(0.5, 7))
        _kill(world, chance.choice(COMPONENTS))
    harm = "kill of any component at random"
    lines = [Line(harm, len(d), len(d), world.judge(f, d, 600)) for f, d in drops.items()]
    return _sum(lines)


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
        before = world.airflow.state(HOLDERS)
        world.airflow.freeze(mine)
        drops += feed.producer.drop(3)
        time.sleep(SILENCE)
        world.wait(lambda before=before: before.isdisjoint(world.airflow.state(HOLDERS)), "no move")
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
    assert world.postgres is not None, "there is one"
    feed = world.feeds["night"]
    drops: list[Drop] = []
    for _ in range(times):
        drops += feed.producer.drop(5)
        time.sleep(4)
        world.postgres.restart()
    return Line("PostgreSQL crashes under load", times, len(drops), world.judge(feed, drops, 400))


def lock_sqlite(world: World, times: int, seconds: float = 20.0) -> Line:
    """Hold a lock on Airflow's SQLite file that lets nobody write or read."""
    feed = world.feeds["burst"]
    drops: list[Drop] = []
    for _ in range(times):
        drops += feed.producer.drop(5)
        with closing(sqlite3.connect(world.airflow.database, timeout=60)) as connection:
            connection.execute("begin exclusive")
            drops += feed.producer.drop(5)
            time.sleep(seconds)
            connection.rollback()
        drops += feed.producer.drop(5)
    verdict = world.judge(feed, drops, 400)
    return Line(f"SQLite locked for {seconds:.0f} s (demo's setup)", times, len(drops), verdict)


S3_HARM = {
    "500": {"kinds": ("error500",)},
    "503 SlowDown": {"kinds": ("slow_down503",)},
    "connection reset": {"kinds": ("reset",)},
    "no answer": {"kinds": ("hang",)},
    "body cut": {"kinds": ("cut_body",)},
    "carried out, answer lost": {"kinds": ("late_answer",)},
}
"""What the proxy in front of S3 does to a tenth of the requests."""


def harm_s3(world: World, what: str, seconds: float = 30.0) -> Line:
    """Harm a tenth of the requests to S3 for a while, in which batches land."""
    world.proxy.seen.clear()
    world.proxy.set(share=0.1, window="", **S3_HARM[what])
    return _land_on_s3(world, f"S3: {what}", seconds)


def refuse_s3(world: World, seconds: float = 60.0) -> Line:
    """Answer every request to S3 with 403 for a while, in which batches land."""
    world.proxy.seen.clear()
    world.proxy.set(window="AccessDenied")
    return _land_on_s3(world, f"S3: 403 for {seconds:.0f} s", seconds)


def _land_on_s3(world: World, words: str, seconds: float, count: int = 20) -> Line:
    feed = world.feeds["cloud"]
    drops: list[Drop] = []
    for _ in range(4):
        drops += feed.producer.drop(count // 4)
        time.sleep(seconds / 4)
    world.proxy.set(share=0.0, window="")
    counts = world.proxy.counts()
    harmed = sum(counts.values()) - counts["asked"]
    verdict = world.judge(feed, drops, 400)
    return Line(f"{words} ({harmed} of {counts['asked']:,} requests)", harmed, count, verdict)


def fill_the_disk(world: World, seconds: float = 30.0) -> Line:
    """The lake's disk is full for a while (a small tmpfs)."""
    lake = Path(world.feeds["small"].dataset.lake.uri)
    filler = lake / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as out, suppress(OSError):
            while True:
                out.write(bytes(4096))

    return _harm_small(world, f"disk: lake full for {seconds:.0f} s", seconds, fill, filler.unlink)


def write_protect(world: World, seconds: float = 60.0) -> Line:
    """The lake is read-only for a while."""
    lake = world.feeds["small"].dataset.lake.uri

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", lake], check=True)

    words = f"disk: lake read-only for {seconds:.0f} s"
    return _harm_small(world, words, seconds, lambda: remount("ro"), lambda: remount("rw"))


def take_landing_away(world: World, seconds: float = 20.0) -> Line:
    """The landing zone is renamed away and back, as a share that was unmounted."""
    landing = Path(world.feeds["small"].dataset.landing.uri)
    away = landing.with_name("away")
    words = f"disk: landing zone gone for {seconds:.0f} s, then back"
    return _harm_small(
        world, words, seconds, lambda: landing.rename(away), lambda: away.rename(landing), False
    )


def remove_landing(world: World) -> Line:
    """The landing zone is removed with all that is in it, made again, and used again."""
    feed = world.feeds["small"]
    before = feed.producer.drop(3)
    world.judge(feed, before)
    shutil.rmtree(feed.dataset.landing.uri)
    time.sleep(5)
    drops = before + feed.producer.drop(3)
    harm = "disk: landing zone removed and made again"
    return Line(harm, 1, len(drops), world.judge(feed, drops))


def _harm_small(
    world: World,
    words: str,
    seconds: float,
    do: Callable[[], object],
    undo: Callable[[], object],
    land: bool = True,
) -> Line:
    feed = world.feeds["small"]
    drops = feed.producer.drop(3)
    do()
    if land:
        drops += feed.producer.drop(3)
    time.sleep(seconds)
    undo()
    drops += feed.producer.drop(3)
    return Line(words, 1, len(drops), world.judge(feed, drops, 400))


@contextmanager
def small_disk(world: World) -> Iterator[None]:
    """A tmpfs of 4 MiB for the lake of the feed ``small``; only root may mount it."""
    lake = Path(world.feeds["small"].dataset.lake.uri)
    lake.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", lake], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", lake], check=True)


def month_without_airflow(folder: Path) -> Line:
    """Nobody looks for a month, by an injected clock, while a batch lands every day."""
    clock, toy = Clock(), make_toy(folder)
    feed = Feed.of(toy.dataset)
    inbox = Inbox(feed, clock)
    inbox.shortcuts.advance(inbox.pending(), inbox.shortcuts.scope())
    producer = Producer(toy.dataset, ToyRows(), folder / "outbox")
    for _ in range(30):
        clock.advance(timedelta(days=1))
        producer.drop()
    again = Inbox(feed, clock)
    run_stage("ingest", toy.dataset, again, [Delivery(marker) for marker in again.pending()])
    lake = DiskFiles(Path(toy.dataset.lake.uri) / toy.dataset.name)
    verdict = Comparison(lake, toy.dataset.table.primary_key).judge(producer.dropped)
    harm = "nobody looks for a month (injected clock, without Airflow)"
    return Line(harm, 1, 30, replace(verdict, seconds=()))


def bad_input(world: World) -> Line:
    """Drop every case of bad input at once."""
    feed = world.feeds["bad"]
    landing = Path(feed.dataset.landing.uri)
    markers = {case: bad_inputs.drop(case, landing) for case in bad_inputs.CASES}
    world.wait(lambda: world.is_quiet(feed), "bad input is still pending", 900)
    receipts = Comparison(feed.files, ["id"]).receipts
    lost, twice, wrong = [], [], []
    reasons: Counter[str] = Counter()
    for case, marker in markers.items():
        found = receipts.get(str(marker.relative_to(landing)), [])
        lost += [case.name] if not found else []
        twice += [case.name] if len(found) > 1 else []
        wrong += [case.name for one in found if one["reason"] != case.reason]
        reasons.update(one["reason"] or "accepted" for one in found)
    seconds = tuple(seconds_of(one) for found in receipts.values() for one in found)
    verdict = Verdict(tuple(lost), tuple(twice), tuple(wrong), seconds)
    harm = "bad input, each case with its expected reason"
    return Line(harm, len(markers), len(markers), verdict, dict(reasons))
