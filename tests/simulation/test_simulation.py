from __future__ import annotations

import pytest

from tests.simulation.campaign import MOST, outcomes, seeds_until_found
from tests.simulation.mutants import MUTANTS
from tests.simulation.simulate import simulate, workspace


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
@pytest.mark.parametrize("first", range(0, 200, 50))
def test_whatever_happens_every_delivery_counts_once_and_whole(first: int) -> None:
    wrong = [one for one in outcomes(range(first, first + 50), jobs=1) if one.faults]
    assert not wrong, "`make simulate SEED=<number>` shows what happened"


def test_a_seed_replays_what_happened() -> None:
    with workspace() as folder:
        assert simulate(7, folder) == simulate(7, folder)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_can_be_put_back(name: str) -> None:
    with MUTANTS[name](), workspace() as folder:
        simulate(0, folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_fault_that_is_put_back_is_found() -> None:
    missed = [name for name, seeds, _ in seeds_until_found() if seeds is None]
    assert not missed, f"{MOST} seeds do not show them"
