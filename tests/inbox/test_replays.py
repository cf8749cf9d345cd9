"""Replays of many batches, from the producer's files or from staged rows, on a disk and on S3."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from flagfall.dataset.loader import read_dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.inbox.claim import claim
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.replays import Plan, Wish, hand_out_again, plan_replay
from flagfall.lake.output import Lake
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Evaluation, Featured, Predicted, Receipt, Staged
from flagfall.landing.marker import Marker
from flagfall.scoring.features import Constants
from flagfall.stages import STAGES
from flagfall.stages.ingest import ingest
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import EPOCH
from tests.feeds import BY_DAY, Clock, S3Feed, ToyFeed, make_toy
from tests.scored import GOOD, POISON, make_scored_s3_toy, make_scored_toy

DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]
Feed = ToyFeed | S3Feed


@pytest.fixture(params=["disk", "S3"])
def scored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Feed]:
    """A feed with a model and keys that sort by day."""
    if request.param == "disk":
        yield make_scored_toy(tmp_path, BY_DAY)
        return
    request.getfixturevalue("s3")
    yield make_scored_s3_toy(tmp_path, request.getfixturevalue("bucket"))


def run(feed: Feed, clock: Clock) -> list[Delivery]:
    """A run, as Airflow does it, when all that landed has settled; S3's clock goes by seconds."""
    clock.now = max(clock.now, Clock().now + timedelta(seconds=3))
    done: list[Delivery] = []
    taken = claim(feed.inbox(clock), feed.dataset, lambda s: clock.advance(timedelta(seconds=s)))
    for shard in taken.shards:
        deliveries = [Delivery(marker) for marker in shard]
        for stage in STAGES[: 4 if feed.dataset.model else 1]:
            deliveries = run_stage(stage, feed.dataset, feed.inbox(clock), deliveries)
        done += deliveries
    return done


def counting(feed: Feed) -> list[Receipt]:
    return current_view(feed.inbox().receipts.since(EPOCH.date()))


def ask(feed: Feed, wish: Wish) -> Plan:
    inbox = feed.inbox()
    plan = plan_replay(feed.dataset, inbox, wish)
    hand_out_again(inbox, plan)
    return plan


def empty_landing(feed: Feed) -> None:
    store = feed.inbox().landing.store
    for entry in list(store.list()):
        store.delete(entry.key)


def new_model(feed: Feed, version: str) -> Feed:
    """The feed, as a process has it that starts after its model was replaced."""
    assert feed.dataset.model is not None
    path = Path(feed.dataset.model.path) / "constants.json"
    constants = Constants(version=version, features=("value",), fill={"value": 0.0}, codes={})
    path.write_text(constants.model_dump_json())
    return replace(feed, dataset=read_dataset(feed.root / "datasets" / "toy.yaml"))


STAGED = Wish(source="staged")


@pytest.mark.invariant(3)
def test_a_range_is_scored_by_a_new_model_though_the_producers_files_are_gone(
    scored: Feed, clock: Clock
) -> None:
    for day in DAYS:
        scored.drop(day, GOOD)
    run(scored, clock)
    before = {receipt.marker.key: receipt for receipt in counting(scored)}
    empty_landing(scored)
    scored = new_model(scored, "2")
    wish = Wish(since=date(2026, 11, 2), source="staged", model_version="2")
    assert [one.receipt.marker.label for one in ask(scored, wish).batches] == DAYS[1:]
    clock.advance(timedelta(minutes=1))
    assert [one.status for one in run(scored, clock)] == ["accepted"] * 2
    after = {receipt.marker.label: receipt for receipt in counting(scored)}
    assert list(after) == DAYS
    lake = scored.inbox().lake
    for day in DAYS[1:]:
        receipt = after[day]
        old = before[receipt.marker.key]
        assert (receipt.supersedes, receipt.turn) == (old.batch_id, old.turn + 1)
        assert (receipt.rows, receipt.content) == (old.rows, old.content)
        predicted = lake.find(Predicted, receipt.batch_id)
        assert predicted is not None
        assert (predicted.model_version, predicted.rows) == ("2", 2)
        assert lake.has(Evaluation, receipt.batch_id)
        assert rows(lake, receipt.batch_id).equals(rows(lake, old.batch_id))
    assert after[DAYS[0]] == before[after[DAYS[0]].marker.key]
    assert scored.inbox().pending() == []
    again = plan_replay(scored.dataset, scored.inbox(), wish)
    assert (again.batches, again.why_left_out) == ((), {"version 2 scored it": 2})


def rows(lake: Lake, batch_id: str) -> pl.DataFrame:
    record = lake.find(Staged, batch_id)
    assert record is not None
    with lake.scratch() as folder:
        return pl.concat([pl.read_parquet(path) for path in lake.parts(record, folder)])


def test_a_version_that_the_dataset_does_not_have_is_refused(scored: Feed) -> None:
    with pytest.raises(ModelInvalid, match="is version 1, and 2 is to score; put that one there"):
        plan_replay(scored.dataset, scored.inbox(), Wish(model_version="2"))


def test_a_range_goes_by_the_day_of_the_batch_and_has_both_its_ends(
    scored: Feed, clock: Clock
) -> None:
    for day in DAYS:
        scored.drop(day, GOOD)
    run(scored, clock)

    def days(since: str, until: str) -> list[str]:
        wish = Wish(date.fromisoformat(since), date.fromisoformat(until), source="staged")
        plan = plan_replay(scored.dataset, scored.inbox(), wish)
        return [found.receipt.marker.label for found in plan.batches]

    assert days("2026-11-01", "2026-11-01") == DAYS[:1]
    assert days("2026-11-02", "2026-11-09") == DAYS[1:]
    assert days("2026-10-01", "2026-10-31") == []


def test_without_keys_that_sort_by_time_it_goes_by_the_day_of_landing(
    toy: ToyFeed, clock: Clock
) -> None:
    landed = toy.drop("a").landed_at.date()
    run(toy, clock)
    step = timedelta(days=1)

    def count(since: date, until: date) -> int:
        return len(plan_replay(toy.dataset, toy.inbox(), Wish(since, until)).batches)

    assert count(landed, landed) == 1
    assert count(landed + step, landed + step) == 0
    assert count(landed - step, landed - step) == 0


@pytest.mark.invariant(1)
def test_a_correction_that_came_meanwhile_is_not_superseded_by_older_rows(
    scored: Feed, clock: Clock
) -> None:
    scored.drop(DAYS[0], GOOD)
    run(scored, clock)
    ask(scored, STAGED)
    (again,) = scored.inbox().pending()
    clock.advance(timedelta(minutes=1))
    new = scored.drop(DAYS[0], "id,value\n1,0.5\n2,0.5\n3,0.5\n")
    assert {m.batch_id for m in scored.inbox().pending()} == {again.batch_id, new.batch_id}
    inbox = scored.inbox(clock)
    run_stage("ingest", scored.dataset, inbox, [Delivery(new)])
    (refused,) = run_stage("ingest", scored.dataset, inbox, [Delivery(again)])
    assert refused.status == "rejected"
    receipt = inbox.receipts.find(again)
    assert receipt is not None
    assert receipt.reason == "superseded"
    assert "replay the batch anew if it is still wanted" in receipt.message
    assert [one.batch_id for one in counting(scored)] == [new.batch_id]
    assert scored.inbox().pending() == []


@pytest.mark.invariant(1)
def test_nor_is_one_that_has_its_turn_and_no_receipt_yet(toy: ToyFeed, clock: Clock) -> None:
    """A slow worker may still write it."""
    toy.drop(DAYS[0])
    run(toy, clock)
    ask(toy, STAGED)
    (again,) = toy.inbox().pending()
    new = toy.drop(DAYS[0], "id,value\n9,9\n")
    inbox = toy.inbox(clock)
    inbox.receipts.take_turn(new, inbox.receipts.turns(new))
    (refused,) = run_stage("ingest", toy.dataset, inbox, [Delivery(again)])
    assert refused.status == "rejected"


def test_a_replay_from_staged_rows_waits_for_nothing_in_the_landing_zone(
    toy: ToyFeed, clock: Clock
) -> None:
    """Not for a marker that is being written there, either."""
    toy.drop(DAYS[0])
    run(toy, clock)
    ask(toy, STAGED)
    (toy.folder(DAYS[0]) / "datapackage.json").write_text('{"resources": [{"pa')
    clock.now = Clock().now
    taken = claim(toy.inbox(clock), toy.dataset, sleep=never)
    assert [marker.replay for shard in taken.shards for marker in shard] == [1]
    assert taken.unsettled == 1


def never(seconds: float) -> None:
    raise AssertionError("claim waited")


@pytest.mark.invariant(3)
def test_a_worker_that_dies_before_the_receipt_changes_nothing(
    toy: ToyFeed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.drop(DAYS[0])
    run(toy, clock)
    (first,) = counting(toy)
    ask(toy, STAGED)
    (again,) = toy.inbox().pending()

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flagfall.inbox.inbox.Inbox.receive", dies)
        with pytest.raises(KeyboardInterrupt):
            run_stage("ingest", toy.dataset, toy.inbox(clock), [Delivery(again)])
    assert counting(toy) == [first]
    assert toy.inbox().pending() == [again]
    (done,) = run(toy, clock)
    assert done.status == "accepted"
    assert [one.batch_id for one in counting(toy)] == [again.batch_id]


def test_rows_that_left_the_lake_are_left_out_and_said(scored: Feed, clock: Clock) -> None:
    for day in DAYS[:2]:
        scored.drop(day, GOOD)
    run(scored, clock)
    first = counting(scored)[0].batch_id
    store = scored.inbox().lake.store
    for key in list(store.names(f"staged/{first}")):
        store.delete(key)
    plan = plan_replay(scored.dataset, scored.inbox(), STAGED)
    assert plan.why_left_out == {"its staged rows are gone: use --from landing": 1}
    assert [found.receipt.marker.label for found in plan.batches] == DAYS[1:2]


def test_rows_that_leave_between_plan_and_run_are_a_rejected_replay(
    toy: ToyFeed, clock: Clock
) -> None:
    toy.drop(DAYS[0])
    run(toy, clock)
    (first,) = counting(toy)
    ask(toy, STAGED)
    shutil.rmtree(toy.root / "lake/toy/staged" / first.batch_id)
    (refused,) = run(toy, clock)
    receipt = toy.inbox().receipts.find(refused.marker)
    assert receipt is not None
    assert receipt.reason == "no-staged-rows"
    assert counting(toy) == [first]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def damage_a_page(path: Path) -> None:
    """The end of the file, where its columns are named, stays as it is."""
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 60 + content[64:])


@pytest.mark.parametrize(
    ("which", "harm"),
    [("*.parquet", cut_short), ("*.parquet", damage_a_page), ("record.json", cut_short)],
)
def test_a_replay_of_damaged_rows_is_rejected_with_the_file_and_a_remedy_that_works(
    toy: ToyFeed, clock: Clock, which: str, harm: Callable[[Path], None]
) -> None:
    toy.drop(DAYS[0])
    run(toy, clock)
    (first,) = counting(toy)
    (damaged,) = (toy.root / "lake/toy/staged" / first.batch_id).glob(which)
    harm(damaged)
    ask(toy, STAGED)
    (refused,) = run(toy, clock)
    receipt = toy.inbox().receipts.find(refused.marker)
    assert receipt is not None
    assert receipt.reason == "no-staged-rows"
    assert str(damaged) in receipt.message
    assert "`flagfall replay --from landing`" in receipt.message
    assert counting(toy) == [first]
    clock.advance(timedelta(minutes=1))
    toy.inbox(clock).replay(first.batch_id)
    assert [one.status for one in run(toy, clock)] == ["accepted"]


@pytest.mark.parametrize("how", ["one", "many"])
def test_the_last_source_that_somebody_asks_for_counts(
    toy: ToyFeed, clock: Clock, how: str
) -> None:
    toy.drop(DAYS[0])
    run(toy, clock)
    (first,) = counting(toy)
    for source, rows in ((STAGED, first.batch_id), (Wish(), ""), (STAGED, first.batch_id)):
        if how == "many":
            assert len(ask(toy, source).batches) == 1
            assert ask(toy, source).why_left_out == {"a replay of it is pending": 1}
        else:
            toy.inbox().replay(first.batch_id, source.source)
        assert [one.staged_from for one in toy.inbox().pending()] == [rows]


def test_a_replay_whose_rows_are_staged_already_keeps_its_source(
    toy: ToyFeed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker died, or is about to write the receipt."""
    toy.drop(DAYS[0])
    run(toy, clock)
    (first,) = counting(toy)
    again = toy.inbox(clock).replay(first.batch_id, "staged")
    with monkeypatch.context() as patched:
        patched.setattr("flagfall.inbox.inbox.Inbox.receive", Inbox.check_place)
        with pytest.raises(TypeError):
            run_stage("ingest", toy.dataset, toy.inbox(clock), [Delivery(again)])
    assert toy.inbox().replay(first.batch_id) == again
    assert ask(toy, Wish()).why_left_out == {"a replay of it is pending": 1}
    assert toy.inbox().pending() == [again]


def test_rows_of_other_columns_than_the_dataset_has_now_are_refused(
    tmp_path: Path, clock: Clock
) -> None:
    text, new = {"name": "id", "type": "string"}, {"name": "v", "type": "number"}
    changed, refused = replayed_with(tmp_path, clock, text, new)
    receipt = changed.inbox().receipts.find(refused.marker)
    assert receipt is not None
    assert receipt.reason == "columns"
    assert "other columns than the dataset file has now (id, v); " in receipt.message


def test_a_new_column_that_a_file_may_lack_is_empty_in_rows_that_are_taken_again(
    tmp_path: Path, clock: Clock
) -> None:
    """The landing files may be gone; an export shows these rows in the same way."""
    more = {"name": "note", "type": "string", "optional": True}
    changed, again = replayed_with(tmp_path, clock, {"name": "id", "type": "integer"}, more)
    assert again.status == "accepted"
    inbox = changed.inbox()
    staged = inbox.lake.find(Staged, again.marker.batch_id)
    assert staged is not None
    with inbox.lake.scratch() as folder:
        rows = pl.concat(pl.read_parquet(part) for part in inbox.lake.parts(staged, folder))
    assert rows.schema == {"id": pl.Int64, "note": pl.String}
    assert rows.height == staged.rows > 0
    assert rows["id"].null_count() == 0
    assert rows["note"].null_count() == rows.height


def replayed_with(root: Path, clock: Clock, *fields: dict[str, object]) -> tuple[ToyFeed, Delivery]:
    """A feed whose columns were changed to these, and its batch of before, from staged rows."""
    toy = make_toy(root)
    toy.drop(DAYS[0])
    run(toy, clock)
    plain = toy.dataset.model_dump(by_alias=True, exclude={"features_python"})
    table = plain.pop("schema", None) or plain.pop("table")
    changed = {**plain, "schema": {**table, "fields": fields}}
    feed = ToyFeed(toy.root, type(toy.dataset).model_validate(changed))
    ask(feed, STAGED)
    (again,) = run(feed, clock)
    return feed, again


def test_all_that_were_rejected_for_a_reason_are_taken_from_the_landing_zone(
    scored: Feed, clock: Clock
) -> None:
    scored.drop(DAYS[0], "nonsense\n")
    scored.drop(DAYS[1], GOOD)
    scored.drop(DAYS[2], "nonsense\n")
    run(scored, clock)
    reason = scored.inbox().receipts.deliveries(_marker(scored, DAYS[0]))[0].reason
    plan = ask(scored, Wish(reason=reason, until=date(2026, 11, 2)))
    assert [found.receipt.marker.label for found in plan.batches] == DAYS[:1]


def _marker(feed: Feed, day: str):  # type: ignore[no-untyped-def]
    landing = feed.inbox().landing
    return landing.find(landing.pattern.fill({"date": day}))[0]


@pytest.mark.parametrize("how", ["one", "many"])
def test_a_batch_whose_marker_was_touched_is_replayed_as_it_lies_there(
    toy: ToyFeed, clock: Clock, how: str
) -> None:
    toy.drop(DAYS[0])
    run(toy, clock)
    touched = toy.drop(DAYS[0])
    (unchanged,) = run(toy, clock)
    assert unchanged.status == "unchanged"
    if how == "many":
        ask(toy, Wish())
    else:
        toy.inbox().replay(DAYS[0])
    (again,) = toy.inbox().pending()
    assert again.version == touched.version
    assert [one.status for one in run(toy, clock)] == ["accepted"]


@pytest.mark.parametrize("how", ["one", "many"])
def test_and_counts_as_landed_when_the_delivery_did_that_it_is_the_same_as(
    toy: ToyFeed, clock: Clock, how: str
) -> None:
    marker = toy.drop(DAYS[0])
    first = replace(marker, landed_at=marker.landed_at - timedelta(days=9))
    take_in(toy, clock, first)
    for replays in (1, 2):
        for _ in range(2):
            touched = toy.drop(DAYS[0])
            assert take_in(toy, clock, touched).status == "unchanged"
        if how == "many":
            ask(toy, Wish())
        else:
            toy.inbox().replay(touched.batch_id if replays == 1 else DAYS[0])
        (again,) = toy.inbox().pending()
        assert (again.version, again.delivered_at) == (touched.version, first.landed_at)
        assert take_in(toy, clock, again).status == "accepted"


def test_also_where_a_replay_of_it_was_rejected(toy: ToyFeed, clock: Clock) -> None:
    marker = toy.drop(DAYS[0])
    first = replace(marker, landed_at=marker.landed_at - timedelta(days=9))
    take_in(toy, clock, first)
    touched = toy.drop(DAYS[0])
    take_in(toy, clock, touched)
    toy.inbox(clock).reject(replace(touched, replay=1), "marker-removed", "it was away")
    assert toy.inbox().replay(DAYS[0]).delivered_at == first.landed_at


def test_a_correction_keeps_a_time_of_its_own(toy: ToyFeed, clock: Clock) -> None:
    marker = toy.drop(DAYS[0])
    take_in(toy, clock, replace(marker, landed_at=marker.landed_at - timedelta(days=9)))
    corrected = toy.drop(DAYS[0], "id,value\n9,9\n")
    take_in(toy, clock, corrected)
    take_in(toy, clock, toy.drop(DAYS[0], "id,value\n9,9\n"))
    assert toy.inbox().replay(DAYS[0]).delivered_at == corrected.landed_at


def take_in(feed: Feed, clock: Clock, marker: Marker) -> Receipt:
    clock.advance(timedelta(minutes=1))
    receipt = ingest(feed.dataset, feed.inbox(clock), marker)
    assert receipt is not None
    return receipt


def test_a_batch_of_which_a_correction_is_pending_is_left_to_it(toy: ToyFeed, clock: Clock) -> None:
    toy.drop(DAYS[0])
    run(toy, clock)
    toy.drop(DAYS[0], "id,value\n9,9\n")
    plan = plan_replay(toy.dataset, toy.inbox(), Wish())
    assert plan.why_left_out == {"a new delivery of it is pending": 1}
    with pytest.raises(NotThere, match="a new delivery of it is pending"):
        toy.inbox().replay(DAYS[0])


def test_a_replay_of_a_replay_follows_it(scored: Feed, clock: Clock) -> None:
    scored.drop(DAYS[0], GOOD)
    run(scored, clock)
    for number in (1, 2):
        ask(scored, STAGED)
        clock.advance(timedelta(minutes=1))
        (done,) = run(scored, clock)
        assert (done.status, done.marker.replay) == ("accepted", number)
    assert [one.turn for one in counting(scored)] == [3]
    assert scored.inbox().lake.has(Featured, counting(scored)[0].batch_id)


def test_one_that_the_model_cannot_score_is_handed_out_again_as_any_other(
    tmp_path: Path, clock: Clock
) -> None:
    toy = make_scored_toy(tmp_path)
    toy.drop(DAYS[0], POISON)
    with pytest.raises(ModelInvalid):
        run(toy, clock)
    ask(toy, STAGED)
    with pytest.raises(ModelInvalid):
        run(toy, clock)
    unfinished = toy.inbox().sweep().unfinished
    assert {counting(toy)[0].batch_id in entry.key for entry in unfinished} == {True, False}
