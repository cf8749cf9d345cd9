"""Outcomes of another feed are joined to the predictions that count, once, whenever they come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.inbox.inbox import ReplaySource
from flagfall.lake.outcomes import MATCHED, add_late
from flagfall.lake.output import LATEST
from flagfall.lake.records import Predicted
from flagfall.report.run import report_run
from flagfall.scoring.evaluations import open_evaluator
from flagfall.scoring.evaluations.evaluator import Evaluator
from flagfall.scoring.reference import Reference
from flagfall.stages import outcomes
from flagfall.tables.frames import EVER, counting, kinds_of, records_of, what_counts
from tests.feeds import ToyFeed
from tests.late import LateFeeds, make_late, make_late_s3


@pytest.fixture
def feeds(tmp_path: Path) -> LateFeeds:
    return make_late(tmp_path)


DAY = "2026-11-20"
NEXT = "2026-11-21"


def test_a_batch_is_evaluated_when_its_outcomes_come(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    assert feeds.learn().batches == ()
    assert feeds.known(scored) is None
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n3,20\n4,0\n")
    assert [one.batch_id for one in feeds.learn().batches] == [scored.batch_id]
    known = feeds.known(scored)
    assert known is not None
    found = known.evaluation
    assert (found.rows, found.labelled, found.positives) == (4, 4, 2)
    assert found.auc == 0.75  # of 1 and 3 against 2 and 4, only 3 against 2 is wrong


def test_a_lake_whose_name_is_a_pattern_is_read_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "team1").mkdir()
    feeds = make_late(tmp_path)
    feeds = replace(feeds, toy=_elsewhere(feeds.toy), truth=_elsewhere(feeds.truth))
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n3,20\n4,0\n")
    for again in (scored, feeds.toy.inbox(feeds.clock).replay(scored.batch_id, "staged")):
        feeds.score_again(again)
        learned = feeds.learn()
        assert (learned.failures, len(learned.batches)) == ((), 1)
    inbox = feeds.toy.inbox(feeds.clock)
    receipts = what_counts(inbox.receipts, EVER)
    for kind in kinds_of(feeds.toy.dataset):
        records = records_of(inbox.lake, kind, receipts)
        batches = [(one, records[one.batch_id]) for one in receipts]
        (place := tmp_path / kind).mkdir()
        found = counting(feeds.toy.dataset, inbox.lake, kind, batches, place)
        assert found.collect().height == 4


@pytest.mark.parametrize("name", ["source.file", "outcomes.batch", "outcomes.delivery"])
def test_a_key_may_have_any_name(feeds: LateFeeds, name: str) -> None:
    toy, truth = (_keyed(feed, feeds.toy.root, name) for feed in (feeds.toy, feeds.truth))
    feeds = replace(feeds, toy=toy, truth=truth)
    scored = feeds.score(DAY, f"{name},value\n1,0.9\n2,0.2\n")
    feeds.happen(NEXT, f"{name},delay\n1,30\n2,5\n")
    for again in (scored, feeds.toy.inbox(feeds.clock).replay(scored.batch_id, "staged")):
        feeds.score_again(again)
        assert feeds.learn().failures == ()
        known = feeds.known(again)
        assert known is not None
        assert known.evaluation.labelled == 2


def _keyed(feed: ToyFeed, root: Path, name: str) -> ToyFeed:
    """The feed with another name of its key."""
    file = root / "datasets" / f"{feed.dataset.name}.yaml"
    text = file.read_text().replace("{name: id,", f"{{name: {name},").replace("[id]", f"[{name}]")
    file.write_text(text)
    return replace(feed, dataset=read_dataset(file))


def _elsewhere(feed: ToyFeed) -> ToyFeed:
    lake = feed.dataset.lake.model_copy(update={"uri": str(feed.root / "team[1]")})
    return replace(feed, dataset=feed.dataset.model_copy(update={"lake": lake}))


def test_rows_are_joined_by_key_and_not_by_place(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n4,0\n2,0\n1,30\n3,30\n")
    feeds.learn()
    known = feeds.known(scored)
    assert known is not None
    scores = known.evaluation.scores
    assert [scores.positive[place] for place in (90, 60)] == [1, 1]
    assert [scores.negative[place] for place in (70, 20)] == [1, 1]


def test_what_has_not_come_is_not_known_and_pieces_add_up(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen("2026-11-21", "id,delay\n1,30\n9,30\n")
    feeds.learn()
    first = feeds.known(scored)
    feeds.happen("2026-11-22", "id,delay\n2,0\n3,\n")
    feeds.learn()
    second = feeds.known(scored)
    assert first is not None
    assert second is not None
    assert (first.number, first.evaluation.labelled, first.evaluation.positives) == (1, 1, 1)
    assert (second.number, second.evaluation.labelled, second.evaluation.positives) == (2, 2, 1)
    assert sum(second.evaluation.scores.unlabelled) == 2


def test_looking_again_changes_nothing(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    feeds.learn()
    before = feeds.known(scored)
    assert feeds.learn().batches == ()
    assert feeds.known(scored) == before


def test_a_lost_cache_costs_a_look_and_changes_nothing(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    feeds.learn()
    before = feeds.known(scored)
    for file in (feeds.toy.root / "lake/toy" / MATCHED).iterdir():
        file.write_text("{")
    assert feeds.learn().batches == ()
    assert feeds.known(scored) == before


def test_corrected_outcomes_take_the_place_of_the_earlier_ones(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n3,0\n4,0\n")
    feeds.learn()
    feeds.happen(NEXT, "id,delay\n1,0\n2,0\n3,0\n")
    feeds.learn()
    known = feeds.known(scored)
    assert known is not None
    assert known.deliveries == 1
    assert (known.evaluation.labelled, known.evaluation.positives) == (3, 0)


def test_outcomes_that_were_taken_back_are_not_known_any_more(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n")
    feeds.learn()
    feeds.happen(NEXT, "id,delay\n77,30\n")
    feeds.learn()
    known = feeds.known(scored)
    assert known is not None
    assert (known.number, known.deliveries, known.evaluation.labelled) == (2, 0, 0)


def test_of_two_deliveries_with_an_outcome_of_a_row_the_later_one_counts(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen("2026-11-22", "id,delay\n1,30\n2,0\n")
    feeds.happen("2026-11-21", "id,delay\n1,0\n")  # it landed later, whatever its day
    feeds.learn()
    known = feeds.known(scored)
    assert known is not None
    assert (known.evaluation.labelled, known.evaluation.positives) == (2, 0)


@pytest.mark.parametrize("was", ["accepted", "rejected"])
def test_of_two_that_landed_in_one_second_a_replay_of_the_first_stays_the_first(
    feeds: LateFeeds, was: str
) -> None:
    scored = feeds.score(DAY)
    first = feeds.truth.drop(DAY, "id,delay\n1,30\n")
    second = feeds.truth.drop(NEXT, "id,delay\n1,0\n")
    second = replace(second, landed_at=first.landed_at)
    if was == "accepted":
        feeds.take_again(first)
    else:
        feeds.truth.inbox(feeds.clock).reject(first, "bad-rows", "mend it")
    feeds.clock.advance(timedelta(seconds=1))
    feeds.take_again(second)
    sources: tuple[ReplaySource, ...] = ("landing", "staged")
    for source in sources:
        feeds.clock.advance(timedelta(hours=1))
        feeds.take_again(feeds.truth.inbox(feeds.clock).replay(DAY, source))
        feeds.learn()
        known = feeds.known(scored)
        assert known is not None
        assert (known.deliveries, known.evaluation.positives) == (2, 0)


def test_predictions_that_were_corrected_are_not_counted_beside_the_new_ones(
    feeds: LateFeeds,
) -> None:
    old = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    feeds.learn()
    new = feeds.score(DAY, "id,value\n1,0.1\n2,0.3\n")
    assert new.batch_id != old.batch_id
    assert [one.batch_id for one in feeds.learn().batches] == [new.batch_id]
    known = feeds.known(new)
    assert known is not None
    assert (known.evaluation.rows, known.evaluation.auc) == (2, 0.0)


def test_outcomes_may_come_before_their_rows_are_scored(feeds: LateFeeds) -> None:
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    assert feeds.learn().batches == ()
    scored = feeds.score(DAY)
    feeds.learn()
    known = feeds.known(scored)
    assert known is not None
    assert known.evaluation.labelled == 2


def test_outcomes_that_come_after_the_period_change_nothing(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY, ago=timedelta(days=31))
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    assert feeds.learn().batches == ()
    assert feeds.known(scored) is None


def test_thresholds_alert_when_enough_is_known(tmp_path: Path) -> None:
    feeds = make_late(tmp_path, ", enough: 0.75", thresholds="auc_min: 0.9")
    scored = feeds.score(DAY)
    feeds.happen("2026-11-21", "id,delay\n1,0\n2,30\n")
    feeds.learn()
    few = feeds.known(scored)
    feeds.happen("2026-11-22", "id,delay\n3,0\n")
    feeds.learn()
    enough = feeds.known(scored)
    assert few is not None
    assert enough is not None
    assert (few.evaluation.auc, few.evaluation.alerts) == (0.0, ())
    assert enough.evaluation.alerts == ("AUC 0.50 is below 0.90",)


def test_two_workers_never_let_the_earlier_look_count(feeds: LateFeeds) -> None:
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
    feeds.learn()
    inbox = feeds.toy.inbox(feeds.clock)
    receipt, known = inbox.receipts.find(scored), feeds.known(scored)
    assert receipt is not None
    assert known is not None
    add_late(inbox.lake.store, receipt, known)  # the same once more, as after an answer was lost
    stale = known.model_copy(update={"made_of": "others"})
    with pytest.raises(StoreUnavailable, match="meanwhile"):
        add_late(inbox.lake.store, receipt, stale)
    assert feeds.known(scored) == known


def test_a_batch_that_fails_does_not_hold_up_the_others(
    feeds: LateFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = feeds.score(DAY)
    broken = feeds.score("2026-11-19", "id,value\n5,0.5\n")
    failed = StoreRefused("somewhere", "something")

    def failing(predicted: Predicted, reference: Reference | None) -> Evaluator:
        if predicted.batch_id == broken.batch_id:
            raise failed
        return open_evaluator(predicted, reference)

    monkeypatch.setattr(outcomes, "open_evaluator", failing)
    feeds.happen(NEXT, "id,delay\n1,30\n2,0\n5,1\n")
    learned = feeds.learn()
    assert [one.batch_id for one in learned.batches] == [good.batch_id]
    assert learned.failures == (failed,)


def test_on_s3_the_report_shows_what_came_and_the_next_look_finds_nothing_new(
    tmp_path: Path, bucket: str
) -> None:
    feeds = make_late_s3(tmp_path, bucket)
    scored = feeds.score(DAY)
    feeds.happen(NEXT, "id,delay\n1,30\n2,5\n3,20\n")
    assert [one.batch_id for one in feeds.learn().batches] == [scored.batch_id]
    inbox = feeds.toy.inbox(feeds.clock)
    report_run(feeds.toy.dataset, inbox, "a run", [scored])
    page = inbox.lake.store.read(LATEST, 1 << 22).decode()
    assert "3 of 4 rows" in page
    assert "1 may still come" in page
    assert feeds.learn().batches == ()
    feeds.happen(NEXT, "id,delay\n1,0\n2,5\n3,20\n4,20\n")
    feeds.learn()
    known = feeds.known(scored)
    assert known is not None
    assert (known.number, known.evaluation.labelled, known.evaluation.positives) == (2, 4, 2)
