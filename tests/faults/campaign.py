"""The long campaign, ``make campaign``: an hour of harm, and ``docs/reliability.md`` from it.

Needs root, for a small disk of its own.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import jinja2
import psutil

from flagfall.local_airflow import interruptible
from tests.faults import harm, stock
from tests.faults.airflow import HarmedAirflow
from tests.faults.bad_inputs import CASES
from tests.faults.world import ALL, Line, World, world

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
TEMPLATE = Path(__file__).with_name("reliability.md.j2")


@dataclass
class Campaign:
    """What was done, in order.

    Attributes:
        lines: The table.
        stock: The table of what was done to stock Airflow.
        kills: How many processes were killed, by name.
        reasons: How many cases of bad input ended with each reason.
    """

    lines: list[Line] = field(default_factory=list)
    stock: list[Line] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def note(self, table: list[Line], *lines: Line) -> None:
        """Add lines, and show them."""
        for line in lines:
            table.append(line)
            found = line.verdict
            print(
                f"{time.monotonic() - self.began:6.0f} s  {line.harm}: {line.times} times,"
                f" {line.markers} markers, lost {len(found.lost)}, twice {len(found.twice)},"
                f" undone {len(found.undone)}, p50 {found.median:.1f} s, max {found.longest:.1f} s",
                flush=True,
            )
            for what in (*found.lost, *found.twice, *found.undone)[:10]:
                print("         ", what, flush=True)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, left undone or done twice (by Flagfall)."""
        return all(line.verdict.is_clean for line in self.lines)


def run(campaign: Campaign, folder: Path) -> None:
    """Do all the harm there is."""
    with stock.stock_airflow(folder / "stock") as airflow:
        for line in _stock(airflow, folder / "stock"):
            campaign.note(campaign.stock, line)
    with world(folder / "world", ALL) as running:
        for line in _kills(running):
            campaign.note(campaign.lines, line)
        for line in _crowds(running):
            campaign.note(campaign.lines, line)
        for lines in _at_the_same_time(lambda: list(_s3(running)), lambda: list(_disk(running))):
            campaign.note(campaign.lines, *lines)
        line, campaign.reasons = harm.bad_input(running)
        campaign.note(campaign.lines, line)
        campaign.kills += running.airflow.kills
    with world(folder / "sqlite", ["burst"], on_postgres=False) as running:
        campaign.note(campaign.lines, harm.lock_sqlite(running, 3))
    campaign.note(campaign.lines, harm.month_without_airflow(folder / "month"))


def _stock(airflow: HarmedAirflow, folder: Path) -> Iterator[Line]:
    for count in (5, 100):
        yield stock.burst(airflow, folder, count)
    yield stock.pause_and_land(airflow, folder, 50)
    yield stock.kill_after_detection(airflow, folder, 10)


def _kills(running: World) -> Iterator[Line]:
    yield from harm.kill_at_points(running, 2)
    for _ in range(2):
        yield harm.kill_between_event_and_run(running)
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


def _at_the_same_time(*parts: Callable[[], list[Line]]) -> list[list[Line]]:
    with ThreadPoolExecutor(len(parts)) as pool:
        return [done.result() for done in [pool.submit(part) for part in parts]]


def render(campaign: Campaign) -> str:
    """The page."""
    environment = jinja2.Environment(
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.from_string(TEMPLATE.read_text()).render(
        ours=campaign.lines,
        stock=campaign.stock,
        beside=list(_pairs(campaign)),
        kills=len(campaign.kills),
        markers=sum(line.markers for line in campaign.lines),
        harms=sum(line.times for line in campaign.lines),
        lost=sum(len(line.verdict.lost) for line in campaign.lines),
        twice=sum(len(line.verdict.twice) for line in campaign.lines),
        undone=sum(len(line.verdict.undone) for line in campaign.lines),
        restart=next(line for line in campaign.lines if line.harm.startswith("kill of the trigg")),
        cases=len(CASES),
        reasons=sorted(campaign.reasons.items(), key=lambda item: (-item[1], item[0])),
        minutes=round((time.monotonic() - campaign.began) / 60),
        today=datetime.now(UTC).date(),
        airflow=version("apache-airflow"),
        python=platform.python_version(),
        cores=psutil.cpu_count(),
    )


def _pairs(campaign: Campaign) -> Iterator[tuple[Line, Line]]:
    """Lines of stock Airflow, each with ours of the same harm."""
    for line in campaign.stock:
        begin = line.harm.partition(" in ")[0].partition(" (")[0]
        same = [one for one in campaign.lines if one.harm.startswith(begin)]
        if same:
            yield line, same[0]


def main() -> None:
    """Run it, write the page, and fail where something was lost or done twice."""
    if os.geteuid() != 0:
        sys.exit("the campaign mounts a small disk of its own: run it as root, in a container")
    campaign = Campaign()
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="flagfall-campaign-", ignore_cleanup_errors=True)
        )
        run(campaign, Path(folder))
    PAGE.write_text(render(campaign))
    print(f"written: {PAGE}")
    sys.exit(not campaign.is_clean)


if __name__ == "__main__":
    main()
