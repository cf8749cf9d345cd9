from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flagfall.errors import StoreRefused
from flagfall.stores import aws, forget_stores
from flagfall.stores.local import LocalStore
from flagfall.stores.promises import check_create_if_absent
from tests.faults.s3_proxy import S3Proxy
from tests.s3 import S3Server


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """A proxy in front of S3, to which the environment leads."""
    with S3Proxy(s3.url) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        aws.forget("")
        forget_stores()
        yield found
    forget_stores()
    aws.forget("")


def test_a_directory_keeps_it_and_nothing_of_the_trial_stays(tmp_path: Path) -> None:
    check_create_if_absent(str(tmp_path), "")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    check_create_if_absent(str(tmp_path / "lake" / "toy"), "")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_whose_names_are_no_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(self: LocalStore, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True

    monkeypatch.setattr(LocalStore, "create", careless)
    with pytest.raises(StoreRefused, match="needs a store that keeps create-if-absent"):
        check_create_if_absent(str(tmp_path), "")
    assert list(tmp_path.iterdir()) == []


def test_s3_keeps_it_and_nothing_of_the_trial_stays(
    proxy: S3Proxy, bucket: str, s3: S3Server
) -> None:
    check_create_if_absent(f"s3://{bucket}/lake", "")
    assert "Contents" not in s3.client().list_objects_v2(Bucket=bucket)


def test_a_server_that_ignores_the_condition_is_refused(
    proxy: S3Proxy, bucket: str, s3: S3Server
) -> None:
    proxy.set(forget_conditions=True)
    with pytest.raises(StoreRefused, match="needs a store that keeps create-if-absent"):
        check_create_if_absent(f"s3://{bucket}/lake", "")
    assert "Contents" not in s3.client().list_objects_v2(Bucket=bucket)
