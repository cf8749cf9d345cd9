"""From a CSV file in the landing zone to predictions: rows a second and peak memory.

Beside the scripts that a careful analyst would write, with pandas, polars and DuckDB
(``analyst*.py``), and beside what this machine can do at most: reading the bytes, hashing them, the
rules, onnxruntime, writing Parquet, each by itself. Every measurement is a process of its own.
``make bench`` makes the environment of the scripts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from table import Cell, Column, Plot, Table, found
from watched import KILLED

from flagfall import extras
from flagfall.concurrency import thread_count
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Staged
from flagfall.publish import publish
from flagfall.rows import DataFile
from flagfall.rows.csv_rows import csv_rows
from flagfall.rows.rules import RowRules
from flagfall.rows.source import Bounds
from flagfall.scoring.features import Constants, feature_expressions
from flagfall.scoring.model import open_model, scorer_of
from flagfall.stages.infer import BATCH_ROWS
from flagfall.stages.shard import Delivery, run_stage
from sandbox.flights import LABELLED, all_flights

ROOT = Path(__file__).parents[1]
ANALYST = ROOT / ".flagfall" / "analyst" / "bin" / "python"
SIZES = (10_000, 100_000, 1_000_000, 5_000_000, 50_000_000)
CHUNK = 100_000
STAGES = ("ingest", "preprocess", "infer")
MADE = ("staged", "features", "predictions")
"""What they leave in the lake."""
FLAGFALL = "Flagfall"
MASKS = "Flagfall, with flagfall[trees]"
OURS: dict[str, tuple[str, ...]] = {FLAGFALL: ("ours",), MASKS: ("ours", "trees")}
"""Ours, each with its arguments for this script."""
WHOLE = "script, whole file"
WHOLE_ARROW = "script, whole file, pyarrow's reader"
CHUNKS = "script, chunks"
POLARS = "script with polars, whole file"
DUCKDB = "script with DuckDB, whole file"
HERE = Path(__file__).parent
WATCHED = HERE / "watched.py"
SCRIPTS: dict[str, tuple[str, ...]] = {
    WHOLE: ("analyst.py",),
    WHOLE_ARROW: ("analyst.py", "--engine", "pyarrow"),
    CHUNKS: ("analyst.py", "--chunk", str(CHUNK)),
    POLARS: ("analyst_polars.py",),
    DUCKDB: ("analyst_duckdb.py",),
}
"""Each with its options."""
OFTEN, OFTEN_TO = 3, 1_000_000
"""How often each side is run, up to this size; larger files once."""

MEBIBYTE = 1 << 20
MOST_PARTS = 4
"""Parts (of 250,000 rows) that onnxruntime is given by itself; the rest is taken to be alike."""

SUMMED = ("read", "hash", "validate", "infer", "write")
LIMITS = {
    "read": "read the bytes",
    "hash": "hash them (SHA-256)",
    "validate": "split into rows, check every rule",
    "infer": "onnxruntime, all threads",
    "infer, one thread": "onnxruntime, one thread",
    "write": "write the rows as Parquet",
}
BY_POLARS = "polars alone: typed rows that keep all rules, each key once, the hash, Parquet"
"""What ingest does, but for what it says about rows that it leaves out."""
INGEST = "Flagfall's ingest"
SUM = "sum of the parts"
SUM_ONE = "sum of the parts, onnxruntime on one thread"
STAGES_SUM = "Flagfall, the three stages"
PROCESS = "Flagfall, the whole process"


@dataclass(frozen=True)
class Run:
    """One process.

    Attributes:
        seconds: From its start to its end.
        memory: Largest resident memory, MiB: its own, or a child's of its own if that had more.
        parts: Seconds of its parts, and ``rows``, as it says itself.
        ended: Empty, or why there are no predictions.
        fastest: Seconds of the fastest of several, of which this is the middle one.
        slowest: Of the slowest.
    """

    seconds: float | None = None
    memory: float | None = None
    parts: dict[str, float] = field(default_factory=dict)
    ended: str = ""
    fastest: float | None = None
    slowest: float | None = None


def run(command: list[str], folder: Path, limit: float, memory: int | None = None) -> Run:
    """Run a process to its end, for so many seconds and in so many bytes at most."""
    script = [sys.executable, str(WATCHED), str(memory or 0), *command]
    environment = {**os.environ, "FLAGFALL_DATA": str(folder), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        script, cwd=ROOT, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        said, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Run(ended=f"not done after {limit:.0f} s")
    if process.returncode:
        if memory and ("memory" in errors.lower() or KILLED in errors):
            return Run(ended=f"out of memory ({memory / (1 << 30):.0f} GiB)")
        raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
    *_, parts, watched = said.strip().splitlines()
    seconds, peak = json.loads(watched)
    return Run(seconds, peak, json.loads(parts))


def middle(often: int, once: Callable[[], Run]) -> Run:
    """The middle one of several runs by its time; one that ended early, where there is one."""
    runs = [once() for _ in range(often)]
    if early := [run for run in runs if run.seconds is None]:
        return early[0]
    runs.sort(key=lambda run: run.seconds or 0.0)
    return replace(runs[often // 2], fastest=runs[0].seconds, slowest=runs[-1].seconds)


# ----------------------------------------------------------------------------------- what is worked


def make(rows: int, folder: Path) -> Path:
    """Publish a file of so many flights: the year again and again, each time with later dates."""
    source, flights = folder / "made", all_flights()
    source.mkdir()
    with (source / "flights.csv").open("wb") as file:
        for year, first in enumerate(range(0, rows, flights.height)):
            some = flights.head(rows - first)
            shifted = some.with_columns(pl.col("date") + timedelta(days=366 * year))
            shifted.write_csv(file, null_value="NA", include_header=year == 0)
    landing = folder / "landing" / "flights" / "date=2013-01-01"
    publish(source, str(landing))
    shutil.rmtree(source)
    return landing / "flights.csv"


def without_trees() -> None:
    """Have onnxruntime do all, as where ``flagfall[trees]`` is not installed."""
    extras.LIBRARIES["trees"] = ("not_installed",)


def ours(with_trees: bool) -> None:
    """The stages as the pipeline runs them, and what each took."""
    if not with_trees:
        without_trees()
    dataset = find_dataset("flights", LABELLED)
    inbox = Inbox(Feed.of(dataset))
    deliveries = [Delivery(marker) for marker in inbox.landing.markers()]
    seconds: dict[str, float] = {}
    for stage in STAGES:
        began = time.monotonic()
        deliveries = run_stage(stage, dataset, inbox, deliveries)
        seconds[stage] = time.monotonic() - began
    (delivery,) = deliveries
    print(json.dumps({**seconds, "rows": delivery.rows, "rejected": delivery.rejected_rows}))


# ------------------------------------------------------------------------- what the machine can do


def limits() -> None:
    """What each part of the work takes alone, in seconds, over the batch that is staged."""
    without_trees()
    dataset = find_dataset("flights", LABELLED)
    inbox = Inbox(Feed.of(dataset))
    (marker,) = inbox.landing.markers()
    source = Path(dataset.landing.uri) / marker.key
    source = source.parent / "flights.csv"
    staged = inbox.lake.find(Staged, marker.batch_id)
    assert staged is not None, "the stages ran before"
    parts = list(inbox.lake.parts(staged, source.parent))
    blocks = list(_inputs(dataset, parts[:MOST_PARTS]))
    scale = staged.rows / sum(map(len, blocks))
    seconds = {
        "read": _time(lambda: list(_blocks(source))),
        "hash": _hash(source),
        "validate": _validate(dataset, source),
        "infer": _infer(dataset, blocks, thread_count()) * scale,
        "infer, one thread": _infer(dataset, blocks, 1) * scale,
        "write": _write(parts, source.parent / ".written.parquet"),
    }
    print(json.dumps(seconds))


def _time(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def _blocks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while block := file.read(MEBIBYTE):
            yield block


def _hash(source: Path) -> float:
    digest = hashlib.sha256()
    return sum(_time(partial(digest.update, block)) for block in _blocks(source))


def _validate(dataset: Dataset, source: Path) -> float:
    """Splitting into rows, and all rules: what a block needs before the next, and nothing else."""
    rules = RowRules(dataset)

    def check() -> None:
        file = DataFile(source.name, source)
        for block in csv_rows(file, dataset.table, dataset.dialect, Bounds(dataset.limits)):
            rules.split(block.rows)

    return _time(check)


def _inputs(dataset: Dataset, parts: list[Path]) -> Iterator[pl.DataFrame]:
    """What the model is given at once."""
    made = feature_expressions(dataset, Constants.read(scorer_of(dataset).path))
    for part in parts:
        features = pl.scan_parquet(part).select(made).collect()
        yield from features.iter_slices(BATCH_ROWS)


def _infer(dataset: Dataset, blocks: list[pl.DataFrame], threads: int) -> float:
    model = open_model(dataset)
    with ThreadPoolExecutor(threads) as pool:
        return _time(lambda: list(pool.map(model.predict, blocks)))


def _write(parts: list[Path], target: Path) -> float:
    """Polars alone, from Parquet to Parquet as ingest writes it; what is read does not count."""
    seconds = 0.0
    for part in parts:
        rows = pl.read_parquet(part)
        seconds += _time(partial(rows.write_parquet, target, compression="zstd"))
    target.unlink()
    return seconds


# ---------------------------------------------------------------------------------------- one size


@dataclass(frozen=True)
class Asked:
    """What is to be measured.

    Attributes:
        sizes: Rows of the files.
        compared: Size up to which predictions are compared, and at which limits are measured.
        seconds: Longest time for one process.
        memory: Bytes of address space for a script that reads a file whole.
    """

    sizes: tuple[int, ...]
    compared: int
    seconds: float
    memory: int


def measure(rows: int, model: Path, asked: Asked) -> tuple[dict[str, Run], dict[str, Any]]:
    """Every side on one file; and what else is asked at this size."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        source = make(rows, folder)
        often = OFTEN if rows <= OFTEN_TO else 1

        def stages(*arguments: str) -> Run:
            shutil.rmtree(folder / "lake", ignore_errors=True)
            return run([sys.executable, __file__, *arguments], folder, asked.seconds)

        runs: dict[str, Run] = {}
        for side, arguments in OURS.items():
            runs[side] = middle(often, partial(stages, *arguments))
            _say(rows, side, runs)
        others: dict[str, Any] = {}
        if rows == asked.compared:
            done = run([sys.executable, __file__, "limits"], folder, asked.seconds)
            others["limits"] = done.parts
            others["by polars"] = middle(often, partial(by_polars, source, folder, asked.seconds))
            others["bytes"] = sizes_on_disk(source, folder / "lake" / "flights")
        for side, (script, *options) in SCRIPTS.items():
            target = folder / "script.parquet"
            files = [str(path) for path in (HERE / script, source, target, model)]
            command = [str(ANALYST), *files, *options]
            bound = None if side == CHUNKS else asked.memory
            once = partial(run, command, folder, asked.seconds, bound)
            runs[side] = middle(often, once)
            _say(rows, side, runs)
            if rows == asked.compared and not runs[side].ended:
                others.setdefault("parity", {})[side] = compare(folder, target)
    return runs, others


def by_polars(source: Path, folder: Path, limit: float) -> Run:
    """What ingest does, by polars alone; its seconds are those of the work, without imports."""
    command = [
        str(ANALYST),
        str(HERE / "ingest_polars.py"),
        str(source),
        str(folder / "polars.parquet"),
    ]
    done = run(command, folder, limit)
    return replace(
        done, seconds=sum(done.parts[part] for part in ("hash", "read and clean", "write"))
    )


def sizes_on_disk(source: Path, lake: Path) -> dict[str, int]:
    """Bytes of the file that landed, and of what the stages made of it."""
    made = {kind: sum(p.stat().st_size for p in (lake / kind).rglob("*.parquet")) for kind in MADE}
    return {"the CSV file": source.stat().st_size, **made}


def _say(rows: int, side: str, runs: dict[str, Run]) -> None:
    """A line while one waits."""
    done = runs[side]
    told = done.ended or f"{done.seconds:.1f} s, {done.memory:.0f} MiB"
    print(f"{rows:,} rows, {side}: {told}", file=sys.stderr, flush=True)


def compare(folder: Path, target: Path) -> tuple[int, int, int, float]:
    """Rows on both sides, rows on one only, other classes, and the largest difference of scores."""
    key = list(find_dataset("flights", LABELLED).table.primary_key)
    columns = [*key, "score", "class"]
    (lake,) = (folder / "lake" / "flights" / "predictions").iterdir()
    mine = pl.scan_parquet(lake / "*.parquet").select(columns)
    theirs = pl.scan_parquet(target).select(
        pl.col("date").cast(pl.Date), pl.col("carrier", "origin").cast(pl.String), "flight",
        "score", "class",
    )  # fmt: skip
    theirs = theirs.with_columns(pl.col("flight").cast(pl.Int64))
    both = mine.join(theirs, on=key, how="inner")
    rows, classes, apart = both.select(
        pl.len(),
        (pl.col("class") != pl.col("class_right")).sum(),
        (pl.col("score") - pl.col("score_right")).abs().max(),
    ).collect().row(0)  # fmt: skip
    total = sum(int(side.select(pl.len()).collect().item()) for side in (mine, theirs))
    return rows, total - 2 * rows, classes, apart


# -------------------------------------------------------------------------------------- the tables


def totals(runs: dict[int, dict[str, Run]]) -> Table:
    """Rows a second and memory, by side and size."""
    cells: list[tuple[Cell, ...]] = []
    for side in (*OURS, *SCRIPTS):
        for rows, sides in runs.items():
            done = sides[side]
            rate = None if done.seconds is None else rows / done.seconds
            spread = (done.fastest, done.slowest)
            cells.append((side, rows, done.seconds, *spread, rate, done.memory, done.ended or None))
    columns = (
        Column("side"), Column("rows", ",.0f"), Column("seconds", ",.2f"),
        Column("fastest", ",.2f"), Column("slowest", ",.2f"),
        Column("rows/s", ",.0f"), Column("peak memory, MiB", ",.0f"), Column("note"),
    )  # fmt: skip
    plots = (
        Plot("side", "rows", "seconds", "Seconds from CSV to predictions; lower is better"),
        Plot("side", "rows", "peak memory, MiB", "Peak memory, MiB; flat is better"),
    )
    return Table("data_plane", columns, tuple(cells), plots)


def slopes(runs: dict[int, dict[str, Run]]) -> Table:
    """From each size to the next: what a million rows more cost."""
    cells: list[tuple[Cell, ...]] = []
    sizes = list(runs)
    for side in (*OURS, *SCRIPTS):
        for fewer, more in pairwise(sizes):
            a, b = runs[fewer][side], runs[more][side]
            if None in (a.seconds, b.seconds, a.memory, b.memory):
                continue
            seconds, memory = b.seconds - a.seconds, b.memory - a.memory  # type: ignore[operator]
            millions = (more - fewer) / 1_000_000
            power = math.log(b.seconds / a.seconds) / math.log(more / fewer)  # type: ignore[operator]
            cells.append((side, fewer, more, seconds / millions, power, memory / millions))
    columns = (
        Column("side"), Column("from, rows", ",.0f"), Column("to, rows", ",.0f"),
        Column("s for a million more", ",.2f"), Column("slope (1: linear)", ".2f"),
        Column("MiB for a million more", ",.1f"),
    )  # fmt: skip
    return Table("data_plane_slope", columns, tuple(cells))


def parts(size: int, runs: dict[str, Run]) -> Table:
    """Where the time goes, at one size."""
    cells: list[tuple[Cell, ...]] = []
    for side, done in runs.items():
        if done.seconds is None:
            continue
        told = {name: s for name, s in done.parts.items() if name not in ("rows", "rejected")}
        told["start, imports and end"] = done.seconds - sum(told.values())
        cells += [(side, name, size, seconds) for name, seconds in told.items()]
    columns = (Column("side"), Column("part"), Column("rows", ",.0f"), Column("seconds", ",.2f"))
    return Table("data_plane_parts", columns, tuple(cells))


def limit_table(size: int, seconds: dict[str, float], polars: Run, ours: Run) -> Table:
    """Each part alone, their sum, and ours."""
    assert ours.seconds is not None, "limits are measured where ours ended"
    assert polars.seconds is not None, "the file is no larger than memory"
    counted = {name: value for name, value in seconds.items() if name in SUMMED}
    one = {**counted, "infer": seconds["infer, one thread"]}
    stages = sum(ours.parts[stage] for stage in STAGES)
    lines = {
        **{LIMITS[name]: value for name, value in seconds.items()},
        BY_POLARS: polars.seconds,
        INGEST: ours.parts["ingest"],
        SUM: sum(counted.values()),
        SUM_ONE: sum(one.values()),
        STAGES_SUM: stages,
        PROCESS: ours.seconds,
    }
    cells = tuple((name, value, size / value) for name, value in lines.items())
    columns = (Column("alone"), Column("seconds", ",.2f"), Column("rows/s", ",.0f"))
    return Table("data_plane_limits", columns, cells)


def parity(size: int, found: dict[str, tuple[int, int, int, float]]) -> Table:
    """How far the scripts' predictions are from ours."""
    cells = tuple((side, size, *apart) for side, apart in found.items())
    columns = (
        Column("side"), Column("rows read", ",.0f"), Column("rows scored by both", ",.0f"),
        Column("rows scored by one", ",.0f"), Column("other class", ",.0f"),
        Column("largest difference of scores", ".1e"),
    )  # fmt: skip
    return Table("data_plane_parity", columns, cells)


def byte_table(size: int, found: dict[str, int]) -> Table:
    """What lands, and what is kept of it."""
    cells = tuple((what, count, count / size) for what, count in found.items())
    columns = (Column("what"), Column("bytes", ",.0f"), Column("bytes a row", ".1f"))
    return Table("data_plane_bytes", columns, cells)


def machine(asked: Asked) -> Table:
    """What both sides had."""
    cores = len(os.sched_getaffinity(0))
    cells = ((cores, pl.thread_pool_size(), thread_count(), cores, asked.memory / (1 << 30)),)
    columns = (
        Column("cores"), Column("threads of polars"), Column("threads of Flagfall"),
        Column("threads of LightGBM"), Column("bound for whole files, GiB", ".0f"),
    )  # fmt: skip
    return Table("data_plane_machine", columns, cells)


def train(folder: Path) -> Path:
    """The analyst's model."""
    if not ANALYST.is_file():
        raise SystemExit(f"{ANALYST} is missing; run `make .flagfall/analyst/.done`")
    # Its threads are not to spin while they wait: what else runs would hold them up.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    command = [ANALYST, HERE / "analyst_model.py", folder]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="rows of the largest file")
    parser.add_argument("--compared", type=int, default=5_000_000,
                        help="rows at which limits and predictions are looked at")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=900, help="longest time of a process")
    parser.add_argument("--memory", type=int, default=12, help="GiB for a whole file's script")
    parser.add_argument("--model", type=Path, help="folder of a model that analyst_model.py wrote")
    given = parser.parse_args()
    sizes = tuple(size for size in SIZES if size <= given.most)
    asked = Asked(sizes, min(given.compared, sizes[-1]), given.seconds, given.memory << 30)
    runs: dict[int, dict[str, Run]] = {}
    others: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or train(Path(folder))
        for size in sizes:
            runs[size], more = measure(size, model, asked)
            others |= more
    found(machine(asked))
    found(totals(runs))
    found(slopes(runs))
    found(parts(asked.compared, runs[asked.compared]))
    compared = runs[asked.compared][FLAGFALL]
    found(limit_table(asked.compared, others["limits"], others["by polars"], compared))
    found(parity(asked.compared, others["parity"]))
    found(byte_table(asked.compared, others["bytes"]))


if __name__ == "__main__":
    what = (sys.argv[1:] or [""])[0]
    if what == "ours":
        ours(with_trees=sys.argv[2:] == ["trees"])
    elif what == "limits":
        limits()
    else:
        main()
