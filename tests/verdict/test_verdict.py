"""One verdict per feed and day: what is open makes "normal" impossible."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import OF_TASKS
from flagfall.errors import NotThere, StoreUnavailable
from flagfall.inbox.inbox import ReplaySource
from flagfall.inbox.replays import Wish, plan_replay
from flagfall.lake.batch_names import batch_named
from flagfall.lake.records import Anomaly, Drift, Evaluation, Multiclass, Receipt, Regression
from flagfall.stages.ingest import ingest
from flagfall.verdict.dismissed import dismiss
from flagfall.verdict.facts import Facts
from flagfall.verdict.failures import Failure, forget_failures, note_failure
from flagfall.verdict.figures import known_figures
from flagfall.verdict.look import look, verdict_of
from flagfall.verdict.verdict import NORMAL, judge
from flagfall.watch.heartbeat import WatcherState
from tests.feeds import Clock, ToyFeed, make_toy
from tests.scored import make_scored_toy
from tests.stages.runs import LABELLED, NOW, PLAIN, SCORED, dataset, evaluate, receipt, verdict

GOOD, BAD = "id,value\n1,0.5\n", "id,value\nx,y\n"
AS_DROPPED = "id,value\n1,0.5\n2,1.5\n"
"""What ``drop`` publishes unless it is told what."""
DAILY = 'arrival: {schedule: "0 6 * * *", partition: {date: "%Y-%m-%d"}, deadline: 1h}'


def take(toy: ToyFeed, clock: Clock, day: str, text: str = GOOD) -> Receipt:
    found = ingest(toy.dataset, toy.inbox(clock), toy.drop(day, text))
    assert found is not None
    return found


def watched(toy: ToyFeed, at: datetime, **more: object) -> None:
    """A watcher has just given a sign."""
    sign = WatcherState.model_validate(
        {"state": "watching", "since": at, "looked_at": at, "every": 300, "first": at}
        | {"host": "somewhere", "pid": 7, **more}
    )
    toy.inbox().lake.store.put("watch.json", sign.model_dump_json().encode())


def said(toy: ToyFeed, clock: Clock) -> tuple[str, ...]:
    return tuple(reason.kind for reason in verdict_of(toy.dataset, toy.inbox(clock)).reasons)


class TestWhatIsOpen:
    def test_three_open_days_make_normal_impossible_until_each_is_corrected(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        days = ["2026-11-01", "2026-11-02", "2026-11-03"]
        for day in days:
            take(toy, clock, day, BAD)
        take(toy, clock, "2026-11-04")
        found = verdict_of(toy.dataset, toy.inbox(clock))
        (reason,) = found.reasons
        assert (found.word, reason.where) == ("attention", tuple(days))
        assert "3 batches were rejected and not corrected since" in found.sentence
        assert "rows break a rule" in reason.details[0]
        assert f"`flagfall replay toy {days[0]}." in reason.remedy
        for day in days:
            assert verdict_of(toy.dataset, toy.inbox(clock)).word == "attention"
            take(toy, clock, day)
        assert verdict_of(toy.dataset, toy.inbox(clock)).sentence == NORMAL

    def test_a_rejection_that_is_dismissed_is_not_open_and_a_new_one_is(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        rejected = take(toy, clock, "2026-11-01", BAD)
        take(toy, clock, "2026-11-02", BAD)
        dismiss(toy.inbox().lake.store, rejected.batch_id, "closed", clock.now)
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert reason.where == ("2026-11-02",)
        clock.advance(timedelta(minutes=1))
        again = toy.inbox(clock).replay(rejected.batch_id)
        ingest(toy.dataset, toy.inbox(clock), again)
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert sorted(reason.where) == ["2026-11-01", "2026-11-02"]

    @pytest.mark.parametrize("was", ["taken in", "touched", "corrected", "taken in last year"])
    def test_a_replay_that_was_rejected_leaves_nothing_open_where_its_batch_counts(
        self, toy: ToyFeed, clock: Clock, was: str
    ) -> None:
        days = 365 if was == "taken in last year" else 0
        marker = toy.drop("2026-11-01")
        accepted = replace(marker, landed_at=marker.landed_at - timedelta(days=days))
        ingest(toy.dataset, toy.inbox(clock), accepted)
        take(toy, clock, "2026-11-02")
        if was == "touched":
            take(toy, clock, "2026-11-01", AS_DROPPED)
        clock.advance(timedelta(minutes=1))
        source: ReplaySource = "staged" if was == "corrected" else "landing"
        again = toy.inbox(clock).replay(accepted.batch_id, source)
        if was == "corrected":
            take(toy, clock, "2026-11-01")
        (toy.folder("2026-11-01") / "datapackage.json").unlink()
        refused = ingest(toy.dataset, toy.inbox(clock), again)
        assert refused is not None
        assert refused.status == "rejected"
        assert verdict_of(toy.dataset, toy.inbox(clock)).sentence == NORMAL
        meant = batch_named("2026-11-01", toy.inbox().receipts)
        assert meant is not None
        assert meant.status == "accepted"
        with pytest.raises(NotThere, match="no rejected batch is open"):
            plan_replay(toy.dataset, toy.inbox(), Wish(reason=refused.reason))

    @pytest.mark.parametrize("counts", [True, False])
    def test_one_of_a_batch_that_had_been_rejected_is_open(
        self, toy: ToyFeed, clock: Clock, counts: bool
    ) -> None:
        if counts:
            take(toy, clock, "2026-11-01")
        rejected = take(toy, clock, "2026-11-01", BAD)
        clock.advance(timedelta(minutes=1))
        again = toy.inbox(clock).replay(rejected.batch_id)
        (toy.folder("2026-11-01") / "datapackage.json").unlink()
        (toy.landing / "notes.txt").write_text("the share is mounted")
        ingest(toy.dataset, toy.inbox(clock), again)
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert (reason.kind, reason.keys) == ("rejected", (f"rejected/{again.batch_id}",))
        plan = plan_replay(toy.dataset, toy.inbox(), Wish(reason="marker-removed"))
        assert [found.receipt.batch_id for found in plan.left_out] == [again.batch_id]

    def test_a_rejected_correction_stays_open_though_a_replay_of_what_counts_is_rejected_after_it(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        accepted = take(toy, clock, "2026-11-01")
        rejected = take(toy, clock, "2026-11-01", BAD)
        clock.advance(timedelta(minutes=1))
        again = toy.inbox(clock).replay(accepted.batch_id, "staged")
        toy.inbox(clock).reject(again, "no-staged-rows", "they are gone", turn=accepted.turn)
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert reason.keys == (f"rejected/{rejected.batch_id}",)
        plan = plan_replay(toy.dataset, toy.inbox(), Wish(reason=rejected.reason))
        assert [found.receipt.batch_id for found in plan.batches] == [rejected.batch_id]

    def test_a_marker_that_was_due_is_late_and_so_are_those_before_it(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = make_toy(tmp_path, more=DAILY)
        today = datetime.now(UTC).replace(hour=8, minute=0, second=0, microsecond=0)
        clock.now = today
        take(toy, clock, f"{today:%Y-%m-%d}")
        assert said(toy, clock) == ()
        clock.advance(timedelta(days=2))
        found = verdict_of(toy.dataset, toy.inbox(clock))
        (reason,) = found.reasons
        keys = [f"date={today + timedelta(days=day):%Y-%m-%d}/datapackage.json" for day in (1, 2)]
        assert (reason.kind, reason.where) == ("late", tuple(f"{toy.landing}/{k}" for k in keys))
        assert reason.since == today.replace(hour=7) + timedelta(days=1)
        take(toy, clock, f"{today + timedelta(days=1):%Y-%m-%d}")
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert reason.what.startswith(f"{keys[1]} is late since ")

    def test_a_new_feed_is_not_late_for_what_was_due_before_anybody_watched_it(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = make_toy(tmp_path, more=DAILY)
        clock.now = datetime.now(UTC).replace(hour=8, minute=0, second=0, microsecond=0)
        watched(toy, clock.now)
        assert said(toy, clock) == ()
        clock.advance(timedelta(days=1))
        watched(toy, clock.now, first=clock.now - timedelta(days=1))
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert (reason.kind, len(reason.where)) == ("late", 1)

    def test_one_that_never_came_is_late_for_as_long_as_receipts_count(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        hourly = 'arrival: {schedule: "0 * * * *", partition: {date: "%Y-%m-%dT%H"}, deadline: 0s}'
        toy = make_toy(tmp_path, more=hourly)
        clock.now = clock.now.replace(minute=30)
        hour = timedelta(hours=1)
        first = clock.now
        for number in (0, 2):
            take(toy, clock, f"{first + number * hour:%Y-%m-%dT%H}")
        clock.advance(200 * hour)
        (late,) = [r for r in verdict_of(toy.dataset, toy.inbox(clock)).reasons if r.kind == "late"]
        assert f"late/date={first + hour:%Y-%m-%dT%H}/datapackage.json" in late.keys

    def test_a_receipt_that_is_damaged_is_never_normal(self, toy: ToyFeed, clock: Clock) -> None:
        take(toy, clock, "2026-11-02")
        rejected = take(toy, clock, "2026-11-01", BAD)
        key = f"receipts/landed={rejected.marker.landed_at.date()}/{rejected.batch_id}.json"
        toy.inbox().lake.store.put(key, b"")
        found = verdict_of(toy.dataset, toy.inbox(clock))
        (reason,) = found.reasons
        assert (found.word, reason.kind) == ("failed", "damaged")
        assert reason.where[0].endswith(key)

    def test_a_record_that_is_damaged_is_a_failure_that_names_it(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = make_scored_toy(tmp_path)
        found = take(toy, clock, "2026-11-01")
        key = f"evaluations/{found.batch_id}/record.json"
        toy.inbox().lake.store.put(key, b'{"batch_id": 1')
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert key in reason.what
        assert "damaged" in reason.what

    def test_what_was_never_evaluated_is_unfinished_however_old_it_is(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = make_scored_toy(tmp_path)
        take(toy, clock, "2026-11-01")
        clock.advance(timedelta(days=40))
        assert said(toy, clock) == ("unfinished",)
        take(toy, clock, "2026-11-01", "id,value\n7,0.5\n")
        assert said(toy, clock) == (), "another delivery counts now"

    def test_nothing_that_was_accepted_is_not_known(self, toy: ToyFeed, clock: Clock) -> None:
        rejected = take(toy, clock, "2026-11-01", BAD)
        dismiss(toy.inbox().lake.store, rejected.batch_id, "so be it", clock())
        assert verdict_of(toy.dataset, toy.inbox(clock)).word == "unknown"

    def test_a_batch_of_a_day_to_come_hides_nothing(self, toy: ToyFeed, clock: Clock) -> None:
        take(toy, clock, "2099-01-01")
        take(toy, clock, f"{clock():%Y-%m-%d}", "id,value\n")
        assert said(toy, clock) == ("empty",)
        clock.advance(timedelta(days=1))
        assert said(toy, clock) == ("empty",)

    @pytest.mark.parametrize("name", ["0001-01-01", "00010101", "9999-12-31", "10101010"])
    def test_a_name_that_is_no_day_of_our_time_stops_no_verdict(
        self, toy: ToyFeed, clock: Clock, name: str
    ) -> None:
        take(toy, clock, name)
        take(toy, clock, f"{clock():%Y-%m-%d}", "id,value\n")
        assert "empty" in said(toy, clock)

    def test_a_marker_is_pending_for_too_long_from_redeliver_after_on(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        toy.drop("2026-11-01")
        clock.advance(timedelta(minutes=14))
        watched(toy, clock.now)
        assert said(toy, clock) == ()
        clock.advance(timedelta(minutes=2))
        found = verdict_of(toy.dataset, toy.inbox(clock))
        assert found.sentence == "Failed: 2026-11-01 has landed and was not taken in."

    def test_a_feed_that_nobody_ever_watched_says_so_when_something_waits(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        clock.advance(timedelta(hours=1))
        assert said(toy, clock) == ()
        toy.drop("2026-11-01")
        clock.now = datetime.now(UTC) + timedelta(minutes=9)
        assert said(toy, clock) == ()
        clock.advance(timedelta(minutes=2))
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert (reason.kind, reason.grade) == ("unwatched", "failed")
        assert reason.what == "nobody watches, and nobody ever has"

    def test_what_is_being_scored_is_not_normal_yet(self, tmp_path: Path, clock: Clock) -> None:
        toy = make_scored_toy(tmp_path)
        take(toy, clock, "2026-11-01")
        found = verdict_of(toy.dataset, toy.inbox(clock))
        assert (found.word, found.unscored) == ("unknown", ("2026-11-01",))
        assert found.sentence == "Not known: no scores yet of 2026-11-01."

    def test_more_batches_than_are_looked_up_do_not_make_a_day_unknown(
        self, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flagfall.verdict.look.JUDGED", 1)
        toy = make_scored_toy(tmp_path)
        first, last = take(toy, clock, "2026-11-01"), take(toy, clock, "2026-11-02")
        assert verdict_of(toy.dataset, toy.inbox(clock)).unscored == ("2026-11-02",)
        evaluation = _scored(toy.dataset, last)[last.batch_id]
        toy.inbox().lake.finish(evaluation)
        found = verdict_of(toy.dataset, toy.inbox(clock))
        assert first.batch_id in {one.batch_id for one in look(toy.dataset, toy.inbox()).receipts}
        assert found.unscored == ()

    @pytest.mark.parametrize(
        ("state", "silent", "kinds"),
        [
            ("watching", timedelta(minutes=5), ()),
            ("watching", timedelta(hours=1), ("unwatched",)),
            ("unreachable", timedelta(minutes=5), ("unreachable",)),
        ],
    )
    def test_a_watcher_that_is_silent_or_cannot_look_is_a_failure(
        self, toy: ToyFeed, clock: Clock, state: str, silent: timedelta, kinds: tuple[str, ...]
    ) -> None:
        take(toy, clock, "2026-11-01")
        watched(toy, clock.now, state=state, why="access denied")
        clock.advance(silent)
        found = verdict_of(toy.dataset, toy.inbox(clock))
        assert tuple(reason.kind for reason in found.reasons) == kinds
        assert found.word == ("failed" if kinds else "normal")

    def test_a_task_that_failed_is_told_until_it_is_forgotten(
        self, toy: ToyFeed, clock: Clock
    ) -> None:
        take(toy, clock, "2026-11-01")
        store = toy.inbox().lake.store
        failure = Failure(run="run 1", task="ingest_data[0]", why="disk is full", at=clock.now)
        note_failure(store, failure)
        (reason,) = verdict_of(toy.dataset, toy.inbox(clock)).reasons
        assert (reason.kind, reason.details) == (
            "task",
            ("ingest_data[0] of run run 1: disk is full",),
        )
        forget_failures(store, [failure])
        assert said(toy, clock) == ()

    def test_storage_that_is_away_is_a_failure_and_no_error(
        self, toy: ToyFeed, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox = toy.inbox(clock)

        def away(*_: object) -> None:
            raise StoreUnavailable("/landing", "not mounted")

        monkeypatch.setattr(inbox.landing, "entries", away)
        assert verdict_of(toy.dataset, inbox).sentence == (
            "Failed: the storage cannot be reached from here: /landing: not mounted."
        )


class TestUnfinished:
    def test_what_a_run_left_is_unfinished_at_once_and_else_after_redeliver_after(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = make_toy(tmp_path, more=f"features: [{{name: value}}]\nmodel: {{path: {tmp_path}}}")
        taken = take(toy, clock, "2026-11-01")

        def names(**more: object) -> list[str]:
            facts = look(toy.dataset, toy.inbox(clock), **more)  # type: ignore[arg-type]
            return [one.label for one in facts.unfinished]

        assert names() == []
        assert names(over={taken.batch_id}) == ["2026-11-01"]
        clock.advance(timedelta(minutes=16))
        assert names() == ["2026-11-01"]
        toy.inbox(clock).hand_out_again(taken.marker)
        assert names() == ["2026-11-01"], "tried again is not finished"
        toy.inbox(clock).finish(taken.marker)
        assert names() == []


class TestBackfill:
    def test_a_good_batch_of_last_month_does_not_make_today_green(self) -> None:
        yesterday = receipt("2026-11-21", landed_at=NOW - timedelta(days=1))
        old = receipt("2026-10-20")
        evaluations = {
            yesterday.batch_id: evaluate(dataset(), yesterday, shift=0.0),
            old.batch_id: evaluate(dataset(), old),
        }
        found = verdict(dataset(), [yesterday, old], evaluations)
        assert found.word == "attention"
        assert "is below 0.60 (2026-11-21)" in found.sentence

    def test_a_bad_batch_of_last_month_that_comes_today_needs_attention(self) -> None:
        good, old = receipt("2026-11-21"), receipt("2026-10-20")
        bad = evaluate(dataset(), old, shift=0.0)
        found = verdict(dataset(), [good, old], _scored(dataset(), good) | {old.batch_id: bad})
        assert found.reasons[0].where == ("2026-10-20",)

    def test_a_bad_day_is_over_when_a_newer_one_is_good(self) -> None:
        before = receipt("2026-11-20", landed_at=NOW - timedelta(days=1))
        good = receipt("2026-11-21")
        bad = {before.batch_id: evaluate(dataset(), before, shift=0.0)}
        assert verdict(dataset(), [before, good], bad | _scored(dataset(), good)).word == "normal"


def _scored(feed: Dataset, *receipts: Receipt) -> dict[str, Evaluation]:
    return {one.batch_id: evaluate(feed, one) for one in receipts}


class TestUnknown:
    def test_a_model_without_thresholds_is_never_green(self) -> None:
        feed, one = dataset({**LABELLED, "thresholds": {}}), receipt("2026-11-21")
        found = verdict(feed, [one], _scored(feed, one))
        assert found.word == "unknown"
        assert "no thresholds" in found.sentence

    def test_nor_by_thresholds_that_say_nothing_of_it(self) -> None:
        feed = dataset({**LABELLED, "thresholds": {"rejected_share": 0.1, "rows_low": 0.5}})
        one = receipt("2026-11-21")
        assert verdict(feed, [one], _scored(feed, one)).word == "unknown"

    @pytest.mark.parametrize(
        "thresholds", [{"auc_min": 0.6}, {"psi_max": 0.25}, {"auc_min": 0.6, "psi_max": 0.25}]
    )
    def test_nor_by_thresholds_of_which_no_figure_is_known(
        self, thresholds: dict[str, float]
    ) -> None:
        """Without outcomes there is no AUC, without a reference no drift."""
        feed, one = dataset(SCORED, thresholds=thresholds), receipt("2026-11-21")
        bare = evaluate(feed, one).model_copy(update={"drift": ()})
        found = verdict(feed, [one], {one.batch_id: bare})
        assert (found.word, found.reasons) == ("unknown", ())
        assert f"no figure is known for {', '.join(thresholds)}, so" in found.sentence
        drifted = evaluate(dataset(SCORED), one)
        judged_by_it = "normal" if "psi_max" in thresholds else "unknown"
        assert verdict(feed, [one], {one.batch_id: drifted}).word == judged_by_it

    def test_each_threshold_of_a_model_has_a_figure(self) -> None:
        one = receipt("2026-11-21")
        scored = evaluate(dataset(), one)
        known = Regression(mae=1, rmse=1, r2=1, bias=1)
        classes = Multiclass(log_loss=1, macro_f1=1, accuracy=1)
        unusual = Anomaly(auc=1, precision=1, recall=1)
        every = {"multiclass": classes, "regression": known, "anomaly": unusual}
        found = known_figures(dataset(), scored.model_copy(update=every))
        assert found == {"psi_max", *OF_TASKS}

    def test_one_figure_that_a_threshold_judges_is_enough(self) -> None:
        feed, one = dataset(thresholds={"auc_min": 0.6}), receipt("2026-11-21")
        assert verdict(feed, [one], _scored(feed, one)).word == "normal"

    def test_too_few_outcomes_of_another_feed_judge_nothing(self) -> None:
        label = {"from": "landed", "expr": "delay > 15", "enough": 0.5}
        key = {"schema": {**PLAIN["schema"], "primaryKey": ["delay"]}}
        feed = dataset({**LABELLED, **key, "label": label, "thresholds": {"auc_min": 0.6}})
        one = receipt("2026-11-21")
        known = evaluate(dataset(thresholds={"auc_min": 0.6}), one)
        few = known.model_copy(update={"labelled": 10})
        assert verdict(feed, [one], {one.batch_id: known}).word == "normal"
        assert verdict(feed, [one], {one.batch_id: few}).word == "unknown"

    def test_reasons_count_all_the_same(self) -> None:
        feed = dataset({**LABELLED, "thresholds": {}})
        assert verdict(feed, [receipt("2026-11-21", "rejected")], {}).word == "attention"

    def test_a_feed_without_a_model_is_judged_by_its_rules(self) -> None:
        assert verdict(dataset(PLAIN), [receipt("2026-11-21")], {}).sentence == NORMAL


def test_reasons_come_by_weight_and_a_failure_of_the_pipeline_makes_it_failed() -> None:
    bad, empty = receipt("2026-11-20", "rejected"), receipt("2026-11-21", rows=0)
    found = verdict(dataset(SCORED), [bad, empty], {})
    assert [reason.kind for reason in found.reasons] == ["unfinished", "rejected", "empty"]
    assert found.word == "failed"
    assert found.sentence.startswith("Failed: 2026-11-21 was accepted and is not evaluated; ")


def test_a_verdict_is_json_with_what_where_since_and_what_to_do() -> None:
    plain = verdict(dataset(PLAIN), [receipt("2026-11-20", "rejected", reason="no-data")], {})
    told = json.loads(json.dumps(plain.to_dict()))
    assert (told["dataset"], told["day"], told["verdict"]) == ("flights", "2026-11-22", "attention")
    (reason,) = told["reasons"]
    assert set(reason) == {"kind", "what", "where", "since", "remedy", "details"}


def _of(drift: Drift, rows: int = 900, **thresholds: object) -> tuple[str, ...]:
    feed, one = dataset({**LABELLED, "thresholds": {"auc_min": 0.5, **thresholds}}), receipt("x")
    plain = evaluate(feed, one)
    changed = plain.model_copy(update={"drift": (drift, *plain.drift), "rows": rows})
    facts = Facts(NOW, (one,), {one.batch_id: changed})
    return judge(feed, facts).lines


def _drift(**changes: object) -> Drift:
    plain = {"feature": "temp", "psi": 0.0, "missing_share": 0, "reference_missing_share": 0}
    return Drift.model_validate(plain | changes)


class TestMissing:
    @pytest.mark.parametrize(
        ("before", "now", "rises"),
        [
            (0.0, 0.09, False),
            (0.0, 0.12, True),
            (0.115, 0.6, False),  # in clusters, as of a day of storms
            (0.115, 0.8, True),
            (0.5, 1.0, True),
            (1.0, 1.0, False),
        ],
    )
    def test_a_rise_counts_beyond_what_clusters_explain(
        self, before: float, now: float, rises: bool
    ) -> None:
        lines = _of(_drift(missing_share=now, reference_missing_share=before))
        assert bool(lines) is rises
        assert all("missing values of temp" in line for line in lines)

    def test_it_can_be_switched_off_and_needs_rows(self) -> None:
        gone = _drift(missing_share=1.0)
        assert _of(gone)
        assert _of(gone, missing_rise=None) == ()
        assert _of(gone, rows=29) == ()


class TestCategories:
    def test_one_that_should_be_in_many_rows_and_is_in_none_has_vanished(self) -> None:
        gone = _drift(feature="origin", vanished={"EWR": 0.36, "XXX": 0.01})
        assert _of(gone) == ("no row has origin EWR",)
        assert _of(gone, rows=50) == ()
        assert _of(gone, vanished_rows=None) == ()

    def test_texts_that_training_hardly_had_are_told_beyond_chance(self) -> None:
        new = _drift(feature="dest", other_share=0.2, reference_other_share=0.02)
        assert _of(new) == ("20% of rows have a dest that training hardly had",)
        assert _of(_drift(feature="dest", other_share=0.06, reference_other_share=0.02)) == ()
        assert _of(new, unknown_rise=None) == ()
