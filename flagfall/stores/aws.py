"""Who Flagfall is to AWS, or to what speaks its language.

Outside Airflow that is what boto3 finds: the environment, profiles, the machine's role. Inside
Airflow the adapters put their own way here (``look_up_with``), which asks for the connection by its
id. No secret and no address is kept anywhere else.

Everything here blocks, and may ask Airflow, so nothing here is for the event loop's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.stores import forget_stores

if TYPE_CHECKING:
    import boto3
    from obstore.store import S3Config
    from obstore.store import S3Store as ObjectStore

TTL = timedelta(minutes=5)
"""How long credentials are used before boto3 is asked whether they are still good."""
PATIENCE: Any = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "retries": {"total_max_attempts": 4, "mode": "standard"},
}
"""Of boto3 (SQS, and keys that obstore cannot represent), in seconds; it gives up after 2 min."""
TIMEOUTS: Any = {
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=5),
}
"""Of one try of obstore's: to be connected, to hear anything, to be through."""
RETRIES: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
"""No try begins later than ``retry_timeout`` after the first. So one request that meets silence is
given up after 60 s at most (a create, which is not repeated blindly, after 30 s), and one whose
bytes trickle after 5.5 min. Who asked waits longer each time before asking again."""

_NO_CREDENTIALS = (
    "no AWS credentials; name an Airflow connection (conn_id), or give AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY, a profile or a role"
)


@dataclass(frozen=True, eq=False)
class Account:
    """A way into AWS.

    Attributes:
        session: Gives credentials, and refreshes them.
        client: Makes a boto3 client of a service.
        verify: Whether a server's certificate is checked; a path names the certificates to trust.
        endpoint: Of S3; empty for Amazon's own; ``None`` where only a client knows.
    """

    session: boto3.Session
    client: Callable[[str], Any]
    verify: bool | str = True
    endpoint: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def shared(self, service: str) -> Any:
        """A client that threads may share: made once, since it takes 0.1 s; blocks.

        Raises:
            StoreRefused: The endpoint is no URL.
        """
        with self._turn:
            if service not in self._clients:
                try:
                    self._clients[service] = self.client(service)
                except ValueError as error:
                    raise StoreRefused(f"AWS {service}", str(error)) from error
            return self._clients[service]


def patience() -> Any:
    """How long boto3 waits and how often it tries again, in its own terms."""
    from botocore.config import Config

    return Config(**PATIENCE)


def of_environment(conn_id: str) -> Account:
    """What boto3 finds by itself, whatever the connection."""
    import boto3
    import botocore.session

    core = botocore.session.Session()
    session = boto3.Session(botocore_session=core)

    def client(service: str) -> Any:
        return session.client(service, config=patience())

    verify = core.get_config_variable("ca_bundle") or True
    return Account(session, client, verify, configured_endpoint(core))


def configured_endpoint(core: Any) -> str | None:
    """The endpoint of S3 that the environment or a profile has.

    Args:
        core: botocore's session.

    Returns:
        Empty for Amazon's own; ``None`` where only a client knows, which takes 0.3 s to make and
        holds Python's interpreter for half of that.
    """
    from botocore.configprovider import ConfiguredEndpointProvider

    scoped = core.get_scoped_config()
    names = ("use_fips_endpoint", "use_dualstack_endpoint", "ignore_configured_endpoint_urls")
    region = core.get_config_variable("region") or ""
    if any(map(core.get_config_variable, names)) or "s3" in scoped or region.startswith("cn-"):
        return None
    found = ConfiguredEndpointProvider(core.full_config, scoped, "s3").provide()
    return str(found or "")


_accounts: dict[str, Account] = {}
_turns: dict[str, threading.Lock] = {}
"""One thread at a time looks a connection up; other connections are not held up."""
_look_up: Callable[[str], Account] = of_environment


def look_up_with(function: Callable[[str], Account]) -> None:
    """Have accounts looked up by ``function``, which is given a connection id."""
    global _look_up
    _look_up = function
    _accounts.clear()


def _turn(conn_id: str) -> threading.Lock:
    return _turns.setdefault(conn_id, threading.Lock())


def account(conn_id: str) -> Account:
    """The account of a connection; blocks. Looked up once, then shared.

    Raises:
        StoreUnavailable: A file or a service that it takes cannot be read.
    """
    with _turn(conn_id):
        if conn_id not in _accounts:
            try:
                _accounts[conn_id] = _look_up(conn_id)
            except OSError as error:  # an absent file must not pass for an absent object
                raise StoreUnavailable(f"AWS connection {conn_id!r}", str(error)) from error
        return _accounts[conn_id]


def forget(conn_id: str, used: Account | None = None) -> None:
    """Look a connection up anew the next time: its credentials have been refused.

    Args:
        conn_id: The connection.
        used: What was refused: nothing is forgotten where another was found since; ``None``:
            whatever is known.
    """
    with _turn(conn_id):
        if used is None or _accounts.get(conn_id) is used:
            _accounts.pop(conn_id, None)


@contextmanager
def known(conn_id: str, found: Account) -> Iterator[None]:
    """Have a connection lead to an account for a while, without looking it up."""
    with _turn(conn_id):
        _accounts[conn_id] = found
    try:
        yield
    finally:
        forget(conn_id, found)
        forget_stores()


def client(conn_id: str, service: str) -> Any:
    """A boto3 client, which threads may share; blocks."""
    return account(conn_id).shared(service)


def connect(found: Account, uri: str, bucket: str, prefix: str, region: str = "") -> ObjectStore:
    """A connection to a prefix of a bucket; blocks.

    Args:
        found: Who asks.
        uri: Of the store, for messages.
        bucket: Its name.
        prefix: Without a ``/`` at its ends; empty for the whole bucket.
        region: Of the bucket; empty for the account's.

    Raises:
        StoreRefused: There are no credentials, or what they are to be checked with is not there.
    """
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store as ObjectStore

    endpoint, own_region = _where(found)
    if endpoint and not urlsplit(endpoint).hostname:
        raise StoreRefused(uri, f"expected the URL of an endpoint, got {endpoint!r}")
    if found.session.get_credentials() is None:
        raise StoreRefused(uri, _NO_CREDENTIALS)
    config: S3Config = {"endpoint": endpoint} if endpoint else {}
    return ObjectStore(
        bucket,
        config=config,
        prefix=prefix or None,
        region=region or own_region,
        credential_provider=Boto3CredentialProvider(found.session, ttl=TTL),
        virtual_hosted_style_request=not endpoint and "." not in bucket,
        client_options=_client_options(found, uri, endpoint),
        retry_config=RETRIES,
    )


def object_settings(found: Account, conn_id: str, uri: str) -> dict[str, str]:
    """The same as ``connect``, in words that object_store has for its environment; blocks.

    Args:
        found: Who asks.
        conn_id: By this connection.
        uri: Of the store; its bucket may be in another region than the account's.

    Raises:
        StoreRefused: There are no credentials.
    """
    credentials = found.session.get_credentials()
    if credentials is None:
        raise StoreRefused(uri, _NO_CREDENTIALS)
    now = credentials.get_frozen_credentials()
    endpoint, own_region = _where(found)
    region = "" if endpoint else region_of(conn_id, urlsplit(uri).netloc)
    settings = {
        "AWS_ACCESS_KEY_ID": now.access_key,
        "AWS_SECRET_ACCESS_KEY": now.secret_key,
        "AWS_SESSION_TOKEN": now.token or "",
        "AWS_REGION": region or own_region,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower(),
        "ALLOW_INVALID_CERTIFICATES": str(found.verify is False).lower(),
        "AWS_CONDITIONAL_PUT": "etag",
    }
    return {name: value for name, value in settings.items() if value}


_AMAZON = "https://s3.amazonaws.com"
"""Where boto3 asks in us-east-1."""


def _where(found: Account) -> tuple[str, str]:
    """Endpoint of S3, empty for Amazon's own, and region."""
    if found.endpoint is not None:
        return found.endpoint, found.session.region_name or "us-east-1"
    meta = found.shared("s3").meta
    own = (_AMAZON, f"https://s3.{meta.region_name}.amazonaws.com")
    return "" if meta.endpoint_url in own else str(meta.endpoint_url), str(meta.region_name)


def _client_options(found: Account, uri: str, endpoint: str) -> Any:
    options: dict[str, Any] = {"allow_http": endpoint.startswith("http://"), **TIMEOUTS}
    if found.verify is False:
        options["allow_invalid_certificates"] = True
    elif isinstance(found.verify, str):
        options["root_certificate"] = _certificates(uri, Path(found.verify))
    return options


def _certificates(uri: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = f"the certificates to trust cannot be read: {path}: {error.strerror}"
        raise StoreRefused(uri, why) from error


def is_misconfigured(error: Exception) -> bool:
    """Whether somebody has to change boto3's configuration."""
    from botocore import exceptions

    return isinstance(
        error,
        (
            exceptions.ProfileNotFound,
            exceptions.ConfigNotFound,
            exceptions.ConfigParseError,
            exceptions.PartialCredentialsError,
            exceptions.InvalidRegionError,
            exceptions.InvalidEndpointConfigurationError,
        ),
    )


def region_of(conn_id: str, bucket: str) -> str:
    """The region that a bucket is in, as its own answer says; empty where it does not."""
    from botocore import exceptions

    try:
        answer = client(conn_id, "s3").head_bucket(Bucket=bucket)
    except exceptions.ClientError as error:
        answer = dict(error.response)
    except (exceptions.BotoCoreError, RecursionError):  # it follows a redirect to nowhere for ever
        return ""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region", ""))
