"""What it costs that many sensors wait for markers on S3: ours beside Airflow's S3KeyTrigger.

Either side has a process of its own, in which its triggers run on one event loop as in a triggerer,
and an S3 of its own with canned answers. ``make benchmark-stock`` makes the environment of the
other side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from canned_s3 import LANDING, canned_s3, environment, many_files, stats
from heartbeat import Heartbeat

KEYS = 1_000
QUIET = 3.0
"""Sensors that share their looks have started when nothing has been asked for so many seconds."""
IDLE = 5.0
"""Seconds that the process is watched without sensors: what the heartbeat costs."""
A_SECOND = 50
"""Triggers that a triggerer takes over in one turn of its loop, once a second."""
STOCK_PYTHON = Path(__file__).parents[1] / ".flagfall/stock/bin/python"
PYTHONS = {"ours": Path(sys.executable), "stock": STOCK_PYTHON}
DEFAULTS = {"ours": 30.0, "stock": 60.0}
"""Seconds between two looks: of ``MarkerTrigger``, and of a deferrable ``S3KeySensor``."""


def ours() -> Callable[[int, float], Any]:
    """How one of our triggers is made, everything that it needs imported."""
    import obstore.store  # noqa: F401

    import flagfall.stores.aws
    import flagfall.stores.s3  # noqa: F401
    from triggers import MarkerTrigger

    def make(n: int, every: float) -> MarkerTrigger:
        partition = {"n": f"{n:05}"}
        return MarkerTrigger(
            landing=LANDING, marker="{n}/_SUCCESS", partition=partition, sweep_every=every
        )

    return make


def stock() -> Callable[[int, float], Any]:
    """How one of Airflow's is made, with what a deferrable ``S3KeySensor`` gives it."""
    import aiobotocore.session  # noqa: F401
    from airflow.providers.amazon.aws.hooks import s3  # noqa: F401
    from airflow.providers.amazon.aws.triggers.s3 import S3KeyTrigger

    def make(n: int, every: float) -> S3KeyTrigger:
        return S3KeyTrigger(
            bucket_name="bucket",
            bucket_key=f"landing/{n:05}/_SUCCESS",
            aws_conn_id=None,
            poke_interval=every,
        )

    return make


SIDES = {"ours": ours, "stock": stock}


async def wait(trigger: Any) -> Any:
    """The first event of a trigger."""
    return await anext(trigger.run())


async def run_sensors(side: str, sensors: int, every: float, a_second: int) -> None:
    """Start them at the word; answer every word with what happened since the one before."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the S3 hook prints at every look
    many_files()
    make = SIDES[side]()
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(words), sys.stdin
    )
    heartbeat = Heartbeat(0.010)
    tasks: list[asyncio.Task[Any]] = []

    async def start() -> None:
        for first in range(0, sensors, a_second):
            numbers = range(first, min(first + a_second, sensors))
            tasks.extend(asyncio.create_task(wait(make(n, every))) for n in numbers)
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        async for word in words:
            if word == b"start\n":
                group.create_task(start())
            ended = [repr(task.exception() or task.result()) for task in tasks if task.done()]
            answer = {
                "held": heartbeat.take(),
                "begun": len(tasks),
                "ended": len(ended),
                "first": ended[:1],
            }
            answers.write(json.dumps(answer) + "\n")
        os._exit(0)  # nobody waits any more


class Sensors:
    """The process of one side, seen from outside.

    Args:
        process: It, with pipes to its ends.

    Attributes:
        held: Longest time that its event loop was held, in seconds; may be set back.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.held = 0.0
        self._process = process
        self._seen = psutil.Process(process.pid)

    def tell(self, word: str = "look") -> dict[str, Any]:
        """Give it a word and wait for the answer, which comes when its event loop is free."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(word, file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.held = max(self.held, answer["held"])
        return answer

    def cpu(self) -> float:
        """CPU seconds since its start."""
        return float(sum(self._seen.cpu_times()[:2]))

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._seen.memory_info().rss)


@contextmanager
def sensors_in(side: str, arguments: list[str], url: str) -> Iterator[Sensors]:
    """Run the process of one side; none of its sensors has been started."""
    with tempfile.TemporaryDirectory() as home, open(f"{home}/errors", "w") as errors:
        process = subprocess.Popen(
            [str(PYTHONS[side]), __file__, *arguments, "--inside", side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(url) | {"AIRFLOW_HOME": home},
        )
        try:
            yield Sensors(process)
        except (OSError, ValueError):
            print(Path(f"{home}/errors").read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            process.kill()
            process.wait()


def wait_for_start(sensors: Sensors, url: str, count: int, limit: float) -> tuple[int, float]:
    """Wait until all have looked, or the limit; gives how many had, and the seconds until then."""
    began = changed = time.monotonic()
    seen: Counter[str] = Counter()
    quiet = 0
    while time.monotonic() < began + limit:
        time.sleep(0.1)
        begun = sensors.tell()["begun"]
        now = stats(url)
        if now["keys"] >= count:
            return count, time.monotonic() - began
        if now != seen or begun < count:
            seen, changed, quiet = now, time.monotonic(), 0
        elif (quiet := quiet + 1) * 0.1 >= QUIET and now["LIST"]:
            return count, changed - began
    return seen["keys"], time.monotonic() - began


def measure(side: str, given: argparse.Namespace) -> dict[str, str]:
    """Start the sensors of one side, and watch them for a while."""
    count, seconds = getattr(given, side), given.seconds
    every = given.every or DEFAULTS[side]
    arguments = [f"--{side}={count}", f"--every={every}", f"--a-second={given.a_second}"]
    with canned_s3(KEYS) as url, sensors_in(side, arguments, url) as sensors:
        sensors.tell()
        empty, before = sensors.memory(), sensors.cpu()
        time.sleep(IDLE)
        idle_cpu = (sensors.cpu() - before) / IDLE
        before = sensors.cpu()
        sensors.held = 0.0
        sensors.tell("start")
        started, start = wait_for_start(sensors, url, count, given.start_limit)
        start_cpu, start_held = sensors.cpu() - before, sensors.held
        after_start = sensors.memory()
        time.sleep(every / 2)  # so that no look stands at an end of what is watched
        sensors.tell()
        sensors.held = 0.0
        asked, before = stats(url), sensors.cpu()
        time.sleep(seconds)
        cpu, at_end, asked_at_end = sensors.cpu() - before, sensors.memory(), stats(url)
        last = sensors.tell()
    requests = asked_at_end - asked
    del requests["keys"]
    looked = max(started, asked_at_end["keys"])
    kinds = ", ".join(f"{n * 60 / seconds:.0f} {kind}" for kind, n in sorted(requests.items()))
    return {
        "sensors": f"{count:,}, every {every:g} s",
        "had looked once": f"{started:,} after {start:.1f} s",
        "… at the end": f"{looked:,}",
        "CPU of the start": f"{start_cpu:.1f} s",
        "loop held, start": f"{start_held * 1000:.0f} ms",
        "requests a minute": kinds or "none",
        "CPU a minute": f"{cpu * 60 / seconds:.2f} s (empty: {idle_cpu * 60:.2f} s)",
        "loop held, waiting": f"{sensors.held * 1000:.0f} ms",
        "memory, no sensors": f"{empty / 1e6:.0f} MB",
        "memory, started": f"{after_start / 1e6:.0f} MB",
        "memory, at the end": f"{at_end / 1e6:.0f} MB",
        "a sensor, started": f"{(after_start - empty) / max(started, 1) / 1e3:.1f} kB",
        "a sensor, at the end": f"{(at_end - empty) / max(looked, 1) / 1e3:.1f} kB",
        "ended early": f"{last['ended']:,}{' with ' + last['first'][0] if last['ended'] else ''}",
    }


def main() -> None:
    """Measure one side after the other, and print them beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", type=int, default=1000, metavar="N", help="sensors")
    parser.add_argument("--stock", type=int, default=1000, metavar="N", help="sensors")
    parser.add_argument("--seconds", type=float, default=60.0, help="that they are watched")
    parser.add_argument("--every", type=float, help="seconds between two looks; else the defaults")
    parser.add_argument("--a-second", type=int, default=A_SECOND, help="sensors to start a second")
    parser.add_argument("--start-limit", type=float, default=120.0, help="seconds to start them")
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument("--inside", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        count = getattr(given, given.inside)
        asyncio.run(run_sensors(given.inside, count, given.every, given.a_second))
        return
    sides = [given.only] if given.only else list(SIDES)
    if "stock" in sides and not STOCK_PYTHON.exists():
        parser.error("make benchmark-stock makes what the other side needs")
    many_files()
    columns = [measure(side, given) for side in sides]
    print(f"{'':22}" + "".join(f"{side:34}" for side in sides))
    for row in columns[0]:
        print(f"{row:22}" + "".join(f"{column[row]:34}" for column in columns))


if __name__ == "__main__":
    main()
