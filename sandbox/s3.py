"""An S3 and an SQS of its own, on loopback, gone when it is left: moto's server in a process.

For the demo. It is spoken to over HTTP by everything, as the real one is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import boto3

from flagfall.errors import FlagfallError
from flagfall.stores.aws import Account, known
from sandbox.airflow import answers, free_port

PATIENCE = 60.0
"""Seconds in which the server has to answer."""
REGION = "us-east-1"
_QUEUE = "flagfall-markers"


class S3Failed(FlagfallError):
    """The local S3 did not start."""


class LocalS3:
    """A server with one bucket, which notifies one queue of new objects.

    Args:
        home: Folder for its log; made if need be.
        bucket: Name of the bucket.
        marker: The queue is notified of keys with this end; empty for all.
    """

    def __init__(self, home: Path, bucket: str, marker: str = "") -> None:
        self.bucket = bucket
        self._marker = marker
        self.url = ""
        self.queue = ""
        self._log = home / "s3.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._session = boto3.Session("local", "local", region_name=REGION)

    def client(self, service: str) -> Any:
        """A plain boto3 client, such as a producer's own code has."""
        return self._session.client(service, endpoint_url=self.url)

    def reached_by(self, conn_id: str) -> AbstractContextManager[None]:
        """Have this process reach it by a connection for a while, as Airflow does by its own."""
        return known(conn_id, Account(self._session, self.client))

    def connection(self) -> str:
        """An Airflow connection that leads here, as JSON."""
        return json.dumps(
            {
                "conn_type": "aws",
                "login": "local",
                "password": "local",
                "extra": {"endpoint_url": self.url, "region_name": REGION},
            }
        )

    def __enter__(self) -> LocalS3:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "sandbox.moto_server", str(port)]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait()
            self._furnish()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self) -> None:
        give_up = time.monotonic() + PATIENCE
        while not answers(f"{self.url}/moto-api/"):
            assert self._process is not None, "started before"
            if self._process.poll() is not None or time.monotonic() > give_up:
                tail = self._log.read_text(errors="replace")[-1000:]
                raise S3Failed(f"the local S3 did not start; the end of {self._log}:\n{tail}")
            time.sleep(0.1)

    def _furnish(self) -> None:
        """What Terraform would do: a bucket, a queue, and the bucket's notifications to it."""
        s3, sqs = self.client("s3"), self.client("sqs")
        s3.create_bucket(Bucket=self.bucket)
        self.queue = str(sqs.create_queue(QueueName=_QUEUE)["QueueUrl"])
        wanted = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        rule = {"QueueArn": wanted["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
        if self._marker:
            rule["Filter"] = {"Key": {"FilterRules": [{"Name": "suffix", "Value": self._marker}]}}
        s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"QueueConfigurations": [rule]}
        )

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
