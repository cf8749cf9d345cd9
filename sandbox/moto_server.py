"""moto's server, with the one promise of S3 that it breaks under load: ``If-None-Match: *``.

It looks whether there is an object and then writes it, and threads of other requests run between
the two. So conditional writes are answered one after the other.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def application() -> Application:
    """A WSGI application of its own, for a threaded server."""
    inner: Application = DomainDispatcherApplication(create_backend_app)
    one_by_one = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return inner(environ, start_response)
        with one_by_one:
            return inner(environ, start_response)

    return answer


if __name__ == "__main__":
    run_simple(
        "127.0.0.1",
        int(sys.argv[1]),
        application(),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
