"""Reads a table as others do, with their own libraries: ``python readers.py NAME URI``.

It runs in the environment of ``make readers`` and prints the rows by batch as JSON. On S3 the
environment has the credentials.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit


def options() -> dict[str, str]:
    """How delta-rs reaches the S3 of the tests: it reads the rest from the environment."""
    return {"AWS_ALLOW_HTTP": "true"} if "AWS_ENDPOINT_URL" in os.environ else {}


def duckdb(uri: str) -> list[str]:
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
    found = database.sql(f"SELECT batch FROM delta_scan('{uri}')").fetchall()
    return [batch for (batch,) in found]


def pandas(uri: str) -> list[str]:
    from deltalake import DeltaTable

    frame = DeltaTable(uri, storage_options=options()).to_pandas()
    return list(frame["batch"])


def pyarrow(uri: str) -> list[str]:
    from deltalake import DeltaTable

    table = DeltaTable(uri, storage_options=options()).to_pyarrow_table(columns=["batch"])
    return table["batch"].to_pylist()


def spark(uri: str) -> list[str]:
    """PySpark's own client, answered by Sail: no package of Python brings Delta for the JVM."""
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    os.environ |= {name.upper(): value for name, value in options().items()}
    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    _, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    found = session.read.format("delta").load(uri).select("batch").collect()
    return [row["batch"] for row in found]


if __name__ == "__main__":
    print(json.dumps(Counter(globals()[sys.argv[1]](sys.argv[2]))), flush=True)
    os._exit(0)  # PyArrow's threads of S3 sometimes abort where Python ends in the usual way
