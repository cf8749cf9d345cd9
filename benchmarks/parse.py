"""CPU seconds of parsing ``dags/`` and of its imports, over a DAG file with one empty DAG."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from table import Column, Table, found

DAGS = Path(__file__).parents[1] / "dags"
EMPTY = 'from airflow.sdk import DAG\nwith DAG("empty", schedule=None):\n    pass\n'
STOCK = {
    "FileSensor": "from airflow.providers.standard.sensors.filesystem import FileSensor",
    "S3KeySensor": "from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor",
}
OURS = {
    "MarkerSensor": "from flagfall.operators import MarkerSensor",
    "MarkerFeedTrigger": "from flagfall.triggers import MarkerFeedTrigger",
}
CODE = """
import runpy, sys, time
runpy.run_path(sys.argv[1])
before = time.process_time()
for name in sys.argv[2:]: runpy.run_path(name)
print(before, time.process_time() - before)
"""


def compiling(folder: Path) -> dict[str, str]:
    """An environment in which the first process leaves bytecode for the others, as in an image."""
    here = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**here, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def cpu(empty: Path, files: list[Path]) -> tuple[float, float]:
    """CPU seconds of a process for the empty file, and then for the others."""
    command = [sys.executable, "-c", CODE, str(empty), *map(str, files)]
    said = subprocess.run(
        command, env=compiling(empty.parent), check=True, capture_output=True, text=True
    ).stdout.split()
    return float(said[-2]), float(said[-1])


def measure(empty: Path, files: list[Path], rounds: int) -> tuple[list[float], list[float]]:
    """What several fresh processes took, as Airflow's DAG processor starts them."""
    found = [cpu(empty, files) for _ in range(rounds + 1)][1:]
    return [base for base, _ in found], [over for _, over in found]


def sources(folder: Path) -> dict[str, list[Path]]:
    """What is parsed: our DAG files, and files with one import each."""
    named = {"Flagfall, dags/": sorted(DAGS.glob("*.py"))}
    for whose, lines in (("Flagfall, ", OURS), ("Airflow, ", STOCK)):
        for name, line in lines.items():
            file = folder / f"{name}.py"
            file.write_text(f"{line}\n")
            named[f"{whose}import of {name}"] = [file]
    return named


def main() -> None:
    """Measure each in processes of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="processes for each row")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as tmp:
        empty = Path(tmp) / "empty.py"
        empty.write_text(EMPTY)
        measured = {
            name: measure(empty, files, rounds) for name, files in sources(Path(tmp)).items()
        }
    bases = [base for one, _ in measured.values() for base in one]
    rows = [("Airflow, an empty DAG file", median(bases), min(bases), max(bases))]
    rows += [(name, median(over), min(over), max(over)) for name, (_, over) in measured.items()]
    columns = (
        Column("what"),
        Column("CPU, s", ".3f"),
        Column("least, s", ".3f"),
        Column("most, s", ".3f"),
    )
    found(Table("parse", columns, tuple(rows)))


if __name__ == "__main__":
    main()
