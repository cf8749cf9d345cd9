"""Marker renamed into place to the trigger's yield, on disk: no Airflow, the trigger alone."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from triggers import MarkerFeedTrigger

ROUNDS = 100


def drop(landing: Path, name: str) -> float:
    """Prepare a folder with its marker, and rename it into the landing zone; gives the time."""
    prepared = landing.parent / name
    prepared.mkdir()
    (prepared / "_SUCCESS").touch()
    prepared.rename(landing / name)
    return time.monotonic()


async def main() -> None:
    """Drop one folder after the other, each when the one before was announced."""
    with tempfile.TemporaryDirectory() as folder:
        landing = Path(folder) / "landing"
        landing.mkdir()
        trigger = MarkerFeedTrigger(
            dataset="bench", landing=str(landing), marker="{name}/_SUCCESS", lake=f"{folder}/lake"
        )
        drop(landing, "first")
        events = trigger.run()
        await anext(events)
        await asyncio.sleep(3)  # the watch stands
        times = []
        for n in range(ROUNDS):
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(1.2)  # the looks after the last hint are over
            dropped = drop(landing, f"day-{n}")
            await waiting
            times.append(time.monotonic() - dropped)
        await events.aclose()
    p99 = quantiles(times, n=100)[98]
    print(
        f"rename to yield over {ROUNDS} markers: p50 {median(times) * 1000:.0f} ms,"
        f" p99 {p99 * 1000:.0f} ms, max {max(times) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    asyncio.run(main())
