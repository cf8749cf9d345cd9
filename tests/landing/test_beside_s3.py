"""The same on S3, where folders are only names and shared ones are listed in pages."""

from __future__ import annotations

import pytest

from flagfall.errors import BatchInvalid
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import Manifest, read_manifest, with_left_out
from flagfall.landing.zone import LandingAddress, LandingZone
from tests.s3 import S3Server

PACKAGE = b'{"resources": [{"path": "a.csv"}]}'


def zone(bucket: str, pattern: str, **more: str) -> LandingZone:
    address = {"uri": f"s3://{bucket}/landing", "marker": pattern, **more}
    return LandingZone(LandingAddress.model_validate(address))


def manifest(landing: LandingZone, key: str) -> Manifest:
    marker = landing.find(key)[0]
    found = read_manifest(marker, landing.pattern, landing.store, Limits(), landing.folders)
    return with_left_out(found, marker, Limits(), landing.folders)


def put(s3: S3Server, bucket: str, *names: str, content: bytes = b"x") -> None:
    s3.fill(bucket, *(f"landing/{name}" for name in names), content=content)


def test_parts_in_a_shared_folder(s3: S3Server, bucket: str) -> None:
    put(s3, bucket, "data.csv", "data_2.csv", "data.eu.csv", "data/x=1/a.csv", "data_3.csv")
    put(s3, bucket, "data.ready", "data_3.ready", "sub_$folder$", "sub/", content=b"")
    found = manifest(zone(bucket, "{name}.ready"), "data.ready")
    assert [file.key for file in found.files] == ["data.csv", "data/x=1/a.csv", "data_2.csv"]
    assert list(found.left_out) == ["data.eu.csv"]


@pytest.mark.invariant(5)
def test_a_key_that_can_be_no_file_stops_no_batch_but_its_own(s3: S3Server, bucket: str) -> None:
    put(s3, bucket, "a.csv", "b.csv", "/b.csv", "ju\x1bnk.csv", "c.csv", "c//part-2.csv")
    put(s3, bucket, "a.ready", "b.ready", "c.ready", content=b"")
    landing = zone(bucket, "{name}.ready")
    for name in "ab":
        assert [file.key for file in manifest(landing, f"{name}.ready").files] == [f"{name}.csv"]
    with pytest.raises(BatchInvalid, match=r"'c//part-2.csv' beside it is no name of a file"):
        manifest(landing, "c.ready")


@pytest.mark.parametrize("kind", ["", "csv"])
def test_objects_that_stand_for_folders_are_no_files(s3: S3Server, bucket: str, kind: str) -> None:
    put(s3, bucket, "mon/a.csv", "mon/b.csv")
    put(s3, bucket, "mon/", "mon/sub/", "mon/sub_$folder$", content=b"")
    put(s3, bucket, "mon/_SUCCESS", content=PACKAGE)
    landing = zone(bucket, "{day}/_SUCCESS", **({"format": kind} if kind else {}))
    assert list(manifest(landing, "mon/_SUCCESS").left_out) == ["mon/b.csv"]
    put(s3, bucket, "mon/_SUCCESS", content=b"")
    found = manifest(landing, "mon/_SUCCESS")
    assert [file.key for file in found.files] == ["mon/a.csv", "mon/b.csv"]
    assert not found.left_out


def test_what_databricks_committed_counts(s3: S3Server, bucket: str) -> None:
    put(s3, bucket, "mon/a.csv", "mon/b.csv")
    put(s3, bucket, "mon/_committed_2", content=b'{"added": ["b.csv"], "removed": []}')
    put(s3, bucket, "mon/_SUCCESS", "mon/_started_1", "mon/_started_2", content=b"")
    found = manifest(zone(bucket, "{day}/_SUCCESS"), "mon/_SUCCESS")
    assert [file.key for file in found.files] == ["mon/b.csv"]
    assert list(found.left_out) == ["mon/a.csv"]


def test_many_markers_of_one_folder_cost_few_listings(s3: S3Server, bucket: str) -> None:
    put(s3, bucket, *(f"d{n}.csv" for n in range(30)))
    put(s3, bucket, *(f"d{n}.ready" for n in range(30)), content=b"")
    landing = zone(bucket, "{name}.ready")
    s3.requests.clear()
    for marker in landing.markers():
        read_manifest(marker, landing.pattern, landing.store, Limits(), landing.folders)
    assert sum("list-type" in request.query for request in s3.requests) < 30
