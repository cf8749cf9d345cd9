from __future__ import annotations

import atexit
import codecs
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from flagfall.stores import aws, forget_stores
from tests.feeds import Clock, ToyFeed, make_toy
from tests.s3 import S3Server, s3_server

_HOME = TemporaryDirectory(prefix="flagfall-tests-", ignore_cleanup_errors=True)
atexit.register(_HOME.cleanup)  # its own finalizer warns, and a warning is an error
os.environ["AIRFLOW_HOME"] = _HOME.name  # before Airflow is imported
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

settings.register_profile("flagfall", deadline=None)  # tests share two cores: none is timed
settings.load_profile("flagfall")


@pytest.fixture
def toy(tmp_path: Path) -> ToyFeed:
    return make_toy(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def _server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def _account(_server: S3Server) -> aws.Account:
    """Who tests are to that server; found once, since boto3 takes 0.3 s."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _server.environment().items():
            patch.setenv(name, value)
        found = aws.of_environment("")
        found.shared("s3")  # looks its credentials up while the environment has them
        return found


@pytest.fixture
def s3(
    _server: S3Server, _account: aws.Account, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Server]:
    """A real S3 over HTTP, to which the environment leads."""
    for name, value in _server.environment().items():
        monkeypatch.setenv(name, value)
    _server.requests.clear()
    aws._accounts[""] = _account  # never one that a test was: it may have been somebody else
    yield _server
    forget_stores()
    aws.forget("")


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.make_bucket(f"bucket-{uuid.uuid4().hex[:12]}")


NOBODY = 65534


@pytest.fixture
def plain_user() -> Iterator[Path]:
    """A folder of a user to whom permissions apply, as whom the test runs; root may do anything."""
    is_root = os.geteuid() == 0
    codecs.lookup("utf-8-sig")  # root's Python may not be readable by that user
    with TemporaryDirectory() as folder:
        if is_root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            if is_root:
                os.seteuid(0)
