"""Who Flagfall is to AWS, or to what speaks its language.

Outside Airflow that is what boto3 finds: the environment, profiles, the machine's role. Inside
Airflow the adapters put their own way here (``look_up_with``), which asks for the connection by its
id. Neither secrets nor addresses are kept anywhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from flagfall.errors import StoreRefused

if TYPE_CHECKING:
    from obstore.store import S3Config
    from obstore.store import S3Store as ObjectStore

TTL = timedelta(minutes=5)
"""How long credentials are used before boto3 is asked whether they are still good."""
PATIENCE = Config(
    connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 4, "mode": "standard"}
)
RETRIES: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}


@dataclass(frozen=True)
class Account:
    """A way into AWS.

    Attributes:
        session: Gives credentials, and refreshes them.
        client: Makes a boto3 client of a service.
        verify: Whether a server's certificate is checked; a path names the certificates to trust.
    """

    session: boto3.Session
    client: Callable[[str], Any]
    verify: bool | str = True


def of_environment(conn_id: str) -> Account:
    """What boto3 finds by itself, whatever the connection."""
    session = boto3.Session()
    return Account(session, lambda service: session.client(service, config=PATIENCE))


_lock = threading.Lock()
_accounts: dict[str, Account] = {}
_look_up: Callable[[str], Account] = of_environment


def look_up_with(function: Callable[[str], Account]) -> None:
    """Have accounts looked up by ``function``, which is given a connection id."""
    global _look_up
    _look_up = function
    _accounts.clear()


def account(conn_id: str) -> Account:
    """The account of a connection; blocks. Looked up once, then shared."""
    with _lock:
        if conn_id not in _accounts:
            _accounts[conn_id] = _look_up(conn_id)
        return _accounts[conn_id]


def forget(conn_id: str) -> None:
    """Look the connection up anew the next time: its credentials have been refused."""
    with _lock:
        _accounts.pop(conn_id, None)


def client(conn_id: str, service: str) -> Any:
    """A boto3 client; blocks. Not to be made by two threads at once, so they take turns."""
    found = account(conn_id)
    with _lock:
        return found.client(service)


def connect(uri: str, conn_id: str, bucket: str, prefix: str, region: str = "") -> ObjectStore:
    """A connection to a prefix of a bucket; blocks.

    Args:
        uri: Of the store, for messages.
        conn_id: Airflow connection, or empty.
        bucket: Its name.
        prefix: Without a ``/`` at its ends; empty for the whole bucket.
        region: Of the bucket; empty for the account's.

    Raises:
        StoreRefused: There are no credentials.
    """
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store as ObjectStore

    found = account(conn_id)
    s3 = client(conn_id, "s3")
    if found.session.get_credentials() is None:
        raise StoreRefused(uri, _NO_CREDENTIALS)
    endpoint = str(s3.meta.endpoint_url)
    custom = not _is_amazon(endpoint)
    config: S3Config = {"endpoint": endpoint} if custom else {}
    return ObjectStore(
        bucket,
        config=config,
        prefix=prefix or None,
        region=region or s3.meta.region_name,
        credential_provider=Boto3CredentialProvider(found.session, ttl=TTL),
        virtual_hosted_style_request=not custom and "." not in bucket,
        client_options=_client_options(found, endpoint),
        retry_config=RETRIES,
    )


_NO_CREDENTIALS = (
    "no AWS credentials; name an Airflow connection (conn_id), or give AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY, a profile or a role"
)


def _is_amazon(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _client_options(found: Account, endpoint: str) -> Any:
    options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=30),
        "timeout": timedelta(minutes=5),
    }
    if found.verify is False:
        options["allow_invalid_certificates"] = True
    elif isinstance(found.verify, str):
        options["root_certificate"] = Path(found.verify).read_bytes()
    return options


def region_of(conn_id: str, bucket: str) -> str:
    """The region that a bucket is in, as its own answer says; empty where it does not."""
    try:
        answer = client(conn_id, "s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = dict(error.response)
    except BotoCoreError:
        return ""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region", ""))
