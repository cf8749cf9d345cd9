"""A server that gives the answers it is told, for what a real one does only when it is unwell."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = {
    "name": "toy",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 1]}],
}


@dataclass
class Reply:
    """One answer.

    Attributes:
        delay: Seconds between any two of its bytes.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0


@dataclass
class Canned:
    """What is answered, and what was asked.

    Attributes:
        model: The model's metadata.
        replies: To the next requests to infer; when none is left, every row's input is its score.
        headers: Of each request to infer.
    """

    url: str
    model: dict[str, Any] = field(default_factory=lambda: dict(MODEL))
    replies: list[Reply] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, path: str, body: bytes) -> Reply:
        if not path.endswith("/infer"):
            return Reply(body=json.dumps(self.model if "/models/" in path else {}).encode())
        self.bodies.append(json.loads(body))
        return self.replies.pop(0) if self.replies else _echo(self.bodies[-1])


def _echo(asked: dict[str, Any]) -> Reply:
    (given,) = asked["inputs"]
    output = {**given, "name": "scores"}
    return Reply(body=json.dumps({"outputs": [output]}).encode())


@contextmanager
def canned_inference() -> Iterator[Canned]:
    """A server on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            canned.headers.append(dict(self.headers))
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            reply = canned.reply(self.path, body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            try:
                for byte in reply.body if reply.delay else ():
                    self.wfile.write(bytes([byte]))
                    time.sleep(reply.delay)
                self.wfile.write(b"" if reply.delay else reply.body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has had enough

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    canned = Canned(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield canned
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
