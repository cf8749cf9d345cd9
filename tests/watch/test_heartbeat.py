"""How a watcher says that it cannot look, that it can again, and that it is there."""

from __future__ import annotations

import logging
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.stores.local import LocalStore
from flagfall.watch import outage as outages
from flagfall.watch.heartbeat import HEARTBEAT_EVERY, KEY, Heartbeat, last_heartbeat
from flagfall.watch.outage import OutageTracker, ReachedAgain, reason

AWAY = StoreUnavailable("/nfs", "stale file handle")
REFUSED = StoreRefused("/nfs", "permission denied")


class Seconds:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


class TestOutages:
    def test_airflow_is_told_once_and_only_of_what_lasts(self, seconds: Seconds) -> None:
        outage = OutageTracker(seconds)
        told = []
        for seconds.now in (0.0, 2.0, 59.9, 60.0, 120.0, 3600.0):
            told.append(outage.failed(REFUSED))
        assert [one is not None for one in told] == [False, False, False, True, False, False]
        assert told[3] is not None
        assert told[3].why == "/nfs: permission denied"
        seconds.now = 3700.0
        assert outage.over() == ReachedAgain(3700.0)
        assert outage.over() is None

    def test_what_is_over_soon_is_in_the_log_alone(
        self, seconds: Seconds, caplog: pytest.LogCaptureFixture
    ) -> None:
        outage = OutageTracker(seconds)
        for seconds.now in (0.0, 2.0, 6.0):
            assert outage.failed(AWAY) is None
        seconds.now = 14.0
        assert outage.over() is None
        assert caplog.messages == [
            "/nfs: stale file handle; trying again, at most every 60 s",
            "/nfs: reached again after 3 failures in 14 s",
        ]

    def test_the_next_one_is_said_and_told_anew(self, seconds: Seconds) -> None:
        outage = OutageTracker(seconds)
        for began in (0.0, 1000.0):
            told = []
            for seconds.now in (began, began + 70.0):
                told.append(outage.failed(AWAY))
            assert [one is not None for one in told] == [False, True]
            assert outage.over() is not None

    def test_a_mistake_in_the_code_is_logged_each_time_with_its_traceback(
        self, seconds: Seconds, caplog: pytest.LogCaptureFixture
    ) -> None:
        outage = OutageTracker(seconds)
        for _ in range(3):
            try:
                raise KeyError("s3cr3t")
            except KeyError as error:
                outage.failed(error)
        assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
        assert caplog.text.count("Traceback") == 3

    def test_a_reason_is_one_short_line_and_shows_nothing_that_was_not_written_for_it(self) -> None:
        assert reason(KeyError("s3cr3t")) == "KeyError; the triggerer's log has the traceback"
        long = reason(StoreRefused("/x", "line\n" * 1000))
        assert len(long) == outages.LONGEST_WHY
        assert "\n" not in long


class TestHeartbeats:
    async def test_one_on_every_change_and_else_one_in_five_minutes(
        self, tmp_path: Path, seconds: Seconds
    ) -> None:
        store = LocalStore(str(tmp_path))
        heartbeat = Heartbeat(store, 30.0, seconds)
        written = []
        for seconds.now, why in [
            (0.0, ""),
            (30.0, ""),
            (299.0, ""),
            (300.0, ""),
            (330.0, "/nfs: away"),
            (390.0, "/nfs: away"),
            (630.0, "/nfs: denied"),
            (660.0, ""),
        ]:
            (tmp_path / KEY).unlink(missing_ok=True)
            await heartbeat.beat(why)
            sign = last_heartbeat(store)
            written.append((seconds.now, sign.state, sign.why) if sign else None)
        assert written == [
            (0.0, "watching", ""),
            None,
            None,
            (300.0, "watching", ""),
            (330.0, "unreachable", "/nfs: away"),
            None,
            (630.0, "unreachable", "/nfs: denied"),
            (660.0, "watching", ""),
        ]

    async def test_when_the_feed_was_first_watched_outlives_its_watchers(
        self, tmp_path: Path, seconds: Seconds
    ) -> None:
        store = LocalStore(str(tmp_path))
        await Heartbeat(store, 30.0, seconds).beat()
        before = last_heartbeat(store)
        await Heartbeat(store, 30.0, seconds).beat("/nfs: away")
        after = last_heartbeat(store)
        assert before is not None
        assert after is not None
        assert after.first == before.first == before.since < after.since

    async def test_that_there_are_no_hints_is_said_at_once_and_changes_nothing_else(
        self, tmp_path: Path, seconds: Seconds
    ) -> None:
        store = LocalStore(str(tmp_path))
        heartbeat = Heartbeat(store, 30.0, seconds)
        await heartbeat.beat()
        first = last_heartbeat(store)
        seconds.now = 30.0
        await heartbeat.beat(no_hints="OS file watch limit reached")
        second = last_heartbeat(store)
        assert first is not None
        assert second is not None
        assert (first.no_hints, second.no_hints) == ("", "OS file watch limit reached")
        assert (second.state, second.since) == ("watching", first.since)

    async def test_a_sign_says_who_and_since_when(self, tmp_path: Path, seconds: Seconds) -> None:
        store = LocalStore(str(tmp_path))
        heartbeat = Heartbeat(store, 30.0, seconds)
        await heartbeat.beat()
        first = last_heartbeat(store)
        seconds.now = 300.0
        await heartbeat.beat()
        second = last_heartbeat(store)
        assert first is not None
        assert second is not None
        assert (first.pid, first.host) == (os.getpid(), socket.gethostname())
        assert first.since == second.since
        assert first.looked_at < second.looked_at

    async def test_who_looks_rarely_is_not_missed_meanwhile(
        self, tmp_path: Path, seconds: Seconds
    ) -> None:
        store = LocalStore(str(tmp_path))
        for looks_every, missed_after in [(30.0, HEARTBEAT_EVERY), (3600.0, timedelta(hours=1))]:
            await Heartbeat(store, looks_every, seconds).beat()
            sign = last_heartbeat(store)
            assert sign is not None
            assert not sign.is_overdue(sign.looked_at + 2 * missed_after)
            assert sign.is_overdue(sign.looked_at + 2 * missed_after + timedelta(seconds=61))

    async def test_a_lake_that_takes_none_is_said_once_and_does_not_stop_the_watcher(
        self, tmp_path: Path, seconds: Seconds, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "lake").touch()
        store = LocalStore(str(tmp_path / "lake"))
        tries: list[float] = []
        read = store.read

        def noted(key: str, most: int) -> bytes:  # before the first heartbeat the last is read
            tries.append(seconds.now)
            return read(key, most)

        store.read = noted  # type: ignore[method-assign]
        heartbeat = Heartbeat(store, 30.0, seconds)
        for step in range(130):
            seconds.now = float(step)
            await heartbeat.beat("" if step % 2 else "away")
        assert tries == [0.0, 60.0, 120.0]
        assert caplog.messages == [], "who cannot look has said so"
        for seconds.now in (180.0, 300.0):
            await heartbeat.beat()
        assert len(caplog.messages) == 1
        assert "`flagfall status` cannot show who watches" in caplog.messages[0]
        (tmp_path / "lake").unlink()
        seconds.now = 360.0
        await heartbeat.beat()
        assert last_heartbeat(LocalStore(str(tmp_path / "lake"))) is not None

    async def test_of_two_watchers_the_last_one_is_shown(
        self, tmp_path: Path, seconds: Seconds
    ) -> None:
        """As when one is stopped for a while and another takes over."""
        store = LocalStore(str(tmp_path))
        one, other = Heartbeat(store, 30.0, seconds), Heartbeat(store, 30.0, seconds)
        await one.beat()
        await other.beat("/nfs: away")
        assert (sign := last_heartbeat(store)) is not None
        assert sign.state == "unreachable"
        seconds.now = 300.0
        await one.beat()
        assert (sign := last_heartbeat(store)) is not None
        assert sign.state == "watching"

    @pytest.mark.parametrize("text", ["", "{", '{"state": "asleep"}', "[]"])
    def test_a_damaged_sign_is_none(
        self, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / KEY).write_text(text)
        assert last_heartbeat(LocalStore(str(tmp_path))) is None
        assert "watch.json is damaged" in caplog.text
