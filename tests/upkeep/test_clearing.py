"""Invariant 4 from both sides: what may leave the landing zone does, and nothing else ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.cli.feed_status import status
from flagfall.errors import DatasetInvalid, ModelInvalid, StoreRefused
from flagfall.inbox.replays import Wish, hand_out_again, plan_replay
from flagfall.publish import publish
from flagfall.stores import Store, open_store
from flagfall.upkeep.clearing import find_due
from flagfall.verdict.look import late
from tests.feeds import Clock, ToyFeed, make_toy
from tests.scored import GOOD, POISON
from tests.upkeep.feeds import (
    AnyFeed,
    Make,
    at,
    counting,
    lake_of,
    landing_of,
    maintain,
    objects,
    run,
)

DAY = "2026-11-01"
WEEK = timedelta(days=8)
DELETE = {"after_receipt": "delete"}
MOVE = {"after_receipt": "move", "archive": "{root}/archive"}
BOTH = pytest.mark.parametrize("how", [DELETE, MOVE], ids=["delete", "move"])


def of_day(feed: AnyFeed, day: str) -> set[str]:
    return {key for key in landing_of(feed) if day in key}


def put(feed: AnyFeed, key: str, data: bytes) -> None:
    """As the producer, who may write there."""
    open_store(feed.dataset.landing.uri).put(key, data)


@pytest.mark.invariant(4)
@BOTH
def test_only_what_the_receipt_names_leaves_and_only_after_the_grace_period(
    make: Make, clock: Clock, how: dict[str, str]
) -> None:
    feed = make(**how)
    feed.drop(DAY)
    run(feed, clock)
    put(feed, f"date={DAY}/notes.txt", b"not the batch's")
    feed.drop("2026-11-02", "nonsense\n")
    put(feed, "date=2026-11-03/rows.csv", b"id,value\n1,1\n")  # without a marker
    run(feed, clock)
    before = landing_of(feed)
    assert maintain(feed, clock).to_dict()["landing"]["batches"] == 0
    clock.advance(timedelta(days=6))
    maintain(feed, clock)
    assert landing_of(feed) == before
    clock.advance(timedelta(days=2))
    done = maintain(feed, clock).to_dict()["landing"]
    assert (done["batches"], done["objects"]) == (1, 1)
    after = landing_of(feed)
    gone = before.keys() - after.keys()
    assert gone == {f"date={DAY}/datapackage.json", f"date={DAY}/rows.csv"}
    assert after == {key: seen for key, seen in before.items() if key not in gone}
    assert feed.inbox().pending() == []
    assert len(counting(feed)) == 1
    assert list(feed.inbox().lake.store.names("clearing")) == []


@pytest.mark.invariant(4)
def test_the_grace_period_begins_at_the_receipt_not_at_the_landing(
    make: Make, clock: Clock
) -> None:
    """As where the pipeline was paused for a month."""
    feed = make(**DELETE)
    feed.drop(DAY)
    clock.advance(timedelta(days=30))
    run(feed, clock)
    maintain(feed, clock)
    assert len(of_day(feed, DAY)) == 2


@pytest.mark.invariant(4)
def test_the_landing_zone_is_kept_unless_the_file_says_so(make: Make, clock: Clock) -> None:
    feed = make("staged: 1d")
    feed.drop(DAY)
    run(feed, clock)
    before = landing_of(feed)
    clock.advance(timedelta(days=999))
    assert "landing" not in maintain(feed, clock).to_dict()
    assert landing_of(feed) == before


def test_what_is_moved_is_whole_in_the_archive_and_can_be_moved_back(
    make: Make, clock: Clock
) -> None:
    feed = make(**MOVE)
    marker = feed.drop(DAY)
    contents = {
        key: open_store(feed.dataset.landing.uri).read(key, 10_000) for key in landing_of(feed)
    }
    run(feed, clock)
    clock.advance(WEEK)
    maintain(feed, clock)
    archive = open_store(feed.dataset.landing.archive)
    moved = {f"{marker.batch_id}/{key}": data for key, data in contents.items()}
    assert {key: archive.read(key, 10_000) for key in at(feed.dataset.landing.archive)} == moved
    for key, data in sorted(contents.items(), reverse=True):  # the data, then the marker
        put(feed, key, data)
    clock.now = max(clock.now, Clock().now + timedelta(seconds=3))
    again = run(feed, clock)  # nothing where S3 saw the same bytes twice in one second
    assert {receipt.status for receipt in again} <= {"unchanged"}
    assert len(counting(feed)) == 1
    clock.advance(WEEK)
    maintain(feed, clock)
    assert landing_of(feed) == {}


@pytest.mark.invariant(4)
@BOTH
def test_what_is_not_evaluated_yet_stays(make: Make, clock: Clock, how: dict[str, str]) -> None:
    feed = make(scored=True, **how)
    feed.drop(DAY, POISON)
    with pytest.raises(ModelInvalid):
        run(feed, clock)
    feed.drop("2026-11-02", GOOD)
    run(feed, clock)
    clock.advance(WEEK)
    maintain(feed, clock)
    assert (len(of_day(feed, DAY)), len(of_day(feed, "2026-11-02"))) == (2, 0)


@pytest.mark.invariant(4)
def test_what_is_pending_or_was_rejected_stays(make: Make, clock: Clock) -> None:
    feed = make(**DELETE)
    feed.drop(DAY)
    feed.drop("2026-11-02", "nonsense\n")
    run(feed, clock)
    feed.drop("2026-11-03")
    feed.drop(DAY, "id,value\n9,9\n")  # a correction
    before = landing_of(feed)
    clock.advance(WEEK)
    maintain(feed, clock)
    assert landing_of(feed) == before


@pytest.mark.invariant(4)
def test_a_file_that_was_written_again_after_the_receipt_stays_with_its_batch(
    make: Make, clock: Clock
) -> None:
    """On a disk, one that is overwritten in place changes no folder: the marker is not pending."""
    feed = make(**DELETE)
    feed.drop(DAY)
    run(feed, clock)
    new = b"id,value\n7,7\n8,8\n"
    if isinstance(feed, ToyFeed):
        (feed.folder(DAY) / "rows.csv").write_bytes(new)
        assert feed.inbox().pending() == []
    else:
        put(feed, f"date={DAY}/rows.csv", new)
    before = landing_of(feed)
    clock.advance(WEEK)
    maintain(feed, clock)
    assert landing_of(feed) == before


@pytest.mark.invariant(4)
def test_what_a_replay_from_the_landing_zone_is_to_read_stays_until_it_has(
    make: Make, clock: Clock
) -> None:
    feed = make(**DELETE)
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    inbox = feed.inbox(clock)
    hand_out_again(inbox, plan_replay(feed.dataset, inbox, Wish()))
    maintain(feed, clock)
    assert len(of_day(feed, DAY)) == 2
    (again,) = run(feed, clock)
    assert again.status == "accepted"
    maintain(feed, clock)
    assert of_day(feed, DAY) == set()


@pytest.mark.invariant(4)
@BOTH
@pytest.mark.parametrize("dies_after", range(1, 5))
def test_a_worker_that_dies_leaves_nothing_half_lost_and_the_next_round_ends_it(
    make: Make,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, str],
    dies_after: int,
) -> None:
    feed = make(**how)
    marker = feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    kind = type(feed.inbox().landing.store)
    left = dies_after
    with monkeypatch.context() as patched:
        for name in ("upload", "put", "delete"):
            real = getattr(kind, name)

            def dying(self: object, *arguments: object, _real: object = real) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                return _real(self, *arguments)  # type: ignore[operator]

            patched.setattr(kind, name, dying)
        try:
            maintain(feed, clock)
        except KeyboardInterrupt:
            lies_there = of_day(feed, DAY)
            archived = {key.partition("/")[2] for key in _archive_of(feed)}
            whole = {marker.key, f"date={DAY}/rows.csv"}
            assert how is DELETE or lies_there == whole or archived == whole
    assert feed.inbox().pending() == []
    maintain(feed, clock)
    assert of_day(feed, DAY) == set()
    assert list(feed.inbox().lake.store.names("clearing")) == []
    assert len(_archive_of(feed)) == (2 if how is MOVE else 0)


def _archive_of(feed: AnyFeed) -> dict[str, tuple[str, int]]:
    return at(feed.dataset.landing.archive) if feed.dataset.landing.archive else {}


@pytest.mark.invariant(4)
def test_a_correction_that_comes_after_a_worker_died_is_left_alone(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker had deleted the marker, and not its file."""
    feed = make(**DELETE)
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    _die_after_the_marker(feed, clock, monkeypatch)
    feed.drop(DAY, "id,value\n5,5\n")
    before = landing_of(feed)
    maintain(feed, clock)
    assert landing_of(feed) == before
    clock.now = max(clock.now, Clock().now + timedelta(seconds=3))
    (correction,) = run(feed, clock)
    assert (correction.status, correction.rows) == ("accepted", 1)


@pytest.mark.invariant(4)
def test_so_is_a_file_of_one_whose_marker_has_not_come_yet(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make(**DELETE)
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    _die_after_the_marker(feed, clock, monkeypatch)
    put(feed, f"date={DAY}/rows.csv", b"id,value\n5,5\n")
    maintain(feed, clock)
    assert of_day(feed, DAY) == {f"date={DAY}/rows.csv"}


def _die_after_the_marker(feed: AnyFeed, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of upkeep that ends when it has deleted the marker, and not its file."""
    kind = type(feed.inbox().landing.store)
    real, deleted = kind.delete, []

    def dying(self: object, key: str) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleted.append(key)
        real(self, key)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(kind, "delete", dying)
        with pytest.raises(KeyboardInterrupt):
            maintain(feed, clock)
    assert of_day(feed, DAY) == {f"date={DAY}/rows.csv"}


def test_a_batch_that_left_is_not_late(tmp_path: Path, clock: Clock) -> None:
    schedule = 'arrival: {schedule: "0 6 * * *", partition: {date: "%Y-%m-%d"}, deadline: 0s}\n'
    toy = make_toy(tmp_path, more=schedule, **DELETE)
    clock.advance(timedelta(days=30))
    day = str(toy.dataset.arrival.due_before(clock()).date())
    assert late(toy.dataset, toy.inbox(), clock(), ())
    toy.drop(day)
    run(toy, clock)
    for entry in list(toy.inbox().landing.store.list()):
        toy.inbox().landing.store.delete(entry.key)
    assert not late(toy.dataset, toy.inbox(), clock(), ())


def test_a_landing_zone_that_all_batches_left_is_no_riddle(make: Make, clock: Clock) -> None:
    feed = make(**DELETE)
    put(feed, "date=2026-11-03/rows.csv", b"id,value\n1,1\n")  # without a marker
    seen = status(feed.dataset, feed.inbox(clock)).seen
    assert seen
    assert "fits the marker" in seen.idle
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    maintain(feed, clock)
    seen = status(feed.dataset, feed.inbox(clock)).seen
    assert seen
    assert (seen.landed, seen.idle) == (0, "")


def test_a_look_changes_nothing(toy: ToyFeed, make: Make, clock: Clock) -> None:
    feed = make(**DELETE)
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    inbox = feed.inbox(clock)
    before = landing_of(feed), objects(inbox.lake.store)
    assert len(find_due(feed.dataset, inbox)) == 1
    assert (landing_of(feed), objects(inbox.lake.store)) == before


@pytest.mark.parametrize(
    ("landing", "says"),
    [
        ({"after_receipt": "burn"}, "landing.after_receipt: expected 'keep', 'move' or 'delete'"),
        ({"after_receipt": "move"}, "landing.archive: expected the URI of a place to move"),
        ({"archive": "a"}, "landing.archive: expected none: after_receipt is 'keep', not 'move'"),
        (MOVE | {"archive": "{root}/landing/old"}, "archive: expected a place outside the landing"),
        (MOVE | {"archive": "{root}/lake/toy/old"}, "archive: expected a place outside the datas"),
        (DELETE | {"grace": "0d"}, "landing.grace: expected days or years, such as 90d"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, landing: dict[str, str], says: str
) -> None:
    settings = {key: value.format(root=tmp_path) for key, value in landing.items()}
    with pytest.raises(DatasetInvalid, match=says):
        make_toy(tmp_path, **settings)


@pytest.mark.invariant(4)
def test_files_of_a_delivery_that_comes_while_the_one_before_leaves_stay(
    make: Make, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a producer that copies only what has changed."""
    feed = make(**DELETE)
    source = tmp_path / "producer" / DAY
    source.mkdir(parents=True)
    (source / "a.csv").write_text("id,value\n7,1\n")
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    (source / "rows.csv").write_text("id,value\n1,0.5\n2,1.5\n3,1\n")
    publish(source, str(tmp_path / "changed"))
    landing = feed.inbox().landing.store
    delete, left = type(landing).delete, [DAY]

    def deliver_then(store: object, key: str) -> None:
        delete(store, key)  # type: ignore[arg-type]
        if key.endswith("datapackage.json") and left:
            left.clear()
            for name in ("rows.csv", "datapackage.json"):
                put(feed, f"date={DAY}/{name}", (tmp_path / "changed" / name).read_bytes())

    monkeypatch.setattr(type(landing), "delete", deliver_then)
    maintain(feed, clock)
    assert not left
    assert {key.rpartition("/")[2] for key in of_day(feed, DAY)} == {
        "a.csv",
        "rows.csv",
        "datapackage.json",
    }
    (receipt,) = run(feed, clock)
    assert (receipt.status, receipt.rows) == ("accepted", 4)


@pytest.mark.parametrize("content", ["", "{", '{"marker": {}}', '{"marker": {"landed_at": 7}}'])
def test_a_damaged_note_is_named_and_only_its_batch_stays(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """A note says that the archive has the batch, so a damaged one must not be taken for one."""
    archive = tmp_path / "archive"
    feed = make_toy(tmp_path, after_receipt="move", archive=str(archive))
    for day in (DAY, "2026-11-02"):
        feed.drop(day)
    first, second = run(feed, clock)
    clock.advance(WEEK)
    note = f"clearing/{first.batch_id}.json"
    feed.inbox().lake.store.put(note, content.encode())
    assert maintain(feed, clock).to_dict()["landing"]["batches"] == 1
    assert f"{note}: this note" in caplog.text
    assert of_day(feed, DAY)
    assert [path.name for path in archive.iterdir()] == [second.batch_id]
    feed.inbox().lake.store.delete(note)
    maintain(feed, clock)
    assert not of_day(feed, DAY)
    assert {path.name for path in archive.iterdir()} == {first.batch_id, second.batch_id}


@pytest.mark.invariant(5)
def test_a_damaged_receipt_is_named_and_only_its_batch_stays(
    make: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    feed = make("staged: 1d", **DELETE)
    for day in (DAY, "2026-11-02"):
        feed.drop(day)
    first, _ = run(feed, clock)
    (receipt,) = (key for key in feed.inbox().lake.store.names("receipts") if DAY in key)
    feed.inbox().lake.store.put(receipt, b"{")
    clock.advance(WEEK)
    done = maintain(feed, clock).to_dict()
    assert (done["landing"]["batches"], done["staged"]["batches"]) == (1, 2)
    assert f"{first.batch_id}.json: this receipt is damaged" in caplog.text
    assert len(of_day(feed, DAY)) == 2


@pytest.mark.invariant(5)
@BOTH
def test_a_batch_that_may_not_be_deleted_stops_no_other(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch, how: dict[str, str]
) -> None:
    feed = make("staged: 1d", **how)
    for day in (DAY, "2026-11-02", "2026-11-03"):
        feed.drop(day)
    run(feed, clock)
    clock.advance(WEEK)
    with _undeletable(feed, monkeypatch), pytest.raises(StoreRefused, match=DAY):
        maintain(feed, clock)
    assert {key.split("/")[0] for key in landing_of(feed)} == {f"date={DAY}"}
    assert lake_of(feed, "staged") == set()
    maintain(feed, clock)
    assert landing_of(feed) == {}


@contextmanager
def _undeletable(feed: AnyFeed, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As long as nothing of a day may be deleted from the landing zone."""
    landing = feed.inbox().landing.store
    delete = type(landing).delete

    def refuse(store: Store, key: str) -> None:
        if key.startswith(f"date={DAY}/"):
            raise StoreRefused(f"{store.uri}/{key}", "permission denied")
        delete(store, key)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(type(landing), "delete", refuse)
        yield


@pytest.mark.invariant(4)
def test_a_round_of_delete_that_broke_off_ends_as_the_file_says_by_then(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make(**DELETE)
    marker = feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    with _undeletable(feed, monkeypatch), pytest.raises(StoreRefused):
        maintain(feed, clock)
    feed = make(**MOVE)
    maintain(feed, clock)
    assert landing_of(feed) == {}
    names = (marker.key, f"date={DAY}/rows.csv")
    assert _archive_of(feed).keys() == {f"{marker.batch_id}/{name}" for name in names}


@pytest.mark.invariant(4)
def test_files_whose_marker_it_deleted_stay_where_they_belong_in_an_archive_by_then(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feed = make(**DELETE)
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    _die_after_the_marker(feed, clock, monkeypatch)
    feed = make(**MOVE)
    maintain(feed, clock)
    assert of_day(feed, DAY) == {f"date={DAY}/rows.csv"}
    assert "is not in landing.archive, so the files of its batch stay" in caplog.text


@pytest.mark.invariant(4)
def test_a_round_that_broke_off_leaves_alone_what_is_to_be_replayed_by_then(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = make(**DELETE)
    feed.drop(DAY)
    run(feed, clock)
    clock.advance(WEEK)
    with _undeletable(feed, monkeypatch), pytest.raises(StoreRefused):
        maintain(feed, clock)
    feed.inbox(clock).replay(DAY)
    maintain(feed, clock)
    assert len(of_day(feed, DAY)) == 2
    assert [receipt.status for receipt in run(feed, clock)] == ["accepted"]
    maintain(feed, clock)
    assert of_day(feed, DAY) == set()
