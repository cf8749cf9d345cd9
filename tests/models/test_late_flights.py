"""Real flights: scored the evening before, and judged when they have landed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from flagfall.cli.dataset_check import check_dataset
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.outcomes import last_late
from flagfall.lake.records import Evaluation
from flagfall.publish import publish
from flagfall.stages import STAGES
from flagfall.stages.outcomes import evaluate_outcomes
from flagfall.stages.shard import Delivery, run_stage
from sandbox.flights import LABELLED, write_arrivals, write_day, write_evening

DAY = date(2013, 12, 11)


def take_in(dataset: Dataset, source: Path) -> Inbox:
    """Have a batch published and go through all stages."""
    publish(source, f"{dataset.landing.uri}/date={DAY}")
    inbox = Inbox(Feed.of(dataset))
    deliveries = [Delivery(marker) for marker in inbox.pending()]
    assert deliveries
    for stage in STAGES:
        deliveries = run_stage(stage, dataset, inbox, deliveries)
    return inbox


def test_late_outcomes_say_the_same_as_outcomes_that_came_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGFALL_DATA", str(tmp_path / "data"))
    evening, landed = find_dataset("flights"), find_dataset("arrivals")
    assert check_dataset(evening).startswith("fine")
    write_evening(DAY, tmp_path / "evening")
    write_arrivals(DAY, tmp_path / "landed")
    inbox = take_in(evening, tmp_path / "evening")
    learned = evaluate_outcomes(evening, inbox, landed, take_in(landed, tmp_path / "landed"))
    (late,) = last_late(inbox.lake.store, learned.batches).values()

    monkeypatch.setenv("FLAGFALL_DATA", str(tmp_path / "at once"))
    whole = find_dataset("flights", LABELLED)
    write_day(DAY, tmp_path / "whole")
    lake = take_in(whole, tmp_path / "whole").lake
    (path,) = Path(lake.store.uri, "evaluations").iterdir()
    at_once = lake.find(Evaluation, path.name)
    assert at_once is not None
    known = late.evaluation
    assert known.labelled > 800
    for name in ("labelled", "positives", "auc", "average_precision", "brier"):
        assert getattr(known, name) == pytest.approx(getattr(at_once, name)), name
    assert known.scores == at_once.scores
