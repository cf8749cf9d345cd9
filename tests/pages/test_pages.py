"""Pages without an Airflow: what they read, what they show where a lake is away, what is markup."""

from __future__ import annotations

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
from flagfall.ledger.board import put_on_board, read_board
from flagfall.ledger.ledger import read_ledger
from flagfall.pages.batch import batch_page, is_batch
from flagfall.pages.feed import Filter, feed_page
from flagfall.pages.feeds import OLD, FeedRef, feeds_page
from flagfall.pages.lakes import Lakes, Place
from flagfall.pages.render import render
from flagfall.pages.reports import is_report, report
from flagfall.stores import open_store
from sandbox.history import write_past
from sandbox.reads import counting
from tests.feeds import ToyFeed, make_toy
from tests.ledger.test_ledger import ran

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202eevil\n<b>"


def ref(dataset: Dataset, dag_id: str = "") -> FeedRef:
    feed = Feed.of(dataset)
    return FeedRef(
        dag_id=dag_id or f"{dataset.name}_pipeline",
        name=dataset.name,
        title=dataset.title,
        lake=feed.lake,
        landing=feed.landing.uri,
        marker=feed.landing.marker,
    )


@pytest.fixture
def toy(tmp_path: Path) -> ToyFeed:
    return make_toy(tmp_path)


def now() -> datetime:
    return datetime.now(UTC)


def feed_html(toy: ToyFeed, **chosen: Any) -> str:
    feed = ref(toy.dataset)
    page = feed_page(Lakes(), feed, now(), Filter(**chosen))
    return render("feed", "/flagfall", feed=feed, page=page)


class TestReads:
    def test_fifty_feeds_of_one_lake_are_one_read(self, toy: ToyFeed) -> None:
        write_past(toy.dataset, 29)
        lake = LakeAddress(uri=toy.dataset.lake.uri)
        (standing,) = read_board(open_store(lake.uri)).feeds.values()
        put_on_board(lake, {f"feed_{n}": standing for n in range(50)})
        feeds = [FeedRef(f"feed_{n}_pipeline", f"feed_{n}", "", lake) for n in range(50)]
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
        html = render("feed", "/flagfall", feed=feed, page=second)
        assert "The lake does not answer." in html
        assert "2026-11-01" in html

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
        assert "Nobody has looked since" in render("feed", "/flagfall", feed=feed, page=page)


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
            html = render("feed", "/flagfall", feed=feed, page=page)
            html += render("feeds", "/flagfall", page=feeds_page(lakes, [feed], now()))
            assert "<script>alert" not in html
            assert "<b>" not in html
            assert "\x1b" not in html

    def test_a_producers_name_is_one_step_of_a_path(self) -> None:
        html = render("feeds", "/flagfall", page=feeds_page(Lakes(), [evil_ref()], now()))
        assert 'href="/flagfall/feeds/..%2F..%2Fx"' in html


def evil_ref() -> FeedRef:
    return FeedRef("../../x", "x", "", LakeAddress(uri="/nowhere"))


def batch_html(toy: ToyFeed, page: Any) -> str:
    return render(
        "batch",
        "/flagfall",
        feed=ref(toy.dataset),
        page=page,
        day="2026-11-01",
        batch_id=page.found.receipt.batch_id,
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

    def test_the_verdict_is_the_one_that_was_told(self, toy: ToyFeed) -> None:
        ledger = read_ledger(toy.inbox().lake.store)
        assert ledger is not None
        html = feed_html(toy)
        assert ledger.verdict.word == "attention"
        assert "(columns) was rejected and not corrected since" in html
