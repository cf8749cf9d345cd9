"""Who is told, and what Airflow shows, by real runs of Airflow's with a mail server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flagfall.dags import pipelines
from flagfall.watch.heartbeat import WatcherState
from tests.dags.one_run import run_dag
from tests.feeds import ToyFeed, make_toy
from tests.scored import POISON, make_scored_toy
from tests.smtp import Mailbox, smtp_server

pytestmark = [pytest.mark.timeout(300)]

SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
MAIL = "{to: t@example.com, from_email: u@example.com}"
NOTIFY = f"notify: [{{notifier: {SMTP}, arguments: {MAIL}}}]"
BAD = "nonsense\n"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with smtp_server() as box:
        yield box


def run(toy: ToyFeed, box: Mailbox, dag: str = "toy_pipeline") -> dict[str, Any]:
    base = {"AIRFLOW__API__BASE_URL": "https://airflow.example"}
    where = {"AIRFLOW_CONN_SMTP_DEFAULT": box.connection, **base}
    return run_dag(toy.root / "datasets", dag=dag, **where)


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

    def test_a_lake_that_is_away_is_told(self, tmp_path: Path, box: Mailbox) -> None:
        toy = make_toy(tmp_path, more=NOTIFY)
        (toy.root / "lake").write_text("a file where the lake should be")
        assert run(toy, box, "flagfall_watchman")["run"] == "success"
        (html,) = box.html()
        assert "the storage cannot be reached from here" in html

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
