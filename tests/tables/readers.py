"""Reads a table as others do, with their own libraries: ``python readers.py NAME URI COLUMN...``.

It runs in the environment of ``make readers``. For each line that it is given it reads the table
and prints the rows, as JSON. On S3 the environment has the credentials.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def options() -> dict[str, str]:
    """How delta-rs reaches the S3 of the tests: it reads the rest from the environment."""
    return {"AWS_ALLOW_HTTP": "true"} if "AWS_ENDPOINT_URL" in os.environ else {}


def duckdb(uri: str, columns: Sequence[str]) -> list[Sequence[Any]]:
    import duckdb

    database = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in ("httpfs", "delta"):
        place = f"duckdb_extension_{name}/extensions/*/{name}.duckdb_extension"
        (file,) = Path(duckdb.__file__).parents[1].glob(place)
        database.execute(f"LOAD '{file}'")
    if uri.startswith("s3://"):
        host = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        database.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION 'us-east-1',"
            f" ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)"
        )
    return database.sql(f"SELECT {', '.join(columns)} FROM delta_scan('{uri}')").fetchall()


def pandas(uri: str, columns: Sequence[str]) -> list[Sequence[Any]]:
    from deltalake import DeltaTable

    frame = DeltaTable(uri, storage_options=options()).to_pandas(columns=list(columns))
    return frame.to_numpy().tolist()


def pyarrow(uri: str, columns: Sequence[str]) -> list[Sequence[Any]]:
    from deltalake import DeltaTable

    table = DeltaTable(uri, storage_options=options()).to_pyarrow_table(columns=list(columns))
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


@cache
def sail() -> Any:
    """Answers PySpark's client, until this process ends."""
    from pysail.spark import SparkConnectServer

    os.environ |= options()
    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    return server


@cache
def spark_session() -> Any:
    """PySpark's own client. Sail answers it: no package of Python brings Delta for the JVM."""
    from pyspark.sql import SparkSession

    _, port = sail().listening_address
    return SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()


def spark(uri: str, columns: Sequence[str]) -> list[Sequence[Any]]:
    table = spark_session().read.format("delta").load(uri)
    return [tuple(row) for row in table.select(*columns).collect()]


def main(name: str, uri: str, *columns: str) -> None:
    for _ in sys.stdin:
        print(json.dumps(globals()[name](uri, columns)), flush=True)
    os._exit(0)  # PyArrow's threads of S3 sometimes abort where Python ends in the usual way


if __name__ == "__main__":
    main(*sys.argv[1:])
