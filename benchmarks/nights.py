"""Twelve nights on a real Airflow: what the verdict is, who is told, and after how many seconds.

Each night is a feed of its own with the flights' model, a month of history, and a mail address. A
real mail server on this machine notes what comes. The last night takes up to 22 minutes: the
triggerer stalls, and the watchman finds out. A second table has what the defaults would have said
of the year of flights.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from table import Column, Table, found

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset, read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.dataset.thresholds import Thresholds
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.publish import DEFAULT_MARKER, data_files, publish
from flagfall.scoring.drift import Tally
from flagfall.scoring.feature_maker import feature_maker
from flagfall.scoring.reference import Reference
from flagfall.stages.ingest import ingest
from flagfall.verdict.data import has_new_texts, rises, vanished
from flagfall.verdict.look import verdict_of
from flagfall.verdict.verdict import Verdict
from flagfall.verdict.volume import WEEKDAYS, WEEKS, unusual
from sandbox.airflow import LocalAirflow, interruptible
from sandbox.flights import LABELLED, MISSING, all_flights
from tests.smtp import Mailbox, smtp_server

ROOT = Path(__file__).parents[1]
DAY = date(2013, 11, 13)
"""A day on which nothing is unusual; what happens, happens to its flights."""
HISTORY = timedelta(days=28)
SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
WEATHER = ("temp", "humid", "wind_speed", "precip", "pressure", "visib")
PATIENCE = 180.0
"""Seconds in which a run has to report."""
WATCHMAN = 1500.0
"""Seconds in which the watchman has to find what no run can tell."""

Plain = dict[str, Any]
Flights = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Night:
    """What happens in a night to a feed of that name.

    Attributes:
        what: In words.
        flights: What the producer sends instead of the day's flights; ``None`` for nothing.
        feed: What is different in the dataset's file.
    """

    name: str
    what: str
    flights: Flights | None = None
    feed: Plain | None = None


def _km(flights: pl.DataFrame) -> pl.DataFrame:
    return flights.with_columns(pl.col("distance") * 8 // 5)


def _no_weather(flights: pl.DataFrame) -> pl.DataFrame:
    return flights.with_columns(pl.lit(None).alias(name) for name in WEATHER)


def _twice(flights: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([flights, flights.with_columns(pl.col("flight") + 10_000)])


def _as_it_is(flights: pl.DataFrame) -> pl.DataFrame:
    return flights


NIGHTS = (
    Night("normal", "nothing is unusual", _as_it_is),
    Night("rejected", "a file is cut short after its manifest was written", _as_it_is),
    Night("drift", "distances come in km instead of miles", _km),
    Night("fewer", "every second flight is left out", lambda flights: flights.gather_every(2)),
    Night("doubled", "every flight comes twice, under two numbers", _twice),
    Night("missing", "the weather is left out", _no_weather),
    Night("wrong_way", "the label is the wrong way round", _as_it_is, {
        "label": {"title": "At most 15 minutes late", "expr": "arr_delay <= 15"},
    }),
    Night("task", "the model's folder is gone", _as_it_is, {"model": {"path": "/no/such/folder"}}),
    Night("unjudged", "the model has no thresholds", _as_it_is, {"thresholds": {}}),
    Night("unfinished", "a worker dies after it accepted a batch"),
    Night("late", "the batch that is due does not come"),
    Night("stalled", "the triggerer stalls: nobody watches"),
)  # fmt: skip


class Play:
    """A feed for each night, an Airflow that runs them, and the mails that come.

    Args:
        root: Folder for all that they keep.
        box: The mail server.
    """

    def __init__(self, root: Path, box: Mailbox) -> None:
        self.root = root
        self.box = box
        self.due = (datetime.now(UTC) + timedelta(minutes=4)).replace(second=0, microsecond=0)
        self.left_at = datetime.now(UTC) + timedelta(minutes=2) - timedelta(minutes=15)
        (root / "datasets").mkdir()
        for night in NIGHTS:
            self._write(night)
        for night in NIGHTS:
            self._remember(night)
        self._leave_behind("unfinished")

    def dataset(self, name: str) -> Dataset:
        """The feed of a night."""
        return read_dataset(self.root / "datasets" / f"{name}.yaml")

    def inbox(self, name: str) -> Inbox:
        """Its inbox, as a process that has just started has it."""
        return Inbox(Feed.of(self.dataset(name)))

    def _write(self, night: Night) -> None:
        plain = yaml.safe_load((LABELLED / "flights.yaml").read_text())
        folder = self.root / night.name
        plain["landing"] = {"uri": f"{folder}/landing", "marker": plain["landing"]["marker"]}
        plain["lake"] = {"uri": f"{folder}/lake"}
        plain["model"]["path"] = str(ROOT / "models/flights_delay")
        plain["arrival"] = self._due_soon() if night.name == "late" else {}
        to = {"to": f"{night.name}@example.com", "from_email": "flagfall@example.com"}
        plain["notify"] = [{"notifier": SMTP, "arguments": to}]
        text = yaml.safe_dump({**plain, **(night.feed or {})})
        (self.root / "datasets" / f"{night.name}.yaml").write_text(text)

    def _due_soon(self) -> Plain:
        schedule = f"{self.due.minute} {self.due.hour} * * *"
        return {"schedule": schedule, "partition": {"date": "%Y-%m-%d"}, "deadline": "5s"}

    def _remember(self, night: Night) -> None:
        """Receipts of four weeks with real rows; where a batch is due, of the last days."""
        inbox, now = self.inbox(night.name), datetime.now(UTC)
        rows = _rows_by_day(_with_tailnum())
        for back in range(1, HISTORY.days + 1):
            day, landed_at = DAY - timedelta(days=back), now - timedelta(days=back)
            shown = landed_at.date() if night.name == "late" else day
            key = inbox.landing.pattern.fill({"date": str(shown)})
            uri = f"{inbox.landing.uri}/{key}"
            marker = Marker(uri, key, f"v{back}", landed_at, 0, {"date": str(shown)})
            receipt = Receipt(
                batch_id=marker.batch_id,
                marker=marker,
                status="accepted",
                received_at=landed_at,
                rows=rows[day],
            )
            inbox.receipts.write(receipt)

    def _leave_behind(self, name: str) -> None:
        """Accept a batch as a worker that died then would have: nobody evaluates it."""
        self.drop(name, _as_it_is)
        inbox = Inbox(Feed.of(self.dataset(name)), lambda: self.left_at)
        (marker,) = inbox.landing.find(inbox.landing.pattern.fill({"date": str(DAY)}))
        ingest(self.dataset(name), inbox, marker)

    def drop(self, name: str, flights: Flights, damaged: bool = False) -> float:
        """Drop a day as its producer does; gives when the marker was there."""
        source = self.root / "producer" / name
        outbox = self.root / "outbox" / f"{name}-{time.monotonic_ns()}"
        source.mkdir(parents=True, exist_ok=True)
        sent = flights(_flights_of_the_day())
        for (origin,), of_origin in sent.group_by("origin"):
            of_origin.write_csv(source / f"{origin}.csv", null_value=MISSING)
        publish(source, str(outbox))
        if damaged:
            file = next(outbox.glob("JFK*"))
            os.truncate(file, file.stat().st_size * 2 // 3)
        target = self.root / name / "landing" / f"date={DAY}"
        target.mkdir(parents=True, exist_ok=True)
        for file in (*data_files(outbox), outbox / DEFAULT_MARKER):
            file.rename(target / file.name)
        return time.time()

    def told(self, name: str, after: float) -> tuple[float, str] | None:
        """The first mail to a feed's people since then: seconds later, and its subject."""
        for came, mail in zip(self.box.came, self.box.mails, strict=False):
            if came >= after and name in str(mail["to"]):
                return came - after, str(mail["subject"]).removeprefix(f"{name}: ")
        return None

    def verdict(self, name: str) -> Verdict:
        """On the feed, now."""
        return verdict_of(self.dataset(name), self.inbox(name))


Row = tuple[str, str, str, str, float | None]


def _by_runs(play: Play, airflow: LocalAirflow) -> Iterator[Row]:
    """The nights of which a run tells."""
    for night in NIGHTS:
        if night.flights is None:
            continue
        began = play.drop(night.name, night.flights, damaged=night.name == "rejected")
        yield _after_the_run(play, airflow, night.name, night.what, began)
        if night.name == "rejected":
            began = play.drop(night.name, night.flights)
            what = "the producer writes the rejected batch again"
            yield _after_the_run(play, airflow, night.name, what, began)


def _after_the_run(play: Play, airflow: LocalAirflow, name: str, what: str, began: float) -> Row:
    since = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    ended = f"""select 1 from task_instance where dag_id = '{name}_pipeline'
        and task_id = 'generate_report' and state in ('success', 'failed')
        and end_date > '{since}'"""
    airflow.wait_until(lambda: airflow.query(ended), f"{name}: no report", PATIENCE)
    return _row(play, name, what, began)


def _row(play: Play, name: str, what: str, began: float) -> Row:
    verdict, told = play.verdict(name), play.told(name, began)
    if told is None:
        return what, verdict.word, "–", "nobody is told", None
    event = verdict.reasons[0].event if verdict.reasons else "recovered"
    return what, verdict.word, event, told[1], told[0]


def _by_others(play: Play, airflow: LocalAirflow) -> Iterator[Row]:
    """The nights of which no run can tell."""
    yield _when_told(play, "late", (play.due + timedelta(seconds=5)).timestamp())
    stalled = _stall(airflow)  # the watchman needs no triggerer
    yield _when_told(play, "unfinished", (play.left_at + timedelta(minutes=15)).timestamp())
    yield _when_told(play, "stalled", stalled)


def _when_told(play: Play, name: str, began: float) -> Row:
    what = next(night.what for night in NIGHTS if night.name == name)
    give_up = time.monotonic() + WATCHMAN
    while play.told(name, began) is None and time.monotonic() < give_up:
        time.sleep(1)
    return _row(play, name, what, began)


def _stall(airflow: LocalAirflow) -> float:
    """Stop the triggerer in its tracks, without ending it; gives when."""
    for process in airflow.family("triggerer"):
        process.send_signal(signal.SIGSTOP)
    return time.time()


def play_nights() -> list[Row]:
    """Play every night on one Airflow."""
    with tempfile.TemporaryDirectory() as tmp, smtp_server() as box:
        play = Play(Path(tmp), box)
        settings = {
            "FLAGFALL_DATASETS": str(play.root / "datasets"),
            "AIRFLOW_CONN_SMTP_DEFAULT": box.connection,
        }
        watching = "select 1 from trigger where classpath like '%FeedTrigger' and triggerer_id > 0"
        with LocalAirflow(play.root / "airflow", ROOT / "dags", settings) as airflow:
            watched = lambda: len(airflow.query(watching)) == len(NIGHTS)  # noqa: E731  said once
            airflow.wait_until(watched, "the feeds are not watched")
            rows = []
            for row in chain(_by_runs(play, airflow), _by_others(play, airflow)):
                print(*row, sep="; ", flush=True)
                rows.append(row)
            return rows


def year() -> Iterator[tuple[str, float, float, str]]:
    """What the defaults would have said of each day of the year of flights."""
    flights, thresholds, feed = _with_tailnum(), Thresholds(), find_dataset("flights")
    rows = _rows_by_day(flights)
    before = {day: [rows[d] for d in _weeks_before(day) if d in rows] for day in rows}
    judged = [day for day in sorted(rows) if len(before[day]) >= WEEKDAYS]
    yield _of("rows", judged, [d for d in judged if unusual(thresholds, rows[d], before[d])])
    assert feed.model is not None
    maker, reference = feature_maker(feed), Reference.read(feed.model.path)
    missing, categories = set(), set()
    for (day,), of_day in flights.group_by("date"):
        assert isinstance(day, date)
        tally = Tally(reference)
        tally.add(maker.raw(of_day), pl.repeat(0.2, of_day.height, eager=True).to_numpy())
        for drift in tally.drift()[:-1]:
            if rises(thresholds, drift):
                missing.add(day)
            is_new = has_new_texts(thresholds, drift, of_day.height)
            if is_new or vanished(thresholds, drift, of_day.height):
                categories.add(day)
    yield _of("missing values", sorted(rows), sorted(missing))
    yield _of("categories", sorted(rows), sorted(categories))


def _of(what: str, days: list[date], alerts: list[date]) -> tuple[str, float, float, str]:
    return what, float(len(days)), float(len(alerts)), ", ".join(map(str, alerts)) or "–"


def _weeks_before(day: date) -> list[date]:
    return [day - timedelta(weeks=back) for back in range(1, WEEKS + 1)]


def _with_tailnum() -> pl.DataFrame:
    """Those that the feed accepts."""
    return all_flights().filter(pl.col("tailnum").is_not_null())


def _flights_of_the_day() -> pl.DataFrame:
    return all_flights().filter(pl.col("date") == DAY)


def _rows_by_day(flights: pl.DataFrame) -> dict[date, int]:
    return dict(flights.group_by("date").len().iter_rows())


def main() -> None:
    """Play the nights, and go through the year."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--year", action="store_true", help="only go through the year of flights")
    only_year = parser.parse_args().year
    columns = Column("what is compared"), Column("days", ",.0f"), Column("alerts", ",.0f")
    found(Table("nights_year", (*columns, Column("on")), tuple(year())))
    if only_year:
        return
    with interruptible():
        rows = play_nights()
    heads = Column("night"), Column("verdict"), Column("notice"), Column("its subject")
    found(Table("nights", (*heads, Column("after, s", ",.0f")), tuple(rows)))


if __name__ == "__main__":
    main()
