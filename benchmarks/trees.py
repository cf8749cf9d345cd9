"""Rows a second through trees: the flights model, by each engine that runs it.

Every engine scores the same rows, ten thousand at a time and on all cores: onnxruntime as Flagfall
calls it, the same model by masks (``flagfall[trees]``), LightGBM, treelite's interpreter, and
tl2cgen, which has gcc compile the trees. Each in a process of its own, one after the other in every
round. What is loaded or compiled first is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from table import Column, Table, found

ROOT = Path(__file__).parents[1]
ONNX = ROOT / "models" / "flights_delay" / "model.onnx"
THREADS = len(os.sched_getaffinity(0))
AT_ONCE = 10_000
ROWS, LIGHTGBM = "rows.npy", "model.txt"

Rows = np.ndarray[Any, np.dtype[np.float32]]
Score = Callable[[Rows], Rows]


def by_onnxruntime(folder: Path) -> Score:
    """Flagfall without more: threads of its own, each with other rows."""
    from flagfall.scoring.engines.onnx_session import opened

    return _by_threads(opened(ONNX))


def by_masks(folder: Path) -> Score:
    """Flagfall with ``flagfall[trees]``, from the first row on."""
    from flagfall.scoring.engines.onnx_parts import Parts
    from flagfall.scoring.engines.onnx_session import opened
    from flagfall.scoring.engines.onnx_trees import take_out

    return _by_threads(Parts(take_out(ONNX), opened(ONNX)))


def _by_threads(session: Any) -> Score:
    def one(rows: Rows) -> Rows:
        scores: Rows = session.run(["probabilities"], {"features": rows})[0][:, 1]
        return scores

    def score(rows: Rows) -> Rows:
        parts = [rows[first : first + AT_ONCE] for first in range(0, len(rows), AT_ONCE)]
        with ThreadPoolExecutor(THREADS) as pool:
            return np.concatenate(list(pool.map(one, parts)))

    return score


def by_lightgbm(folder: Path) -> Score:
    """LightGBM itself."""
    import lightgbm

    model = lightgbm.Booster(model_file=folder / LIGHTGBM)
    return partial(model.predict, num_threads=THREADS)


def by_treelite(folder: Path) -> Score:
    """Treelite walks down the trees (GTIL)."""
    import treelite

    model = treelite.frontend.load_lightgbm_model(folder / LIGHTGBM)
    return lambda rows: treelite.gtil.predict(model, rows, nthread=THREADS).ravel()


def by_tl2cgen(folder: Path) -> Score:
    """Treelite's compiler: C, and gcc."""
    import tl2cgen
    import treelite

    model = treelite.frontend.load_lightgbm_model(folder / LIGHTGBM)
    library = folder / "trees.so"
    if not library.exists():
        tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={"parallel_comp": 8})
    predictor = tl2cgen.Predictor(library, nthread=THREADS)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows)).ravel()


ENGINES: dict[str, Callable[[Path], Score]] = {
    "onnxruntime": by_onnxruntime,
    "by masks (`flagfall[trees]`)": by_masks,
    "LightGBM": by_lightgbm,
    "treelite, interpreted": by_treelite,
    "tl2cgen, compiled by gcc": by_tl2cgen,
}


def once(engine: str, folder: Path) -> None:
    """Score the rows, once to warm up and once for the clock."""
    began = time.monotonic()
    score, rows = ENGINES[engine](folder), np.load(folder / ROWS)
    score(rows[:AT_ONCE])
    ready = time.monotonic() - began
    began = time.monotonic()
    scores = score(rows)
    seconds = time.monotonic() - began
    apart = float(np.abs(scores - _first(folder, scores)).max())
    print(json.dumps({"seconds": seconds, "ready": ready, "apart": apart}))


def _first(folder: Path, scores: Rows) -> Rows:
    """The scores of the engine that was first."""
    file = folder / "scores.npy"
    if not file.exists():
        np.save(file, scores)
    first: Rows = np.load(file)
    return first


def measure(engine: str, folder: Path, python: Path) -> dict[str, float]:
    """What a process of this engine says."""
    command = [str(python), __file__, "--engine", engine, "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return result


def table(rows: int, said: dict[str, list[dict[str, float]]]) -> Table:
    """The middle of all rounds, engine by engine."""
    cells = []
    for engine, runs in said.items():
        seconds = [run["seconds"] for run in runs]
        spread = (rows / median(seconds), rows / max(seconds), rows / min(seconds))
        ready, apart = (median(run[what] for run in runs) for what in ("ready", "apart"))
        cells.append((engine, *spread, ready, apart))
    columns = (
        Column("engine"), Column("rows/s", ",.0f"), Column("slowest, rows/s", ",.0f"),
        Column("fastest, rows/s", ",.0f"), Column("until it is ready, s", ".1f"),
        Column("furthest from onnxruntime", ".1e"),
    )  # fmt: skip
    return Table("trees", columns, tuple(cells))


def main() -> None:
    """Measure all engines, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", choices=ENGINES, help="only this one, in this process")
    parser.add_argument("--folder", type=Path, help="with the rows and LightGBM's model")
    given = parser.parse_args()
    if given.engine:
        once(given.engine, given.folder)
        return
    from data_plane import ANALYST, train  # what they import, the engines' environment lacks
    from inference_servers import features

    with TemporaryDirectory() as name:
        folder = train(Path(name))
        np.save(folder / ROWS, features(given.rows).to_numpy(order="c"))
        said: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
        for _ in range(given.rounds):
            for engine, runs in said.items():
                runs.append(measure(engine, folder, ANALYST))
    found(table(given.rows, said))


if __name__ == "__main__":
    main()
