"""What a task's own log says of each batch."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from flagfall.stages.shard import Delivery, try_stage
from tests.feeds import ToyFeed
from tests.scored import GOOD, POISON, make_scored_toy


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name.endswith("shard")]
    return [re.sub(r"\d+\.\d s", "N s", line) for line in found]


def run(toy: ToyFeed, stage: str, deliveries: list[Delivery]) -> list[Delivery]:
    return try_stage(stage, toy.dataset, toy.inbox(), deliveries)[0]


def test_each_batch_has_a_line_with_what_became_of_it(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = toy.drop("2026-11-01"), toy.drop("2026-11-02", "id,value\n1,-1\n2,1\n")
    gone = toy.drop("2026-11-03")
    inbox = toy.inbox()
    inbox.shortcuts.advance(inbox.pending(), inbox.shortcuts.scope())  # so the place is known
    (toy.folder("2026-11-03") / "datapackage.json").unlink()
    run(toy, "ingest", [Delivery(first), Delivery(second), Delivery(gone)])
    assert logged(caplog) == [
        f"toy: ingest 1 of 3: {first.batch_id} accepted: 2 rows, 0 rejected, N s",
        f"toy: ingest 2 of 3: {second.batch_id} accepted: 1 rows, 1 rejected, N s",
        f"toy: ingest 3 of 3: {gone.batch_id} left: its marker is gone, N s",
    ]


def test_a_batch_that_fails_has_one_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    toy = make_scored_toy(tmp_path)
    caplog.set_level(logging.INFO)
    good, poison = toy.drop("2026-11-01", GOOD), toy.drop("2026-11-02", POISON)
    received = run(toy, "ingest", [Delivery(poison), Delivery(good)])
    prepared = run(toy, "preprocess", received)
    caplog.clear()
    run(toy, "infer", prepared)
    assert logged(caplog) == [
        f"toy: infer 1 of 2: {poison.batch_id} failed",
        f"toy: infer 2 of 2: {good.batch_id} accepted: 2 rows, 0 rejected, N s",
    ]
