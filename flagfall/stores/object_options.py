"""How libraries with a connection of their own reach S3, as settings in their words."""

from __future__ import annotations

from flagfall.extras import require


def object_options(uri: str, conn_id: str) -> dict[str, str]:
    """Settings of delta-rs, as those of other libraries that use Rust's ``object_store``.

    They have credentials of now, so they are asked for anew at each use. Certificates to trust are
    the machine's, or those in ``$SSL_CERT_FILE``: there is no setting for them.

    Args:
        uri: What is to be reached; on a disk it takes none.
        conn_id: Airflow connection; empty for what the environment gives.

    Raises:
        StoreRefused: There are no credentials.
    """
    if not uri.startswith("s3://"):
        return {}
    require("s3")
    from flagfall.stores.aws import account, object_settings

    return object_settings(account(conn_id), conn_id, uri)
