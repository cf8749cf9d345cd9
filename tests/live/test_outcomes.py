"""Outcomes that another feed brings, on a real Airflow: an Asset starts the DAG that joins them."""

from __future__ import annotations

from pathlib import Path

from flagfall.lake.outcomes import last_late
from flagfall.lake.output import LATEST
from flagfall.lake.records import Evaluation, LateEvaluation
from tests.feeds import ToyFeed
from tests.live.conftest import Live

DAY = "2026-11-20"


def test_outcomes_that_land_the_day_after_are_in_the_report_without_anybody_asking(
    live: Live,
) -> None:
    scored, happened = live.feed("scored"), live.feed("happened")
    marker = scored.drop(DAY, "id,value\n1,0.9\n2,0.7\n3,0.6\n4,0.2\n")
    lake = scored.inbox().lake
    live.wait(lambda: lake.has(Evaluation, marker.batch_id), "nothing was scored")
    happened.drop("2026-11-21", "id,value\n1,30\n2,5\n3,20\n")
    live.wait(lambda: known(scored, DAY), "no outcome was joined")
    (late,) = known(scored, DAY)
    assert (late.number, late.evaluation.labelled, late.evaluation.auc) == (1, 3, 0.5)
    page = Path(lake.store.uri, LATEST)
    live.wait(lambda: "3 of 4 rows" in page.read_text(), "the report does not show it")
    live.wait(lambda: live.quiet("scored_outcomes"), "a run did not end")
    evaluated = live.tasks("scored_outcomes", "evaluate_outcomes")
    assert [one["state"] for one in evaluated].count("success") == 1
    assert {one["state"] for one in evaluated} <= {"success", "skipped"}


def known(feed: ToyFeed, day: str) -> list[LateEvaluation]:
    """The late evaluation of a day that counts."""
    inbox = feed.inbox()
    receipt = inbox.receipts.find(feed.marker(day))
    return list(last_late(inbox.lake.store, [receipt]).values()) if receipt else []
