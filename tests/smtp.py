"""An SMTP server on this machine that keeps what it is sent."""

from __future__ import annotations

import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from threading import Thread
from typing import Any


@dataclass
class Mailbox:
    """What came, in order, and where to send it to.

    Attributes:
        came: When each mail came, in seconds since 1970.
        refuses: Whether every message is refused.
    """

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    refuses: bool = False

    @property
    def connection(self) -> str:
        """The Airflow connection ``smtp_default``, as JSON for the environment."""
        extra = '{"disable_tls": true, "disable_ssl": true, "retry_limit": 1}'
        return (
            f'{{"conn_type": "smtp", "host": "127.0.0.1", "port": {self.port}, "extra": {extra}}}'
        )

    def html(self) -> list[str]:
        """The HTML of each mail."""
        return [_part(mail) for mail in self.mails]


def _part(mail: EmailMessage) -> str:
    part = mail.get_body(("html",)) or next(
        p for p in mail.walk() if "html" in p.get_content_type()
    )
    return str(part.get_content())  # type: ignore[union-attr]


@contextmanager
def smtp_server() -> Iterator[Mailbox]:
    """A server that speaks as much SMTP as ``smtplib`` asks for."""
    box = Mailbox()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            for line in self.rfile:
                verb = line.decode().strip().upper()
                if verb.startswith("DATA"):
                    self.take()
                elif verb.startswith("QUIT"):
                    self.say("221 bye")
                    return
                elif verb.startswith("MAIL") and box.refuses:
                    self.say("554 no mail today")
                else:
                    self.say("250 fine")

        def take(self) -> None:
            self.say("354 go on")
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line[1:] if line.startswith(b"..") else line)
            mail: Any = message_from_bytes(b"".join(lines), policy=policy.default)
            box.came.append(time.time())
            box.mails.append(mail)
            self.say("250 kept")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Session) as server:
        box.port = server.server_address[1]
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield box
        finally:
            server.shutdown()
