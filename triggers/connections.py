"""Airflow connections as Flagfall's way into AWS, and to tokens for inference servers.

Into AWS it goes by the Amazon provider's hook, which knows roles, web identity, custom endpoints
and certificates, and refreshes what expires.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from flagfall.errors import NotThere, StoreRefused
from flagfall.extras import ExtraMissing
from flagfall.scoring import server_tokens as tokens
from flagfall.stores import aws


def use() -> None:
    """Have the core look up its AWS accounts and its tokens here."""
    aws.look_up_with(account)
    tokens.look_up_with(token)


def token(conn_id: str) -> str:
    """The token for an inference server: the password of a connection. Blocks.

    Raises:
        NotThere: There is no such connection, or it has no password.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = Connection.get(conn_id).password
    except AirflowNotFoundException as missing:
        hint = "make one whose password is the token, or correct model.server.conn_id"
        raise NotThere("Airflow connection", conn_id, hint) from missing
    if not found:
        raise NotThere("password in Airflow connection", conn_id, "it is to be the server's token")
    return str(found)


def account(conn_id: str) -> aws.Account:
    """The account of a connection; without one, that of the environment. Blocks.

    Raises:
        ExtraMissing: Airflow's Amazon provider is not installed.
        StoreRefused: There is no such connection.
    """
    if not conn_id:
        return aws.of_environment(conn_id)
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    except ModuleNotFoundError as missing:
        raise ExtraMissing("apache-airflow-providers-amazon", "airflow") from missing
    try:
        AwsBaseHook.get_connection(conn_id)  # the hook itself would go on without one
    except AirflowNotFoundException as missing:
        why = "there is no such Airflow connection; make one of type aws, or correct conn_id"
        raise StoreRefused(conn_id, why) from missing
    hook = partial(AwsBaseHook, aws_conn_id=conn_id)
    s3 = hook(client_type="s3")
    session = s3.get_session()
    endpoint = s3.conn_config.get_service_endpoint_url("s3") or aws.configured_endpoint(
        session._session
    )
    verify = True if s3.verify is None else s3.verify
    return aws.Account(session, partial(_client, hook), verify, endpoint)


def _client(hook: Any, service: str) -> Any:
    return hook(client_type=service, config=aws.patience()).get_conn()
