"""The long campaign, ``make campaign``: an hour of harm, and ``docs/reliability.md`` from it.

What each part found is a file of ``docs/reliability``, so a part can be done again alone.

Needs root, for a small disk of its own, and Redis.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jinja2
import psutil

from sandbox.airflow import interruptible
from tests.faults import cluster, habits, harm, partitions, pods, stock
from tests.faults.airflow import HarmedAirflow
from tests.faults.comparison import Verdict
from tests.faults.network import why_not
from tests.faults.world import ALL, Line, World, world
from tests.simulation.campaign import outcomes

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
FOUND = PAGE.with_suffix("")
"""The folder with what was found: a file of each part, a row in each line."""
TEMPLATE = Path(__file__).with_name("reliability.md.j2")


@dataclass(frozen=True)
class Row:
    """A line of the page.

    Attributes:
        part: Of the campaign.
        date: Of its day, in UTC.
        seconds: How long the part took until then.
        reasons: For bad input, how many cases ended with each reason.
    """

    part: str
    date: str
    harm: str
    times: int
    markers: int
    lost: int
    twice: int
    undone: int
    median: float
    longest: float
    seconds: float
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, left undone or done twice."""
        return not (self.lost or self.twice or self.undone)


def _row(part: str, line: Line, seconds: float) -> Row:
    found = line.verdict
    for what in (*found.lost, *found.twice, *found.undone)[:10]:
        print("  ", what, flush=True)
    counts = len(found.lost), len(found.twice), len(found.undone)
    times = round(found.median, 1), round(found.longest, 1)
    what = part, str(datetime.now(UTC).date()), line.harm, line.times, line.markers
    return Row(*what, *counts, *times, seconds, line.reasons)


@contextmanager
def _stock_world(folder: Path) -> Iterator[Iterator[Line]]:
    with stock.stock_airflow(folder) as airflow:
        yield _stock(airflow, folder)


@contextmanager
def _our_world(
    folder: Path,
    harms: Callable[[World], Iterator[Line]],
    names: Sequence[str] = ALL,
    on_postgres: bool = True,
) -> Iterator[Iterator[Line]]:
    with world(folder, names, on_postgres) as running:
        yield harms(running)


def _stock(airflow: HarmedAirflow, folder: Path) -> Iterator[Line]:
    for count in (5, 100):
        yield stock.burst(airflow, folder, count)
    yield stock.pause_and_land(airflow, folder, 50)
    yield stock.kill_after_detection(airflow, folder, 10)


def _points(running: World) -> Iterator[Line]:
    yield from harm.kill_at_points(running, 2)
    yield harm.kill_between_event_and_run(running)


def _kills(running: World) -> Iterator[Line]:
    yield harm.kill_during_redelivery(running)
    yield harm.kill_at_random(running, 64)
    yield harm.kill_triggerer(running, 10)
    yield harm.two_triggerers(running, 3)
    yield harm.restart_postgres(running, 5)


def _crowds(running: World) -> Iterator[Line]:
    for count in (5, 100, 1_000, 10_000):
        yield harm.burst(running, count)
    yield harm.burst_while_running(running)
    yield harm.capped(running)
    yield harm.pause_and_land(running)


def _s3(running: World) -> Iterator[Line]:
    for what in harm.S3_HARM:
        yield harm.harm_s3(running, what)
    yield harm.refuse_s3(running)


def _disk(running: World) -> Iterator[Line]:
    with harm.small_disk(running):
        yield harm.fill_the_disk(running)
        yield harm.write_protect(running)
        yield harm.take_landing_away(running)
        yield harm.remove_landing(running)


def _habits(running: World) -> Iterator[Line]:
    for habit in habits.HABITS:
        yield habits.live(running, habit, 10)


def _rest(running: World) -> Iterator[Line]:
    yield harm.bad_input(running)
    yield harm.month_without_airflow(running.folder / "month")


def _sqlite(running: World) -> Iterator[Line]:
    yield harm.lock_sqlite(running, 3)


@contextmanager
def _cluster(
    folder: Path,
    harms: Callable[[cluster.ClusterWorld], Iterator[Line]],
    settings: Mapping[str, str] | None = None,
) -> Iterator[Iterator[Line]]:
    with cluster.cluster_world(folder, more=settings) as running:
        yield harms(running)


def _celery(running: cluster.ClusterWorld) -> Iterator[Line]:
    yield cluster.go_well(running)
    for harm_it in (
        cluster.kill_a_triggerer,
        cluster.kill_a_scheduler,
        cluster.kill_a_worker,
        cluster.kill_a_machine,
    ):
        yield harm_it(running, 5)
        running.cluster.replace_dead()


def _broker(running: cluster.ClusterWorld) -> Iterator[Line]:
    yield cluster.lose_the_broker(running, 3)


@contextmanager
def _partitions(folder: Path) -> Iterator[Iterator[Line]]:
    if why := why_not():
        sys.exit(f"partitions: {why}")
    with partitions.partitioned_world(folder) as running:
        yield _cut_off(running)


def _cut_off(running: cluster.ClusterWorld) -> Iterator[Line]:
    for services in (["S3"], ["Airflow's API"], ["S3", "Airflow's API"], ["the broker"]):
        yield partitions.cut_a_worker(running, *services)
    yield partitions.cut_a_triggerer(running, "the database")


@contextmanager
def _kubernetes(folder: Path) -> Iterator[Iterator[Line]]:
    with pods.pods_world(folder) as running:
        yield pods.harm_pods(running, pods.rounds())


SEEDS = int(os.environ.get("SEEDS", 100_000))
"""Schedules that are simulated; ``make campaign SEEDS=5000`` for fewer."""
TOLD_EVERY = 2_000


@contextmanager
def _simulation(folder: Path) -> Iterator[Iterator[Line]]:
    yield _simulated(range(SEEDS))


def _simulated(seeds: range) -> Iterator[Line]:
    """The same intake without an Airflow: what is wrong in any seed counts as lost."""
    wrong: list[str] = []
    deliveries = outside = 0
    for number, outcome in enumerate(outcomes(seeds), start=1):
        deliveries += outcome.deliveries
        outside += bool(outcome.outside)
        wrong += [f"seed {outcome.seed}: {fault}" for fault in outcome.faults]
        if number % TOLD_EVERY == 0:
            print(f"{number:,} seeds: {len(wrong)} wrong, {outside} outside", flush=True)
    verdict = Verdict(tuple(wrong), (), (), ())
    harm = f"simulated schedules of harm ({outside} outside of what is promised)"
    yield Line(harm, len(seeds), deliveries, verdict)


PARTS: dict[str, Callable[[Path], AbstractContextManager[Iterator[Line]]]] = {
    "simulation": _simulation,
    "stock": _stock_world,
    "points": partial(_our_world, harms=_points),
    "kills": partial(_our_world, harms=_kills),
    "crowds": partial(_our_world, harms=_crowds),
    "s3": partial(_our_world, harms=_s3),
    "disk": partial(_our_world, harms=_disk),
    "habits": partial(_our_world, harms=_habits, names=["success"]),
    "rest": partial(_our_world, harms=_rest),
    "sqlite": partial(_our_world, harms=_sqlite, names=["burst"], on_postgres=False),
    "celery": partial(_cluster, harms=_celery),
    "broker": partial(_cluster, harms=_broker, settings=cluster.SOON_QUEUED_AGAIN),
    "partitions": _partitions,
    "kubernetes": _kubernetes,
}

BY_NAME = ("partitions", "kubernetes")
"""Parts that are done only when they are named: hours, or a machine that has network namespaces."""


def run(part: str) -> None:
    """Do a part of the harm; its rows take the place of those that were there."""
    kept: list[Row] = []
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="flagfall-", ignore_cleanup_errors=True) as tmp,
        PARTS[part](Path(tmp) / part) as lines,
    ):
        for line in lines:
            kept.append(_row(part, line, round(time.monotonic() - began)))
            print(kept[-1], flush=True)
            FOUND.mkdir(exist_ok=True)
            _file(part).write_text("".join(json.dumps(asdict(row)) + "\n" for row in kept))


def _file(part: str) -> Path:
    return FOUND / f"{part}.jsonl"


def rows() -> list[Row]:
    """What was found so far."""
    files = (file for part in PARTS if (file := _file(part)).exists())
    return [Row(**json.loads(line)) for file in files for line in file.read_text().splitlines()]


def render(found: Sequence[Row]) -> str:
    """The page."""
    environment = jinja2.Environment(
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    ours = [row for row in found if row.part != "stock"]
    theirs = [row for row in found if row.part == "stock"]
    longest = {part: max((r.seconds for r in found if r.part == part), default=0) for part in PARTS}
    return environment.from_string(TEMPLATE.read_text()).render(
        parts={row.part for row in found},
        ours=ours,
        beside=list(_pairs(theirs, ours)),
        markers=sum(row.markers for row in ours if row.part != "simulation" and not _again(row)),
        kills=sum(row.times for row in ours if row.harm.startswith("kill")),
        restart=next(row for row in ours if row.harm.startswith("kill of the triggerer")),
        bad=next(row for row in ours if row.reasons),
        simulated=next(row for row in ours if row.part == "simulation"),
        minutes=round(sum(longest.values()) / 60),
        days=sorted({row.date for row in found}),
        airflow=version("apache-airflow"),
        cores=psutil.cpu_count(),
    )


def _again(row: Row) -> bool:
    """Whether it judges batches that other rows have counted."""
    return row.harm.startswith(pods.AFTERWARDS)


def _pairs(theirs: Sequence[Row], ours: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Rows of stock Airflow, each with ours of the same harm."""
    for row in theirs:
        begin = row.harm.partition(" in ")[0].partition(" (")[0]
        yield row, next(one for one in ours if one.harm.startswith(begin))


def main(parts: Sequence[str]) -> None:
    """Run parts, or all; write the page, and fail where something was lost or done twice."""
    if os.geteuid() != 0:
        sys.exit("the campaign mounts a small disk of its own: run it as root, in a container")
    with interruptible():
        for part in parts or (part for part in PARTS if part not in BY_NAME):
            run(part)
    found = rows()
    if missing := set(PARTS) - set(BY_NAME) - {row.part for row in found}:
        print(f"no page yet: {', '.join(sorted(missing))} not run so far")
    else:
        PAGE.write_text(render(found))
        print(f"written: {PAGE}")
    sys.exit(not all(row.is_clean for row in found if row.part != "stock"))


if __name__ == "__main__":
    main(sys.argv[1:])
