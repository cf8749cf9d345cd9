"""People are told once of what is new, by mail, and once more when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseNotifier
from jinja2 import Environment

from flagfall.dataset.notifiers import notifier_problems, with_message
from flagfall.dataset.schema import Notice
from flagfall.errors import NotFinished, StoreUnavailable
from flagfall.operators import notices
from flagfall.operators.callbacks import on_failure, on_retry
from flagfall.operators.notices import tell
from flagfall.operators.sensors import MarkerLate
from flagfall.stages.ingest import ingest
from flagfall.verdict.failures import failures
from flagfall.verdict.look import verdict_of
from flagfall.verdict.message import Link
from flagfall.verdict.reason import Reason
from flagfall.verdict.told import SENDING_FOR, Memory
from flagfall.verdict.verdict import Verdict
from tests.feeds import Clock, ToyFeed, make_toy
from tests.smtp import Mailbox, smtp_server

SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
MAIL = f"{{notifier: {SMTP}, arguments: {{to: team@example.com, from_email: us@example.com}}}}"
GOOD, BAD = "id,value\n1,0.5\n", "nonsense\n"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with smtp_server() as box:
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", box.connection)
        yield box


def feed(root: Path, *notices: str) -> ToyFeed:
    return make_toy(root, more=f"notify: [{', '.join(notices or (MAIL,))}]")


def take(toy: ToyFeed, day: str, text: str = GOOD) -> None:
    ingest(toy.dataset, toy.inbox(), toy.drop(day, text))


def told(toy: ToyFeed, clock: Clock | None = None, **more: Any) -> None:
    inbox = toy.inbox(clock)
    context: Any = {"run_id": "run 1", "dag": None}
    tell(toy.dataset, inbox, verdict_of(toy.dataset, inbox), context, **more)


class TestByMail:
    def test_a_rejected_batch_is_told_once_with_its_reason_and_what_to_do(
        self, tmp_path: Path, box: Mailbox
    ) -> None:
        toy = feed(tmp_path)
        take(toy, "2026-11-01", BAD)
        told(toy, links=[Link("Report", "https://lake.example/report.html")])
        told(toy)
        (mail,), (html,) = box.mails, box.html()
        assert mail["subject"] == ("toy: 2026-11-01 (columns) was rejected and not corrected since")
        assert "Needs attention: 2026-11-01 (columns) was rejected" in html
        assert "flagfall replay toy 2026-11-01." in html
        assert "flagfall status toy" in html
        assert '<a href="https://lake.example/report.html">Report</a>' in html

    def test_the_next_one_says_what_is_new_and_what_is_open_as_before(
        self, tmp_path: Path, box: Mailbox
    ) -> None:
        toy = feed(tmp_path)
        take(toy, "2026-11-01", BAD)
        told(toy)
        take(toy, "2026-11-02", BAD)
        told(toy)
        assert "2 batches were rejected" in box.html()[1]

    def test_what_is_over_is_told_once(self, tmp_path: Path, box: Mailbox) -> None:
        toy = feed(tmp_path)
        take(toy, "2026-11-01", BAD)
        told(toy)
        take(toy, "2026-11-01")
        told(toy)
        told(toy)
        assert len(box.mails) == 2
        assert box.mails[1]["subject"] == "toy: over: the rejection of 2026-11-01 (columns)"
        assert "Today is normal." in box.html()[1]

    def test_a_normal_day_is_silent(self, tmp_path: Path, box: Mailbox) -> None:
        toy = feed(tmp_path)
        take(toy, "2026-11-01")
        told(toy)
        assert box.mails == []

    def test_nothing_of_a_producers_is_markup(self, tmp_path: Path, box: Mailbox) -> None:
        toy = feed(tmp_path)
        take(toy, "<script>alert(1)<\x01script><img src=x onerror=alert(2)>\u202e", BAD)
        told(toy)
        (html,) = box.html()
        assert _tags(html) <= {"html", "head", "body", "meta", "p", "strong", "ul", "li", "code"}
        assert "\u202e" not in html + box.mails[0]["subject"]
        assert "&lt;script&gt;alert(1)" in html


def _tags(html: str) -> set[str]:
    found: set[str] = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            found.add(tag)

    Parser().feed(html)
    return found


class Broken(BaseNotifier):  # type: ignore[misc]  # Airflow's has no annotations
    def notify(self, context: Any) -> None:
        raise OSError("no network")


class Kept(BaseNotifier):  # type: ignore[misc]  # Airflow's has no annotations
    """Writes to a file what it is sent."""

    template_fields = ("text",)

    def __init__(self, to: str, text: str) -> None:
        super().__init__()
        self.to, self.text = to, text

    def notify(self, context: Any) -> None:
        with Path(self.to).open("a", encoding="utf-8") as file:
            file.write(f"{self.text}\n---\n")


def kept(folder: Path, *on: str) -> str:
    asked = f", on: [{', '.join(on)}]" if on else ""
    return f"{{notifier: {__name__}.Kept, arguments: {{to: {folder}/kept}}{asked}}}"


def messages(folder: Path) -> list[str]:
    file = folder / "kept"
    return file.read_text(encoding="utf-8").split("---\n")[:-1] if file.exists() else []


class Leaving(BaseNotifier):  # type: ignore[misc]  # Airflow's has no annotations
    def notify(self, context: Any) -> None:
        raise SystemExit(3)


class Hanging(BaseNotifier):  # type: ignore[misc]  # Airflow's has no annotations
    def notify(self, context: Any) -> None:
        Event().wait()


class TestOnceAndSafely:
    def test_a_notifier_that_hangs_silences_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(notices, "SENT_WITHIN", 0.2)
        toy = feed(tmp_path, f"{{notifier: {__name__}.Hanging}}", kept(tmp_path))
        take(toy, "2026-11-01", BAD)
        told(toy)
        assert len(messages(tmp_path)) == 1
        assert "Hanging did not end within" in caplog.text

    def test_one_that_ends_the_process_silences_no_other_and_ends_nothing(
        self, tmp_path: Path
    ) -> None:
        toy = feed(tmp_path, f"{{notifier: {__name__}.Leaving}}", kept(tmp_path))
        take(toy, "2026-11-01", BAD)
        told(toy)
        assert len(messages(tmp_path)) == 1

    def test_what_is_new_is_told_however_much_is_open(self, tmp_path: Path) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        for number in range(120):
            take(toy, f"2026-11-01-{number}", BAD)
        told(toy)
        take(toy, "2026-11-02", BAD)
        told(toy)
        told(toy)
        assert len(messages(tmp_path)) == 2

    def test_two_processes_at_once_tell_once_that_it_is_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        take(toy, "2026-11-01", BAD)
        told(toy)
        take(toy, "2026-11-01")
        inbox = toy.inbox()
        found, (notice,) = verdict_of(toy.dataset, inbox), toy.dataset.notify
        one, other, third = (Memory(inbox.lake.store, notice, inbox.clock) for _ in range(3))
        seen = list(third._all())
        monkeypatch.setattr(other, "_all", lambda: seen)
        monkeypatch.setattr(third, "_all", lambda: seen)  # before the first one has told
        first = one.news(found)
        assert (len(first.over), len(other.news(found).over)) == (1, 0)
        one.keep(first)
        assert not third.news(found)
        assert not list(inbox.lake.store.names("notices"))

    def test_that_it_is_over_is_told_again_where_the_notifier_failed(
        self, tmp_path: Path, box: Mailbox
    ) -> None:
        toy = feed(tmp_path)
        take(toy, "2026-11-01", BAD)
        told(toy)
        take(toy, "2026-11-01")
        box.refuses = True
        told(toy)
        box.refuses = False
        told(toy)
        told(toy)
        assert len(box.mails) == 2

    def test_a_notifier_that_fails_silences_no_other_and_is_tried_again(
        self, tmp_path: Path, box: Mailbox
    ) -> None:
        toy = feed(tmp_path, f"{{notifier: {__name__}.Broken}}", MAIL, kept(tmp_path))
        take(toy, "2026-11-01", BAD)
        box.refuses = True
        told(toy)
        assert (len(box.mails), len(messages(tmp_path))) == (0, 1)
        box.refuses = False
        told(toy)
        assert (len(box.mails), len(messages(tmp_path))) == (1, 1)

    def test_two_processes_at_once_tell_it_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        take(toy, "2026-11-01", BAD)
        inbox = toy.inbox()
        found, (notice,) = verdict_of(toy.dataset, inbox), toy.dataset.notify
        one, other = (Memory(inbox.lake.store, notice, inbox.clock) for _ in range(2))
        monkeypatch.setattr(other, "_all", list)  # it has looked before the first one told
        first = one.news(found)
        assert (bool(first), bool(other.news(found))) == (True, False)
        one.keep(first)
        assert not other.news(found)

    def test_a_process_that_died_while_it_was_sending_is_followed_by_another_message(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        take(toy, "2026-11-01", BAD)
        inbox = toy.inbox(clock)
        Memory(inbox.lake.store, toy.dataset.notify[0], clock).news(verdict_of(toy.dataset, inbox))
        told(toy, clock)
        assert messages(tmp_path) == []
        clock.advance(SENDING_FOR)
        told(toy, clock)
        told(toy, clock)
        assert len(messages(tmp_path)) == 1

    def test_an_alert_is_not_over_while_its_batch_is_scored_again(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = feed(tmp_path)
        memory = Memory(toy.inbox().lake.store, toy.dataset.notify[0], clock)
        alert = Reason("alert", "AUC is low", ("1",), clock.now, "look", keys=("alert/AUC/1",))
        bad = Verdict("toy", clock.now, "attention", "Needs attention", (alert,))
        memory.keep(memory.news(bad))
        again = Verdict("toy", clock.now, "unknown", "Not known", unscored=("2026-11-01",))
        assert not memory.news(again)
        (told,) = memory.news(Verdict("toy", clock.now, "normal", "Today is normal.")).over
        assert told.what == "AUC is low"

    def test_it_tells_what_was_asked_for_only(self, tmp_path: Path) -> None:
        toy = feed(tmp_path, kept(tmp_path, "late", "recovered"))
        take(toy, "2026-11-01", BAD)
        told(toy)
        assert messages(tmp_path) == []

    def test_what_is_over_is_silent_where_nobody_asked_for_it(self, tmp_path: Path) -> None:
        toy = feed(tmp_path, kept(tmp_path, "rejected"))
        take(toy, "2026-11-01", BAD)
        told(toy)
        take(toy, "2026-11-01")
        told(toy)
        take(toy, "2026-11-01", BAD)
        told(toy)
        assert len(messages(tmp_path)) == 2

    def test_what_is_older_than_the_window_is_not_called_over(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        take(toy, "2026-11-01", BAD)
        told(toy, clock)
        clock.advance(timedelta(days=32))
        told(toy, clock)
        assert len(messages(tmp_path)) == 1
        assert not list(toy.inbox().lake.store.list("notices"))

    def test_storage_that_is_away_ends_nothing(
        self, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        toy.drop("2026-11-01")
        clock.advance(timedelta(minutes=16))
        told(toy, clock)
        assert "has landed and was not taken in" in messages(tmp_path)[0]
        away = StoreUnavailable(str(toy.landing), "not mounted")
        inbox = toy.inbox(clock)
        monkeypatch.setattr(inbox.landing, "entries", _raising(away))
        tell(toy.dataset, inbox, verdict_of(toy.dataset, inbox), {"run_id": "r", "dag": None})  # type: ignore[typeddict-item]
        assert "cannot be reached" in messages(tmp_path)[1]
        assert "Over" not in messages(tmp_path)[1]


def _raising(error: Exception) -> Any:
    def away(*_: object) -> None:
        raise error

    return away


def failed(task: str, error: Exception, **more: Any) -> Any:
    instance = SimpleNamespace(task_id=task, map_index=more.pop("map_index", -1))
    given = SimpleNamespace(**more)
    return {"ti": instance, "task": given, "run_id": "run 1", "exception": error, "dag": None}


class TestCallbacks:
    def test_a_task_of_a_shard_leaves_it_to_the_report(self, tmp_path: Path) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        on_failure(toy.dataset)(failed("ingest_data", OSError("full"), batches=[], map_index=3))
        assert messages(tmp_path) == []
        (noted,) = failures(toy.inbox().lake.store)
        assert (noted.task, noted.why) == ("ingest_data[3]", "OSError: full")
        told(toy)
        assert "ingest_data[3] of run run 1: OSError: full" in messages(tmp_path)[0]

    def test_a_claim_that_fails_is_told_at_once(self, tmp_path: Path) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        on_failure(toy.dataset)(failed("claim", OSError("full")))
        assert "claim failed" in messages(tmp_path)[0]

    def test_a_feed_that_cannot_be_judged_is_told_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        monkeypatch.setattr(notices, "verdict_of", _raising(OverflowError("a mistake")))
        on_failure(toy.dataset)(failed("generate_report", OverflowError("a mistake")))
        assert "generate_report of no batch yet in run run 1" in messages(tmp_path)[0]

    @pytest.mark.parametrize("error", [NotFinished(["a"], 1, "r"), MarkerLate("w", "noon")])
    def test_what_the_verdict_has_a_reason_for_is_noted_once(
        self, tmp_path: Path, error: Exception
    ) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        on_failure(toy.dataset)(failed("generate_report", error))
        assert failures(toy.inbox().lake.store) == ()

    def test_a_lake_that_is_away_is_told_all_the_same(self, tmp_path: Path) -> None:
        toy = feed(tmp_path, kept(tmp_path))
        (toy.root / "lake").write_text("a file where the lake should be")
        on_failure(toy.dataset)(failed("claim", OSError("full")))
        assert "claim of no batch yet in run run 1 (OSError: full) failed" in messages(tmp_path)[0]

    def test_a_retry_is_told_to_who_asked_for_it(self, tmp_path: Path) -> None:
        asked, did_not = kept(tmp_path, "retry"), kept(tmp_path)
        on_retry(feed(tmp_path, did_not).dataset)(failed("claim", OSError("full")))
        assert messages(tmp_path) == []
        on_retry(feed(tmp_path, asked).dataset)(failed("claim", OSError("full")))
        assert "is tried again by itself" in messages(tmp_path)[0]


class TestArguments:
    def test_nothing_of_a_producers_is_a_link_in_slack(self) -> None:
        chat = type("Chat", (Kept,), {"__module__": "team.slack.notifier"})
        template = with_message(chat, {"to": "us"})["text"]
        text = Environment().from_string(template).render(notice_text="<https://evil|here> & more")
        assert text == "&lt;https://evil|here&gt; &amp; more"

    def test_the_message_is_filled_in_where_a_notifier_takes_one(self) -> None:
        assert (
            list(notifier_problems([Notice(notifier=SMTP, arguments={"to": "a@b.example"})])) == []
        )

    @pytest.mark.parametrize("name", ["notice", "notice_text", "notice_subject"])
    def test_plain_text_in_html_has_to_be_escaped(self, name: str) -> None:
        arguments = {"to": "a@b.example", "html_content": f"{{{{ {name} }}}}"}
        (problem,) = notifier_problems([Notice(notifier=SMTP, arguments=arguments)])
        assert "| e" in str(problem)
        arguments["html_content"] = "{{ notice_html }}"
        assert not list(notifier_problems([Notice(notifier=SMTP, arguments=arguments)]))
