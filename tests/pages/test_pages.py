"""Pages without an Airflow: what they read, what they show where a lake is away, what is markup."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flagfall.dataset.feed import Feed, LakeAddress
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreRefused
from flagfall.inbox.replays import Wish, hand_out_again, plan_replay
from flagfall.lake.records import Receipt
from flagfall.landing.zone import LandingAddress
from flagfall.ledger.board import note_unreadable, put_on_board, read_board
from flagfall.ledger.ledger import read_ledger
from flagfall.pages.batch import BatchPage, batch_page, is_batch, rejected_rows
from flagfall.pages.feed import FeedPage, Filter, feed_page
from flagfall.pages.feeds import OLD, FeedRef, feeds_page
from flagfall.pages.lakes import Lakes, Place
from flagfall.pages.render import render
from flagfall.pages.replay import LEFT, NEWER, DryRun, ReplayPage, replay_page, why_not_again
from flagfall.pages.reports import is_report, report
from flagfall.stores import EPOCH, open_store
from flagfall.watch.heartbeat import WatcherState
from sandbox.history import write_past
from sandbox.reads import counting
from tests.feeds import ToyFeed, make_toy
from tests.ledger.test_ledger import ran, watched
from tests.patience import SOON

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202eevil\n<b>"


def ref(dataset: Dataset, dag_id: str = "") -> FeedRef:
    return FeedRef(dag_id or f"{dataset.name}_pipeline", Feed.of(dataset), dataset.title)


@pytest.fixture
def toy(tmp_path: Path) -> ToyFeed:
    return make_toy(tmp_path)


def now() -> datetime:
    return datetime.now(UTC)


def received(toy: ToyFeed, text: str | None = "id,value\n1,0.5\n2,-1\n") -> Receipt:
    """The receipt of a batch that came today; ``None`` where it came before."""
    inbox = toy.inbox() if text is None else ran(toy, "2026-11-01", text=text)
    (found,) = inbox.receipts.since((now() - timedelta(days=2)).date())
    return found


def text_of(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def page_of(toy: ToyFeed, receipt: Receipt) -> BatchPage:
    day = f"{receipt.marker.landed_at:%Y-%m-%d}"
    return batch_page(Lakes(), ref(toy.dataset), day, receipt.batch_id, now())


def signed(toy: ToyFeed, at: datetime, state: str = "watching") -> None:
    """A watcher has given a sign."""
    sign = {"state": state, "since": at, "looked_at": at, "every": 300, "host": "here", "pid": 7}
    found = WatcherState.model_validate({**sign, "why": "", "first": at})
    toy.inbox().lake.store.put("watch.json", found.model_dump_json().encode())


def feed_html(toy: ToyFeed, **chosen: Any) -> str:
    feed = ref(toy.dataset)
    page = feed_page(Lakes(), feed, now(), Filter(**chosen))
    return render("feed", "/flagfall", feed=feed, page=page, may_replay=True)


class TestReads:
    def test_fifty_feeds_of_one_lake_are_one_read(self, toy: ToyFeed) -> None:
        write_past(toy.dataset, 29)
        lake = LakeAddress(uri=toy.dataset.lake.uri)
        (standing,) = read_board(open_store(lake.uri)).feeds.values()
        put_on_board(lake, {f"feed_{n}": standing for n in range(50)})
        one = Feed.of(toy.dataset)
        names = [f"feed_{n}" for n in range(50)]
        feeds = [FeedRef(n, one.model_copy(update={"dataset": n})) for n in names]
        opened, reads = counting()
        page = feeds_page(Lakes(opened), feeds, now())
        assert all(line.standing for line in page.lines)
        assert reads == ["read feeds.json"]

    def test_of_many_lakes_ten_are_read_and_the_others_come_next(self, tmp_path: Path) -> None:
        feeds = []
        for n in range(12):
            toy = make_toy(tmp_path / str(n))
            write_past(toy.dataset, 29)
            feeds.append(ref(toy.dataset, f"toy{n}_pipeline"))
        opened, reads = counting()
        lakes = Lakes(opened)
        first = feeds_page(lakes, feeds, now())
        assert (sum(bool(line.standing) for line in first.lines), len(reads)) == (10, 10)
        second = feeds_page(lakes, feeds, now())
        assert (sum(bool(line.standing) for line in second.lines), len(reads)) == (12, 20)

    def test_a_feed_and_a_batch_are_few_reads_whatever_their_history(self, toy: ToyFeed) -> None:
        receipts = write_past(toy.dataset, 500)
        opened, reads = counting()
        lakes, feed = Lakes(opened), ref(toy.dataset)
        page = feed_page(lakes, feed, now())
        assert page.total == len(receipts)
        assert len(page.rows) == 50
        assert reads == ["read ledger.json", "read watch.json"]
        reads.clear()
        last = page.rows[0]
        batch = batch_page(lakes, feed, str(last.landed_at.date()), last.batch_id, now())
        assert batch.row == last
        assert len(reads) == 6


class TestRejectedRows:
    def test_a_line_that_is_too_long_is_left_out_and_the_others_are_shown(
        self, toy: ToyFeed
    ) -> None:
        store = toy.inbox().lake.store
        rows = [{"line": n, "row": {"a": "x" * size}} for n, size in enumerate((1, 600_000, 1))]
        store.put("rejected/b/rows.jsonl", b"".join(json.dumps(r).encode() + b"\n" for r in rows))
        assert [row.line for row in rejected_rows(store, "b")] == [0, 2]

    @pytest.mark.parametrize(
        "damaged",
        [
            b"no JSON",
            b"[1]",
            b'{"line": 1}',
            b'{"line": "<b>", "row": {"a": 1}}',
            b'{"line": 1, "row": {"a": 1}, "reasons": null}',
        ],
    )
    def test_a_damaged_line_is_left_out_and_the_others_are_shown(
        self, toy: ToyFeed, damaged: bytes
    ) -> None:
        store = toy.inbox().lake.store
        store.put("rejected/b/rows.jsonl", damaged + b'\n{"line": 7, "row": {"a": null}}\n')
        assert [row.line for row in rejected_rows(store, "b")] == [7]


class TestDamage:
    """What is damaged is named, and takes nothing else with it."""

    @pytest.mark.parametrize("kind", ["staged", "predictions", "evaluations"])
    def test_a_damaged_record_is_named_and_the_rest_is_shown(self, toy: ToyFeed, kind: str) -> None:
        receipt = received(toy)
        key = f"{kind}/{receipt.batch_id}/record.json"
        toy.inbox().lake.store.put(key, b"{")
        page = page_of(toy, receipt)
        assert page.damaged == (key,)
        html = batch_html(toy, page)
        assert f"{key} is damaged" in text_of(html)
        assert "does not answer" not in html
        assert "1 row turned away" in html

    def test_a_damaged_receipt_is_named(self, toy: ToyFeed) -> None:
        receipt = received(toy)
        key = f"receipts/landed={now():%Y-%m-%d}/{receipt.batch_id}.json"
        toy.inbox().lake.store.put(key, b"{}")
        page = page_of(toy, receipt)
        assert (page.found, page.damaged, page.away) == (None, (key,), "")
        assert f"{key} is damaged" in text_of(batch_html(toy, page))

    def test_a_standing_of_a_later_release_takes_no_other_feed_off_the_board(
        self, toy: ToyFeed
    ) -> None:
        ran(toy, "2026-11-01")
        lake = open_store(toy.dataset.lake.uri)
        plain = json.loads(lake.read("feeds.json", 1 << 20))
        plain["feeds"]["later"] = {**plain["feeds"]["toy"], "verdict": {"word": "of tomorrow"}}
        lake.put("feeds.json", json.dumps(plain).encode())
        assert set(read_board(lake).feeds) == {"toy"}

    def test_a_reason_of_a_later_release_is_shown(self, toy: ToyFeed) -> None:
        ran(toy, "2026-11-01", text="nonsense\n")
        store = toy.inbox().lake.store
        later = store.read("ledger.json", 1 << 20).replace(b'"kind":"rejected"', b'"kind":"x"')
        store.put("ledger.json", later)
        assert "was rejected and not corrected" in feed_html(toy)


class TestUnreadableFiles:
    def test_are_named_to_who_may_read_their_feed_and_the_watchman(self, toy: ToyFeed) -> None:
        ran(toy, "2026-11-01")
        lake = LakeAddress(uri=toy.dataset.lake.uri)
        note_unreadable(lake, "watchman", {"sales": f"line 3: {EVIL}", "secret": "line 4"})
        note_unreadable(lake, "other", {"more": "line 5"})
        note_unreadable(lake, "watchman_of_b", {})

        def may_read(dag_id: str) -> bool:
            return dag_id in ("watchman", "sales_pipeline", "more_pipeline")

        page = feeds_page(Lakes(), [ref(toy.dataset)], now(), may_read)
        assert [name for name, _ in page.unreadable] == ["sales"]
        html = render("feeds", "/flagfall", page=page)
        assert "sales.yaml cannot be used" in text_of(html)
        assert "<script>alert" not in html
        assert not feeds_page(Lakes(), [ref(toy.dataset)], now()).unreadable
        watched(toy)
        assert "watchman" in read_board(open_store(lake.uri)).unreadable


class TestAwayLake:
    @pytest.fixture
    def hanging(self) -> Iterator[Callable[..., Any]]:
        """Opens a store that answers once, and then hangs as a share whose server is gone."""
        done, answers = threading.Event(), iter([True])

        def opened(uri: str, conn_id: str) -> Any:
            if not next(answers, False):
                done.wait()
            return open_store(uri, conn_id)

        yield opened
        done.set()

    def test_it_shows_what_was_read_last_and_says_so(
        self, toy: ToyFeed, hanging: Callable[..., Any]
    ) -> None:
        ran(toy, "2026-11-01")
        lakes, feed = Lakes(hanging, patience=0.2), ref(toy.dataset)
        first = feed_page(lakes, feed, now())
        assert not first.away
        second = feed_page(lakes, feed, now())
        assert second.ledger == first.ledger
        assert "no answer" in second.away
        html = render("feed", "/flagfall", feed=feed, page=second, may_replay=False)
        assert "The lake does not answer." in html
        assert "2026-11-01" in html

    def test_a_process_ends_while_a_read_hangs(self, toy: ToyFeed) -> None:
        """An API server is restarted, whatever its lakes do."""
        code = (
            "import sys, threading\n"
            "from types import SimpleNamespace as Store\n"
            "from flagfall.pages import batch\n"
            "hang = lambda *_: threading.Event().wait()\n"
            "store = Store(read=hang, fetch=hang)\n"
            "threading.Thread(target=batch._read, args=(store, 'd', 'b'), daemon=True).start()\n"
            "threading.Event().wait(0.5)\n"
        )
        subprocess.run([sys.executable, "-c", code], timeout=SOON, check=True)

    def test_while_one_read_hangs_no_other_is_begun(
        self, toy: ToyFeed, hanging: Callable[..., Any]
    ) -> None:
        lakes = Lakes(hanging, patience=0.05)
        place = Place(LakeAddress(uri=toy.dataset.lake.uri), "toy", "ledger", read_ledger)
        lakes.read(place)
        lakes.read(place)
        before = threading.active_count()
        for _ in range(5):
            assert "has not come back" in lakes.read(place).away
        assert threading.active_count() == before

    def test_a_lake_that_refuses_is_named_and_the_other_feeds_stand(self, tmp_path: Path) -> None:
        good, bad = make_toy(tmp_path / "good"), make_toy(tmp_path / "bad")
        write_past(good.dataset, 29)

        def opened(uri: str, conn_id: str) -> Any:
            if "/bad/" in uri:
                raise StoreRefused(uri, "permission denied")
            return open_store(uri, conn_id)

        feeds = [ref(good.dataset), ref(bad.dataset, "bad_pipeline")]
        page = feeds_page(Lakes(opened), feeds, now())
        assert [line.word for line in page.lines if line.away] == [None]
        html = render("feeds", "/flagfall", page=page)
        assert "permission denied" in html
        assert html.count("<tr>") == 3

    def test_an_old_verdict_says_that_nobody_has_looked(self, toy: ToyFeed) -> None:
        ran(toy, "2026-11-01")
        feed = ref(toy.dataset)
        page = feed_page(Lakes(), feed, now() + OLD + timedelta(minutes=1))
        html = render("feed", "/flagfall", feed=feed, page=page, may_replay=False)
        assert "Nobody has looked since" in html


class TestNothingIsMarkup:
    def test_of_what_a_producer_writes_into_rows_and_reasons(self, toy: ToyFeed) -> None:
        file = toy.root / "datasets" / "toy.yaml"
        column = "    - {name: note, type: string}\n"
        file.write_text(file.read_text().replace("  primaryKey", f"{column}  primaryKey"))
        toy = ToyFeed(toy.root, read_dataset(file))
        text = 'id,value,note\n1,-1,"{}"\n2,1,x\n'.format(EVIL.replace('"', '""'))
        inbox = ran(toy, "2026-11-01", text=text)
        (receipt,) = inbox.receipts.since((now() - timedelta(days=2)).date())
        page = batch_page(Lakes(), ref(toy.dataset), str(now().date()), receipt.batch_id, now())
        assert page.found is not None
        assert page.found.sample[0].line > 1
        html = batch_html(toy, page)
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)" in html
        assert "\x1b" not in html
        assert "\u202e" not in html

    def test_of_titles_names_and_errors(self, toy: ToyFeed) -> None:
        ran(toy, "2026-11-01")
        feed = ref(toy.dataset.model_copy(update={"title": EVIL}))

        def opened(uri: str, conn_id: str) -> Any:
            raise StoreRefused(uri, EVIL)

        for lakes in (Lakes(), Lakes(opened)):
            page = feed_page(lakes, feed, now(), Filter(text=EVIL, run=EVIL))
            html = render("feed", "/flagfall", feed=feed, page=page, may_replay=True)
            html += render("feeds", "/flagfall", page=feeds_page(lakes, [feed], now()))
            assert "<script>alert" not in html
            assert "<b>" not in html
            assert "\x1b" not in html

    def test_a_producers_name_is_one_step_of_a_path(self) -> None:
        html = render("feeds", "/flagfall", page=feeds_page(Lakes(), [evil_ref()], now()))
        assert 'href="/flagfall/feeds/..%2F..%2Fx"' in html


def evil_ref() -> FeedRef:
    landing = LandingAddress(uri="/nowhere", marker="{day}/_SUCCESS")
    return FeedRef("../../x", Feed(dataset="x", landing=landing, lake=LakeAddress(uri="/nowhere")))


def batch_html(toy: ToyFeed, page: Any) -> str:
    return render(
        "batch",
        "/flagfall",
        feed=ref(toy.dataset),
        page=page,
        day="2026-11-01",
        batch_id="2026-11-01.0123456789abcdef",
        label="2026-11-01",
        runs=[],
        may_replay=True,
    )


class TestPaths:
    @pytest.mark.parametrize(
        ("day", "batch_id"),
        [
            ("2026-11-01", "../../../etc/passwd"),
            ("2026-11-01", "..0123456789abcdef"),
            ("2026-11-01", "x/y.0123456789abcdef"),
            ("2026-11-01\n", "x.0123456789abcdef"),
            ("../..", "x.0123456789abcdef"),
            ("2026-11-01", "x.0123456789abcdef\n"),
        ],
    )
    def test_a_batch_of_another_place_is_none(self, day: str, batch_id: str) -> None:
        assert not is_batch(day, batch_id)

    @pytest.mark.parametrize(
        "name", ["../ledger", "latest.html", "..", "a/b.0123456789", "x\n", ""]
    )
    def test_a_report_of_another_place_is_none(self, name: str) -> None:
        assert not is_report(name)

    def test_what_a_run_wrote_is_found(self, toy: ToyFeed) -> None:
        ran(toy, "2026-11-01", run="scheduled__2026-11-01T00:00:00+00:00")
        feed = ref(toy.dataset)
        row = feed_page(Lakes(), feed, now()).rows[0]
        assert is_batch(str(row.landed_at.date()), row.batch_id)
        name = row.report.rpartition("/")[2].removesuffix(".html")
        for one in (name, "latest"):
            assert is_report(one)
            found = report(Lakes(), feed, one).value
            assert found is not None
            assert found.html.startswith(b"<!DOCTYPE html>")


class TestWhatIsOlder:
    """The watcher is read at once, the verdict is of the last look."""

    @pytest.fixture
    def toy(self, tmp_path: Path) -> ToyFeed:
        return make_toy(tmp_path)

    def page(self, toy: ToyFeed, silent: timedelta, state: str = "watching") -> FeedPage:
        signed(toy, now() - silent, state)
        return feed_page(Lakes(), ref(toy.dataset), now())

    def test_a_watcher_that_fell_silent_since_is_said_beside_the_verdict(
        self, toy: ToyFeed
    ) -> None:
        signed(toy, now())
        ran(toy, "2026-11-01")
        assert self.page(toy, timedelta()).since_then == ""
        page = self.page(toy, timedelta(hours=1))
        assert page.ledger is not None
        assert page.ledger.verdict.word == "normal"
        assert "no sign" in page.since_then
        html = render("feed", "/flagfall", feed=ref(toy.dataset), page=page, may_replay=False)
        assert page.since_then in html
        assert "storage" in self.page(toy, timedelta(), "unreachable").since_then

    def test_one_that_is_back_since_is_said_too(self, toy: ToyFeed) -> None:
        signed(toy, now() - timedelta(hours=1))
        ran(toy, "2026-11-01")
        assert self.page(toy, timedelta(hours=1)).since_then == ""
        assert "watches again" in self.page(toy, timedelta()).since_then


class TestRejectedBatch:
    def test_one_that_was_turned_away_whole_says_that_nothing_was_taken_in_and_why(
        self, toy: ToyFeed
    ) -> None:
        ran(toy, "2026-11-01", text="nonsense\n")
        html = batch_html(toy, page_of(toy, received(toy, None)))
        assert "0 rejected" not in html
        assert "None.</p>" not in html
        assert "None that could be read" not in html
        assert html.count("The batch was turned away whole (columns)") == 2


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestReplayOfMany:
    """The page that shows what a replay would do."""

    @pytest.fixture
    def toy(self, tmp_path: Path) -> ToyFeed:
        toy = make_toy(tmp_path)
        ran(toy, "2026-11-01", "2026-11-02", "2026-11-03")
        ran(toy, "2026-11-04", text="nonsense\n", run="second")
        return toy

    @staticmethod
    def html(toy: ToyFeed, **given: str) -> str:
        feed = ref(toy.dataset)
        page = replay_page(Lakes(), feed, given, now())
        return render("replay", "/flagfall", feed=feed, page=page)

    def test_it_names_how_many_the_first_and_the_last_and_changes_nothing(
        self, toy: ToyFeed
    ) -> None:
        before = files(toy.root)
        page = replay_page(Lakes(), ref(toy.dataset), {"since": "2020-01-01"}, now())
        assert page.dry_run == DryRun(3, 3, "2026-11-01", "2026-11-03", ())
        assert files(toy.root) == before
        html = self.html(toy, since="2020-01-01")
        assert "3 batches would be taken in again" in html
        assert "?since=2020-01-01&amp;from=landing" in html

    def test_what_cannot_be_replayed_is_counted_with_its_reason(self, toy: ToyFeed) -> None:
        shutil.rmtree(toy.landing / "date=2026-11-02")
        inbox = toy.inbox()
        hand_out_again(inbox, plan_replay(toy.dataset, inbox, Wish(source="landing")))
        html = self.html(toy, since="2020-01-01")
        assert "No batch would be taken in again" in html
        assert "1 batch: it left the landing zone: take its rows from staged" in html
        assert "2 batches: a replay of it is pending" in html
        assert "Start the run" not in html

    def test_batches_rejected_for_a_reason_are_those_of_the_command_line(
        self, toy: ToyFeed
    ) -> None:
        page = replay_page(Lakes(), ref(toy.dataset), {"reason": "columns"}, now())
        assert page.dry_run == DryRun(1, 0, "2026-11-04", "2026-11-04", ())
        assert '<option value="columns">' in feed_html(toy)

    def test_of_one_that_left_or_has_a_newer_delivery_no_run_is_started_that_would_fail(
        self, toy: ToyFeed
    ) -> None:
        first, second, third = toy.inbox().receipts.since(EPOCH.date())[:3]
        shutil.rmtree(toy.landing / "date=2026-11-02")
        toy.drop("2026-11-03", "id,value\n7,1\n")
        asked = [why_not_again(Lakes(), ref(toy.dataset), one) for one in (first, second, third)]
        assert asked == ["", LEFT, NEWER]
        shutil.rmtree(toy.landing)  # as where only the workers see it
        assert why_not_again(Lakes(), ref(toy.dataset), first) == ""

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({}, "Give a first day, a last day or a reason"),
            ({"from": "staged"}, "Give a first day, a last day or a reason"),
            ({"since": "11/05"}, "no day &#39;11/05&#39;; expected one such as"),
            ({"since": "2026-11-02", "until": "2026-11-01"}, "exchange the two"),
            ({"reason": "columns", "from": "staged"}, "a rejected batch has none"),
            ({"since": "2026-11-02", "from": "mars"}, "expected landing or staged"),
            ({"reason": EVIL}, "open are: columns"),
        ],
    )
    def test_a_wish_that_cannot_be_says_why_and_starts_nothing(
        self, toy: ToyFeed, given: dict[str, str], says: str
    ) -> None:
        html = self.html(toy, **given)
        assert "This cannot be replayed:" in html
        assert says in html
        assert "Start the run" not in html
        assert "<script>alert" not in html
        assert "\x1b" not in html

    def test_a_landing_zone_that_is_not_mounted_here_is_no_empty_one(self, toy: ToyFeed) -> None:
        shutil.rmtree(toy.landing)
        html = self.html(toy, since="2020-01-01")
        assert "is it mounted?" in html
        assert "<code>flagfall replay toy</code>" in html
        assert "Start the run" not in html
        assert "3 batches would" in self.html(toy, since="2020-01-01", **{"from": "staged"})

    def test_an_earlier_plan_is_not_shown_where_the_lake_is_away(self, toy: ToyFeed) -> None:
        answers = iter([True])

        def opened(uri: str, conn_id: str) -> Any:
            if not next(answers, False):
                raise StoreRefused(uri, EVIL)
            return open_store(uri, conn_id)

        lakes, feed, given = Lakes(opened), ref(toy.dataset), {"since": "2020-01-01"}
        assert replay_page(lakes, feed, given, now()).can_start
        second = replay_page(lakes, feed, given, now())
        assert not second.can_start
        html = render("replay", "/flagfall", feed=feed, page=second)
        assert "&lt;script&gt;alert(1)" in html
        assert "<b>" not in html

    def test_a_producers_name_is_no_markup(self, tmp_path: Path) -> None:
        toy = make_toy(tmp_path)
        page = ReplayPage(ref(toy.dataset), now(), {}, Wish(), dry_run=DryRun(2, 1, EVIL, EVIL, ()))
        html = render("replay", "/flagfall", feed=page.feed, page=page)
        assert "<script>alert" not in html
        assert "<b>" not in html

    def test_who_may_not_start_runs_sees_no_form(self, toy: ToyFeed) -> None:
        feed = ref(toy.dataset)
        page = feed_page(Lakes(), feed, now())
        html = render("feed", "/flagfall", feed=feed, page=page, may_replay=False)
        assert "/replay" not in html
        assert "/flagfall/feeds/toy_pipeline/replay" in feed_html(toy)


class TestFilters:
    @pytest.fixture
    def toy(self, tmp_path: Path) -> ToyFeed:
        toy = make_toy(tmp_path)
        ran(toy, "2026-11-01", "2026-11-02")
        ran(toy, "2026-11-03", text="nonsense\n", run="second")
        return toy

    @pytest.mark.parametrize(
        ("chosen", "labels"),
        [
            ({}, ["2026-11-03", "2026-11-02", "2026-11-01"]),
            ({"show": "rejected"}, ["2026-11-03"]),
            ({"show": "open"}, ["2026-11-03"]),
            ({"show": "accepted"}, ["2026-11-02", "2026-11-01"]),
            ({"text": "11-02"}, ["2026-11-02"]),
            ({"run": "second"}, ["2026-11-03"]),
            ({"show": "replaced"}, []),
        ],
    )
    def test_they_list_what_they_say(
        self, toy: ToyFeed, chosen: dict[str, Any], labels: list[str]
    ) -> None:
        page = feed_page(Lakes(), ref(toy.dataset), now(), Filter(**chosen))
        assert [row.label for row in page.rows] == labels

    def test_a_page_after_the_last_is_the_last(self, toy: ToyFeed) -> None:
        for number in (2, 10**30):
            page = feed_page(Lakes(), ref(toy.dataset), now(), Filter(page=number))
            assert (page.chosen.page, len(page.rows)) == (1, 3)

    def test_days_are_said_to_be_those_on_which_batches_landed(self, toy: ToyFeed) -> None:
        assert "By the day (UTC) on which batches landed." in feed_html(toy)

    def test_the_verdict_is_the_one_that_was_told(self, toy: ToyFeed) -> None:
        ledger = read_ledger(toy.inbox().lake.store)
        assert ledger is not None
        html = feed_html(toy)
        assert ledger.verdict.word == "attention"
        assert "(columns) was rejected and not corrected since" in html
