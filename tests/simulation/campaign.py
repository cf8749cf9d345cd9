"""Many seeds, in parallel processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from tests.simulation.mutants import MUTANTS
from tests.simulation.simulate import Outcome, simulate, workspace

CHUNK = 100
"""Seeds that a process does at a time."""
CHUNKS = 20
"""Chunks after which a process is replaced: greenlets of killed actors are never freed. All are at
once, since Python 3.11's pool may wait for ever where it is to replace one (gh-115634)."""
MOST = 10_000
"""Seeds within which every fault that is put back into the code has to be found."""


def outcomes(seeds: range, jobs: int = 0) -> Iterator[Outcome]:
    """What came of each seed, without the traces of those that are right.

    Args:
        seeds: Which.
        jobs: Processes; 0 for as many as there are cores, 1 for none but this one.
    """
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    for done in _each(_chunk, chunks, jobs):
        yield from done


def _each(do: object, items: Sequence[object], jobs: int) -> Iterator[object]:
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1 or len(items) == 1:
        yield from map(do, items)
        return
    spawned = multiprocessing.get_context("spawn")  # a fork would take locks of polars with it
    at_once = jobs * CHUNKS
    for start in range(0, len(items), at_once):
        with ProcessPoolExecutor(jobs, spawned) as pool:
            yield from pool.map(do, items[start : start + at_once])


def _chunk(seeds: Iterable[int]) -> list[Outcome]:
    with workspace() as folder:
        return [replace(simulate(seed, folder), trace=()) for seed in seeds]


def seeds_until_found(jobs: int = 0) -> Iterator[tuple[str, int | None, str]]:
    """For each fault that is put back: how many seeds find it, and what they then say.

    ``None`` where ``MOST`` seeds did not. A seed that is wrong without the fault, too, does not
    count.
    """
    yield from _each(find, list(MUTANTS), jobs)


def find(name: str, most: int = MOST) -> tuple[str, int | None, str]:
    """The same for one fault, and so many seeds."""
    with workspace() as folder:
        for seed in range(most):
            with MUTANTS[name]():
                faults = simulate(seed, folder).faults
            if faults and not simulate(seed, folder).faults:
                return name, seed + 1, faults[0]
    return name, None, ""
