"""CPU seconds of parsing dags/, over a DAG file with one empty DAG. Median of several processes."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

DAGS = Path(__file__).parents[1] / "dags"
EMPTY = 'from airflow.sdk import DAG\nwith DAG("empty", schedule=None):\n    pass\n'


def cpu(*files: Path) -> float:
    """CPU seconds of one process that runs these files one after the other."""
    code = "import runpy, sys\nfor name in sys.argv[1:]: runpy.run_path(name)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *map(str, files)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(rounds: int = 7) -> None:
    """Measure both in turn."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        ours = sorted(DAGS.glob("*.py"))
        pairs = [(cpu(empty), cpu(empty, *ours)) for _ in range(rounds + 1)][1:]
    base, all_of_it = median(a for a, _ in pairs), median(b for _, b in pairs)
    print(f"an empty DAG file: {base:.2f} s; dags/ in the same process: {all_of_it:.2f} s of CPU")
    print(f"over it: {median(b - a for a, b in pairs):.2f} s (median of {rounds} pairs)")


if __name__ == "__main__":
    main()
