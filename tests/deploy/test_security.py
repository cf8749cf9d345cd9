"""What docs/security.md says of rights and secrets is tried."""

from __future__ import annotations

import json
import re
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.amazon.aws.log.s3_task_handler import S3RemoteLogIO
from sqlalchemy.engine import make_url

from flagfall.cli.feed_status import status
from flagfall.dataset.loader import read_dataset
from flagfall.errors import StoreRefused
from flagfall.lake.rolling_up import WORTH_IT
from flagfall.pages.batch import batch_page
from flagfall.pages.feed import Filter, feed_page
from flagfall.pages.lakes import Lakes
from flagfall.pages.reports import name_of, report
from flagfall.publish import publish
from flagfall.report.run import report_run
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import open_store
from flagfall.triggers.markers import MarkerFeedTrigger
from tests.deploy.cluster import DEPLOY, environment, values
from tests.pages.test_pages import ref
from tests.s3 import S3Server
from tests.test_docs import blocks
from tests.test_s3_readme import LAKE, LANDING, buckets, drop, feed, rights

__all__ = ["buckets"]  # a fixture
PAGE = (DEPLOY.parent / "docs/security.md").read_text()
POLICY, OF_API_SERVER, OF_LOGS = (json.loads(block) for block in blocks(PAGE, "json"))
WITHOUT_ROLLUPS = json.dumps(POLICY).replace("*.jsonl.gz", "*.json")


@pytest.mark.usefixtures("buckets")
class TestRightsOfTheTriggerer:
    async def test_they_are_enough_to_announce_and_to_leave_its_signs(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drop(tmp_path)
        inbox, dataset = feed(tmp_path), read_dataset(tmp_path / "toy.yaml")
        (marker,) = inbox.pending()
        run_stage("ingest", dataset, inbox, [Delivery(marker)])
        (tmp_path / "rows/rows.csv").write_text("id,value\n2,1.5\n")
        drop_again(tmp_path)
        with rights(s3, monkeypatch, POLICY):
            async with aclosing(MarkerFeedTrigger.of(inbox.feed).run()) as events:
                event = await anext(events)
        assert "date=2026-11-02" in str(event.payload)
        lake = open_store(f"{LAKE}/toy")
        for sign in ("watch.json", "watermark.json"):
            assert json.loads(lake.read(sign, 10_000)), sign

    @pytest.mark.parametrize("policy", [POLICY, json.loads(WITHOUT_ROLLUPS)], ids=["all", "before"])
    def test_they_are_enough_to_ask_what_it_sees(
        self, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: dict[str, Any]
    ) -> None:
        """Those of earlier releases have no right to rollups; they are a cache."""
        drop(tmp_path)
        inbox, dataset = feed(tmp_path), read_dataset(tmp_path / "toy.yaml")
        for day in range(2, 2 + WORTH_IT):
            publish(tmp_path / "rows", f"{LANDING}/date=2026-11-{day:02}")
        markers = inbox.pending()
        run_stage("ingest", dataset, inbox, [Delivery(marker) for marker in markers])
        report_run(dataset, inbox, "run", markers)
        assert list(open_store(f"{LAKE}/toy").names("rollups"))
        with rights(s3, monkeypatch, policy):
            found = status(dataset, feed(tmp_path))
        assert found.error is None
        assert found.kept is not None
        assert len(found.kept.receipts) == len(markers)

    def test_with_them_no_output_of_a_batch_can_be_read_or_written(
        self, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lake = f"{LAKE}/toy"
        open_store(lake).put("staged/a.parquet", b"rows")
        with rights(s3, monkeypatch, POLICY):
            for key in ("staged/b.parquet", "receipts/landed=2026-11-22/x.json"):
                with pytest.raises(StoreRefused, match="access denied"):
                    open_store(lake).put(key, b"")
            with pytest.raises(StoreRefused, match="access denied"):
                open_store(lake).read("staged/a.parquet", 10)
            with pytest.raises(StoreRefused, match="access denied"):
                open_store(LANDING).put("x", b"")


@pytest.mark.usefixtures("buckets")
def test_the_api_server_may_show_all_of_a_feed_and_write_nothing(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(tmp_path)
    inbox, dataset = feed(tmp_path), read_dataset(tmp_path / "toy.yaml")
    (marker,) = inbox.pending()
    run_stage("ingest", dataset, inbox, [Delivery(marker)])
    told = report_run(dataset, inbox, "run", [marker])
    shown, now, lakes = ref(dataset), datetime.now(UTC), Lakes()
    with rights(s3, monkeypatch, OF_API_SERVER):
        of_feed = feed_page(lakes, shown, now, Filter())
        of_batch = batch_page(
            lakes, shown, marker.landed_at.date().isoformat(), marker.batch_id, now
        )
        of_report = report(lakes, shown, name_of(str(told["key"])))
        assert [bool(of_feed.rows), bool(of_batch.found), bool(of_report.value)] == [True] * 3
        for key in ("receipts/replays/x.json", "ledger.json", "feeds.json"):
            with pytest.raises(StoreRefused, match="access denied"):
                open_store(f"{LAKE}/toy").put(key, b"")


@pytest.mark.usefixtures("buckets")
def test_a_log_is_uploaded_and_added_to(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    text, home = json.dumps(OF_LOGS).replace("our-bucket", "our-lake"), "s3://our-lake/logs"
    remote = partial(S3RemoteLogIO, home, base_log_folder=tmp_path, delete_local_copy=True)
    with rights(s3, monkeypatch, json.loads(text)):
        logs = remote()
        assert [logs.write(line, f"{home}/attempt=1.log") for line in "ab"] == [True, True]
        assert logs.s3_read(f"{home}/attempt=1.log") == "a\nb"
    with rights(s3, monkeypatch, json.loads(text.replace(', "s3:PutObject"', ""))):
        logs = remote()  # of the API server
        assert logs.read("attempt=1.log", None) == ([f"{home}/attempt=1.log"], ["a\nb"])
        assert not logs.write("c", f"{home}/attempt=1.log", max_retry=0)


def drop_again(root: Path) -> None:
    publish(root / "rows", f"{LANDING}/date=2026-11-02")


class TestSecrets:
    def test_the_page_makes_every_secret_that_the_values_name(self) -> None:
        chosen = values()
        named = {v for k, v in chosen.items() if k.endswith("SecretName")}
        named.add(chosen["data"]["metadataSecretName"])
        made = set(re.findall(r"create secret generic (\S+)", PAGE))
        assert len(named) == 4
        assert made == named

    @pytest.mark.parametrize(
        "file", ["docs/security.md", "docs/kubernetes.md", "deploy/compose.yaml"]
    )
    def test_a_url_of_the_database_names_a_driver_that_is_there(self, file: str) -> None:
        """SQLAlchemy's own for ``postgresql://`` is psycopg 3, which no lock file of ours has."""
        urls = re.findall(r"postgresql[+\w]*(?=://)", (DEPLOY.parent / file).read_text())
        assert urls
        for url in urls:
            assert make_url(f"{url}://").get_dialect().import_dbapi().paramstyle == "pyformat"

    def test_the_page_names_the_roles_that_the_values_name(self) -> None:
        roles = set(re.findall(r":role/([\w-]+)", (DEPLOY / "helm/values.yaml").read_text()))
        assert len(roles) == 3
        assert roles == set(re.findall(r"^\| `(flagfall-[\w-]+)` \|", PAGE, re.MULTILINE))

    def test_the_page_says_where_data_is_if_the_values_are_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = environment()
        monkeypatch.setenv("FLAGFALL_DATA", given["FLAGFALL_DATA"])
        dataset = read_dataset(DEPLOY.parent / "datasets/flights.yaml")
        for uri in (dataset.landing.uri, dataset.lake.uri):
            bucket, _, prefix = uri.removeprefix("s3://").partition("/")
            assert f"| `{bucket}`, prefix `{prefix}/` |\n" in PAGE
        logs = given["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"]
        assert f"arn:aws:s3:::{logs.removeprefix('s3://')}/*" in PAGE

    def test_the_connections_prefix_is_the_one_of_the_values(self) -> None:
        given = json.loads(values()["config"]["secrets"]["backend_kwargs"])
        assert f"`{given['connections_prefix']}/<conn_id>`" in PAGE


def test_no_file_that_is_deployed_has_a_secret_in_it() -> None:
    """Neither a key of AWS nor a private key nor a password in an address."""
    secret = re.compile(r"AKIA[A-Z0-9]{16}|BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:${]+:[^@\s${]+@")
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.name != ".env"]
    assert len(files) > 10
    assert [path.name for path in files if secret.search(path.read_text())] == []
