from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from flagfall.errors import AccessDenied
from flagfall.operators.callbacks import on_failure, on_retry
from tests.feeds import ToyFeed, make_toy

MARKER = {"marker": {"uri": "/landing/date=2026-11-01/_SUCCESS"}}


def context(**more: Any) -> dict[str, Any]:
    return {
        "ti": SimpleNamespace(task_id="ingest_data"),
        "task": SimpleNamespace(batches=[MARKER]),
        "run_id": "run-1",
        "exception": OSError("disk is full"),
        **more,
    }


def test_a_failure_says_dataset_batch_cause_and_next_step(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture
) -> None:
    on_failure(toy.dataset)(context())  # type: ignore[arg-type]  # the part that is used
    said = caplog.messages[-1]
    assert said == (
        "toy: ingest_data of /landing/date=2026-11-01/_SUCCESS in run run-1"
        " (OSError: disk is full) failed: mend the cause and clear the task,"
        " or `flagfall replay toy BATCH`"
    )


def test_a_claim_that_cannot_reach_the_storage_says_that_nothing_is_lost(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture
) -> None:
    claim = context(
        ti=SimpleNamespace(task_id="claim"),
        task=SimpleNamespace(),
        exception=AccessDenied("s3://partner/landing", "access denied"),
    )
    on_failure(toy.dataset)(claim)  # type: ignore[arg-type]  # the part that is used
    assert caplog.messages[-1] == (
        "toy: claim of no batch yet in run run-1"
        " (AccessDenied: s3://partner/landing: access denied) failed: mend the cause; nothing is"
        " lost, and what is pending then is taken in by itself. `flagfall status toy` shows what"
        " the watcher sees"
    )


def test_names_cannot_steer_a_terminal_nor_begin_a_line(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture
) -> None:
    name = "/landing/a\x1b[2K\n2026-11-28 ERROR\u202e/_SUCCESS"
    batches = SimpleNamespace(batches=[{"marker": {"uri": name}}])
    on_failure(toy.dataset)(context(task=batches, exception=OSError(f"{name} vanished")))  # type: ignore[arg-type]  # the part that is used
    (said,) = caplog.messages
    assert said.isprintable()
    assert said.count(r"/landing/a\x1b[2K\n2026-11-28 ERROR\u202e/_SUCCESS") == 2


def test_a_retry_says_that_nothing_needs_to_be_done(
    toy: ToyFeed, caplog: pytest.LogCaptureFixture
) -> None:
    on_retry(toy.dataset)(context())  # type: ignore[arg-type]  # the part that is used
    assert "is tried again by itself" in caplog.messages[-1]


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """An SNS topic, and a queue that shows what is sent to it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        arn = boto3.client("sns").create_topic(Name="night-watch")["TopicArn"]
        queue = boto3.resource("sqs").create_queue(QueueName="night-watch")
        target = queue.attributes["QueueArn"]
        boto3.client("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=target)
        yield arn, queue


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_failure_goes_through_the_notifier_that_the_dataset_names(
    tmp_path: Path, topic: tuple[str, Any]
) -> None:
    arn, queue = topic
    toy = make_toy(
        tmp_path,
        more=f"""\
notify:
  - notifier: airflow.providers.amazon.aws.notifications.sns.SnsNotifier
    arguments:
      aws_conn_id: null
      target_arn: {arn}
      message: "{{{{ notice }}}}"
      subject: "{{{{ run_id }}}}"
""",
    )
    claim = context(ti=SimpleNamespace(task_id="claim"), task=SimpleNamespace(), dag=None)
    on_failure(toy.dataset)(claim)  # type: ignore[arg-type]  # the part that is used
    on_failure(toy.dataset)(claim)  # type: ignore[arg-type]  # the part that is used
    (sent,) = queue.receive_messages(MaxNumberOfMessages=10)
    assert "toy: failed: claim failed" in sent.body
    assert "flagfall replay toy BATCH" in sent.body
