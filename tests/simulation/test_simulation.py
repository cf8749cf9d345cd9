from __future__ import annotations

import pytest

from tests.simulation import campaign
from tests.simulation.campaign import find, outcomes
from tests.simulation.mutants import MUTANTS
from tests.simulation.oracle import receipts_written
from tests.simulation.schedule import Step
from tests.simulation.simulate import simulate, workspace

FOUND_SOON = [
    "a watermark of ctimes hides markers",
    "identity is size, mtime and inode",
    "identity has the client's inode",
    "no check after the copy",
    "the record before its parts",
    "what is current follows clocks",
    "a marker that cannot be read stops claim",
]


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
@pytest.mark.parametrize("first", range(0, 200, 50))
def test_whatever_happens_every_delivery_counts_once_and_whole(first: int) -> None:
    wrong = [one for one in outcomes(range(first, first + 50), jobs=1) if one.faults]
    assert not wrong, "`make simulate SEED=<number>` shows what happened"


def test_processes_are_replaced_and_every_seed_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "CHUNK", 1)
    monkeypatch.setattr(campaign, "CHUNKS", 2)
    assert [one.seed for one in outcomes(range(6), jobs=2)] == list(range(6))


def test_a_seed_replays_what_happened() -> None:
    with workspace() as folder:
        assert simulate(7, folder) == simulate(7, folder)


def test_what_is_noted_beside_receipts_is_none() -> None:
    keys = [f"receipts/landed=2026-11-21/{name}" for name in ("a.json", "2026-11-20~a.overtakes")]
    trace = [Step(0.0, "worker", "create", key, "new") for key in keys]
    assert [step.what for step in receipts_written(trace)] == keys[:1]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_can_be_put_back(name: str) -> None:
    with MUTANTS[name](), workspace() as folder:
        simulate(0, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND_SOON)
def test_a_fault_that_is_put_back_is_found(name: str) -> None:
    """The others take thousands of seeds: `make simulate MUTANTS=1`."""
    assert find(name, most=800)[1] is not None
