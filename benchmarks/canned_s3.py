"""An S3 with canned answers, in a process of its own: cheap enough not to be what is measured.

It knows one bucket, ``bucket``, whose keys are computed, not stored:
``landing/date=YYYY-MM-DD/part-NNNN.parquet``, a thousand a day. It lists them, says of every single
object that it is not there, and tells at ``/stats`` what it was asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import lru_cache
from hashlib import md5
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from urllib.request import urlopen
from xml.sax.saxutils import escape

LANDING = "s3://bucket/landing"
A_DAY = 1000
FIRST = date(2024, 1, 1)
ABSENT = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>not here</Message></Error>"


def partition(n: int) -> str:
    """The partition that the key of this number is in."""
    return f"date={FIRST + timedelta(n // A_DAY)}"


def key_of(n: int) -> str:
    """The key of this number; they ascend."""
    return f"landing/{partition(n)}/part-{n % A_DAY:04}.parquet"


@contextmanager
def canned_s3(keys: int) -> Iterator[str]:
    """Start a server whose bucket has so many keys; gives its URL, and ends it."""
    command = [sys.executable, __file__, str(keys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def stats(url: str) -> Counter[str]:
    """Requests so far by kind, and how many different objects (``keys``) were asked for."""
    with urlopen(f"{url}/stats") as answer:
        return Counter(json.load(answer))


def environment(url: str) -> dict[str, str]:
    """What a process needs to talk to the server."""
    aws = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    return {**os.environ, **aws, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": url}


def many_files() -> None:
    """Let this process have as many connections as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _content(key: str, encode: bool) -> str:
    told = quote(key) if encode else escape(key)
    return (
        f"<Contents><Key>{told}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{md5(key.encode()).hexdigest()}&quot;</ETag><Size>1048576</Size>"
        "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


@lru_cache(maxsize=256)
def _page(keys: int, prefix: str, after: str, most: int, encode: bool) -> bytes:
    """The keys below a prefix and after a key; the last one is the token of the next page."""
    numbers = range(keys)
    start = max(
        bisect_left(numbers, prefix, key=key_of),
        bisect_right(numbers, after, key=key_of) if after else 0,
    )
    end = bisect_left(numbers, prefix + "\U0010ffff", key=key_of)
    told = range(start, max(start, min(end, start + most)))
    more = told.stop < end
    token = f"<NextContinuationToken>{key_of(told[-1])}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
        f"<Prefix>{escape(prefix)}</Prefix><MaxKeys>{most}</MaxKeys>"
        f"<KeyCount>{len(told)}</KeyCount>"
        f"{'<EncodingType>url</EncodingType>' if encode else ''}"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        f"{''.join(_content(key_of(n), encode) for n in told)}</ListBucketResult>"
    ).encode()


class _Server:
    def __init__(self, keys: int) -> None:
        self.keys = keys
        self.requests: Counter[str] = Counter()
        self.asked: set[str] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
                status, body = self.answer(method, target)
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + (b"" if method == "HEAD" else body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, method: str, target: str) -> tuple[str, bytes]:
        url = urlsplit(target)
        if url.path == "/stats":
            return "200 OK", json.dumps({**self.requests, "keys": len(self.asked)}).encode()
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "list-type" in query:
            self.requests["LIST"] += 1
            return "200 OK", self.page(query)
        self.requests[method] += 1
        self.asked.add(url.path)
        return "404 Not Found", ABSENT

    def page(self, query: dict[str, str]) -> bytes:
        after = query.get("continuation-token") or query.get("start-after", "")
        most = min(int(query.get("max-keys", 1000)), 1000)
        encode = query.get("encoding-type") == "url"
        return _page(self.keys, query.get("prefix", ""), after, most, encode)


async def _serve(keys: int) -> None:
    many_files()
    server: Any = await asyncio.start_server(
        _Server(keys).connected, "127.0.0.1", 0, limit=1 << 16, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
