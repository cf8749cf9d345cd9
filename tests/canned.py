"""An S3 that answers whatever a test says, over HTTP on loopback, and notes what it was asked."""

from __future__ import annotations

import ssl
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

LAST_MODIFIED = "2026-01-02T03:04:05.678Z"
"""As MinIO lists it; a HEAD of it, there too, tells whole seconds."""
LAST_MODIFIED_HTTP = "Fri, 02 Jan 2026 03:04:05 GMT"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIACANNED", "AWS_SECRET_ACCESS_KEY": SECRET}


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        path: Without quoting, such as ``/bucket/in/a key``.
        headers: Names in lower case.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """One answer. A body given in pieces needs a ``Content-Length`` among the headers."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answers = Callable[[Asked], Answer]


def xml(inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{inner}'.encode()


def refusal(status: int, code: str, inside: str = "", **headers: str) -> Answer:
    """An error as S3 writes it, with things in it that no message of ours may repeat."""
    body = (
        f"<Error><Code>{code}</Code><Message>a message</Message>{inside}"
        f"<StringToSign>{SECRET}</StringToSign><HostId>{'x' * 400}</HostId></Error>"
    )
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, xml(body), {"Content-Type": "application/xml", **told})


@dataclass(eq=False)
class Canned:
    """A running server.

    Attributes:
        url: Where it answers.
        answers: Tests may replace it.
        asked: Every request, in order; tests may clear it.
    """

    url: str
    answers: Answers
    asked: list[Asked] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """What a process needs so that it talks to this server, and to nobody else."""
        return {
            **CREDENTIALS,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # a client may leave whenever it likes
            super().handle()

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        asked = Asked(self.command, unquote(parts.path), query, headers, body)
        self.server.canned.asked.append(asked)
        self._answer(self.server.canned.answers(asked))

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes) and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            for piece in [answer.body] if isinstance(answer.body, bytes) else answer.body:
                self.wfile.write(piece)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _do  # noqa: N815  http.server's names


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    canned: Canned

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def canned_server(answers: Answers, tls: ssl.SSLContext | None = None) -> Iterator[Canned]:
    """Start a server on a free port; end it."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    scheme = "https" if tls else "http"
    server.canned = Canned(f"{scheme}://127.0.0.1:{server.server_port}", answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.canned
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def canned_listing(key: Callable[[int], str], count: int, page: int = 1000) -> Answers:
    """Answers of a bucket that holds ``key(0)`` to ``key(count - 1)``, without storing them.

    It knows ListObjectsV2 and HEAD; objects are empty.

    Args:
        key: Whole keys, in ascending order.
        count: How many.
        page: Most keys in one answer, whatever ``max-keys`` says.
    """

    def answers(asked: Asked) -> Answer:
        if asked.query.get("list-type") == "2":
            return _listed(asked.query, key, count, page)
        wanted = asked.path.split("/", 2)[-1]
        found = bisect_left(range(count), wanted, key=key)
        if found == count or key(found) != wanted:
            return Answer(404)
        headers = {"ETag": '"e"', "Last-Modified": LAST_MODIFIED_HTTP, "Content-Length": "0"}
        return Answer(200, b"", headers)

    return answers


def _listed(query: dict[str, str], key: Callable[[int], str], count: int, page: int) -> Answer:
    prefix, numbers = query.get("prefix", ""), range(count)
    first = max(
        bisect_left(numbers, prefix, key=key),
        bisect_right(numbers, query.get("start-after", ""), key=key),
        int(query.get("continuation-token", 0)),
    )
    last = min(first + min(int(query.get("max-keys", page)), page), count)
    found = list(takewhile(lambda k: k.startswith(prefix), map(key, range(first, last))))
    after = first + len(found)
    more = after < count and len(found) == last - first and key(after).startswith(prefix)
    told = [_told(one, query.get("encoding-type") == "url") for one in found]
    token = f"<NextContinuationToken>{after}</NextContinuationToken>" if more else ""
    encoding = "<EncodingType>url</EncodingType>" if "encoding-type" in query else ""
    return Answer(
        200,
        xml(
            f"<ListBucketResult><Name>bucket</Name><Prefix>{escape(prefix)}</Prefix>{encoding}"
            f"<KeyCount>{len(found)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{''.join(told)}</ListBucketResult>"
        ),
        {"Content-Type": "application/xml"},
    )


def _told(key: str, quoted: bool) -> str:
    return (
        f"<Contents><Key>{quote(key) if quoted else escape(key)}</Key>"
        f"<LastModified>{LAST_MODIFIED}</LastModified><ETag>&quot;e&quot;</ETag><Size>0</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )
