from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.session import Session as Core

from flagfall.errors import StoreError, StoreRefused, StoreUnavailable
from flagfall.stores import aws
from flagfall.stores.object_options import object_options
from flagfall.stores.s3 import S3Store
from tests.canned import (
    CREDENTIALS,
    LAST_MODIFIED_HTTP,
    SECRET,
    Answer,
    Answers,
    Asked,
    Canned,
    canned_listing,
    canned_server,
    refusal,
)
from tests.certificates import write_certificate
from tests.s3 import S3Server

LISTING = canned_listing(lambda n: f"in/{n}", 2)


@pytest.fixture
def store() -> S3Store:
    return S3Store("s3://bucket/in")


def listed(store: S3Store) -> list[str]:
    return [entry.key for entry in store.list()]


OPERATIONS: dict[str, Callable[[S3Store], object]] = {
    "list": listed,
    "stat": lambda store: store.stat("k"),
    "read": lambda store: store.read("k", 9),
    "put": lambda store: store.put("k", b"x"),
    "create": lambda store: store.create("k", b"x"),
    "delete": lambda store: store.delete("k"),
}
SAYS_WHY = [name for name in OPERATIONS if name != "stat"]
"""A HEAD is answered without a body."""


def error(store: S3Store, operation: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        OPERATIONS[operation](store)
    said = str(caught.value)
    assert said.startswith("s3://bucket/in")
    assert len(said) < 600
    assert SECRET not in said
    assert "<" not in said
    assert "\n" not in said
    return caught.value


REFUSED = {
    "NoSuchBucket": (404, "check the URI"),
    "AccessDenied": (403, "s3:ListBucket"),
    "AllAccessDisabled": (403, "s3:ListBucket"),
    "InvalidAccessKeyId": (403, "correct them in the Airflow connection"),
    "SignatureDoesNotMatch": (403, "correct them in the Airflow connection"),
    "InvalidToken": (400, "correct them in the Airflow connection"),
    "RequestTimeTooSkewed": (403, "clock"),
    "AccountProblem": (403, "problem with the account"),
    "InvalidObjectState": (403, "restore it"),
}
MAY_HEAL = {
    "ExpiredToken": (400, "renew them"),
    "SlowDown": (503, "slow down"),
    "InternalError": (500, "InternalError"),
    "OperationAborted": (409, "OperationAborted"),
    "RequestTimeout": (400, "RequestTimeout"),
}


class TestWhatS3Refuses:
    @pytest.mark.parametrize("code", REFUSED)
    def test_what_somebody_must_change_is_refused_with_a_remedy(
        self, canned: Canned, store: S3Store, code: str
    ) -> None:
        status, remedy = REFUSED[code]
        canned.answers = lambda asked: refusal(status, code)
        for operation in SAYS_WHY:
            found = error(store, operation)
            assert isinstance(found, StoreRefused)
            assert remedy in str(found)

    @pytest.mark.parametrize("code", MAY_HEAL)
    def test_what_may_heal_is_unavailable(self, canned: Canned, store: S3Store, code: str) -> None:
        status, remedy = MAY_HEAL[code]
        canned.answers = lambda asked: refusal(status, code)
        for operation in ("list", "read", "put"):
            found = error(store, operation)
            assert isinstance(found, StoreUnavailable)
            assert remedy in str(found)

    @pytest.mark.parametrize(
        ("status", "kind", "remedy"),
        [
            (403, StoreRefused, "s3:GetObject"),
            (400, StoreUnavailable, "HTTP status 400"),
            (400, StoreUnavailable, "a key of its producer's (SSE-C)"),
            (503, StoreUnavailable, "slow down"),
            (500, StoreUnavailable, "HTTP status 500"),
        ],
    )
    def test_a_look_has_only_the_status_to_go_by(
        self,
        canned: Canned,
        store: S3Store,
        status: int,
        kind: type[StoreError],
        remedy: str,
    ) -> None:
        canned.answers = lambda asked: Answer(status)
        found = error(store, "stat")
        assert type(found) is kind or isinstance(found, kind)
        assert remedy in str(found)

    @pytest.mark.parametrize("answer", [refusal(401, "Unauthorized"), Answer(401, b"<html>")])
    def test_401_is_unavailable(self, canned: Canned, store: S3Store, answer: Answer) -> None:
        canned.answers = lambda asked: answer
        assert "401" in str(error(store, "read")) or "Unauthorized" in str(error(store, "read"))
        assert isinstance(error(store, "list"), StoreUnavailable)

    def test_throttling_is_given_up_in_the_end(self, canned: Canned, store: S3Store) -> None:
        canned.answers = lambda asked: refusal(503, "SlowDown")
        error(store, "list")
        assert len(canned.asked) == 2

    def test_throttling_is_tried_again_first(self, canned: Canned, store: S3Store) -> None:
        canned.answers = lambda asked: (
            refusal(503, "SlowDown") if len(canned.asked) == 1 else LISTING(asked)
        )
        assert listed(store) == ["0", "1"]

    @pytest.mark.parametrize("operation", ["list", "stat", "read"])
    def test_one_prefix_denied_hides_no_other(self, canned: Canned, operation: str) -> None:
        def answers(asked: Asked) -> Answer:
            denied = "secret" in asked.path or asked.query.get("prefix") == "secret/"
            return refusal(403, "AccessDenied") if denied else LISTING(asked)

        canned.answers = answers
        with pytest.raises(StoreRefused, match="access denied"):
            OPERATIONS[operation](S3Store("s3://bucket/secret"))
        assert listed(S3Store("s3://bucket/in")) == ["0", "1"]

    @pytest.mark.parametrize("status", [400, 407, 502])
    def test_a_proxy_that_answers_with_a_page_is_unavailable(
        self, canned: Canned, store: S3Store, status: int
    ) -> None:
        page = Answer(status, b"<html>Blocked by proxy</html>", {"Content-Type": "text/html"})
        canned.answers = lambda asked: page
        for operation in ("list", "read", "put"):
            found = error(store, operation)
            assert isinstance(found, StoreUnavailable)
            assert "check the network, the proxy and the endpoint" in str(found)

    def test_a_create_during_another_that_comes_to_nothing_is_tried_again_later(
        self, canned: Canned, store: S3Store
    ) -> None:
        def answers(asked: Asked) -> Answer:
            busy = refusal(409, "ConditionalRequestConflict")
            return Answer(404) if asked.method == "HEAD" else busy

        canned.answers = answers
        with pytest.raises(StoreUnavailable, match="is being written by another"):
            store.create("k", b"x")

    def test_a_create_during_another_that_wins_has_lost(
        self, canned: Canned, store: S3Store
    ) -> None:
        headers = {"ETag": '"e"', "Last-Modified": LAST_MODIFIED_HTTP, "Content-Length": "0"}

        def answers(asked: Asked) -> Answer:
            busy = refusal(409, "ConditionalRequestConflict")
            return Answer(200, b"", headers) if asked.method == "HEAD" else busy

        canned.answers = answers
        assert not store.create("k", b"x")


class TestNetwork:
    def test_nobody_at_the_door_is_unavailable_within_seconds(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{taken.getsockname()[1]}"
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)
            started = time.monotonic()
            found = error(store, "list")
        assert isinstance(found, StoreUnavailable)
        assert "check the network" in str(found)
        assert time.monotonic() - started < 5

    def test_silence_is_unavailable_after_the_time_out(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        quick = timedelta(milliseconds=200)
        monkeypatch.setattr(
            aws, "TIMEOUTS", {"timeout": quick, "read_timeout": quick, "connect_timeout": quick}
        )
        over = threading.Event()

        def answers(asked: Asked) -> Answer:
            over.wait(10)
            return Answer(500)

        canned.answers = answers
        started = time.monotonic()
        assert isinstance(error(store, "list"), StoreUnavailable)
        assert time.monotonic() - started < 5
        over.set()

    def test_an_answer_that_breaks_off_is_unavailable(self, canned: Canned, store: S3Store) -> None:
        def piece() -> Iterator[bytes]:
            yield b"half"
            raise ConnectionAbortedError

        headers = {"Content-Length": "8", "ETag": '"e"', "Last-Modified": LAST_MODIFIED_HTTP}
        canned.answers = lambda asked: Answer(200, piece(), headers)
        assert isinstance(error(store, "read"), StoreUnavailable)

    @pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://x"])
    def test_an_endpoint_that_is_no_url_is_an_error_of_a_store(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(StoreError):
            listed(store)


class TestRegions:
    @pytest.fixture(params=["AuthorizationHeaderMalformed", "PermanentRedirect"])
    def wanted(self, canned: Canned, request: pytest.FixtureRequest) -> str:
        """A bucket in eu-west-1."""

        def answers(asked: Asked) -> Answer:
            here = {"x-amz-bucket-region": "eu-west-1"}
            if "/eu-west-1/s3/" in asked.headers.get("authorization", ""):
                of_bucket = (asked.method, asked.path) == ("HEAD", "/bucket")
                return Answer(200, b"", here) if of_bucket else LISTING(asked)
            status = 301 if request.param == "PermanentRedirect" else 400
            return refusal(status, request.param, x_amz_bucket_region="eu-west-1")

        canned.answers = answers
        return "eu-west-1"

    @pytest.mark.parametrize("operation", ["list", "stat"])
    def test_a_bucket_in_another_region_is_followed_there(
        self, canned: Canned, wanted: str, store: S3Store, operation: str
    ) -> None:
        OPERATIONS[operation](store)
        asked = len(canned.asked)
        OPERATIONS[operation](store)
        assert len(canned.asked) == asked + 1, "it is remembered"
        assert f"/{wanted}/s3/" in canned.asked[-1].headers["authorization"]

    def test_many_who_find_out_at_once_are_all_served(
        self, canned: Canned, wanted: str, store: S3Store
    ) -> None:
        with ThreadPoolExecutor(10) as pool:
            for found in pool.map(lambda _: listed(store), range(10)):
                assert found == ["0", "1"]

    def test_where_that_does_not_help_the_region_must_be_told(
        self, canned: Canned, store: S3Store
    ) -> None:
        canned.answers = lambda asked: refusal(301, "PermanentRedirect")
        found = error(store, "list")
        assert isinstance(found, StoreRefused)
        assert "AWS_DEFAULT_REGION" in str(found)
        canned.answers = lambda asked: refusal(
            301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"
        )
        found = error(store, "list")
        assert isinstance(found, StoreRefused)
        assert "region_name" in str(found)


@contextmanager
def found_with(look_up: Callable[[str], aws.Account]) -> Iterator[None]:
    before = aws._look_up
    aws.look_up_with(look_up)
    try:
        yield
    finally:
        aws.look_up_with(before)


def account_of(session: boto3.Session, url: str, verify: bool | str = True) -> aws.Account:
    def client(service: str) -> object:
        return session.client(service, endpoint_url=url, config=aws.patience())

    return aws.Account(session, client, verify)


def static(key: str, token: str | None = None) -> boto3.Session:
    return boto3.Session(key, SECRET, token, region_name="us-east-1")


def accepting(key: str, code: str, status: int = 403) -> Answers:
    """Answers of an S3 that knows one access key."""

    def answers(asked: Asked) -> Answer:
        good = f"Credential={key}/" in asked.headers.get("authorization", "")
        return LISTING(asked) if good else refusal(status, code)

    return answers


def refreshable(core: Core, ask: Callable[[], dict[str, str]]) -> boto3.Session:
    core._credentials = RefreshableCredentials.create_from_metadata(ask(), ask, "a test")
    return boto3.Session(botocore_session=core, region_name="us-east-1")


class TestCredentials:
    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [
            ("InvalidAccessKeyId", 403, StoreRefused),
            ("SignatureDoesNotMatch", 403, StoreRefused),
            ("ExpiredToken", 400, StoreUnavailable),
        ],
    )
    @pytest.mark.parametrize("operation", ["list", "stat"])
    def test_a_corrected_connection_is_taken_up_by_the_next_request(
        self, canned: Canned, code: str, status: int, kind: type[StoreError], operation: str
    ) -> None:
        canned.answers = accepting("AKIAGOOD", code, status)
        in_connection = ["AKIABAD"]
        looked_up: list[str] = []

        def look_up(conn_id: str) -> aws.Account:
            looked_up.append(conn_id)
            return account_of(static(in_connection[-1]), canned.url)

        store = S3Store("s3://bucket/in", "my_aws")
        with found_with(look_up):
            with pytest.raises(kind):
                OPERATIONS[operation](store)
            in_connection.append("AKIAGOOD")
            OPERATIONS[operation](store)
            OPERATIONS[operation](store)
        assert looked_up == ["my_aws"] * 2

    def test_many_stores_with_refused_credentials_look_up_once_more_not_once_each(
        self, canned: Canned
    ) -> None:
        canned.answers = accepting("AKIAGOOD", "InvalidAccessKeyId")
        sessions = iter([static("AKIABAD"), static("AKIAGOOD")])
        stores = [S3Store(f"s3://bucket/in/{n}", "my_aws") for n in range(5)]
        with found_with(lambda conn_id: account_of(next(sessions), canned.url)):
            for store in stores:
                store._bucket._store  # noqa: B018  all are connected with the old key
            for store in stores:
                with pytest.raises(StoreRefused):
                    listed(store)
                listed(store)

    def test_a_connection_is_looked_up_once_for_many_stores(self, canned: Canned) -> None:
        canned.answers = LISTING
        looked_up: list[str] = []
        threads: list[str] = []

        def look_up(conn_id: str) -> aws.Account:
            looked_up.append(conn_id)
            threads.append(threading.current_thread().name)
            time.sleep(0.1)
            return account_of(static("AKIA"), canned.url)

        stores = [S3Store("s3://bucket/in", conn_id) for conn_id in ("a", "b") * 10]
        with found_with(look_up), ThreadPoolExecutor(20) as pool:
            assert list(pool.map(listed, stores)) == [["0", "1"]] * 20
        assert sorted(looked_up) == ["a", "b"]

    async def test_it_is_looked_up_off_the_event_loop(self, canned: Canned) -> None:
        canned.answers = LISTING
        threads: list[threading.Thread] = []

        def look_up(conn_id: str) -> aws.Account:
            threads.append(threading.current_thread())
            return account_of(static("AKIA"), canned.url)

        with found_with(look_up), pytest.raises(ValueError, match="larger than -1"):
            await S3Store("s3://bucket/in", "a").read_async("0", -1)
        assert threading.main_thread() not in threads
        assert len(threads) == 1

    def test_a_slow_look_up_does_not_hold_up_other_connections(self, canned: Canned) -> None:
        canned.answers = LISTING
        slow, over = threading.Event(), threading.Event()

        def look_up(conn_id: str) -> aws.Account:
            if conn_id == "slow":
                slow.set()
                assert over.wait(10)
            return account_of(static("AKIA"), canned.url)

        with found_with(look_up), ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(listed, S3Store("s3://bucket/in", "slow"))
            assert slow.wait(10)
            assert listed(S3Store("s3://bucket/in", "quick")) == ["0", "1"]
            assert not waiting.done()
            over.set()
            assert waiting.result() == ["0", "1"]

    def test_a_look_up_that_lacks_a_file_does_not_say_that_the_object_is_absent(self) -> None:
        def look_up(conn_id: str) -> aws.Account:
            raise FileNotFoundError(2, "No such file", "/secrets")

        store = S3Store("s3://bucket/in", "a")
        with found_with(look_up), pytest.raises(StoreUnavailable, match="connection 'a'"):
            store.stat("k")

    def test_the_session_token_goes_along(self, canned: Canned) -> None:
        canned.answers = LISTING
        with found_with(lambda conn_id: account_of(static("ASIA", "the-token"), canned.url)):
            listed(S3Store("s3://bucket/in", "a"))
        assert canned.asked[-1].headers["x-amz-security-token"] == "the-token"

    def test_credentials_that_last_a_while_are_asked_for_again(
        self, canned: Canned, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aws, "TTL", timedelta(milliseconds=1))
        canned.answers = LISTING
        given: list[str] = []

        def ask() -> dict[str, str]:
            given.append(f"ASIA{len(given)}")
            at = datetime.now(UTC) + timedelta(seconds=1)
            return {
                "access_key": given[-1],
                "secret_key": SECRET,
                "token": "t",
                "expiry_time": at.isoformat(),
            }

        session = refreshable(Core(), ask)
        store = S3Store("s3://bucket/in", "a")
        with found_with(lambda conn_id: account_of(session, canned.url)):
            for _ in range(3):
                listed(store)
                time.sleep(0.02)
        keys = [one.headers["authorization"].split("=")[1].split("/")[0] for one in canned.asked]
        assert len(set(keys)) == 3

    def test_credentials_that_break_while_running_are_unavailable_and_heal(
        self, canned: Canned, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aws, "TTL", timedelta(milliseconds=1))
        canned.answers = LISTING
        broken = [False]

        def ask() -> dict[str, str]:
            if broken[0]:
                raise CredentialRetrievalError(provider="a test", error_msg="the role is away")
            at = datetime.now(UTC) + timedelta(seconds=1)
            return {
                "access_key": "ASIA",
                "secret_key": SECRET,
                "token": "t",
                "expiry_time": at.isoformat(),
            }

        session = refreshable(Core(), ask)
        store = S3Store("s3://bucket/in", "a")
        with found_with(lambda conn_id: account_of(session, canned.url)):
            listed(store)
            broken[0] = True
            time.sleep(1.1)
            found = error(store, "list")
            assert isinstance(found, StoreUnavailable)
            assert "no AWS credentials for now" in str(found)
            assert "the role is away" in str(found)
            broken[0] = False
            assert listed(store) == ["0", "1"]

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_no_credentials_at_all_are_refused_with_a_remedy_until_there_are_some(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        for name in CREDENTIALS:
            monkeypatch.delenv(name)
        found = error(store, operation)
        assert isinstance(found, StoreRefused)
        assert "AWS_ACCESS_KEY_ID" in str(found)
        assert canned.asked == []
        canned.answers = LISTING
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        assert listed(store) == ["0", "1"]

    @pytest.mark.parametrize(
        ("environment", "config", "said"),
        [
            ({"AWS_PROFILE": "absent"}, "", "absent"),
            ({"AWS_PROFILE": "half"}, "[profile half]\naws_access_key_id = x\n", "secret"),
            ({}, "no section\n", "config"),
        ],
    )
    def test_a_configuration_that_is_wrong_is_refused(
        self,
        canned: Canned,
        store: S3Store,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        environment: dict[str, str],
        config: str,
        said: str,
    ) -> None:
        for name in CREDENTIALS:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "aws-config").write_text(config)
        found = error(store, "list")
        assert isinstance(found, StoreRefused)
        assert said in str(found)


def endpoint(store: S3Store) -> str:
    return str((store._bucket._store.config or {}).get("endpoint"))


class TestEndpoints:
    def test_the_one_of_s3_alone_is_followed(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        canned.answers = LISTING
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", canned.url)
        assert listed(store) == ["0", "1"]

    def test_that_of_a_profile_is_followed(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        canned.answers = LISTING
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        monkeypatch.setenv("AWS_PROFILE", "minio")
        config = f"[profile minio]\nregion = eu-west-3\nendpoint_url = {canned.url}\n"
        (tmp_path / "aws-config").write_text(config)
        assert listed(store) == ["0", "1"]
        assert "/eu-west-3/s3/" in canned.asked[-1].headers["authorization"]

    @pytest.mark.parametrize(
        "url",
        [
            "https://s3-fips.us-east-1.amazonaws.com",
            "https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com",
            "https://s3.dualstack.us-east-1.amazonaws.com",
        ],
    )
    def test_a_special_one_of_amazon_is_followed_too(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert endpoint(store) == url

    @pytest.mark.parametrize("region", ["", "us-east-1", "eu-west-1"])
    def test_amazon_itself_needs_none(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch, region: str
    ) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        if region:
            monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        url = store.link("k", timedelta(minutes=1))
        assert url.startswith(f"https://bucket.s3.{region or 'us-east-1'}.amazonaws.com/in/k?")

    def test_china_has_its_own(
        self, canned: Canned, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "cn-north-1")
        url = store.link("k", timedelta(minutes=1))
        assert url.startswith("https://s3.cn-north-1.amazonaws.com.cn/bucket/in/k?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key and a certificate for 127.0.0.1 that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder)
    return folder


class TestCertificates:
    @pytest.fixture
    def private(self, nobody: None, folder: Path) -> Iterator[Canned]:
        """An S3 with a certificate of its own."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "server.pem")
        with canned_server(LISTING, tls) as server:
            yield server

    def test_a_server_that_nobody_vouches_for_is_not_talked_to(
        self, private: Canned, store: S3Store
    ) -> None:
        with found_with(lambda conn_id: account_of(static("AKIA"), private.url)):
            assert isinstance(error(store, "list"), StoreUnavailable)
        assert private.asked == []

    def test_unless_its_certificate_is_named_or_none_is_wanted(
        self, private: Canned, folder: Path
    ) -> None:
        for verify in (str(folder / "ca.pem"), False):
            with found_with(lambda c, v=verify: account_of(static("AKIA"), private.url, v)):  # type: ignore[misc]
                assert listed(S3Store("s3://bucket/in", "a")) == ["0", "1"]

    def test_boto3s_own_variable_names_it_too(
        self, private: Canned, folder: Path, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in private.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(folder / "ca.pem"))
        assert listed(store) == ["0", "1"]

    def test_a_file_with_something_else_in_it_is_an_error_of_a_store(
        self, private: Canned, tmp_path: Path, store: S3Store
    ) -> None:
        (tmp_path / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n")
        path = str(tmp_path / "garbage.pem")
        with found_with(lambda conn_id: account_of(static("AKIA"), private.url, path)):
            error(store, "list")

    def test_a_file_that_is_not_there_is_refused_and_hides_nothing(
        self, private: Canned, tmp_path: Path, store: S3Store
    ) -> None:
        path = str(tmp_path / "absent.pem")
        with found_with(lambda conn_id: account_of(static("AKIA"), private.url, path)):
            for operation in ("list", "stat"):
                found = error(store, operation)
                assert isinstance(found, StoreRefused)
                assert "absent.pem" in str(found)


class TestSettingsOfOtherLibraries:
    """Delta-rs has a connection of its own, which is the same one."""

    def test_lead_where_the_store_does(self, s3: S3Server, bucket: str) -> None:
        settings = object_options(f"s3://{bucket}/lake/table", "")
        assert settings == {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ALLOW_HTTP": "true",
            "ALLOW_INVALID_CERTIFICATES": "false",
            "AWS_CONDITIONAL_PUT": "etag",
        }

    def test_have_the_session_token_and_the_buckets_region(self, s3: S3Server) -> None:
        there = s3.make_bucket("bucket-in-frankfurt", "eu-central-1")
        session = boto3.Session("key", "secret", "token", region_name="us-east-1")
        account = aws.Account(
            session, lambda service: s3.client(service), verify=False, endpoint=""
        )
        with aws.known("temporary", account):
            settings = object_options(f"s3://{there}/lake", "temporary")
        assert settings["AWS_SESSION_TOKEN"] == "token"
        assert settings["AWS_REGION"] == "eu-central-1"
        assert settings["ALLOW_INVALID_CERTIFICATES"] == "true"
        assert "AWS_ENDPOINT_URL" not in settings

    def test_of_nobody_are_refused(self, s3: S3Server) -> None:
        nobody = aws.Account(boto3.Session(botocore_session=_Anonymous()), s3.client)
        with aws.known("nobody", nobody), pytest.raises(StoreRefused, match="no AWS credentials"):
            object_options("s3://bucket/lake", "nobody")

    def test_of_a_disk_are_none(self) -> None:
        assert object_options("/data/lake", "") == {}


class _Anonymous(Core):
    """A session without credentials, whatever the environment has."""

    def get_credentials(self) -> None:
        return None


def test_stores_can_be_imported_without_any_library_of_amazons() -> None:
    code = (
        "import sys, flagfall.stores.s3, flagfall.stores.sqs\n"
        "print([n for n in ('boto3', 'botocore', 'obstore') if n in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
