"""CPU seconds of parsing dags/, over a DAG file with one empty DAG. Median of several processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

DAGS = Path(__file__).parents[1] / "dags"
EMPTY = 'from airflow.sdk import DAG\nwith DAG("empty", schedule=None):\n    pass\n'


CODE = """
import runpy, sys, time
runpy.run_path(sys.argv[1])
before = time.process_time()
for name in sys.argv[2:]: runpy.run_path(name)
print(before, time.process_time() - before)
"""


def cpu(empty: Path, files: list[Path]) -> tuple[float, float]:
    """CPU seconds of a process for the empty file, and then for the others."""
    command = [sys.executable, "-c", CODE, str(empty), *map(str, files)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(said[-2]), float(said[-1])


def main(rounds: int = 9) -> None:
    """Measure in fresh processes, as Airflow's DAG processor does."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        found = [cpu(empty, sorted(DAGS.glob("*.py"))) for _ in range(rounds + 1)][1:]
    base, over = median(a for a, _ in found), [b for _, b in found]
    print(f"an empty DAG file: {base:.2f} s of CPU; dags/ over it: {median(over):.3f} s")
    print(f"({min(over):.3f} to {max(over):.3f} s in {rounds} processes)")


if __name__ == "__main__":
    main()
