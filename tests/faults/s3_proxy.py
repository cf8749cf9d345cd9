"""A proxy between S3's clients and S3 that does harm: real HTTP, on loopback.

In a test::

    with S3Proxy(s3.url, seed=1) as proxy:          # clients are told proxy.url
        proxy.set(share=0.1, kinds=("reset", "slow_down503"))
        ...
        proxy.set(window="AccessDenied")            # everything is refused until told otherwise
        proxy.set(window="")

As a process of its own, for a live Airflow::

    python -m tests.faults.s3_proxy --upstream http://127.0.0.1:5000 --port 5001 --seed 1

It prints its URL in one line, and runs until it is interrupted or terminated. Clients have that URL
as their endpoint (``AWS_ENDPOINT_URL``, or ``endpoint_url`` of the connection); SQS goes through it
as well. It is told what to do, and asked what it did, while it runs, at a path that no bucket has::

    curl -X PUT $URL/_faults -d '{"share": 0.1, "kinds": ["reset", "cut_body"], "hang": 5}'
    curl -X PUT $URL/_faults -d '{"window": "AccessDenied", "window_seconds": 60}'
    curl $URL/_faults      # settings, and counts such as {"asked": 812, "reset": 40}

Kinds of harm, each done to ``share`` of the requests that match ``only``:

=============== ====================================================================================
error500        500 with S3's XML; nothing is carried out
slow_down503    503 SlowDown with S3's XML, every other time with ``Retry-After: 1``
denied403       403 AccessDenied with S3's XML; nothing is carried out
reset           the connection is reset (RST) instead of an answer; nothing is carried out
hang            no answer until the client gives up, or for ``hang`` seconds; nothing is carried out
cut_body        carried out; the right Content-Length, half the body, and the connection is closed;
                an answer without a body ends in its head
short_body      carried out; half the body, and a Content-Length that says just that
late_answer     carried out; then the connection is reset, or the answer is 500
page200         200 with a page of HTML, as a login page of a network answers
=============== ====================================================================================

The Host header goes through as it came, so that a signature stays what it was.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

KINDS = (
    "error500",
    "slow_down503",
    "denied403",
    "reset",
    "hang",
    "cut_body",
    "short_body",
    "late_answer",
    "page200",
)
WINDOWS = {
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
    "ExpiredToken": 400,
    "InvalidRequest": 400,
    "KMS.DisabledException": 400,
    "SlowDown": 503,
    "InternalError": 500,
}
"""S3's word for what everything is answered with, and its status."""
_MESSAGES = {
    "InvalidRequest": "The object was stored using a form of Server Side Encryption. The correct"
    " parameters must be provided to retrieve the object."
}
"""What S3 says besides, where we go by it."""
CONTROL = "/_faults"
_PAGE = b"<!DOCTYPE html><html><body><h1>Log in to this network</h1></body></html>"
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")


@dataclass(frozen=True)
class Settings:
    """What harm is done.

    Attributes:
        share: Share of requests that are harmed, from 0 to 1.
        kinds: Of which one is chosen for each.
        hang: Seconds.
        window: With what everything is refused; empty: nothing is.
        window_seconds: After how many seconds that ends by itself; 0: when told otherwise.
        only: Regular expression that ``METHOD /path?query``, unquoted, must match somewhere for a
            request to be harmed.
        times: So many requests are harmed, and no more; 0: any number.
        forget_conditions: Whether ``If-None-Match`` is left out, as some servers ignore it.
    """

    share: float = 0.0
    kinds: tuple[str, ...] = ()
    hang: float = 5.0
    window: str = ""
    window_seconds: float = 0.0
    only: str = ""
    times: int = 0
    forget_conditions: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        if unknown := set(self.kinds) - set(KINDS) or {self.window} - {*WINDOWS, ""}:
            raise ValueError(f"{sorted(unknown)}: there are {KINDS} and {sorted(WINDOWS)}")
        re.compile(self.only)


@dataclass(frozen=True)
class Seen:
    """A request.

    Attributes:
        at: Seconds on the monotonic clock.
        method: ``GET`` and so on.
        target: Path and query, unquoted.
        harm: What was done to it: a kind, or the word of a window; empty: nothing.
    """

    at: float
    method: str
    target: str
    harm: str


def _unheeded(method: str, target: str) -> None:
    """Nobody wants to know."""


@dataclass(eq=False)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: int = field(default=-1)


class S3Proxy:
    """A running proxy while it is entered.

    Args:
        upstream: URL of the S3 behind it.
        seed: Of the harm's randomness.
        port: 0: any that is free.

    Attributes:
        url: Where it answers.
        seen: Every request, in order; tests may clear it.
        before: Called with method and target before it is decided what is done to a request.
    """

    def __init__(self, upstream: str, seed: int = 1, port: int = 0) -> None:
        self.upstream = upstream
        self.before: Callable[[str, str], None] = _unheeded
        self.seen: list[Seen] = []
        self.settings = Settings()
        self.stopped = threading.Event()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._window_ends = self._left = float("inf")
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> S3Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def set(self, **changes: Any) -> None:
        """Change settings; those that are not named stay as they are.

        Raises:
            TypeError: There is no such setting.
            ValueError: There is no such kind or window, or ``only`` is no regular expression.
        """
        with self._lock:
            self.settings = replace(self.settings, **changes)
            if "window" in changes or "window_seconds" in changes:
                seconds = self.settings.window_seconds or float("inf")
                self._window_ends = time.monotonic() + seconds
            if "times" in changes:
                self._left = self.settings.times or float("inf")

    def counts(self) -> dict[str, int]:
        """How many requests were harmed, by kind, and ``asked``: how many there were."""
        return {"asked": len(self.seen), **Counter(one.harm for one in self.seen if one.harm)}

    def decide(self, method: str, target: str) -> str:
        """What is done to a request: a kind, the word of a window, or nothing."""
        self.before(method, target)
        with self._lock:
            harm = self._harm(f"{method} {target}") if self._left else ""
            self._left -= bool(harm)
            self.seen.append(Seen(time.monotonic(), method, target, harm))
            return harm

    def _harm(self, request: str) -> str:
        now = self.settings
        if not re.search(now.only, request):
            return ""
        if now.window and time.monotonic() < self._window_ends:
            return now.window
        if now.kinds and self._random.random() < now.share:
            return self._random.choice(now.kinds)
        return ""

    def is_odd(self) -> bool:
        """True every other time, by chance."""
        with self._lock:
            return self._random.random() < 0.5


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: S3Proxy

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client may leave whenever it likes
            super().handle()

    def _do(self) -> None:
        body = self._body()
        if self.path == CONTROL:
            self._send(self._control(body))
            return
        harm = self.server.proxy.decide(self.command, unquote(self.path))
        if harm in WINDOWS:
            self._send(_refusal(WINDOWS[harm], harm))
        elif harm:
            getattr(self, f"_{harm}")(body)
        else:
            self._send(self._forwarded(body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _do  # noqa: N815  http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _control(self, body: bytes) -> _Answer:
        proxy = self.server.proxy
        try:
            if self.command == "PUT":
                proxy.set(**json.loads(body))
        except (ValueError, TypeError, re.error) as error:
            return _Answer(400, [], f"{error}\n".encode())
        told = {**asdict(proxy.settings), "counts": proxy.counts()}
        return _Answer(200, [("Content-Type", "application/json")], json.dumps(told).encode())

    def _forwarded(self, body: bytes) -> _Answer:
        address = urlsplit(self.server.proxy.upstream)
        assert address.hostname is not None
        connection = HTTPConnection(address.hostname, address.port, timeout=60)
        try:
            connection.putrequest(self.command, self.path, True, True)
            for name, value in self.headers.items():
                if name.lower() not in (*_HOP_BY_HOP, "expect", *self._forgotten()):
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            told = [(n, v) for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP]
            length = int(answer.headers.get("Content-Length") or -1)
            return _Answer(answer.status, told, answer.read(), length)
        finally:
            connection.close()

    def _forgotten(self) -> tuple[str, ...]:
        return ("if-none-match",) if self.server.proxy.settings.forget_conditions else ()

    def _head(self, answer: _Answer, length: int) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(length))

    def _send(self, answer: _Answer) -> None:
        is_head = self.command == "HEAD"
        self._head(answer, max(answer.length, 0) if is_head else len(answer.body))
        self.end_headers()
        if not is_head:
            self.wfile.write(answer.body)

    def _error500(self, body: bytes) -> None:
        self._send(_refusal(500, "InternalError"))

    def _slow_down503(self, body: bytes) -> None:
        later = [("Retry-After", "1")] if self.server.proxy.is_odd() else []
        answer = _refusal(503, "SlowDown")
        self._send(replace(answer, headers=answer.headers + later))

    def _denied403(self, body: bytes) -> None:
        self._send(_refusal(403, "AccessDenied"))

    def _page200(self, body: bytes) -> None:
        self._send(_Answer(200, [("Content-Type", "text/html")], _PAGE, len(_PAGE)))

    def _reset(self, body: bytes = b"") -> None:
        """Close without the four-way farewell: what lingers for 0 seconds is reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._close()

    def _close(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        # the file objects share the socket: it is closed only with the last of them
        for one in (self.rfile, self.connection):
            one.close()

    def _hang(self, body: bytes) -> None:
        """Until the client hangs up: what can be read of it then is its end."""
        give_up = time.monotonic() + self.server.proxy.settings.hang
        while time.monotonic() < give_up and not self.server.proxy.stopped.is_set():
            if select.select([self.connection], [], [], 0.05)[0]:
                break
        self._reset()

    def _cut_body(self, body: bytes) -> None:
        answer = self._forwarded(body)
        if self.command == "HEAD" or not answer.body:
            self.wfile.write(f"HTTP/1.1 {answer.status} Cu".encode())
        else:
            self._head(answer, len(answer.body))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) // 2])
        self._close()

    def _short_body(self, body: bytes) -> None:
        answer = self._forwarded(body)
        self._send(replace(answer, body=answer.body[: len(answer.body) // 2]))

    def _late_answer(self, body: bytes) -> None:
        self._forwarded(body)
        if self.server.proxy.is_odd():
            self._reset()
        else:
            self._send(_refusal(500, "InternalError"))


def _refusal(status: int, code: str) -> _Answer:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{_MESSAGES.get(code, 'The proxy says so')}</Message>"
        "<RequestId>4442587FB7D0A2F9</RequestId></Error>"
    ).encode()
    return _Answer(status, [("Content-Type", "application/xml")], body, len(body))


def main(arguments: list[str]) -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description="A proxy in front of S3 that does harm")
    parser.add_argument("--upstream", required=True, help="URL of the S3 behind it")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args(arguments)
    with S3Proxy(told.upstream, told.seed, told.port) as proxy:
        print(proxy.url, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
