"""The command line of ``make simulate``."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.campaign import outcomes, seeds_until_found
from tests.simulation.simulate import Outcome, simulate, workspace


def main(arguments: list[str]) -> int:
    """Run seeds; 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its trace")
    parser.add_argument("--mutants", action="store_true", help="put faults back into the code")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one for each core")
    given = parser.parse_args(arguments)
    if given.mutants:
        return _mutants(given.jobs)
    if given.seed is not None:
        return _one(given.seed)
    return _many(range(given.first, given.first + given.seeds), given.jobs)


def _one(seed: int) -> int:
    with workspace() as folder:
        outcome = simulate(seed, folder)
    for step in outcome.trace:
        print(step)
    print(_line(outcome))
    return bool(outcome.faults)


def _line(outcome: Outcome) -> str:
    outside = [f"{fault} (outside of what is promised)" for fault in outcome.outside]
    found = "; ".join([*outcome.faults, *outside]) or "all is right"
    return f"seed {outcome.seed}: {outcome.what}: {found}"


def _many(seeds: range, jobs: int) -> int:
    began, wrong, outside, operations, deliveries = time.monotonic(), 0, 0, 0, 0
    for outcome in outcomes(seeds, jobs):
        operations += outcome.operations
        deliveries += outcome.deliveries
        wrong += bool(outcome.faults)
        outside += bool(outcome.outside)
        if outcome.faults or outcome.outside:
            print(_line(outcome), flush=True)
    print(
        f"{len(seeds):,} seeds, {deliveries:,} deliveries, {operations:,} operations in"
        f" {time.monotonic() - began:.0f} s: {wrong} wrong, {outside} outside of what is promised"
        + (", `make simulate SEED=<number>` shows one" if wrong else "")
    )
    return bool(wrong)


def _mutants(jobs: int) -> int:
    missed = 0
    print("| fault put back into the code | seeds until found | what the oracle says |")
    print("| --- | ---: | --- |")
    for name, seeds, says in seeds_until_found(jobs):
        missed += seeds is None
        print(f"| {name} | {'not found' if seeds is None else f'{seeds:,}'} | {says} |", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
