"""A million outcomes joined to a million predictions: seconds and memory.

``python benchmarks/outcomes.py [rows]`` prints JSON. Both feeds are taken in as batches of CSV and
scored first; only the joining and the evaluation are measured, in a process of their own. Outcomes
come in another order than rows, in two deliveries.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.feeds import Clock
from tests.late import LateFeeds, make_late

ROWS = 1_000_000


def prepare(root: Path, rows: int) -> LateFeeds:
    """Score rows, and take in their outcomes."""
    feeds, random = make_late(root), np.random.default_rng(1)
    scores = random.random(rows)
    lines = [f"{number},{score:.6f}\n" for number, score in enumerate(scores)]
    feeds.score("2026-11-20", "id,value\n" + "".join(lines))
    order, delays = random.permutation(rows), np.where(random.random(rows) < scores, 30, 0)
    half = rows // 2
    for day, numbers in (("2026-11-21", order[:half]), ("2026-11-22", order[half:])):
        lines = [f"{number},{delays[number]}\n" for number in numbers]
        feeds.happen(day, "id,delay\n" + "".join(lines))
    return feeds


def measure(root: Path) -> dict[str, float]:
    """Join and evaluate, in this process.

    Returns:
        ``seconds``, ``cpu_seconds`` of all threads, ``again_seconds`` of a look that finds nothing
        new, ``peak_mib`` of the process and ``before_mib`` of it when its libraries were loaded.
    """
    from flagfall.dataset.loader import read_dataset
    from tests.feeds import ToyFeed

    found = [read_dataset(root / "datasets" / f"{name}.yaml") for name in ("toy", "truth")]
    feeds = LateFeeds(ToyFeed(root, found[0]), ToyFeed(root / "truth", found[1]), Clock())
    before, worked, began = _peak_mib(), time.process_time(), time.monotonic()
    learned = feeds.learn()
    worked, took = time.process_time() - worked, time.monotonic() - began
    began = time.monotonic()
    assert len(learned.batches) == 1, learned.failures
    again = feeds.learn()
    assert again.batches == ()
    known = feeds.known(learned.batches[0].marker)
    assert known is not None
    return {
        "rows": known.evaluation.rows,
        "known": known.evaluation.labelled,
        "auc": round(known.evaluation.auc or 0.0, 4),
        "seconds": round(took, 2),
        "cpu_seconds": round(worked, 2),
        "again_seconds": round(time.monotonic() - began, 2),
        "before_mib": round(before),
        "peak_mib": round(_peak_mib()),
    }


def _peak_mib() -> float:
    """Of this program: ``ru_maxrss`` would also be that of the process that started it."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one)
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure once, and print what was found."""
    if sys.argv[1:2] == ["--in"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), rows)
        command = [sys.executable, __file__, "--in", folder]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    print(ran.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
