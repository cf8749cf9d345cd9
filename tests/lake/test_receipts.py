from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import pytest

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.lake.receipts import Receipts, Turns, current_view, same_as
from flagfall.lake.records import Receipt, Status
from flagfall.landing.marker import Marker
from flagfall.stores.local import LocalStore

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


@pytest.fixture
def receipts(store: LocalStore) -> Receipts:
    return Receipts(store)


def delivery(version: str = "1", landed_at: datetime = NOON, day: str = "mon") -> Marker:
    key = f"date={day}/_SUCCESS"
    return Marker(f"/landing/{key}", key, version, landed_at, 0, {"date": day})


def receipt(marker: Marker, status: Status = "accepted", rows: int = 0) -> Receipt:
    return Receipt(
        batch_id=marker.batch_id,
        marker=marker,
        status=status,
        rows=rows,
        received_at=marker.landed_at + timedelta(seconds=3),
    )


class TestOnce:
    def test_a_receipt_comes_back_as_it_was_written(self, receipts: Receipts) -> None:
        written = Receipt(
            batch_id=delivery().batch_id,
            marker=delivery(),
            status="rejected",
            reason="size-differs",
            message="1 < 2 & 'ä' \u2028 </script>",
            rejected_rows=3,
            reasons={"a: required": 3},
            bytes=10**12,
            content={"date=mon/ä b.csv": "0" * 64},
            supersedes="other.0000",
            received_at=NOON + timedelta(seconds=3),
        )
        assert receipts.write(written) == written
        assert receipts.find(delivery()) == written
        assert receipts.by_id(written.batch_id) == written
        assert written.seconds == 3.0

    @pytest.mark.invariant(1)
    def test_the_first_receipt_counts_and_the_second_writer_is_told_it(
        self, receipts: Receipts
    ) -> None:
        first = receipts.write(receipt(delivery(), "rejected"))
        assert receipts.write(receipt(delivery(), "accepted")) == first
        assert receipts.find(delivery()) == first
        assert len(receipts.deliveries(delivery())) == 1

    @pytest.mark.invariant(3)
    def test_twenty_racing_writers_agree_on_one_receipt(
        self, receipts: Receipts, store: LocalStore
    ) -> None:
        start = Barrier(20)

        def race(number: int) -> Receipt:
            start.wait()
            return receipts.write(receipt(delivery(), rows=number))

        with ThreadPoolExecutor(20) as pool:
            told = list(pool.map(race, range(20)))
        assert all(one == told[0] for one in told)
        assert [r.rows for r in receipts.since(NOON.date())] == [told[0].rows]
        assert len(list(store.list("receipts"))) == 1

    def test_what_has_no_receipt_is_not_found(self, receipts: Receipts) -> None:
        assert receipts.find(delivery()) is None
        assert receipts.by_id(delivery().batch_id) is None
        assert receipts.deliveries(delivery()) == []
        assert receipts.current(delivery()) is None
        assert receipts.since(date(1970, 1, 1)) == []
        assert receipts.filed(date(1970, 1, 1)).known == set()

    @pytest.mark.parametrize("name", ["{0}x", "x{0}", "landed=2026-11-22/{0}", "../{0}", "", "*"])
    def test_only_the_whole_batch_id_finds_a_receipt(self, receipts: Receipts, name: str) -> None:
        batch_id = receipts.write(receipt(delivery())).batch_id
        assert receipts.by_id(name.format(batch_id)) is None

    def test_a_crash_between_the_two_files_of_a_receipt_leaves_it_unwritten(
        self, receipts: Receipts, store: LocalStore
    ) -> None:
        """The entry that is made first means nothing without its receipt."""
        written = receipts.write(receipt(delivery()))
        (key,) = (entry.key for entry in store.list("receipts"))
        store.delete(key)
        assert receipts.find(delivery()) is None
        assert receipts.deliveries(delivery()) == []
        assert receipts.write(receipt(delivery())) == written


class TestByDay:
    def test_known_and_since_hold_the_day_itself_and_what_came_later(
        self, receipts: Receipts
    ) -> None:
        written = [
            receipts.write(receipt(delivery("1", NOON + n * DAY, day=f"d{n}"))) for n in range(4)
        ]
        since = (NOON + 2 * DAY).date()
        assert receipts.since(since) == written[2:]
        assert receipts.filed(since).known == {
            one.batch_id.rpartition(".")[2] for one in written[2:]
        }

    @pytest.mark.parametrize(
        ("landed_at", "day"),
        [
            (datetime(2026, 11, 22, 0, 0, tzinfo=UTC), "2026-11-22"),
            (datetime(2026, 11, 22, 23, 59, 59, 999999, tzinfo=UTC), "2026-11-22"),
            (datetime(2026, 11, 23, 0, 0, tzinfo=UTC), "2026-11-23"),
            (datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=13))), "2026-11-22"),
        ],
    )
    def test_days_begin_at_midnight_utc(
        self, receipts: Receipts, store: LocalStore, landed_at: datetime, day: str
    ) -> None:
        written = receipts.write(receipt(delivery(landed_at=landed_at)))
        assert [entry.key for entry in store.list("receipts")] == [
            f"receipts/landed={day}/{written.batch_id}.json"
        ]

    def test_since_does_not_read_again_what_is_known(
        self, receipts: Receipts, store: LocalStore
    ) -> None:
        known, other = (receipts.write(receipt(delivery(day=day))) for day in ("mon", "tue"))
        (key,) = (e.key for e in store.list("receipts") if known.batch_id in e.key)
        store.put(key, b"no receipt")
        found = receipts.since(NOON.date(), {known.batch_id: known})
        assert sorted(one.batch_id for one in found) == sorted((known.batch_id, other.batch_id))

    def test_a_damaged_receipt_is_named_and_stops_nothing_else(
        self, receipts: Receipts, store: LocalStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        damaged, other = (receipts.write(receipt(delivery(day=day))) for day in ("mon", "tue"))
        (key,) = (e.key for e in store.list("receipts") if damaged.batch_id in e.key)
        store.put(key, b"{")
        assert receipts.since(NOON.date()) == [other]
        assert receipts.by_ids([damaged.batch_id, other.batch_id]) == {other.batch_id: other}
        assert f"{key}: this receipt is damaged" in caplog.text
        with pytest.raises(StoreRefused, match=f"{key}: this receipt is damaged.*restore it"):
            receipts.find(delivery(day="mon"))

    def test_a_receipt_of_a_later_release_is_read(
        self, receipts: Receipts, store: LocalStore
    ) -> None:
        written = receipts.write(receipt(delivery()))
        (key,) = (entry.key for entry in store.list("receipts"))
        store.put(key, json.dumps({**json.loads(store.read(key, 9999)), "new": 1}).encode())
        assert receipts.find(delivery()) == written

    def test_since_is_in_the_order_of_landing_whatever_the_names_are(
        self, receipts: Receipts
    ) -> None:
        names = ["c", "a", "d", "b"]
        for hour, name in enumerate(names):
            receipts.write(receipt(delivery("1", NOON + timedelta(hours=hour), day=name)))
        found = receipts.since(NOON.date())
        assert [one.marker.fields["date"] for one in found] == names


def story(*told: tuple[str, Status]) -> list[Receipt]:
    """Deliveries of one marker, each an hour *before* the one that it follows: clocks differ."""
    turns = itertools.count(1)
    return [
        receipt(delivery(version, NOON - timedelta(hours=hour)), status).model_copy(
            update={"turn": 0 if status == "rejected" else next(turns)}
        )
        for hour, (version, status) in enumerate(told)
    ]


def take_turn(receipts: Receipts, marker: Marker) -> int:
    return receipts.take_turn(marker, receipts.turns(marker))


STORIES: dict[str, tuple[list[tuple[str, Status]], str | None]] = {
    "accepted": ([("1", "accepted")], "1"),
    "corrected": ([("1", "accepted"), ("2", "accepted")], "2"),
    "rejected, then corrected": ([("1", "rejected"), ("2", "accepted")], "2"),
    "a bad redelivery": ([("1", "accepted"), ("2", "rejected")], "1"),
    "merely touched": ([("1", "accepted"), ("2", "unchanged")], "1"),
    "all of it": (
        [
            ("1", "rejected"),
            ("2", "accepted"),
            ("3", "unchanged"),
            ("4", "accepted"),
            ("5", "rejected"),
        ],
        "4",
    ),
    "never accepted": ([("1", "rejected"), ("2", "rejected")], None),
}


class TestOneMarkerOneTruth:
    @pytest.mark.parametrize("name", STORIES)
    def test_the_last_accepted_delivery_counts_and_no_other(
        self, receipts: Receipts, name: str
    ) -> None:
        told, expected = STORIES[name]
        written = story(*told)
        assert [take_turn(receipts, one.marker) for one in written if one.turn] == [
            one.turn for one in written if one.turn
        ]
        for one in reversed(written):  # in whatever order they were received
            receipts.write(one)
        current = receipts.current(delivery())
        assert (current.marker.version if current else None) == expected
        assert len(receipts.deliveries(delivery())) == len(written)
        assert current_view(receipts.since(NOON.date())) == ([current] if current else [])

    @pytest.mark.parametrize("name", STORIES)
    def test_the_current_view_does_not_depend_on_the_order_of_receipts(self, name: str) -> None:
        told, expected = STORIES[name]
        for order in itertools.permutations(story(*told)):
            view = current_view(order)
            assert [one.marker.version for one in view] == ([expected] if expected else [])

    def test_each_marker_has_its_own_place_in_the_view(self) -> None:
        first, correction = story(("1", "accepted"), ("2", "accepted"))
        other = receipt(delivery("1", NOON + DAY, day="tue"))
        assert current_view([first, other, correction]) == [correction, other]

    def test_a_replay_that_was_accepted_takes_the_place_of_the_first(
        self, receipts: Receipts
    ) -> None:
        again = replace(delivery(landed_at=NOON + DAY), replay=1)
        first, second = (
            receipts.write(receipt(one).model_copy(update={"turn": take_turn(receipts, one)}))
            for one in (delivery(), again)
        )
        assert receipts.current(delivery()) == second
        assert current_view([second, first]) == [second]

    def test_a_correction_that_landed_the_day_before_the_replay_that_it_overtook_counts(
        self, receipts: Receipts
    ) -> None:
        """It was pending when the replay was asked for, and claim deals replays first."""
        again = replace(delivery("1", NOON + DAY), replay=1, first_landed_at=NOON - DAY)
        told = [delivery("1", NOON - DAY), again, delivery("2", NOON)]
        *_, correction = (
            receipts.write(receipt(one).model_copy(update={"turn": take_turn(receipts, one)}))
            for one in told
        )
        for days in (-1, 0, 1):
            since = receipts.since((NOON + days * DAY).date())
            assert current_view(since) == [correction]
            assert len({one.batch_id for one in since}) == len(since)
            assert receipts.versions.keys() >= {one.batch_id for one in since}
        assert receipts.since((NOON + 2 * DAY).date()) == []

    def test_a_correction_that_died_before_its_receipt_overtakes_nothing(
        self, receipts: Receipts
    ) -> None:
        first = delivery("1", NOON + DAY)
        written = receipts.write(
            receipt(first).model_copy(update={"turn": take_turn(receipts, first)})
        )
        take_turn(receipts, delivery("2", NOON))
        assert current_view(receipts.since((NOON + DAY).date())) == [written]

    @pytest.mark.invariant(3)
    def test_one_that_was_overtaken_takes_no_turn(self, receipts: Receipts) -> None:
        """A worker that was given up goes on, and its delivery is not the last any more."""
        known = receipts.turns(delivery("1"))
        assert take_turn(receipts, delivery("2")) == 1
        with pytest.raises(StoreUnavailable, match="another delivery"):
            receipts.take_turn(delivery("1"), known)

    @pytest.mark.invariant(3)
    def test_who_tries_again_keeps_its_turn(self, receipts: Receipts) -> None:
        known = receipts.turns(delivery("1"))
        assert receipts.take_turn(delivery("1"), known) == 1
        assert receipts.take_turn(delivery("1"), known) == 1
        assert take_turn(receipts, delivery("1")) == 1
        assert take_turn(receipts, delivery("2")) == 2

    def test_a_turn_without_a_receipt_changes_nothing_yet(self, receipts: Receipts) -> None:
        one = delivery("1")
        written = receipts.write(receipt(one).model_copy(update={"turn": take_turn(receipts, one)}))
        take_turn(receipts, delivery("2"))
        assert receipts.turns(one) == Turns(2, delivery("2").batch_id, written, is_open=True)
        assert receipts.turns(delivery("2")) == Turns(2, delivery("2").batch_id, written)

    @pytest.mark.invariant(3)
    def test_a_turn_before_a_batch_that_was_cleaned_up_may_still_count(
        self, receipts: Receipts
    ) -> None:
        """Only what was written while none was open says without more which delivery counts."""
        first, late, rest = (delivery(version) for version in "123")
        turn = {"turn": take_turn(receipts, first)}
        counted = receipts.write(receipt(first).model_copy(update=turn))
        turn = {"turn": take_turn(receipts, late)}
        cleared = {"turn": take_turn(receipts, rest), "message": "some of its files were removed"}
        cleared |= {"supersedes": first.batch_id}
        receipts.write(receipt(rest, "unchanged").model_copy(update=cleared))
        turns = receipts.turns(delivery("4"))
        assert (turns.current, turns.is_open) == (counted, True)
        written = receipts.write(receipt(late).model_copy(update=turn))
        assert receipts.current(first) == written

    def test_a_turn_without_its_entry_means_nothing(
        self, receipts: Receipts, store: LocalStore
    ) -> None:
        """As where a rule removes what is old, or a lake was restored in part."""
        one = delivery("1")
        receipts.write(receipt(one).model_copy(update={"turn": take_turn(receipts, one)}))
        for name in store.names(f"deliveries/{one.key_digest}"):
            if "~" in name:
                store.delete(name)
        assert receipts.turns(one) == Turns(1, one.batch_id)
        assert take_turn(receipts, delivery("2")) == 2

    @pytest.mark.parametrize(("status", "most"), [("accepted", 2), ("unchanged", 3)])
    def test_what_counts_is_found_without_reading_every_receipt(
        self,
        receipts: Receipts,
        store: LocalStore,
        monkeypatch: pytest.MonkeyPatch,
        status: Status,
        most: int,
    ) -> None:
        for number in range(60):
            one = delivery(str(number))
            counts = receipts.current(one)
            told = {"turn": take_turn(receipts, one)}
            if counts is not None and status == "unchanged":
                told |= {"supersedes": counts.batch_id, "message": same_as(counts.batch_id)}
            written = receipt(one, status if counts else "accepted")
            receipts.write(written.model_copy(update=told))
        read: list[str] = []
        original = store.read

        def noted(key: str, limit: int) -> bytes:
            read.append(key)
            return original(key, limit)

        monkeypatch.setattr(store, "read", noted)
        assert receipts.current(delivery()) is not None
        assert len(read) == most

    def test_deliveries_of_other_markers_are_not_mixed_in(self, receipts: Receipts) -> None:
        for day in ("mon", "tue"):
            take_turn(receipts, delivery(day=day))
            receipts.write(receipt(delivery(day=day)))
        found = receipts.deliveries(delivery(day="tue"))
        assert [one.marker.fields["date"] for one in found] == ["tue"]
