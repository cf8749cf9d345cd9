"""A collector of OpenTelemetry on a free port of this machine: metrics by OTLP over HTTP."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)


class Point(NamedTuple):
    """A measured value, with the attribute that says of which feed it is."""

    name: str
    feed: str
    value: float


class Collector:
    """What came so far."""

    def __init__(self, port: int) -> None:
        self.points: list[Point] = []
        self._port = port

    @property
    def environment(self) -> dict[str, str]:
        """Settings of an Airflow that sends its metrics here."""
        return {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "AIRFLOW__METRICS__STATSD_ON": "False",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{self._port}/v1/metrics",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
        }

    def take(self, body: bytes) -> None:
        """Keep the points of a request."""
        request = ExportMetricsServiceRequest.FromString(body)
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.points += _points(metric)

    def last(self, feed: str) -> dict[str, float]:
        """The last value of each metric of a feed, by name."""
        return {point.name: point.value for point in self.points if point.feed == feed}


def _points(metric: Any) -> Iterator[Point]:
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        attributes = {one.key: one.value.string_value for one in point.attributes}
        is_number = kind in ("gauge", "sum")
        value = point.as_double or float(point.as_int) if is_number else point.sum
        yield Point(metric.name, attributes.get("feed", ""), value)


@contextmanager
def otlp_collector() -> Iterator[Collector]:
    """A collector that listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            collector.take(gzip.decompress(body) if packed else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
