"""An S3 (and SQS) of its own: moto's server, over HTTP on loopback, and a note of every request."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import MotoRequestHandler
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from sandbox.moto_server import application as moto_application

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@dataclass(frozen=True)
class Request:
    """A request that was answered, such as ``GET /bucket {"list-type": ["2"]}``."""

    method: str
    path: str
    query: dict[str, list[str]]
    status: int


class _Quiet(MotoRequestHandler):  # type: ignore[misc]  # moto has no annotations
    def log_request(self, *_: object) -> None:
        """Say nothing."""


@dataclass(eq=False)
class S3Server:
    """A running server.

    Attributes:
        url: Where it answers.
        requests: What it was asked, in order; tests may clear it.
    """

    url: str
    requests: list[Request] = field(default_factory=list)

    @cache  # noqa: B019  one server lives as long as the tests
    def client(self, service: str = "s3") -> Any:
        session = boto3.Session("testing", "testing", region_name="us-east-1")
        return session.client(service, endpoint_url=self.url)

    def make_bucket(self, name: str, region: str = "") -> str:
        where = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region else {}
        self.client().create_bucket(Bucket=name, **where)
        return name

    def fill(self, bucket: str, *keys: str, content: bytes = b"x") -> None:
        """Put objects in behind the server's back: a request takes 8 ms, and no line feeds."""
        for key in keys:
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, content)

    def upload_in_parts(self, bucket: str, key: str, content: bytes, began: datetime) -> None:
        """A multipart upload that is complete now. LastModified is when it began, as on AWS."""
        where = {"Bucket": bucket, "Key": key}
        upload = {**where, "UploadId": self.client().create_multipart_upload(**where)["UploadId"]}
        part = self.client().upload_part(**upload, PartNumber=1, Body=content)
        parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
        self.client().complete_multipart_upload(**upload, MultipartUpload=parts)
        stored = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key)
        stored.last_modified = began.replace(tzinfo=None)

    def make_queue(self, name: str) -> str:
        """A queue; gives its URL."""
        return str(self.client("sqs").create_queue(QueueName=name)["QueueUrl"])

    def notify(self, bucket: str, queue_url: str, prefix: str = "") -> None:
        """Have a bucket tell a queue of every new object below a prefix."""
        arn = f"arn:aws:sqs:us-east-1:123456789012:{queue_url.rpartition('/')[2]}"
        rule: dict[str, Any] = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        if prefix:
            rule["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
        self.client().put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [rule]}
        )

    def environment(self) -> dict[str, str]:
        """What a process needs so that it talks to this server."""
        return {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url}


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server on a free port; end it."""
    inner = moto_application()
    requests: list[Request] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def note(status: str, *rest: Any) -> Any:
            query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
            path = environ["PATH_INFO"].encode("latin-1").decode()
            number = int(status.split()[0])
            requests.append(Request(environ["REQUEST_METHOD"], path, query, number))
            return start_response(status, *rest)

        return inner(environ, note)

    server = make_server("127.0.0.1", 0, application, True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield S3Server(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
