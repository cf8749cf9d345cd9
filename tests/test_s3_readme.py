"""What the page on S3 says is tried: rights, notifications, connection."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.errors import AccessDenied, StoreRefused
from flagfall.inbox.claim import claim
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.replays import Wish, hand_out_again, plan_replay
from flagfall.lake.records import Receipt
from flagfall.publish import publish
from flagfall.report.run import report_run
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import aws, forget_stores, open_store
from flagfall.stores.sqs import changes
from flagfall.upkeep.run import do_upkeep, plan_upkeep
from tests.feeds import BY_DAY, TOY, Clock
from tests.s3 import S3Server
from tests.test_docs import S3, blocks

POLICY, QUEUE, NOTIFICATION = (json.loads(block) for block in blocks(S3, "json"))
LANDING, LAKE = "s3://partner-drop/flights", "s3://our-lake/flagfall"


@contextmanager
def rights(s3: S3Server, monkeypatch: pytest.MonkeyPatch, policy: dict[str, Any]) -> Iterator[None]:
    """Be a user who has this policy and no other rights.

    Where AWS wants ``s3:DeleteObject`` on each object of a ``DeleteObjects``, moto wants it on the
    bucket.
    """
    iam = s3.client("iam")
    if "s3:DeleteObject" in json.dumps(policy):
        on_bucket = {
            "Effect": "Allow",
            "Action": "s3:DeleteObject",
            "Resource": "arn:aws:s3:::our-lake",
        }
        policy = {**policy, "Statement": [*policy["Statement"], on_bucket]}
    name = f"user-{len(iam.list_users()['Users'])}"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    forget_stores()
    aws.forget("")
    authorise_after(s3, "0")
    try:
        yield
    finally:
        authorise_after(s3, "inf")


def authorise_after(s3: S3Server, requests: str) -> None:
    request = urllib.request.Request(f"{s3.url}/moto-api/reset-auth", requests.encode())
    request.add_header("Content-Type", "text/plain")
    urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture
def buckets(s3: S3Server) -> Iterator[None]:
    """The two buckets of the page, gone afterwards."""
    made = [s3.make_bucket(name, "eu-west-1") for name in ("partner-drop", "our-lake")]
    yield
    for bucket in made:
        for entry in s3.client().list_objects_v2(Bucket=bucket).get("Contents", []):
            s3.client().delete_object(Bucket=bucket, Key=entry["Key"])
        s3.client().delete_bucket(Bucket=bucket)


def feed(root: Path) -> Inbox:
    text = TOY.format(root=root, marker="datapackage.json", more=BY_DAY)
    text = text.replace(f"{root}/landing", LANDING).replace(f"{root}/lake", LAKE)
    (root / "toy.yaml").write_text(text)
    return Inbox(Feed.of(read_dataset(root / "toy.yaml")))


def drop(root: Path) -> None:
    (root / "rows").mkdir()
    (root / "rows" / "rows.csv").write_text("id,value\n1,0.5\n")
    publish(root / "rows", f"{LANDING}/date=2026-11-01")


def ingest(root: Path) -> Receipt:
    inbox, dataset = feed(root), read_dataset(root / "toy.yaml")
    ((marker,),) = claim(inbox, dataset).shards
    run_stage("ingest", dataset, inbox, [Delivery(marker)])
    found = inbox.receipts.find(marker)
    assert found is not None
    return found


@pytest.mark.usefixtures("buckets")
class TestRights:
    def test_the_policy_is_enough_from_marker_to_report(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drop(tmp_path)
        with rights(s3, monkeypatch, POLICY):
            inbox = feed(tmp_path)
            dataset = read_dataset(tmp_path / "toy.yaml")
            (shard,) = claim(inbox, dataset).shards
            (done,) = run_stage("ingest", dataset, inbox, [Delivery(shard[0])])
            assert done.status == "accepted"
            assert report_run(dataset, inbox, "run", [shard[0]])["key"]
            assert inbox.replay(done.marker.batch_id) in inbox.pending()

    @pytest.mark.invariant(4)
    def test_with_it_the_landing_zone_cannot_be_written(
        self, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with rights(s3, monkeypatch, POLICY):
            with pytest.raises(StoreRefused, match="access denied"):
                open_store(LANDING).put("x", b"")
            with pytest.raises(StoreRefused, match="access denied"):
                open_store("s3://partner-drop/other").read("x", 10)

    @pytest.mark.invariant(4)
    def test_upkeep_of_the_landing_zone_needs_the_right_that_the_page_names(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drop(tmp_path)
        clock = Clock()
        feed(tmp_path)
        file = tmp_path / "toy.yaml"
        file.write_text(file.read_text().replace("settle: 1s", "settle: 1s, after_receipt: delete"))
        dataset = read_dataset(file)

        def maintain() -> int:
            inbox = Inbox(Feed.of(dataset), clock)
            done = do_upkeep(dataset, inbox, plan_upkeep(dataset, inbox))
            done.check()
            return done.to_dict()["landing"]["batches"]

        keys = set(open_store(LANDING).names("date=2026-11-01"))
        more = {
            "Effect": "Allow",
            "Action": "s3:DeleteObject",
            "Resource": ["arn:aws:s3:::partner-drop", "arn:aws:s3:::partner-drop/flights/*"],
        }
        with rights(s3, monkeypatch, POLICY):
            inbox = Inbox(Feed.of(dataset))
            ((marker,),) = claim(inbox, dataset).shards
            run_stage("ingest", dataset, inbox, [Delivery(marker)])
            clock.advance(timedelta(days=8))
            with pytest.raises(AccessDenied, match="s3:DeleteObject"):
                maintain()
        assert set(open_store(LANDING).names("date=2026-11-01")) == keys
        with rights(s3, monkeypatch, {**POLICY, "Statement": [*POLICY["Statement"], more]}):
            assert maintain() == 1
        assert list(open_store(LANDING).names("date=2026-11-01")) == []

    def test_a_deletion_that_is_denied_is_said(
        self, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_store(LAKE).put("x", b"")
        less = json.loads(json.dumps(POLICY).replace('"s3:DeleteObject", ', ""))
        denied = pytest.raises(AccessDenied, match="s3:DeleteObject")
        with rights(s3, monkeypatch, less), denied:
            open_store(LAKE).delete("x")

    @pytest.mark.invariant(5)
    def test_data_that_may_not_be_read_is_turned_away_and_can_be_handed_out_again(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drop(tmp_path)
        everything, markers = ":::partner-drop/flights/*", ":::partner-drop/flights/*.json"
        less = json.loads(json.dumps(POLICY).replace(everything, markers))
        with rights(s3, monkeypatch, less):
            rejected = ingest(tmp_path)
        assert (rejected.status, rejected.reason) == ("rejected", "not-readable")
        assert "s3:GetObject" in rejected.message
        with rights(s3, monkeypatch, POLICY):
            inbox = feed(tmp_path)
            plan = plan_replay(
                read_dataset(tmp_path / "toy.yaml"), inbox, Wish(reason="not-readable")
            )
            assert [one.batch_id for one in hand_out_again(inbox, plan)] != [rejected.batch_id]
            assert ingest(tmp_path).status == "accepted"

    @pytest.mark.invariant(1)
    def test_credentials_that_are_refused_turn_nothing_away(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drop(tmp_path)
        inbox = feed(tmp_path)
        (marker,) = inbox.pending()

        def refuse(*_: object) -> None:
            raise StoreRefused(LANDING, "the credentials are not accepted")

        for method in ("read", "fetch"):
            with monkeypatch.context() as broken:
                broken.setattr(inbox.landing.store, method, refuse)
                with pytest.raises(StoreRefused, match="not accepted"):
                    run_stage(
                        "ingest", read_dataset(tmp_path / "toy.yaml"), inbox, [Delivery(marker)]
                    )
        assert feed(tmp_path).pending() == [marker]

    @pytest.mark.parametrize("missing", ["s3:ListBucket", "s3:GetObject", "s3:PutObject"])
    def test_without_one_of_them_it_says_which_are_needed(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
    ) -> None:
        drop(tmp_path)
        less = json.loads(json.dumps(POLICY).replace(f'"{missing}"', '"s3:GetBucketAcl"'))
        with rights(s3, monkeypatch, less), pytest.raises(StoreRefused, match=missing):
            ingest(tmp_path)


@pytest.mark.usefixtures("buckets")
def test_the_notification_tells_the_queue_of_markers_and_of_nothing_else(s3: S3Server) -> None:
    import boto3

    session = boto3.Session("testing", "testing", region_name="eu-west-1")
    sqs = session.client("sqs", endpoint_url=s3.url)
    url = sqs.create_queue(QueueName="flights-markers")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes=QUEUE)
    s3.client().put_bucket_notification_configuration(
        Bucket="partner-drop", NotificationConfiguration=NOTIFICATION
    )
    for key in ("flights/date=1/rows.csv", "flights/date=1/datapackage.json", "x/datapackage.json"):
        s3.client().put_object(Bucket="partner-drop", Key=key)
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    told = [change.key for message in messages for change in changes(message["Body"])]
    assert told == ["flights/date=1/datapackage.json"]


def test_terraform_and_the_command_say_the_same() -> None:
    (terraform,) = blocks(S3, "hcl")
    (wanted,) = NOTIFICATION["QueueConfigurations"]
    values = {rule["Name"]: rule["Value"] for rule in wanted["Filter"]["Key"]["FilterRules"]}
    assert re.search(r'filter_prefix = "(.*)"', terraform)[1] == values["prefix"]  # type: ignore[index]
    assert re.search(r'filter_suffix = "(.*)"', terraform)[1] == values["suffix"]  # type: ignore[index]
    assert json.dumps(wanted["Events"]) in terraform


def test_the_two_lines_of_the_readme_make_a_feed(tmp_path: Path) -> None:
    text = TOY.format(root=tmp_path, marker="x", more='arrival: {partition: {date: "%Y-%m-%d"}}')
    kept = [line for line in text.splitlines() if not line.startswith(("landing", "lake"))]
    (lines,) = (block for block in blocks(S3, "yaml") if "s3://" in block)
    (tmp_path / "flights.yaml").write_text("\n".join([*kept, lines]))
    dataset = read_dataset(tmp_path / "flights.yaml")
    assert (dataset.landing.uri, dataset.landing.conn_id) == (LANDING, "aws_partner")
    assert dataset.since == "date=%Y-%m-%d"
