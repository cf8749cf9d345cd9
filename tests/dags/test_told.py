"""Who is told, and what Airflow shows, by real runs of Airflow's with a mail server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from flagfall.dags import pipelines
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.ledger.board import read_board
from flagfall.operators.watchman import WatchmanOperator
from flagfall.operators.work import watching as watchman
from flagfall.stores import open_store
from flagfall.verdict.facts import Facts
from flagfall.verdict.verdict import Verdict
from flagfall.watch.heartbeat import WatcherState
from tests.dags.one_run import run_dag
from tests.feeds import ToyFeed, make_toy
from tests.scored import POISON, make_scored_toy
from tests.smtp import Mailbox, smtp_server

SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
MAIL = "{to: t@example.com, from_email: u@example.com}"
NOTIFY = f"notify: [{{notifier: {SMTP}, arguments: {MAIL}}}]"
BAD = "nonsense\n"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with smtp_server() as box:
        yield box


def run(toy: ToyFeed, box: Mailbox, dag: str = "toy_pipeline", times: int = 1) -> dict[str, Any]:
    base = {"AIRFLOW__API__BASE_URL": "https://airflow.example"}
    where = {"AIRFLOW_CONN_SMTP_DEFAULT": box.connection, **base}
    return run_dag(toy.root / "datasets", dag=dag, times=times, **where)


def test_a_rejected_batch_is_seen_in_the_grid_in_the_log_and_in_the_mail(
    tmp_path: Path, box: Mailbox
) -> None:
    toy = make_scored_toy(tmp_path, more=NOTIFY)
    toy.drop("2026-11-01", BAD)
    ended = run(toy, box)
    assert set(ended["tasks"].values()) == {"success"}
    stages = ("ingest_data", "preprocess_data", "run_inference", "evaluate_results")
    assert ended["labels"] == {f"{stage}[0]": "2026-11-01: REJECTED" for stage in stages}
    assert "was rejected (columns): " in ended["log"]
    assert "toy: 1 rejected; receipts are in " in ended["log"]
    (mail,) = box.mails
    assert mail["subject"] == "toy: 2026-11-01 (columns) was rejected and not corrected since"
    assert 'href="https://airflow.example/dags/toy_pipeline/runs/' in box.html()[0]


def test_a_task_that_fails_is_one_mail_for_the_run(tmp_path: Path, box: Mailbox) -> None:
    toy = make_scored_toy(tmp_path, more=NOTIFY)
    toy.drop("2026-11-01", POISON)
    toy.drop("2026-11-02", BAD)
    ended = run(toy, box)
    assert (ended["run"], ended["tasks"]["generate_report"]) == ("failed", "failed")
    (html,) = box.html()
    assert "run_inference[0] failed" in html
    assert "2026-11-01 was accepted and is not evaluated" in html
    assert "2026-11-02 (columns) was rejected" in html
    run(toy, box, "flagfall_watchman")
    assert len(box.mails) == 1, "nothing is new, and nothing is over"


@pytest.fixture
def two(tmp_path: Path) -> ToyFeed:
    """The second of two feeds of one lake; the first is called aaa."""
    toy = make_toy(tmp_path)
    text = (tmp_path / "datasets/toy.yaml").read_text()
    (tmp_path / "datasets/aaa.yaml").write_text(text)
    return toy


def watching(toy: ToyFeed) -> dict[str, str]:
    """What the watchman's task does, without an Airflow."""
    with DAG("look_at_all", schedule=None):
        task = WatchmanOperator(task_id="look", datasets=toy.root / "datasets")
    instance = SimpleNamespace(
        task_id="look", xcom_pull=lambda **_: None, xcom_push=lambda **_: None
    )
    return task.execute({"ti": instance})  # type: ignore[typeddict-item]


class TestTheWatchman:
    def silent(self, toy: ToyFeed, ago: timedelta) -> None:
        then = datetime.now(UTC) - ago
        sign = WatcherState(
            state="watching", since=then, looked_at=then, every=300, host="somewhere", pid=7
        )
        toy.inbox().lake.store.put("watch.json", sign.model_dump_json().encode())

    def test_it_tells_once_that_nobody_watches(self, tmp_path: Path, box: Mailbox) -> None:
        toy = make_toy(tmp_path, more=NOTIFY)
        self.silent(toy, timedelta(hours=1))
        for _ in range(2):
            ended = run(toy, box, "flagfall_watchman")
            assert (ended["run"], ended["tasks"]) == ("success", {"look": "success"})
        (mail,) = box.mails
        assert mail["subject"].startswith("toy: nobody watches: no sign since ")
        assert "start a triggerer and unpause toy_pipeline" in box.html()[0]

    def test_a_lake_that_is_away_is_told_once_however_often_it_runs(
        self, tmp_path: Path, box: Mailbox
    ) -> None:
        toy = make_toy(tmp_path, more=NOTIFY)
        (toy.root / "lake").write_text("a file where the lake should be")
        ended = run(toy, box, "flagfall_watchman", times=4)
        assert ended["run"] == "success", ended["log"]
        (html,) = box.html()
        assert "the storage cannot be reached from here" in html

    def test_a_feed_that_cannot_be_looked_at_silences_no_other(
        self, two: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judge = watchman.judge

        def broken(dataset: Dataset, facts: Facts) -> Verdict:
            if dataset.name == "aaa":
                raise LookupError("a mistake in the code")
            return judge(dataset, facts)

        monkeypatch.setattr(watchman, "judge", broken)
        with pytest.raises(ExceptionGroup, match="the others were"):
            watching(two)
        assert two.inbox().lake.store.stat("ledger.json")

    def test_a_lake_that_hangs_holds_up_no_other_feed(
        self, two: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look, over = watchman.look, Event()

        def hanging(dataset: Dataset, inbox: Inbox) -> Facts:
            if dataset.name == "aaa":
                over.wait()
            return look(dataset, inbox)

        monkeypatch.setattr(watchman, "look", hanging)
        monkeypatch.setattr(watchman, "LOOKED_WITHIN", 5.0)
        with pytest.raises(ExceptionGroup, match="the others were") as caught:
            watching(two)
        assert "aaa: no answer within 5 s" in str(caught.value.exceptions[0])
        assert two.inbox().lake.store.stat("ledger.json")
        over.set()

    def test_feeds_are_told_of_side_by_side(
        self, two: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One by one, ten feeds whose chat hangs would take longer than the task may."""
        at_once = Barrier(2)
        monkeypatch.setattr(watchman, "tell", lambda *_: bool(at_once.wait(60) + 1))
        assert watching(two) == {"aaa": "unknown", "toy": "unknown"}

    def test_a_dataset_file_that_cannot_be_read_is_an_error_that_names_it(
        self, two: ToyFeed
    ) -> None:
        file = two.root / "datasets/aaa.yaml"
        good = file.read_text()
        file.write_text("title: [")
        with pytest.raises(ExceptionGroup, match="the others were") as caught:
            watching(two)
        assert str(file) in str(caught.value.exceptions[0])
        lake = open_store(two.dataset.lake.uri)
        (why,) = read_board(lake).unreadable["look_at_all"].values()
        assert "expected YAML" in why
        assert set(read_board(lake).feeds) == {"toy"}
        file.write_text(good)
        watching(two)
        assert not read_board(lake).unreadable["look_at_all"]
        assert set(read_board(lake).feeds) == {"aaa", "toy"}

    def test_it_looks_at_every_feed_and_starts_unpaused(self, tmp_path: Path) -> None:
        folder = tmp_path / "datasets"
        folder.mkdir()
        assert pipelines(folder) == {}
        make_toy(tmp_path)
        found = pipelines(folder)
        assert set(found) == {"toy_pipeline", "flagfall_watchman"}
        assert found["flagfall_watchman"].is_paused_upon_creation is False
        assert set(pipelines(folder, watchman="night")) == {"toy_pipeline", "night"}
        assert set(pipelines(folder, watchman="")) == {"toy_pipeline"}
