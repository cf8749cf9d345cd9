"""Rows and freshness; and how often the defaults would have alerted on a year of flights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from flagfall.dataset.loader import find_dataset
from flagfall.dataset.thresholds import Thresholds
from flagfall.lake.records import Receipt
from flagfall.scoring.drift import Tally
from flagfall.scoring.feature_maker import feature_maker
from flagfall.scoring.reference import Reference
from flagfall.verdict.data import has_new_texts, rises, vanished
from flagfall.verdict.volume import WEEKDAYS, WEEKS, unusual
from sandbox.flights import all_flights
from tests.stages.runs import NOW, PLAIN, dataset, receipt, verdict

SATURDAY = date(2026, 11, 21)


def history(rows: int = 1000, weeks: int = 4, batches: int = 1) -> list[Receipt]:
    """A month of days before this Saturday, each ``batches`` times ``rows`` rows."""
    found = []
    for back in range(1, 7 * weeks + 1):
        day = SATURDAY - timedelta(days=back)
        landed_at = NOW - timedelta(days=back)
        names = [f"{day}", *(f"{day}T{hour}" for hour in range(1, batches))]
        found += [receipt(name, landed_at=landed_at, rows=rows) for name in names]
    return found


def lines(
    *today: int, before: list[Receipt] | None = None, **thresholds: object
) -> tuple[str, ...]:
    feed = dataset({**PLAIN, "thresholds": thresholds})
    names = [f"{SATURDAY}", *(f"{SATURDAY}T{hour}" for hour in range(1, len(today)))]
    now = [receipt(name, rows=rows) for name, rows in zip(names, today, strict=True)]
    return verdict(feed, [*(history() if before is None else before), *now], {}).lines


class TestRows:
    @pytest.mark.parametrize(("rows", "word"), [(760, ""), (700, "fewer"), (1400, "more")])
    def test_a_day_is_compared_with_the_same_weekday(self, rows: int, word: str) -> None:
        found = lines(rows)
        expected = (
            f"2026-11-21 has {rows:,} rows, {word} than on the last 4 Saturdays (median 1,000)",
        )
        assert found == (expected if word else ())

    def test_other_weekdays_say_nothing(self) -> None:
        weekend = [
            one.model_copy(update={"rows": 400 if one.marker.fields["date"] else 0})
            if date.fromisoformat(one.marker.fields["date"]).weekday() == 5
            else one
            for one in history()
        ]
        assert lines(400, before=weekend) == ()

    def test_it_needs_three_weeks_and_more_than_chance_explains(self) -> None:
        assert lines(10, before=history(weeks=2)) == ()
        assert lines(4, before=history(rows=10)) == ()
        assert len(lines(0, before=history(rows=20))) == 2, "no rows at all is a reason, too"

    def test_a_day_that_is_not_over_has_fewer_batches_and_is_not_called_small(self) -> None:
        hourly = history(batches=3)
        assert lines(1000, 1000, before=hourly) == ()
        assert len(lines(1000, 500, 500, before=hourly)) == 1
        assert len(lines(9000, before=hourly)) == 1

    def test_a_day_still_to_come_does_not_make_today_complete(self) -> None:
        slip = receipt("2062-11-01", landed_at=NOW - timedelta(days=3))
        assert lines(1000, before=[*history(batches=3), slip]) == ()

    def test_it_can_be_switched_off(self) -> None:
        assert lines(10, rows_low=None) == ()
        assert lines(9000, rows_high=None) == ()


class TestFreshness:
    def lines(self, days_ago: int, **arrival: object) -> tuple[str, ...]:
        feed = dataset({**PLAIN, **({"arrival": arrival} if arrival else {})})
        days = [SATURDAY - timedelta(days=back) for back in range(days_ago, days_ago + 9)]
        moments = [NOW - timedelta(days=back + 1) for back in range(days_ago, days_ago + 9)]
        taken = [
            receipt(f"{day}", landed_at=moment) for day, moment in zip(days, moments, strict=True)
        ]
        backfilled = receipt("2026-01-01", landed_at=NOW - timedelta(hours=1))
        return verdict(feed, [*taken, backfilled], {}).lines

    def test_nothing_newer_for_twice_the_longest_pause_is_told_though_an_old_batch_came(
        self,
    ) -> None:
        assert self.lines(0) == ()
        (said,) = self.lines(2)
        assert said.startswith("nothing newer has come since 2026-11-19 06:00 UTC; the longest")

    def test_a_day_still_to_come_is_not_what_others_are_older_than(self) -> None:
        days = [NOW - timedelta(days=back) for back in range(9)]
        taken = [receipt(f"{day:%Y-%m-%d}", landed_at=day) for day in days]
        slip = receipt("2062-11-01", landed_at=NOW - timedelta(days=6))
        assert verdict(dataset(PLAIN), [*taken, slip], {}).lines == ()

    def test_a_replay_is_as_old_as_its_delivery(self) -> None:
        """Of a feed whose markers name no day."""
        ages = range(3, 12)
        taken = [receipt(f"part{age}", landed_at=NOW - timedelta(days=age)) for age in ages]
        last = taken[-1].marker
        again = replace(last, landed_at=NOW, replay=1, first_landed_at=last.landed_at)
        replayed = taken[-1].model_copy(update={"marker": again, "batch_id": again.batch_id})
        expected = verdict(dataset(PLAIN), taken, {}).lines
        assert len(expected) == 1
        assert verdict(dataset(PLAIN), [*taken[:-1], replayed], {}).lines == expected

    def test_a_schedule_says_it_better(self) -> None:
        assert self.lines(5, schedule="0 6 * * *", partition={"date": "%Y-%m-%d"}) == ()


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    return all_flights().filter(pl.col("tailnum").is_not_null())


class TestAYearOfFlights:
    """What the docstrings of ``volume`` and ``data`` say."""

    def test_rows(self, flights: pl.DataFrame) -> None:
        rows: dict[date, int] = dict(flights.group_by("date").len().iter_rows())
        of_origin = flights.group_by("date", "origin").len().iter_rows()
        by_origin = {(day, origin): count for day, origin, count in of_origin}
        before = {day: _before(rows, day) for day in rows}
        days = [day for day in sorted(rows) if len(before[day]) >= WEEKDAYS]

        def found(of: Callable[[date], int], **changes: float) -> list[date]:
            thresholds = Thresholds.model_validate(changes)
            return [day for day in days if unusual(thresholds, of(day), before[day])]

        assert len(days) == 344
        assert found(lambda day: rows[day]) == [date(2013, 11, 28), date(2013, 11, 29)]
        assert len(found(lambda day: rows[day], rows_low=0.8)) == 6
        assert len(found(lambda day: rows[day] // 2)) == 344
        shares = {}
        for origin in ("EWR", "JFK", "LGA"):
            left = {day: rows[day] - by_origin[day, origin] for day in days}
            shares[origin] = round(len(found(left.__getitem__)) / 344, 3)
        assert shares == {"EWR": 0.997, "JFK": 0.983, "LGA": 0.939}
        assert round(len(found(lambda day: rows[day] * 2)) / 344, 3) == 0.997

    def test_missing_values_and_categories(self, flights: pl.DataFrame) -> None:
        feed, thresholds = find_dataset("flights"), Thresholds()
        assert feed.model is not None
        maker, reference = feature_maker(feed), Reference.read(feed.model.path)
        missing: set[date] = set()
        other: set[date] = set()
        for (day,), of_day in flights.group_by("date"):
            assert isinstance(day, date)
            tally = Tally(reference)
            scores = pl.Series([0.2]).extend_constant(0.2, of_day.height - 1).to_numpy()
            tally.add(maker.raw(of_day), scores)
            for drift in tally.drift()[:-1]:
                if rises(thresholds, drift):
                    missing.add(day)
                if has_new_texts(thresholds, drift, of_day.height):
                    other.add(day)
                if vanished(thresholds, drift, of_day.height):
                    other.add(day)
        assert missing == {date(2013, 8, 22), date(2013, 12, 30), date(2013, 12, 31)}
        assert other == set()


def _before(rows: dict[date, int], day: date) -> list[int]:
    days = [day - timedelta(weeks=back) for back in range(1, WEEKS + 1)]
    return [rows[one] for one in days if one in rows]
