from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import botocore.session
import pytest

from flagfall.stores import aws, forget_stores
from tests.canned import Answer, Canned, canned_server

botocore.session.create_loader = cache(botocore.session.create_loader)
"""A client's JSON is parsed once, not once per test: that saves 0.2 s each."""


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment that says nothing of AWS; failures are not waited for."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    short = timedelta(milliseconds=10)
    backoff = {"init_backoff": short, "max_backoff": short, "base": 2}
    once = {"max_retries": 1, "retry_timeout": timedelta(seconds=5), "backoff": backoff}
    monkeypatch.setattr(aws, "RETRIES", once)
    monkeypatch.setattr(aws, "PATIENCE", {"retries": {"total_max_attempts": 1}})
    aws.forget("")
    before = aws._look_up
    yield
    forget_stores()
    aws.look_up_with(before)


@pytest.fixture
def canned(nobody: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    """A scripted S3 to which the environment leads; a test sets ``answers``."""
    with canned_server(lambda asked: Answer(404)) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server
