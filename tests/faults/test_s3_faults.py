"""Nothing lost, nothing twice, though S3 fails as S3 and networks fail.

A producer, the watch loop, the claim and ingest reach S3 through a proxy that does harm. What
became of it is read past the proxy, with boto3 and polars alone, and three lists are compared: what
landed, receipts, and staged rows in the current view.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import boto3
import polars as pl
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from flagfall.dataset.loader import read_dataset
from flagfall.errors import StoreError, StoreRefused, StoreUnavailable
from flagfall.inbox.claim import claim
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.marker import Marker
from flagfall.publish import publish
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import aws, forget_stores
from flagfall.stores import backoff as backoffs
from flagfall.stores import sqs as queue
from flagfall.stores.s3 import S3Store
from flagfall.watch.loop import News, Timing, announcements
from tests.faults.s3_proxy import S3Proxy, Seen
from tests.feeds import BY_DAY, S3Feed, make_s3_toy
from tests.patience import SOON
from tests.s3 import S3Server

BATCHES = 6
ROWS = 40
TRIES = 4
"""As ``retries: 3`` of the pipeline's DAG."""
DEADLINE = 50.0
"""Seconds until everything must have a receipt; a quiet machine takes a tenth."""
TIMING = Timing(sweep_every=0.3, redeliver_after=0.5)
WINDOWS = ("AccessDenied", "InvalidAccessKeyId", "ExpiredToken", "RequestTimeTooSkewed")


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """A proxy in front of S3, to which the environment leads.

    Silence is given up after 1 s (really 30 s), a request is repeated once (three times) after
    10 ms (100 ms), and the watch loop pauses for 0.5 s at most (60 s), so that more of the harm is
    felt in less time.
    """
    with S3Proxy(s3.url) as found:
        second, moment = timedelta(seconds=1), timedelta(milliseconds=10)
        backoff = {"init_backoff": moment, "max_backoff": moment, "base": 2}
        retries = {"max_retries": 1, "retry_timeout": second, "backoff": backoff}
        monkeypatch.setattr(aws, "TIMEOUTS", dict.fromkeys(aws.TIMEOUTS, second))
        monkeypatch.setattr(aws, "RETRIES", retries)
        monkeypatch.setattr(backoffs, "LONGEST_BACKOFF", 0.5)
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        aws.forget("")
        yield found
        forget_stores()
        aws.forget("")


@pytest.fixture
def feed(tmp_path: Path, bucket: str, proxy: S3Proxy) -> S3Feed:
    return make_s3_toy(tmp_path, bucket, f"{BY_DAY}watch: {{full_sweep_every: 2s}}\n")


async def _soon(seconds: float) -> None:
    """The watch's pauses while something is out of reach, shortened."""
    await asyncio.sleep(seconds / 10)


@dataclass(eq=False)
class Truth:
    """What is in the bucket, read past the proxy and without Flagfall's stores."""

    s3: S3Server
    bucket: str

    def keys(self, prefix: str) -> dict[str, dict[str, Any]]:
        pages = self.s3.client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.bucket, Prefix=prefix)
        return {one["Key"]: one for page in found for one in page.get("Contents", [])}

    def content(self, key: str) -> bytes:
        return bytes(self.s3.client().get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def landing(self) -> dict[str, tuple[bytes, str]]:
        """Content and time of everything in the landing zone."""
        found = self.keys("landing/")
        return {key: (self.content(key), str(one["LastModified"])) for key, one in found.items()}

    def landed(self, marker: str) -> set[tuple[str, str]]:
        """URI and version of every marker that is there."""
        found = self.keys("landing/").items()
        markers = [(key, one) for key, one in found if key.endswith(f"/{marker}")]
        return {
            (
                f"s3://{self.bucket}/{key}",
                f"{one['ETag'].strip(chr(34))}-{int(one['LastModified'].timestamp())}",
            )
            for key, one in markers
        }

    def receipts(self) -> list[Receipt]:
        keys = self.keys("lake/toy/receipts/landed=")
        return [Receipt.model_validate_json(self.content(key)) for key in keys]

    def rows(self) -> list[tuple[int, float]]:
        """Every staged row that counts."""
        return [row for one in current_view(self.receipts()) for row in self._rows(one.batch_id)]

    def _rows(self, batch_id: str) -> list[tuple[int, float]]:
        folder = f"lake/toy/staged/{batch_id}"
        staged = Staged.model_validate_json(self.content(f"{folder}/record.json"))
        parts = (self.content(f"{folder}/{part.name}") for part in staged.parts)
        return [row for part in parts for row in _table(part)]


def _table(part: bytes) -> list[tuple[int, float]]:
    return pl.read_parquet(BytesIO(part)).select("id", "value").rows()


def rows_of(batch: int, version: int = 1) -> list[tuple[int, float]]:
    return [(batch * 1000 + n, batch + version / 8) for n in range(ROWS)]


def text_of(batch: int, version: int = 1) -> str:
    lines = (f"{number},{value}\n" for number, value in rows_of(batch, version))
    return "id,value\n" + "".join(lines)


def day_of(batch: int) -> str:
    """Late ones and ones of days to come, in turn."""
    back = timedelta(days=batch if batch % 2 else -batch)
    return str((datetime.now(UTC) - back).date())


@dataclass(eq=False)
class Campaign:
    """A producer and a pipeline, run as people and Airflow run them.

    Attributes:
        marker: File name of the markers.
        failures: What was raised, by its class.
        landed_as: What the producer has told to be complete, by batch.
    """

    feed: S3Feed
    truth: Truth
    marker: str = "datapackage.json"
    failures: Counter[str] = field(default_factory=Counter)
    landed_as: dict[int, int] = field(default_factory=dict)

    def publish(self, batch: int, version: int = 1) -> None:
        """``flagfall publish``, again and again until it says that it has."""
        folder = self.feed.root / "producer" / day_of(batch)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rows.csv").write_text(text_of(batch, version))
        uri = f"{self.feed.dataset.landing.uri}/date={day_of(batch)}"
        while self._failed(lambda: publish(folder, uri)):
            pass
        self.landed_as[batch] = version

    def write(self, batch: int) -> None:
        """What Spark does: data, then an empty ``_SUCCESS``, neither with a size or a hash."""
        client, folder = self.truth.s3.client(), f"landing/date={day_of(batch)}"
        for name, content in (("rows.csv", text_of(batch)), ("_SUCCESS", "")):
            client.put_object(Bucket=self.feed.bucket, Key=f"{folder}/{name}", Body=content)
        self.landed_as[batch] = 1

    def _failed(self, do: Callable[[], object]) -> bool:
        try:
            do()
        except Exception as error:
            self._note(error)
            return True
        return False

    def _note(self, error: Exception) -> None:
        """Keep apart what is no error of a store: nothing else may come of what S3 does."""
        known = (kind for kind in (StoreRefused, StoreUnavailable) if isinstance(error, kind))
        self.failures[next(known, type(error)).__name__] += 1

    def run(self) -> None:
        """A run of the pipeline: a claim, and ingest of each shard, in processes of their own."""
        self.ingest(self.claim())

    def claim(self) -> tuple[tuple[Marker, ...], ...]:
        """What a run takes on; nothing where the claim failed."""
        taken = self.task(lambda: claim(self.feed.inbox(), self.feed.dataset))
        return taken.shards if taken else ()

    def ingest(self, shards: tuple[tuple[Marker, ...], ...]) -> None:
        for shard in shards:
            self.task(partial(self._ingest, [Delivery(marker) for marker in shard]))

    def _ingest(self, deliveries: list[Delivery]) -> None:
        run_stage("ingest", self.feed.dataset, self.feed.inbox(), deliveries)

    def task(self, do: Callable[[], Any]) -> Any:
        """A task of Airflow's: what it returns; ``None`` where it failed in the end."""
        for _ in range(TRIES):
            try:
                return do()
            except Exception as error:
                self._note(error)
                if isinstance(error, StoreRefused):
                    return None
        return None

    async def until_quiet(self) -> None:
        """Run the pipeline on what the watch loop announces until all that landed has a receipt."""
        announced = asyncio.Event()
        watching = asyncio.create_task(self._watch(announced))
        async with asyncio.timeout(DEADLINE):
            while not await asyncio.to_thread(self.is_quiet):
                with suppress(TimeoutError):
                    await asyncio.wait_for(announced.wait(), 0.5)
                if announced.is_set():
                    announced.clear()
                    await asyncio.to_thread(self.run)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    async def _watch(self, announced: asyncio.Event) -> None:
        async with aclosing(announcements(self.feed.inbox, TIMING, sleep=_soon)) as items:
            async for _ in items:
                announced.set()

    def is_quiet(self) -> bool:
        done = len(self.landed_as) >= BATCHES
        return done and self.truth.landed(self.marker) <= set(self.received())

    def received(self) -> Counter[tuple[str, str]]:
        found = self.truth.receipts()
        return Counter((one.marker.uri, one.marker.version) for one in found)

    def check(self) -> None:
        """0 lost, 0 twice, no good batch turned away; and no error that is not a store's."""
        received, landed = self.received(), self.truth.landed(self.marker)
        assert len(landed) == len(self.landed_as)
        assert landed - set(received) == set(), "lost"
        assert max(received.values()) == 1, "two receipts for one delivery"
        final = [r for r in self.truth.receipts() if (r.marker.uri, r.marker.version) in landed]
        assert [r.message for r in final if r.status == "rejected"] == []
        rows = Counter(self.truth.rows())
        expected = [row for one in self.landed_as.items() for row in rows_of(*one)]
        assert rows == Counter(expected), "rows are lost, or staged twice"
        assert set(self.failures) <= {"StoreUnavailable", "StoreRefused", "watch"}


@pytest.fixture
def campaign(feed: S3Feed, s3: S3Server, bucket: str) -> Campaign:
    return Campaign(feed, Truth(s3, bucket))


def in_success_files(campaign: Campaign) -> None:
    """Turn to empty markers, which promise neither sizes nor hashes."""
    path = campaign.feed.root / "datasets" / "toy.yaml"
    path.write_text(path.read_text().replace("datapackage.json", "_SUCCESS"))
    campaign.feed = replace(campaign.feed, dataset=read_dataset(path))
    campaign.marker = "_SUCCESS"


HARM: dict[str, tuple[float, tuple[str, ...]]] = {
    "500": (0.1, ("error500",)),
    "SlowDown": (0.1, ("slow_down503",)),
    "403 here and there": (0.1, ("denied403",)),
    "reset": (0.1, ("reset",)),
    "hang": (0.1, ("hang",)),
    "cut body": (0.1, ("cut_body",)),
    "late answer": (0.1, ("late_answer",)),
    "half of the answers late": (0.5, ("late_answer",)),
    "half of them throttled": (0.5, ("slow_down503",)),
    "all of it": (
        0.2,
        ("error500", "slow_down503", "denied403", "reset", "hang", "cut_body", "late_answer"),
    ),
}


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
@pytest.mark.parametrize("name", HARM)
async def test_nothing_is_lost_and_nothing_twice_from_producer_to_receipt(
    campaign: Campaign, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where half of all is harmed, a request is repeated three times, as really.

    Where answers never come, that is waited for for 0.4 s.
    """
    share, kinds = HARM[name]
    if share >= 0.5:
        monkeypatch.setitem(aws.RETRIES, "max_retries", 3)
    if "hang" in kinds:
        monkeypatch.setitem(aws.TIMEOUTS, "read_timeout", timedelta(seconds=0.4))
    proxy.set(share=share, kinds=kinds)
    producer = asyncio.create_task(asyncio.to_thread(published, campaign))
    await campaign.until_quiet()
    await producer
    campaign.check()
    counts = proxy.counts()
    assert all(counts.get(kind) for kind in kinds)


def published(campaign: Campaign) -> None:
    for batch in range(BATCHES - 1):
        campaign.publish(batch)
    campaign.publish(1, version=2)
    campaign.publish(BATCHES - 1)


@pytest.mark.parametrize("kind", ["cut_body", "short_body"])
async def test_half_a_file_is_never_taken_for_the_whole_where_nothing_promises_its_size(
    campaign: Campaign, proxy: S3Proxy, kind: str
) -> None:
    in_success_files(campaign)
    for batch in range(BATCHES):
        await asyncio.to_thread(campaign.write, batch)
    proxy.set(share=0.5, kinds=(kind,), only="^GET .*/rows.csv")
    await campaign.until_quiet()
    campaign.check()
    assert proxy.counts()[kind]


MOMENTS = {
    "before the claim": "",
    "between the claim and ingest": "",
    "before the marker is read": "^GET .*/datapackage.json",
    "between the marker and its file": "^HEAD .*/rows.csv",
    "within the file": "^GET .*/rows.csv",
    "between the staged output and the receipt": "^PUT .*/deliveries/",
    "before the receipt itself": "^PUT .*/receipts/",
}


@contextmanager
def opened(proxy: S3Proxy, at: str, window: str, only: str) -> Iterator[None]:
    """A window that opens with the first request that matches ``at``, and closes at the end.

    Args:
        proxy: The proxy.
        at: A pattern; empty: at once.
        window: S3's word.
        only: What is refused; empty: everything.
    """

    def before(method: str, target: str) -> None:
        if re.search(at, f"{method} {target}"):
            proxy.set(window=window, only=only)

    proxy.before = before
    before("", "")
    yield
    proxy.before = lambda method, target: None
    proxy.set(window="", only="")


@pytest.mark.invariant(1)
@pytest.mark.parametrize(
    ("window", "only"), [*((one, "") for one in WINDOWS), ("AccessDenied", "/landing/")]
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_no_good_batch_is_turned_away_while_everything_is_refused_for_a_while(
    campaign: Campaign, proxy: S3Proxy, moment: str, window: str, only: str
) -> None:
    campaign.publish(1)
    shards = () if moment == "before the claim" else campaign.claim()
    with opened(proxy, MOMENTS[moment], window, only):
        campaign.ingest(shards)
        campaign.run()
        assert [receipt.message for receipt in campaign.truth.receipts() if receipt.reason] == []
        assert proxy.settings.window == window, "that moment never came"
    campaign.run()
    campaign.check()


@pytest.mark.invariant(5)
def test_a_file_that_is_refused_while_all_else_is_not_is_its_producers_and_stays_where_it_is(
    campaign: Campaign, proxy: S3Proxy
) -> None:
    campaign.publish(1)
    campaign.publish(2)
    before = campaign.truth.landing()
    proxy.set(window="AccessDenied", only=f"/landing/date={day_of(1)}/rows.csv")
    campaign.run()
    campaign.run()  # a young batch that is not complete is left for the next one
    found = {one.marker.fields["date"]: one for one in campaign.truth.receipts()}
    assert (found[day_of(1)].reason, found[day_of(2)].status) == ("not-readable", "accepted")
    assert f"date={day_of(1)}/rows.csv: access denied; the role needs" in found[day_of(1)].message
    assert found[day_of(1)].message.endswith("; then write the marker again")
    assert campaign.truth.landing() == before


@pytest.mark.invariant(5)
@pytest.mark.parametrize("is_named", [True, False], ids=["in a manifest", "beside _SUCCESS"])
@pytest.mark.parametrize("word", ["InvalidRequest", "KMS.DisabledException"])
def test_a_file_whose_key_cannot_be_used_is_its_producers(
    campaign: Campaign, proxy: S3Proxy, word: str, is_named: bool
) -> None:
    if not is_named:
        in_success_files(campaign)
    give = campaign.publish if is_named else campaign.write
    give(1)
    give(2)
    proxy.set(window=word, only=f"/landing/date={day_of(1)}/rows.csv")
    campaign.run()
    campaign.run()
    found = {one.marker.fields["date"]: one for one in campaign.truth.receipts()}
    assert (found[day_of(1)].reason, found[day_of(2)].status) == ("not-readable", "accepted")
    assert "rows.csv: the object was encrypted with a key of its" in found[day_of(1)].message


def test_a_listing_that_is_refused_is_never_the_producers(
    campaign: Campaign, proxy: S3Proxy
) -> None:
    in_success_files(campaign)
    campaign.write(1)
    proxy.set(window="AccessDenied", only="^GET .*prefix=landing/date=")
    campaign.run()
    campaign.run()
    assert proxy.counts()["AccessDenied"]
    assert campaign.truth.receipts() == []
    proxy.set(window="")
    campaign.run()
    campaign.check()


@pytest.mark.parametrize("window", WINDOWS)
def test_a_file_that_is_refused_once_is_not_its_producers(
    campaign: Campaign, proxy: S3Proxy, window: str
) -> None:
    campaign.publish(1)
    proxy.set(window=window, only="^(GET|HEAD) .*/rows.csv", times=1)
    campaign.run()
    campaign.run()
    assert proxy.counts()[window] == 1
    campaign.check()


@pytest.mark.invariant(3)
@pytest.mark.parametrize("what", ["/staged/.*/record.json", "/deliveries/", "/receipts/"])
def test_what_is_written_though_the_answer_is_lost_is_found_and_counts(
    campaign: Campaign, proxy: S3Proxy, what: str
) -> None:
    campaign.publish(1)
    proxy.set(share=1.0, kinds=("late_answer",), only=f"^PUT .*{what}", times=2)
    campaign.run()
    assert proxy.counts()["late_answer"] in (1, 2)
    campaign.run()
    campaign.check()


LARGE = 9_000_000
"""Bytes: more than one part."""


@pytest.mark.parametrize("kind", ["late_answer", "cut_body", "reset", "error500"])
@pytest.mark.parametrize("method", ["upload", "put_file"])
def test_a_large_file_of_which_the_last_answer_is_lost_is_written_again_and_whole(
    campaign: Campaign, proxy: S3Proxy, tmp_path: Path, kind: str, method: str
) -> None:
    content = random.Random(1).randbytes(LARGE)
    store = S3Store(f"s3://{campaign.feed.bucket}/in")
    proxy.set(share=1.0, kinds=(kind,), only="^POST .*uploadId=", times=1)
    for _ in range(2):
        (tmp_path / "source").write_bytes(content)
        with suppress(StoreUnavailable):
            getattr(store, method)(tmp_path / "source", "large")
    assert proxy.counts()[kind] == 1
    assert campaign.truth.content("in/large") == content


class TestPatience:
    """How long one call takes, and how often a waiting loop asks, at the real settings."""

    @pytest.fixture
    def patient(self, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
        for name, value in REAL.items():
            monkeypatch.setattr(*name, value)
        return proxy

    @pytest.mark.parametrize(
        ("kind", "seconds"), [("slow_down503", 20), ("reset", 12)], ids=["503", "nobody there"]
    )
    async def test_a_loop_that_waits_asks_less_and_less_often(
        self,
        feed: S3Feed,
        s3: S3Server,
        patient: S3Proxy,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
        seconds: float,
    ) -> None:
        """A handful of requests, to S3 and to the queue, and pauses that grow."""
        monkeypatch.setattr(queue, "LONG_POLL", 1)
        url = await asyncio.to_thread(s3.make_queue, feed.bucket)
        feed = make_s3_toy(feed.root, feed.bucket, sqs_queue=url.replace(s3.url, patient.url))
        waiting = asyncio.create_task(first(announcements(feed.inbox, Timing(sweep_every=0.5))))
        async with asyncio.timeout(SOON):
            while not all(any(map(which, patient.seen)) for which in (is_of_s3, is_of_sqs)):
                await asyncio.to_thread(time.sleep, 0.1)
        patient.set(share=1.0, kinds=(kind,))
        await asyncio.sleep(seconds)
        asked = [one for one in patient.seen if one.harm]
        waiting.cancel()
        for which in (is_of_s3, is_of_sqs):
            times = [one.at - asked[0].at for one in asked if which(one)]
            assert 4 <= len(times) <= 24
            assert max(later - earlier for earlier, later in pairwise([*times, seconds])) > 3

    async def test_a_loop_that_is_refused_asks_no_more_than_a_few_times(
        self, feed: S3Feed, patient: S3Proxy
    ) -> None:
        patient.set(window="AccessDenied")
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await first(announcements(feed.inbox, TIMING))
        assert 1 <= len(patient.seen) <= 15

    @pytest.mark.parametrize("window", ["SlowDown", "AccessDenied", "InternalError"])
    def test_one_call_asks_four_times_at_most(self, patient: S3Proxy, window: str) -> None:
        patient.set(window=window)
        store = S3Store("s3://bucket/in")
        calls: list[Callable[[], object]] = [
            lambda: store.stat("k"),
            lambda: store.read("k", 9),
            lambda: store.create("k", b""),
        ]
        for call in calls:
            patient.seen.clear()
            with pytest.raises(StoreError):
                call()
            assert 1 <= len(patient.seen) <= 4

    @pytest.mark.parametrize("operation", ["list", "stat", "read", "put", "create", "fetch"])
    def test_silence_is_given_up(self, proxy: S3Proxy, tmp_path: Path, operation: str) -> None:
        """After twice the read time-out at most: 2 s here, 60 s really."""
        store = S3Store("s3://bucket/in")
        calls: dict[str, Callable[[], object]] = {
            "list": lambda: list(store.list()),
            "stat": lambda: store.stat("k"),
            "read": lambda: store.read("k", 9),
            "put": lambda: store.put("k", b""),
            "create": lambda: store.create("k", b""),
            "fetch": lambda: store.fetch("k", tmp_path / "k"),
        }
        proxy.set(share=1.0, kinds=("hang",), hang=30)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            calls[operation]()
        assert time.monotonic() - began < 8


REAL: dict[tuple[object, str], object] = {
    (aws, "TIMEOUTS"): aws.TIMEOUTS,
    (aws, "RETRIES"): aws.RETRIES,
    (backoffs, "LONGEST_BACKOFF"): backoffs.LONGEST_BACKOFF,
}


async def first(items: AsyncGenerator[News]) -> News:
    async with aclosing(items):
        return await anext(items)


def is_of_s3(one: Seen) -> bool:
    return not is_of_sqs(one)


def is_of_sqs(one: Seen) -> bool:
    return one.method == "POST"


@pytest.mark.parametrize("kind", ["page200", "short_body"])
def test_what_somebody_else_answers_is_never_an_object(
    campaign: Campaign, proxy: S3Proxy, tmp_path: Path, kind: str
) -> None:
    store = S3Store(f"s3://{campaign.feed.bucket}/in")
    store.put("k", b"whole")
    proxy.set(share=1.0, kinds=(kind,))
    with pytest.raises(StoreUnavailable, match="does not answer as it should"):
        store.fetch("k", tmp_path / "k")
    if kind == "page200":
        for look in (lambda: store.stat("k"), lambda: store.read("k", 99)):
            with pytest.raises(StoreUnavailable, match="without ETag"):
                look()


def test_the_proxy_is_a_process_of_its_own_that_is_told_what_to_do(
    s3: S3Server, bucket: str
) -> None:
    command = [sys.executable, "-m", "tests.faults.s3_proxy", "--upstream", s3.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            client = boto3.Session("testing", "testing", region_name="us-east-1").client(
                "s3", endpoint_url=url, config=Config(retries={"total_max_attempts": 1})
            )
            client.put_object(Bucket=bucket, Key="a b/ü", Body=b"x" * 100)
            assert client.get_object(Bucket=bucket, Key="a b/ü")["Body"].read() == b"x" * 100
            assert told(url, {"window": "AccessDenied", "times": 1})["times"] == 1
            with pytest.raises(ClientError, match="AccessDenied"):
                client.list_objects_v2(Bucket=bucket)
            assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
            assert told(url)["counts"] == {"asked": 4, "AccessDenied": 1}
            with pytest.raises(HTTPError):
                told(url, {"kinds": ["nonsense"]})
        finally:
            process.terminate()


def told(url: str, settings: dict[str, object] | None = None) -> Any:
    body = json.dumps(settings).encode() if settings is not None else None
    asked = urllib.request.Request(f"{url}/_faults", body, method="PUT" if body else "GET")
    with urllib.request.urlopen(asked) as answer:
        return json.loads(answer.read())
