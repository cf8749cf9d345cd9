"""HTTP around the stand-in's API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from sandbox.kubernetes.api import Api, Request, Said
from sandbox.kubernetes.selectors import Object
from sandbox.kubernetes.store import Refused
from sandbox.kubernetes.validation import bad_request

if TYPE_CHECKING:
    from sandbox.kubernetes.cluster import Weather

BUSY = Refused(429, "TooManyRequests", "too many requests, please try again later")
RETRY_AFTER = "1"


def handler(api: Api, weather: Weather) -> type[BaseHTTPRequestHandler]:
    """A class of handlers of one API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(weather.delay)
            if weather.is_away:
                self.close_connection = True
                return
            try:
                if weather.is_busy:
                    raise BUSY
                request = self._request(body)
                said = self._said(request)
            except Refused as refused:
                self._whole(refused.status(), refused.code)
            else:
                self._send(said, request)

        def _said(self, request: Request) -> Said:
            try:
                return api.answer(request)
            except Refused:
                raise
            except Exception as error:
                what = f"the stand-in cannot answer: {type(error).__name__}: {error}"
                raise Refused(500, "InternalError", what) from error

        def _request(self, text: bytes) -> Request:
            split = urlsplit(self.path)
            try:
                body = json.loads(text or "{}")
            except ValueError as error:
                raise bad_request(
                    f"couldn't get version/kind; json parse error: {error}"
                ) from error
            parts = [part for part in split.path.split("/") if part]
            accept = self.headers.get("Accept") or ""
            return Request(self.command, parts, dict(parse_qsl(split.query)), accept, body)

        def _send(self, said: Said, request: Request) -> None:
            if isinstance(said, bytes):
                self._body(said, "text/plain", 200)
            elif isinstance(said, dict):
                self._whole(said, 201 if request.method == "POST" else 200)
            else:
                self._stream(said)

        def _whole(self, said: Object, code: int) -> None:
            self._body(json.dumps(said).encode(), "application/json", code)

        def _body(self, body: bytes, kind: str, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if code == BUSY.code:
                self.send_header("Retry-After", RETRY_AFTER)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, parts: Iterator[bytes]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            for part in parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
            if weather.is_away:
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
