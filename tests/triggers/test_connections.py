"""Airflow connections as the way into AWS, tried on moto over HTTP."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator

import pytest

from flagfall.dataset.feed import Feed, LakeAddress
from flagfall.errors import NotThere, StoreRefused
from flagfall.extras import ExtraMissing
from flagfall.landing.zone import LandingAddress
from flagfall.scoring import server_tokens as tokens
from flagfall.stores import aws, open_store
from flagfall.triggers import MarkerFeedTrigger, connections
from tests.s3 import S3Server
from tests.test_docs import S3

ROLE = "arn:aws:iam::123456789012:role/flagfall"


@pytest.fixture
def connection(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A connection with keys of its own, where the environment has none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    extra = {"endpoint_url": s3.url, "region_name": "us-east-1"}
    plain = {"conn_type": "aws", "login": "partner", "password": "s3cr3t", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_PARTNER", json.dumps(plain))
    connections.use()
    yield "aws_partner"
    aws.forget("aws_partner")


def test_a_store_is_reached_by_an_airflow_connection(connection: str, bucket: str) -> None:
    store = open_store(f"s3://{bucket}/lake", connection)
    assert store.create("a", b"1")
    assert store.read("a", 10) == b"1"


def test_its_queue_is_reached_by_the_same(connection: str, s3: S3Server) -> None:
    url = s3.make_queue("by-connection")
    assert "Messages" not in aws.client(connection, "sqs").receive_message(QueueUrl=url)


def test_a_connection_may_assume_a_role(
    connection: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    (shown,) = (line for line in S3.splitlines() if line.startswith("export AIRFLOW_CONN_"))
    plain = json.loads(shown.partition("=")[2].strip("'"))
    assert plain["extra"]["role_arn"] == ROLE
    plain["extra"] |= {"endpoint_url": s3.url, "service_config": {"sts": {"endpoint_url": s3.url}}}
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_ROLE", json.dumps({**plain, "login": "partner", "password": "s3cr3t"})
    )
    assert open_store(f"s3://{bucket}/lake", "aws_role").create("a", b"1")
    credentials = aws.account("aws_role").session.get_credentials().get_frozen_credentials()
    assert credentials.token, "those of the role, not those of the connection"


def test_a_connection_that_is_not_there_is_said(s3: S3Server) -> None:
    connections.use()
    with pytest.raises(StoreRefused, match="no such Airflow connection"):
        open_store("s3://bucket/lake", "no_such_connection").stat("a")


def test_a_trigger_carries_the_name_of_a_connection_and_no_secret(connection: str) -> None:
    address = LandingAddress(uri="s3://bucket/landing", marker="{d}/_SUCCESS", conn_id=connection)
    feed = Feed(dataset="toy", landing=address, lake=LakeAddress(uri="s3://bucket/lake"))
    trigger = MarkerFeedTrigger.of(feed)
    assert "s3cr3t" not in json.dumps(trigger.serialize())


def test_it_is_looked_up_once_and_not_in_the_thread_of_who_opens_a_store(
    connection: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[int] = []
    real = connections.account

    def noted(conn_id: str) -> aws.Account:
        looked_up.append(threading.get_ident())
        return real(conn_id)

    aws.look_up_with(noted)
    stores = [open_store(f"s3://{bucket}/{n}", connection) for n in range(3)]
    assert looked_up == []
    worker = threading.Thread(target=lambda: [store.stat("a") for store in stores])
    worker.start()
    worker.join()
    assert looked_up == [worker.ident]
    connections.use()


def test_a_token_is_the_password_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connections.use()
    monkeypatch.setenv("AIRFLOW_CONN_SCORING", '{"conn_type": "http", "password": "s3cr3t"}')
    assert tokens.token("scoring") == "s3cr3t"
    monkeypatch.setenv("AIRFLOW_CONN_SCORING", '{"conn_type": "http"}')
    with pytest.raises(NotThere, match="no password in Airflow connection 'scoring'"):
        tokens.token("scoring")
    monkeypatch.delenv("AIRFLOW_CONN_SCORING")
    with pytest.raises(NotThere, match="no Airflow connection 'scoring'; make one whose password"):
        tokens.token("scoring")


def test_without_the_amazon_provider_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.amazon.aws.hooks.base_aws", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'flagfall\[airflow\]'"):
        connections.account("aws_partner")
