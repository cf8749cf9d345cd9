"""Outcomes in trouble: times that pass, replays, and what is damaged, gone or of another type."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.errors import Damaged, DatasetInvalid, NotThere, StoreRefused, StoreUnavailable
from flagfall.lake.outcomes import MATCHED, learned_on
from flagfall.lake.output import Lake
from flagfall.lake.records import Staged
from flagfall.landing.marker import Marker
from flagfall.stages import outcomes
from flagfall.tables.legible import legible
from tests.feeds import ToyFeed
from tests.late import LateFeeds, make_late

DAY, NEXT, LATER = "2026-11-20", "2026-11-21", "2026-11-22"
OTHER = "2026-11-18"
WITHIN = timedelta(days=30)


@pytest.fixture
def feeds(tmp_path: Path) -> LateFeeds:
    return make_late(tmp_path)


def known(feeds: LateFeeds, marker: Marker) -> tuple[int, int]:
    """Rows with a known outcome, and those that are late."""
    found = feeds.known(marker)
    assert found is not None
    return found.evaluation.labelled, found.evaluation.positives


class TestTimes:
    def test_outcomes_that_came_early_stay_known_as_time_passes(self, feeds: LateFeeds) -> None:
        feeds.happen(DAY, "id,delay\n1,30\n2,0\n", ago=timedelta(days=29))
        feeds.happen(OTHER, "id,delay\n3,30\n", ago=timedelta(days=31))
        scored = feeds.score(NEXT)
        feeds.learn()
        assert known(feeds, scored) == (2, 1)
        for _ in range(8):
            feeds.clock.advance(timedelta(days=4))
            assert feeds.learn().batches == ()
        assert known(feeds, scored) == (2, 1)

    def test_history_that_landed_before_the_feed_existed_has_its_outcomes(
        self, feeds: LateFeeds
    ) -> None:
        old = feeds.score(DAY, ago=timedelta(days=100))
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n", ago=timedelta(days=99))
        feeds.happen(LATER, "id,delay\n3,30\n", ago=timedelta(days=69))
        assert [one.batch_id for one in feeds.learn().batches] == [old.batch_id]
        assert known(feeds, old) == (2, 1)
        feeds.clock.advance(timedelta(days=9))
        feeds.happen("2026-11-23", "id,delay\n4,30\n", ago=timedelta(days=98))
        assert feeds.learn().batches == ()

    def test_outcomes_that_came_in_time_are_known_although_nobody_looked_in_time(
        self, feeds: LateFeeds
    ) -> None:
        scored = feeds.score(DAY, ago=timedelta(days=33))
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n", ago=timedelta(days=4))
        feeds.happen(LATER, "id,delay\n3,30\n", ago=timedelta(days=2))
        feeds.learn()
        assert known(feeds, scored) == (2, 1)

    def test_a_correction_that_comes_after_the_time_changes_nothing(self, feeds: LateFeeds) -> None:
        scored = feeds.score(DAY, ago=timedelta(days=33))
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n", ago=timedelta(days=4))
        feeds.happen(NEXT, "id,delay\n1,0\n", ago=timedelta(days=2))
        feeds.learn()
        assert known(feeds, scored) == (2, 1)

    def test_rows_that_lake_keep_dropped_are_not_asked_for(self, feeds: LateFeeds) -> None:
        old = feeds.happen(DAY, "id,delay\n1,30\n")
        drop_staged(feeds.truth, old)
        feeds.clock.advance(2 * WITHIN + timedelta(days=7, hours=1))
        scored = feeds.score(NEXT, ago=-(feeds.clock() - old.landed_at))
        feeds.happen(LATER, "id,delay\n2,0\n", ago=-(feeds.clock() - old.landed_at))
        assert feeds.learn().failures == ()
        assert known(feeds, scored) == (1, 0)


class TestReplays:
    def test_a_replay_of_outcomes_does_not_come_after_what_was_delivered_later(
        self, feeds: LateFeeds
    ) -> None:
        scored = feeds.score(DAY)
        first = feeds.happen(NEXT, "id,delay\n1,30\n2,30\n")
        feeds.happen(LATER, "id,delay\n1,0\n")
        feeds.clock.advance(timedelta(hours=1))
        again = feeds.truth.inbox(feeds.clock).replay(first.batch_id, "staged")
        feeds.take_again(again)
        feeds.clock.advance(timedelta(hours=1))
        feeds.take_again(feeds.truth.inbox(feeds.clock).replay(again.batch_id, "staged"))
        feeds.learn()
        assert known(feeds, scored) == (2, 1)

    def test_a_replay_by_another_model_is_joined_to_the_outcomes_of_its_own_time(
        self, feeds: LateFeeds
    ) -> None:
        first = feeds.score(DAY, ago=timedelta(days=100))
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n", ago=timedelta(days=99))
        feeds.happen(LATER, "id,delay\n1,0\n3,30\n", ago=timedelta(days=1))
        again = feeds.toy.inbox(feeds.clock).replay(first.batch_id, "staged")
        feeds.score_again(again)
        feeds.learn()
        assert known(feeds, again) == (2, 1)


class TestWhatCannotBeRead:
    @pytest.fixture
    def two(self, feeds: LateFeeds) -> tuple[Marker, Marker]:
        """Two batches, the second of another row."""
        return feeds.score(DAY), feeds.score(OTHER, "id,value\n8,0.3\n")

    @pytest.mark.parametrize("what", ["record.json", "*.parquet"])
    @pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"{")])
    def test_predictions_hold_up_no_other_batch(
        self,
        feeds: LateFeeds,
        two: tuple[Marker, Marker],
        what: str,
        harm: Callable[[Path], object],
    ) -> None:
        for path in Path(feeds.toy.root, "lake/toy/predictions", two[0].batch_id).glob(what):
            harm(path)
        feeds.happen(NEXT, "id,delay\n1,30\n8,30\n")
        learned = feeds.learn()
        assert [one.batch_id for one in learned.batches] == [two[1].batch_id]
        is_unscored = what == "record.json" and harm is Path.unlink
        assert [type(one) for one in learned.failures] == ([] if is_unscored else [Damaged])

    @pytest.mark.parametrize("harm", ["gone", "damaged", "a part gone"])
    def test_outcomes_hold_up_no_other_delivery(
        self, feeds: LateFeeds, two: tuple[Marker, Marker], harm: str
    ) -> None:
        lost = feeds.happen(LATER, "id,delay\n1,30\n")
        feeds.happen(NEXT, "id,delay\n2,30\n8,30\n")
        drop_staged(feeds.truth, lost, harm)
        learned = feeds.learn()
        assert len(learned.batches) == 2
        (failure,) = learned.failures
        assert isinstance(failure, NotThere if harm == "gone" else StoreRefused)
        assert lost.batch_id in str(failure)
        assert known(feeds, two[0]) == (1, 1)

    @pytest.mark.parametrize("harm", ["gone", "damaged", "a part gone", "away"])
    def test_a_correction_of_outcomes_takes_nothing_away_that_is_known(
        self,
        feeds: LateFeeds,
        two: tuple[Marker, Marker],
        harm: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
        feeds.happen("2026-11-17", "id,delay\n8,30\n")
        feeds.learn()
        feeds.clock.advance(timedelta(hours=1))
        correction = feeds.happen(NEXT, "id,delay\n1,30\n2,30\n")
        feeds.happen(LATER, "id,delay\n3,0\n8,0\n")
        with unreadable(feeds, correction, harm, monkeypatch):
            learned = feeds.learn()
        (failure,) = learned.failures
        assert correction.batch_id in str(failure)
        assert [one.batch_id for one in learned.batches] == [two[1].batch_id]
        assert (known(feeds, two[0]), known(feeds, two[1])) == ((2, 1), (1, 0))
        assert feeds.learn().failures == ()
        assert known(feeds, two[0]) == (3, 2)

    def test_outcomes_that_were_known_stay_known_though_look_ups_are_lost(
        self, feeds: LateFeeds, two: tuple[Marker, Marker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lost = feeds.happen(NEXT, "id,delay\n1,30\n")
        feeds.learn()
        shutil.rmtree(feeds.toy.root / "lake/toy" / MATCHED)
        with unreadable(feeds, lost, "damaged", monkeypatch):
            assert feeds.learn().batches == ()
        assert known(feeds, two[0]) == (1, 1)

    def test_new_outcomes_hold_up_no_batch_of_which_something_is_known(
        self, feeds: LateFeeds, two: tuple[Marker, Marker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        feeds.happen(NEXT, "id,delay\n1,30\n")
        feeds.learn()
        feeds.clock.advance(timedelta(hours=1))
        lost = feeds.happen(OTHER, "id,delay\n3,30\n")
        feeds.happen(LATER, "id,delay\n2,30\n")
        with unreadable(feeds, lost, "damaged", monkeypatch):
            assert len(feeds.learn().failures) == 1
        assert known(feeds, two[0]) == (2, 2)

    def test_an_evaluation_that_is_damaged_is_followed_by_another_one(
        self, feeds: LateFeeds, two: tuple[Marker, Marker], caplog: pytest.LogCaptureFixture
    ) -> None:
        feeds.happen(NEXT, "id,delay\n1,30\n8,30\n")
        feeds.learn()
        (record,) = evaluations(feeds, two[0])
        record.write_bytes(record.read_bytes()[:100])
        assert feeds.known(two[0]) is None
        assert "this record is damaged" in caplog.text
        assert [one.batch_id for one in feeds.learn().batches] == [two[0].batch_id]
        assert known(feeds, two[0]) == (1, 1)
        assert [path.name for path in evaluations(feeds, two[0])] == ["000001.json", "000002.json"]

    def test_of_a_damaged_evaluation_the_one_before_counts(
        self, feeds: LateFeeds, two: tuple[Marker, Marker]
    ) -> None:
        for day, rows in ((NEXT, "1,30\n"), (LATER, "2,0\n")):
            feeds.happen(day, f"id,delay\n{rows}")
            feeds.learn()
        evaluations(feeds, two[0])[-1].write_text("{")
        assert known(feeds, two[0]) == (1, 1)

    def test_files_that_others_leave_among_evaluations_are_none(
        self, feeds: LateFeeds, two: tuple[Marker, Marker]
    ) -> None:
        feeds.happen(NEXT, "id,delay\n1,30\n")
        feeds.learn()
        (record,) = evaluations(feeds, two[0])
        for name in (".DS_Store", "000007.json~", "notes.json"):
            record.with_name(name).write_text("x")
        assert feeds.learn().failures == ()
        assert known(feeds, two[0]) == (1, 1)

    def test_a_lake_of_outcomes_that_is_away_is_no_lake_without_outcomes(
        self, feeds: LateFeeds, two: tuple[Marker, Marker]
    ) -> None:
        feeds.happen(NEXT, "id,delay\n1,30\n")
        feeds.learn()
        Path(feeds.truth.root, "lake").rename(feeds.truth.root / "elsewhere")
        with pytest.raises(StoreUnavailable, match="Is it mounted\\? If the feed was renamed"):
            feeds.learn()
        assert known(feeds, two[0]) == (1, 1)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "make room there"),
        (pl.exceptions.ComputeError("write failed (os error 28)"), "make room there"),
        (OSError(errno.EIO, "Input/output error"), "check it and its mount"),
    ],
)
def test_a_disk_that_is_full_or_broken_is_no_fault_of_the_rows(error: Exception, says: str) -> None:
    with pytest.raises(StoreUnavailable, match=says), legible("/lake/toy/predictions/a"):
        raise error


class TestReceiptsThatCannotBeRead:
    """Nobody knows which delivery of their markers counts, so what is known stays known."""

    def test_of_outcomes_take_nothing_away(self, feeds: LateFeeds) -> None:
        scored, other = feeds.score(DAY), feeds.score(OTHER, "id,value\n8,0.3\n")
        lost = feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
        feeds.learn()
        feeds.happen(LATER, "id,delay\n3,30\n8,30\n")
        with damaged_receipt(feeds.truth, lost):
            learned = feeds.learn()
        (failure,) = learned.failures
        assert lost.batch_id in str(failure)
        assert [one.batch_id for one in learned.batches] == [other.batch_id]
        assert known(feeds, scored) == (2, 1)
        feeds.learn()
        assert known(feeds, scored) == (3, 2)

    def test_of_a_correction_of_outcomes_bring_nothing_back(self, feeds: LateFeeds) -> None:
        scored = feeds.score(DAY)
        feeds.happen(NEXT, "id,delay\n1,30\n2,30\n")
        feeds.learn()
        feeds.clock.advance(timedelta(hours=1))
        correction = feeds.happen(NEXT, "id,delay\n1,0\n2,0\n")
        feeds.learn()
        with damaged_receipt(feeds.truth, correction):
            assert feeds.learn().batches == ()
        assert known(feeds, scored) == (2, 0)

    def test_nor_to_a_batch_of_which_nothing_was_known(self, feeds: LateFeeds) -> None:
        scored = feeds.score(DAY)
        feeds.happen(NEXT, "id,delay\n1,30\n2,30\n")
        correction = feeds.happen(NEXT, "id,delay\n1,0\n2,0\n")
        feeds.happen(LATER, "id,delay\n3,30\n")
        with damaged_receipt(feeds.truth, correction):
            feeds.learn()
        assert known(feeds, scored) == (1, 1)
        feeds.learn()
        assert known(feeds, scored) == (3, 1)

    def test_of_scored_rows_have_no_earlier_ones_evaluated(self, feeds: LateFeeds) -> None:
        old, other = feeds.score(DAY), feeds.score(OTHER, "id,value\n8,0.3\n")
        correction = feeds.score(DAY, "id,value\n1,0.1\n")
        feeds.happen(NEXT, "id,delay\n1,30\n8,30\n")
        with damaged_receipt(feeds.toy, correction):
            learned = feeds.learn()
        assert [one.batch_id for one in learned.batches] == [other.batch_id]
        assert len(learned.failures) == 1
        assert feeds.known(old) is None

    def test_of_another_lake_take_nothing_away(self, feeds: LateFeeds) -> None:
        """The feed was renamed, and its lake was left; a first delivery is in the new one."""
        scored = feeds.score(DAY)
        feeds.happen(NEXT, "id,delay\n1,30\n")
        feeds.learn()
        Path(feeds.truth.root, "lake").rename(feeds.truth.root / "elsewhere")
        feeds.happen(LATER, "id,delay\n2,30\n")
        learned = feeds.learn()
        assert learned.batches == ()
        assert "If the feed was renamed, move its lake along" in str(learned.failures[0])
        assert known(feeds, scored) == (1, 1)


class TestAWorkerThatDies:
    def test_leaves_no_alert_unseen_and_its_batches_to_the_next_try_of_its_run(
        self, feeds: LateFeeds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scored = feeds.score(DAY)
        other = feeds.score(OTHER, "id,value\n8,0.3\n")
        feeds.happen(NEXT, "id,delay\n1,30\n8,30\n")
        add = outcomes.add_late

        def die_after(*arguments: object, **settings: object) -> None:
            add(*arguments, **settings)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(outcomes, "add_late", die_after)
            with pytest.raises(KeyboardInterrupt):
                feeds.learn("a run")
        store = feeds.toy.inbox().lake.store
        assert scored.batch_id in learned_on(store, feeds.clock().date())
        both = [scored.batch_id, other.batch_id]
        assert sorted(one.batch_id for one in feeds.learn("a run").batches) == sorted(both)
        assert feeds.learn("another run").batches == ()


class TestDatasetFilesThatChange:
    def test_outcomes_are_read_anew_when_the_label_is(self, feeds: LateFeeds) -> None:
        scored = feeds.score(DAY)
        feeds.happen(NEXT, "id,delay\n1,30\n2,90\n")
        feeds.learn()
        changed = edited(feeds, "toy", "delay > 15", "delay > 60")
        assert [one.batch_id for one in changed.learn().batches] == [scored.batch_id]
        assert known(changed, scored) == (2, 1)

    @pytest.mark.parametrize("is_scored", [True, False])
    def test_a_model_of_another_task_leaves_what_was_scored_before_as_it_was_evaluated(
        self, feeds: LateFeeds, caplog: pytest.LogCaptureFixture, is_scored: bool
    ) -> None:
        old, never = feeds.score(DAY), feeds.score(OTHER, "id,value\n8,0.5\n")
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
        feeds.learn()
        feeds = edited(feeds, "toy", "expr: delay > 15", "expr: delay")
        feeds = edited(feeds, "toy", "task: binary", "task: regression")
        new = feeds.score("2026-11-19", "id,value\n5,0.5\n") if is_scored else None
        feeds.happen(LATER, "id,delay\n2,30\n5,7\n8,1\n")
        found = feeds.learn()
        assert found.failures == ()
        assert [one.batch_id for one in found.batches] == ([new.batch_id] if new else [])
        assert known(feeds, old) == (2, 1)
        assert feeds.known(never) is None
        (said,) = (record for record in caplog.messages if "stay as they were" in record)
        assert old.batch_id in said
        assert never.batch_id in said

    def test_an_outcome_of_a_row_that_nobody_scored_breaks_no_label(self, feeds: LateFeeds) -> None:
        feeds = edited(feeds, "truth", "delay, type: number", "delay, type: string")
        feeds = edited(feeds, "toy", "delay > 15", "CAST(delay AS INTEGER) > 15")
        good, bad = feeds.score(DAY), feeds.score(OTHER, "id,value\n8,0.5\n")
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n8,never\n999,n/a\n")
        assert len(feeds.learn().failures) == 1
        assert known(feeds, good) == (2, 1)
        assert feeds.known(bad) is None

    def test_a_column_that_outcomes_gained_is_empty_in_earlier_ones(self, feeds: LateFeeds) -> None:
        scored = feeds.score(DAY)
        feeds.happen(NEXT, "id,delay\n1,30\n2,0\n")
        gained = "type: number}\n    - {name: cancelled, type: boolean}"
        feeds = edited(feeds, "truth", "type: number}", gained)
        feeds = edited(feeds, "toy", "delay > 15", "delay > 15 OR cancelled")
        feeds.happen(LATER, "id,delay,cancelled\n3,,true\n4,0,false\n")
        assert feeds.learn().failures == ()
        assert known(feeds, scored) == (3, 2)  # 0 OR unknown is unknown

    def test_a_key_of_another_type_matches_what_has_that_type(self, feeds: LateFeeds) -> None:
        old = feeds.score(DAY)
        feeds.happen(NEXT, "id,delay\n1,30\n")
        for name in ("toy", "truth"):
            feeds = edited(feeds, name, "name: id, type: integer", "name: id, type: string")
        new = feeds.score(OTHER, "id,value\na,0.3\n1,0.2\n")
        feeds.happen(LATER, "id,delay\na,30\n1,0\n")
        assert feeds.learn().failures == ()
        assert (known(feeds, old), known(feeds, new)) == ((1, 1), (2, 1))
        for file in (feeds.toy.root / "lake/toy" / MATCHED).iterdir():
            file.unlink()
        assert feeds.learn().batches == ()

    def test_two_files_that_do_not_fit_are_said_and_not_taken_for_no_outcomes(
        self, feeds: LateFeeds
    ) -> None:
        scored = feeds.score(DAY)
        changed = edited(feeds, "truth", "name: id, type: integer", "name: id, type: string")
        changed.happen(NEXT, "id,delay\n1,30\n")
        with pytest.raises(DatasetInvalid, match=r"'id' to be integer in truth\.yaml"):
            changed.learn()
        feeds = edited(feeds, "truth", "name: id, type: string", "name: id, type: integer")
        feeds.happen(LATER, "id,delay\n1,30\n")
        feeds.learn()
        assert known(feeds, scored) == (1, 1)

    def test_what_was_scored_with_a_key_of_other_columns_stays_as_it_was_evaluated(
        self, feeds: LateFeeds, caplog: pytest.LogCaptureFixture
    ) -> None:
        old = feeds.score(DAY)
        feeds.happen(NEXT, "id,delay\n1,30\n")
        feeds.learn()
        feeds = rekeyed(feeds, "{name: uid, type: integer}", "[uid]")
        new = feeds.score(OTHER, "uid,id,value\n7,1,0.3\n1,2,0.2\n")
        feeds.happen(LATER, "uid,id,delay\n7,1,30\n2,2,0\n")
        found = feeds.learn()
        assert found.failures == ()
        assert [one.batch_id for one in found.batches] == [new.batch_id]
        assert (known(feeds, old), known(feeds, new)) == ((1, 1), (1, 1))
        assert any("other columns" in said and old.batch_id in said for said in caplog.messages)

    def test_a_key_of_fewer_columns_is_looked_up_anew(self, tmp_path: Path) -> None:
        """``matched/`` says which rows had an outcome by the key of then."""
        feeds = make_late(tmp_path)
        feeds = rekeyed(feeds, "{name: kind, type: string}", "[id, kind]")
        scored = feeds.score(DAY, "id,kind,value\n1,a,0.9\n2,a,0.1\n")
        feeds.happen(NEXT, "id,kind,delay\n1,a,30\n2,b,30\n")
        feeds.happen(LATER, "id,kind,delay\n3,a,30\n")
        feeds.learn()
        assert known(feeds, scored) == (1, 1)
        for name in ("toy", "truth"):
            feeds = edited(feeds, name, "primaryKey: [id, kind]", "primaryKey: [id]")
        feeds.learn()
        assert known(feeds, scored) == (2, 2)


def evaluations(feeds: LateFeeds, marker: Marker) -> list[Path]:
    return sorted((feeds.toy.root / "lake/toy/outcomes").glob(f"*/{marker.batch_id}/*"))


@contextmanager
def unreadable(
    feeds: LateFeeds, marker: Marker, how: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Staged outcomes of a delivery cannot be read for a while, or their storage is away."""
    folder = feeds.truth.root / "lake/truth/staged" / marker.batch_id
    if how != "away":
        shutil.copytree(folder, kept := feeds.truth.root / "kept")
        drop_staged(feeds.truth, marker, how)
        yield
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        return
    find = Lake.find

    def away(self: Lake, kind: type[Staged], batch_id: str) -> Staged | None:
        if batch_id == marker.batch_id and kind is Staged:
            raise StoreUnavailable(str(folder), "timed out")
        return find(self, kind, batch_id)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "find", away)
        yield


@contextmanager
def damaged_receipt(feed: ToyFeed, marker: Marker) -> Iterator[None]:
    """The receipt of a delivery cannot be read meanwhile."""
    name = f"receipts/landed=*/{marker.batch_id}.json"
    (path,) = Path(feed.inbox().lake.store.uri).glob(name)
    text = path.read_bytes()
    path.write_text("{")
    yield
    path.write_bytes(text)


def drop_staged(feed: ToyFeed, marker: Marker, how: str = "gone") -> None:
    """Harm staged rows of a delivery."""
    folder = feed.root / "lake/truth/staged" / marker.batch_id
    for path in folder.iterdir():
        if how == "gone" or (how == "a part gone" and path.suffix == ".parquet"):
            path.unlink()
        elif path.suffix == ".parquet":
            path.write_bytes(path.read_bytes()[:50])


def edited(feeds: LateFeeds, name: str, old: str, new: str) -> LateFeeds:
    """The feeds, with another text in a dataset file."""
    file = feeds.toy.root / "datasets" / f"{name}.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    feed = replace(getattr(feeds, name), dataset=read_dataset(file))
    return replace(feeds, **{name: feed})


def rekeyed(feeds: LateFeeds, column: str, key: str) -> LateFeeds:
    """Both feeds, with another column and another key."""
    for name in ("toy", "truth"):
        feeds = edited(feeds, name, "- {name: id,", f"- {column}\n    - {{name: id,")
        feeds = edited(feeds, name, "primaryKey: [id]", f"primaryKey: {key}")
    return feeds
