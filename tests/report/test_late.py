"""A report says how much of each day is known, what is expected until then, and how right it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flagfall.dataset.thresholds import Thresholds
from flagfall.lake import records
from flagfall.lake.receipts import Receipts
from flagfall.lake.records import Evaluation, Look
from flagfall.lake.rollups import Rollups
from flagfall.landing.marker import Marker
from flagfall.ledger.ledger import read_ledger
from flagfall.report.as_known import Known, as_known_cells
from flagfall.report.pooled import Pool
from flagfall.report.run import report_run
from flagfall.report.trend import Period, Scored
from flagfall.scoring.evaluations.binary import Binary, histogram
from flagfall.scoring.metrics import roc_auc
from flagfall.verdict.look import verdict_of
from sandbox.reads import counting
from tests.late import LateFeeds, make_late
from tests.pages.test_pages import feed_html

DAY, NEXT = "2026-11-20", "2026-11-21"


def page(feeds: LateFeeds, *days: str) -> str:
    return page_of(feeds, *(feeds.toy.marker(day) for day in days))


def page_of(feeds: LateFeeds, *markers: Marker) -> str:
    report_run(feeds.toy.dataset, feeds.toy.inbox(feeds.clock), "a run", markers)
    return (feeds.toy.root / "lake/toy/reports/latest.html").read_text()


@pytest.fixture
def feeds(tmp_path: Path) -> LateFeeds:
    return make_late(tmp_path)


def test_until_outcomes_come_it_shows_how_many_may_come_and_an_estimate(feeds: LateFeeds) -> None:
    feeds.score(DAY)
    text = page(feeds, DAY)
    assert "0 of 4 rows" in text
    assert "4 may still come" in text
    assert "Expected AUC" in text
    assert "an estimate from the scores" in text
    assert "Outcomes known of 0 of 4 rows." in text


def test_then_it_shows_the_quality_and_grades_the_estimate(feeds: LateFeeds) -> None:
    feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n3,20\n")
    feeds.learn()
    text = page(feeds, DAY)
    assert "3 of 4 rows" in text
    assert "1 may still come" in text
    assert re.search(r"an estimate from the scores; on 1 day \d\.\d+ off on average", text)


def test_rows_whose_outcome_never_came_are_counted_so(feeds: LateFeeds) -> None:
    feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n")
    feeds.learn()
    feeds.clock.advance(timedelta(days=30, minutes=5))
    text = page(feeds, DAY)
    assert "2 of 4 rows" in text
    assert "2 never came" in text
    assert "may still come" not in text


def test_each_day_says_how_much_of_it_is_known(feeds: LateFeeds) -> None:
    feeds.score(DAY)
    feeds.score("2026-11-19", "id,value\n5,0.5\n6,0.1\n")
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n5,0\n")
    feeds.learn()
    text = page(feeds, DAY)
    assert ">2 of 4<" in text
    assert ">1 of 2<" in text


def test_outcomes_of_an_earlier_day_alert_today_and_nothing_of_that_day_alerts_again(
    tmp_path: Path,
) -> None:
    feeds = make_late(tmp_path, thresholds="auc_min: 0.9")
    feeds.score(DAY)
    feeds.clock.advance(timedelta(days=1))
    feeds.score(NEXT, "id,value\n7,0.9\n8,0.1\n")
    assert "AUC" not in verdict_of(feeds.toy.dataset, feeds.toy.inbox(feeds.clock)).sentence
    feeds.happen("2026-11-22", "id,delay\n1,0\n2,30\n3,0\n4,30\n")
    feeds.learn()
    verdict = verdict_of(feeds.toy.dataset, feeds.toy.inbox(feeds.clock))
    assert "AUC" in verdict.sentence
    assert verdict.word == "attention"
    feeds.clock.advance(timedelta(days=1))
    assert "AUC" not in verdict_of(feeds.toy.dataset, feeds.toy.inbox(feeds.clock)).sentence


def test_the_next_report_reads_evaluations_by_outcomes_from_rollups_and_sees_the_same(
    feeds: LateFeeds,
) -> None:
    days = [f"2026-11-{day}" for day in range(10, 20)]
    for number, day in enumerate(days):
        feeds.score(day, f"id,value\n{number},0.5\n")
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n3,0\n")
    feeds.learn()
    text, single = watched(feeds, days[0])
    assert len(single) >= 3
    feeds.clock.advance(timedelta(days=1))
    watched(feeds, days[0])
    again, single = watched(feeds, days[0])
    assert [name for name in single if "outcomes/landed" in name] == []
    assert ">1 of 1<" in text
    assert again.count(">1 of 1<") == text.count(">1 of 1<") == 3
    feeds.happen("2026-11-22", "id,delay\n5,30\n2,\n")
    feeds.learn()
    text, single = watched(feeds, days[0])
    assert text.count(">1 of 1<") == 3
    assert 1 <= len([name for name in single if "outcomes/landed" in name]) <= 6


def watched(feeds: LateFeeds, day: str) -> tuple[str, list[str]]:
    """A report, and what it read."""
    opened, reads = counting()
    inbox = feeds.toy.inbox(feeds.clock)
    inbox.lake.store = opened(inbox.lake.store.uri, "")
    inbox.lake.rollups = Rollups(inbox.lake.store)
    inbox.receipts = Receipts(inbox.lake.store, inbox.lake.rollups)
    report_run(feeds.toy.dataset, inbox, "a run", [feeds.toy.marker(day)])
    text = (feeds.toy.root / "lake/toy/reports/latest.html").read_text()
    return text, [read for read in reads if read.startswith("read ")]


def as_known(text: str) -> list[list[str]]:
    """The table, its lines as texts."""
    section = text.partition('<table role="table" aria-labelledby="as-known"')[2]
    lines = section.partition("</table>")[0].split("<tr")[1:]
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines)
    return [[re.sub(r"<[^>]*>", "", cell) for cell in line] for line in cells]


def test_it_shows_the_quality_of_a_day_as_it_became_known(feeds: LateFeeds) -> None:
    feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    feeds.learn()
    assert as_known(page(feeds, DAY)) == []
    feeds.clock.advance(timedelta(hours=30))
    feeds.happen("2026-11-22", "id,delay\n3,30\n")
    feeds.learn()
    feeds.clock.advance(timedelta(days=4))
    feeds.score("2026-11-24", "id,value\n7,0.9\n")
    feeds.happen("2026-11-25", "id,delay\n4,0\n7,30\n")
    feeds.learn()
    assert as_known(page(feeds, DAY)) == [
        ["Day", "After 1 day", "After 2 days", "After 7 days"],
        ["2026-11-24", "–", "–", "100%"],  # it was taken in five days after it landed
        ["2026-11-20", "50% · 1.00", "75% · 0.50", "100% · 0.75"],
    ]


def test_what_is_not_known_yet_for_want_of_time_is_left_open() -> None:
    landed = datetime(2026, 11, 20, tzinfo=UTC)
    looks = (Look(at=landed + timedelta(hours=5), labelled=1),)
    known = Evaluation(
        batch_id="a", rows=4, labelled=1, drift=(), alerts=(), model_version="1", looks=looks
    )
    period = Period("2026-11-20", 0, scored=[Scored(landed, landed, known)])
    cells = as_known_cells(period, (1, 2, 7), landed + timedelta(hours=30))
    assert cells == [Known("25%", "", True), Known("25%", "", False), None]


def test_a_day_counts_its_batches_of_which_nothing_is_known_yet(feeds: LateFeeds) -> None:
    feeds.score(f"{DAY}T06")
    feeds.score(f"{DAY}T18", "id,value\n11,0.9\n12,0.1\n13,0.5\n14,0.4\n")
    for day in ("2026-11-18", "2026-11-19"):
        feeds.score(day, "id,value\n21,0.9\n")
    for number in (1, 2):
        feeds.happen(f"2026-11-2{number}", f"id,delay\n{number},30\n")
        feeds.learn()
        feeds.clock.advance(timedelta(hours=30))
    assert as_known(page(feeds, f"{DAY}T06"))[1:] == [[DAY, "12%", "25%"]]


def test_what_came_every_hour_is_remembered_for_each_day(
    feeds: LateFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LOOKS_KEPT", 3)
    feeds.score(DAY)
    for number, hours in enumerate((1, 1, 30, 1, 1, 1)):
        feeds.clock.advance(timedelta(hours=hours))
        row = f"{number % 4 + 1},{30 if number % 2 else 0}"
        feeds.happen(f"2026-11-2{number}", f"id,delay\n{row}\n")
        feeds.learn()
    assert as_known(page(feeds, DAY)) == [
        ["Day", "After 1 day", "After 2 days"],
        [DAY, "50% · 0.00", "100% · 0.25"],
    ]


def test_a_replay_says_nothing_of_the_days_before_it(feeds: LateFeeds) -> None:
    old = feeds.score(DAY, ago=timedelta(hours=30))
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    feeds.learn()
    again = feeds.score_again(feeds.toy.inbox(feeds.clock).replay(old.batch_id, "staged"))
    feeds.learn()
    feeds.clock.advance(timedelta(days=1))
    feeds.happen("2026-11-22", "id,delay\n3,30\n")
    feeds.learn()
    assert as_known(page_of(feeds, again)) == [
        ["Day", "After 2 days", "After 3 days"],
        [DAY, "50% · 1.00", "75% · 0.50"],
    ]


def test_an_evaluation_remembers_so_many_looks_and_no_more(
    feeds: LateFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LOOKS_KEPT", 2)
    scored = feeds.score(DAY)
    for number in range(1, 5):
        feeds.happen(f"2026-11-2{number}", f"id,delay\n{number},30\n")
        feeds.learn()
        feeds.clock.advance(timedelta(days=1))
    known = feeds.known(scored)
    assert known is not None
    assert [look.labelled for look in known.looks] == [3, 4]


def test_a_replay_of_a_batch_whose_time_is_over_waits_for_no_outcomes(feeds: LateFeeds) -> None:
    old = feeds.score(DAY, ago=timedelta(days=40))
    again = feeds.toy.inbox(feeds.clock).replay(old.batch_id, "staged")
    feeds.score_again(again)
    feeds.learn()
    report_run(feeds.toy.dataset, feeds.toy.inbox(feeds.clock), "a run", [again])
    text = (feeds.toy.root / "lake/toy/reports/latest.html").read_text()
    assert "4 never came" in text
    assert "may still come" not in text


def test_pages_say_how_much_is_known(feeds: LateFeeds) -> None:
    feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n")
    feeds.learn()
    page(feeds, DAY)
    ledger = read_ledger(feeds.toy.inbox().lake.store)
    assert ledger is not None
    assert [row.known for row in ledger.rows] == [2]
    assert "outcomes known: 2" in feed_html(feeds.toy)


def test_calibrated_scores_let_one_expect_the_auc_that_comes() -> None:
    random = np.random.default_rng(1)
    scores = random.beta(2, 3, 200_000).astype(np.float32)
    happened = random.random(scores.size) < scores
    pool = Pool(batches=1)
    pool.scores[0] = histogram(scores)
    assert pool.expected_auc == pytest.approx(roc_auc(happened, scores), abs=0.005)


def test_the_expectation_for_a_batch_of_rare_events_is_not_that_of_one_bin() -> None:
    random = np.random.default_rng(1)
    scores = (random.beta(0.5, 200, 200_000)).astype(np.float32)
    happened = random.random(scores.size) < scores
    evaluator = Binary()
    evaluator.add(
        pl.DataFrame({"score": scores}), pl.Series([None] * scores.size, dtype=pl.Boolean)
    )
    record = evaluator.findings(Thresholds()).record
    evaluation = Evaluation(
        batch_id="a", rows=scores.size, **record, drift=(), alerts=(), model_version="1"
    )
    assert Pool.of([evaluation]).expected_auc == pytest.approx(roc_auc(happened, scores), abs=0.02)
