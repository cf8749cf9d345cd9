"""What is old leaves the lake, unless something needs it still."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.errors import DatasetInvalid, ModelInvalid
from flagfall.inbox.replays import Wish, hand_out_again, plan_replay
from flagfall.lake.records import Evaluation, Predicted, Staged
from flagfall.stages.shard import Delivery, run_stage
from tests.feeds import Clock, ToyFeed, make_toy
from tests.scored import GOOD, POISON
from tests.upkeep.feeds import Make, lake_of, landing_of, maintain, objects, run

KEEP = "staged: 90d, features: 7d, rejected: 30d, reports: 2y"
BAD_ROWS = "id,value\n1,0.5\n2,0.75\n3,-1\n"


def test_each_kind_goes_after_its_own_time_and_receipts_stay(make: Make, clock: Clock) -> None:
    feed = make(KEEP, scored=True)
    feed.drop("2026-11-01", BAD_ROWS)
    (receipt,) = run(feed, clock)
    store = feed.inbox().lake.store
    store.put("reports/old.html", b"x")
    store.put("reports/latest.html", b"x")
    store.put("reports/due/run.json", b"x")
    before = objects(store)
    for days, gone in [
        (6, ""),
        (8, "features"),
        (31, "rejected"),
        (91, "staged"),
        (731, "reports"),
    ]:
        clock.now = Clock().now + timedelta(days=days)
        counts = {k: v["batches"] for k, v in maintain(feed, clock).to_dict().items()}
        assert counts == {k: int(k == gone) for k in ("staged", "features", "rejected", "reports")}
    kept = objects(store)
    assert {key.split("/")[0] for key in before.keys() - kept.keys()} == {
        *("staged", "features", "rejected", "reports")
    }
    assert {"reports/latest.html", "reports/due/run.json"} <= kept.keys()
    lake = feed.inbox().lake
    assert lake.has(Predicted, receipt.batch_id)
    assert lake.has(Evaluation, receipt.batch_id)
    assert feed.inbox().receipts.find(receipt.marker) == receipt
    assert feed.inbox().pending() == []


def test_nothing_goes_unless_the_file_says_so(make: Make, clock: Clock) -> None:
    feed = make("features: 7d", scored=True)
    feed.drop("2026-11-01", BAD_ROWS)
    run(feed, clock)
    clock.advance(timedelta(days=9_999))
    assert list(maintain(feed, clock).to_dict()) == ["features"]
    assert (len(lake_of(feed, "staged")), len(lake_of(feed, "rejected"))) == (1, 1)


def test_on_a_disk_no_empty_folder_is_left(tmp_path: Path, clock: Clock) -> None:
    toy = make_toy(tmp_path, keep="staged: 1d")
    toy.drop("2026-11-01")
    run(toy, clock)
    clock.advance(timedelta(days=2))
    maintain(toy, clock)
    assert list((tmp_path / "lake/toy/staged").iterdir()) == []


@pytest.mark.invariant(3)
def test_what_is_not_evaluated_yet_keeps_its_rows_however_old(make: Make, clock: Clock) -> None:
    feed = make("staged: 1d, features: 1d", scored=True)
    feed.drop("2026-11-01", POISON)
    with pytest.raises(ModelInvalid):
        run(feed, clock)
    clock.advance(timedelta(days=400))
    assert maintain(feed, clock).to_dict() == {
        kind: {"batches": 0, "objects": 0, "bytes": 0} for kind in ("staged", "features")
    }
    assert len(lake_of(feed, "staged")) == 1


@pytest.mark.invariant(3)
def test_what_has_no_receipt_yet_keeps_its_rows(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker died between its record and its receipt."""
    feed = make("staged: 1d")
    marker = feed.drop("2026-11-01")

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flagfall.inbox.inbox.Inbox.receive", dies)
        with pytest.raises(KeyboardInterrupt):
            run_stage("ingest", feed.dataset, feed.inbox(), [Delivery(marker)])
    clock.advance(timedelta(days=400))
    maintain(feed, clock)
    assert feed.inbox().lake.has(Staged, marker.batch_id)


def test_rows_that_a_replay_is_about_to_take_stay(make: Make, clock: Clock) -> None:
    feed = make("staged: 1d")
    feed.drop("2026-11-01")
    (receipt,) = run(feed, clock)
    inbox = feed.inbox(clock)
    hand_out_again(inbox, plan_replay(feed.dataset, inbox, Wish(source="staged")))
    clock.advance(timedelta(days=2))
    maintain(feed, clock)
    assert feed.inbox().lake.has(Staged, receipt.batch_id)
    (again,) = run(feed, clock)
    assert again.status == "accepted"
    clock.advance(timedelta(days=2))
    maintain(feed, clock)
    assert lake_of(feed, "staged") == set()


@pytest.mark.invariant(4)
def test_the_landing_zone_is_not_touched_by_what_leaves_the_lake(make: Make, clock: Clock) -> None:
    feed = make(KEEP)
    feed.drop("2026-11-01")
    run(feed, clock)
    before = landing_of(feed)
    clock.advance(timedelta(days=900))
    maintain(feed, clock)
    assert landing_of(feed) == before


def test_a_record_goes_before_its_parts(toy: ToyFeed, clock: Clock) -> None:
    """So that a worker that dies here leaves no record of parts that are gone."""
    from flagfall.dataset.schema import Keep
    from flagfall.upkeep.dropping import find_old

    toy.drop("2026-11-01")
    run(toy, clock)
    clock.advance(timedelta(days=2))
    (old,) = find_old(Keep(staged=timedelta(days=1)), toy.inbox(clock))
    names = [entry.key.rpartition("/")[2].partition("-")[0] for entry in old.groups[0]]
    assert names == ["record.json", "part"]


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("staged: 90", "lake.keep.staged: expected days or years, such as 90d or 2y, got 90"),
        ("staged: 0d", "lake.keep.staged: expected days or years"),
        ("features: 12h", "lake.keep.features: expected days or years"),
        ("receipts: 90d", "lake.keep.receipts: this key is not known here"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(tmp_path: Path, keep: str, says: str) -> None:
    with pytest.raises(DatasetInvalid, match=says):
        make_toy(tmp_path, keep=keep)


def test_a_good_batch_needs_no_landing_zone_to_be_dropped(make: Make, clock: Clock) -> None:
    feed = make("staged: 1d")
    feed.drop("2026-11-01", GOOD)
    run(feed, clock)
    store = feed.inbox().landing.store
    for key in landing_of(feed):
        store.delete(key)
    clock.advance(timedelta(days=2))
    assert maintain(feed, clock).to_dict()["staged"]["batches"] == 1
