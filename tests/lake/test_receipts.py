from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import pytest

from flagfall.lake.receipts import Receipts, Watermark, current_view
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


class TestAfterTheInodeWasTouched:
    """A chmod, a hard link or a backup change the ctime, from which the landing day is taken."""

    @pytest.mark.invariant(1)
    @pytest.mark.parametrize("days", [-1, 1, 400])
    def test_the_receipt_is_found_under_the_day_on_which_it_was_filed(
        self, receipts: Receipts, days: int
    ) -> None:
        written = receipts.write(receipt(delivery()))
        assert receipts.find(delivery(landed_at=NOON + days * DAY)) == written

    @pytest.mark.invariant(3)
    def test_writing_again_returns_the_first_and_files_no_second(
        self, receipts: Receipts, store: LocalStore
    ) -> None:
        written = receipts.write(receipt(delivery()))
        assert receipts.write(receipt(delivery(landed_at=NOON + DAY), "rejected")) == written
        assert len(list(store.list("receipts"))) == 1

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
        assert receipts.filed(since).known == {one.batch_id for one in written[2:]}

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

    def test_since_is_in_the_order_of_landing_whatever_the_names_are(
        self, receipts: Receipts
    ) -> None:
        names = ["c", "a", "d", "b"]
        for hour, name in enumerate(names):
            receipts.write(receipt(delivery("1", NOON + timedelta(hours=hour), day=name)))
        found = receipts.since(NOON.date())
        assert [one.marker.fields["date"] for one in found] == names


def story(*told: tuple[str, Status]) -> list[Receipt]:
    """Deliveries of one marker, one an hour."""
    return [
        receipt(delivery(version, NOON + timedelta(hours=hour)), status)
        for hour, (version, status) in enumerate(told)
    ]


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
        for one in reversed(written):  # in whatever order they were received
            receipts.write(one)
        current = receipts.current(delivery())
        assert (current.marker.version if current else None) == expected
        assert receipts.deliveries(delivery()) == written
        assert current_view(receipts.since(NOON.date())) == ([current] if current else [])

    @pytest.mark.parametrize("name", STORIES)
    def test_the_current_view_does_not_depend_on_the_order_of_receipts(self, name: str) -> None:
        told, expected = STORIES[name]
        for order in itertools.permutations(story(*told)):
            view = current_view(order)
            assert [one.marker.version for one in view] == ([expected] if expected else [])

    def test_each_marker_has_its_own_place_in_the_view(self) -> None:
        written = [
            receipt(delivery("1", NOON, day="mon")),
            receipt(delivery("1", NOON + DAY, day="tue")),
            receipt(delivery("2", NOON + 2 * DAY, day="mon")),
        ]
        assert current_view(written) == [written[1], written[2]]

    def test_a_replay_that_was_accepted_takes_the_place_of_the_first(
        self, receipts: Receipts
    ) -> None:
        first = receipts.write(receipt(delivery()))
        again = replace(delivery(landed_at=NOON + DAY), replay=1)
        second = receipts.write(receipt(again))
        assert receipts.current(delivery()) == second
        assert current_view([second, first]) == [second]

    def test_deliveries_of_other_markers_are_not_mixed_in(self, receipts: Receipts) -> None:
        receipts.write(receipt(delivery(day="mon")))
        receipts.write(receipt(delivery(day="tue")))
        found = receipts.deliveries(delivery(day="tue"))
        assert [one.marker.fields["date"] for one in found] == ["tue"]


@pytest.mark.invariant(1)
class TestWatermark:
    def test_without_one_everything_is_looked_at(self, receipts: Receipts) -> None:
        assert receipts.watermark() == Watermark("", datetime(1970, 1, 1, tzinfo=UTC), "")

    def test_it_is_kept_for_the_next_process(self, receipts: Receipts, store: LocalStore) -> None:
        moved = Watermark("", NOON, "date=2026-11", NOON + DAY)
        receipts.move_watermark(moved)
        assert Receipts(store).watermark() == moved

    def test_its_time_only_moves_forward(self, receipts: Receipts) -> None:
        for moment in (NOON, NOON - DAY, NOON - timedelta(seconds=1), NOON):
            receipts.move_watermark(Watermark("", moment))
            assert receipts.watermark().landed_before == NOON
        receipts.move_watermark(Watermark("", NOON + DAY))
        assert receipts.watermark().landed_before == NOON + DAY

    def test_one_of_another_place_says_nothing_of_this(self, receipts: Receipts) -> None:
        receipts.move_watermark(Watermark("here", NOON))
        assert receipts.watermark("there") == Watermark("there")

    def test_one_as_the_first_version_wrote_it_is_understood(
        self, receipts: Receipts, store: LocalStore
    ) -> None:
        plain = {"landed_before": NOON.isoformat(), "place": "here"}
        store.put("watermark.json", json.dumps(plain).encode())
        assert receipts.watermark("here") == Watermark("here", NOON)
