from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from flagfall.errors import BatchInvalid
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import Expected, parse_marker, read_manifest
from tests.zone import Zone

DIGEST = hashlib.sha256(b"x").hexdigest()


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path)


def package(*resources: Any) -> bytes:
    return json.dumps({"resources": list(resources)}).encode()


class TestEmptyMarker:
    def test_it_vouches_for_the_data_files_beside_it_and_below(self, zone: Zone) -> None:
        zone.write("date=1/b.csv", "date=1/a.csv", "date=1/sub/deep/c.csv", "date=1/_SUCCESS")
        zone.write("date=2/other.csv", "stray.csv")
        assert zone.names("date=1/_SUCCESS") == [
            "date=1/a.csv",
            "date=1/b.csv",
            "date=1/sub/deep/c.csv",
        ]

    @pytest.mark.parametrize(
        "content", [b"", b"\n", b" \t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"]
    )
    def test_white_space_is_empty(self, zone: Zone, content: bytes) -> None:
        zone.write("date=1/a.csv")
        assert [file.key for file in zone.says(content).files] == ["date=1/a.csv"]

    def test_hidden_files_and_underscore_files_are_left_out(self, zone: Zone) -> None:
        zone.write("date=1/_SUCCESS", "date=1/a.csv", "date=1/.a.csv.crc", "date=1/_metadata")
        zone.write("date=1/_temporary/0/part.csv", "date=1/.staging/x.csv", "date=1/sub/_log")
        assert zone.names("date=1/_SUCCESS") == ["date=1/a.csv"]

    @pytest.mark.invariant(7)
    @pytest.mark.parametrize("name", ["link.csv", "folder", "sub/pipe.csv"])
    def test_links_and_pipes_turn_the_batch_away_as_their_rows_would_be_missed(
        self, zone: Zone, tmp_path: Path, name: str
    ) -> None:
        zone.write("date=1/_SUCCESS", "date=1/a.csv", "date=1/sub/b.csv", "date=2/secret.csv")
        if "pipe" in name:
            os.mkfifo(tmp_path / "date=1" / name)
        else:
            secret = "date=2" if name == "folder" else "date=2/secret.csv"
            (tmp_path / "date=1" / name).symlink_to(tmp_path / secret)
        with pytest.raises(BatchInvalid, match=f"'date=1/{name}' beside it is a link") as caught:
            zone.manifest("date=1/_SUCCESS")
        assert caught.value.reason == "not-a-file"

    def test_links_that_are_hidden_are_left_out(self, zone: Zone, tmp_path: Path) -> None:
        zone.write("date=1/_SUCCESS", "date=1/a.csv")
        (tmp_path / "date=1/_latest").symlink_to("a.csv")
        os.mkfifo(tmp_path / "date=1/.pipe")
        assert zone.names("date=1/_SUCCESS") == ["date=1/a.csv"]

    def test_sizes_are_those_that_the_listing_shows(self, zone: Zone) -> None:
        zone.write("date=1/_SUCCESS", "date=1/a.csv")
        zone.write("date=1/b.csv", content=b"123")
        files = zone.manifest("date=1/_SUCCESS").files
        assert [(file.bytes, file.sha256) for file in files] == [(0, None), (3, None)]

    def test_a_marker_at_the_root_vouches_for_everything(self, tmp_path: Path) -> None:
        zone = Zone(tmp_path, "_SUCCESS")
        zone.write("_SUCCESS", "a.csv", "sub/b.csv")
        assert zone.names("_SUCCESS") == ["a.csv", "sub/b.csv"]

    @pytest.mark.parametrize("pattern", ["{day}.ready", "{day}_DONE", "in/{day}.ready.txt"])
    def test_batches_that_share_a_folder_get_the_files_of_their_own_name(
        self, tmp_path: Path, pattern: str
    ) -> None:
        zone = Zone(tmp_path, pattern)
        marker, other = (zone.landing.pattern.fill({"day": day}) for day in ("mon", "tue"))
        folder = marker.rpartition("/")[0]
        files = [os.path.join(folder, name) for name in ("mon.csv", "mon.0.csv", "mon/part.csv")]
        zone.write(marker, other, *files)
        zone.write(*(os.path.join(folder, name) for name in ("tue.csv", "monday.csv", "x.csv")))
        assert zone.names(marker) == sorted(files)

    def test_other_markers_are_no_data(self, tmp_path: Path) -> None:
        zone = Zone(tmp_path, "*.ready")
        zone.write("a.ready", "b.ready", "data.csv")
        assert zone.names("a.ready") == ["data.csv"]

    @pytest.mark.parametrize(("count", "allowed"), [(3, True), (4, False)])
    def test_files_are_counted_up_to_the_limit(self, zone: Zone, count: int, allowed: bool) -> None:
        zone.write("date=1/_SUCCESS", *(f"date=1/{n}.csv" for n in range(count)))
        if allowed:
            assert len(zone.manifest("date=1/_SUCCESS", Limits(files=3)).files) == 3
            return
        with pytest.raises(BatchInvalid, match=r"more than 3 files.*limits\.files") as caught:
            zone.manifest("date=1/_SUCCESS", Limits(files=3))
        assert caught.value.reason == "too-many-files"

    @pytest.mark.invariant(5)
    def test_a_file_whose_name_is_not_utf8_is_a_reason_and_no_crash(
        self, zone: Zone, tmp_path: Path
    ) -> None:
        zone.write("date=1/_SUCCESS")
        (tmp_path / "date=1" / os.fsdecode(b"\xff.csv")).touch()
        with pytest.raises(BatchInvalid, match="not UTF-8; rename it") as caught:
            zone.manifest("date=1/_SUCCESS")
        assert caught.value.reason == "name-not-text"
        str(caught.value).encode()


class TestDataPackage:
    def test_it_vouches_for_its_resources_with_sizes_and_hashes(self, zone: Zone) -> None:
        found = zone.says(
            package(
                {"path": "b.csv", "bytes": 5, "hash": f"sha256:{DIGEST}"},
                {"path": "sub/a.csv"},
            )
        )
        assert found.files == (
            Expected("date=1/b.csv", 5, DIGEST),
            Expected("date=1/sub/a.csv", None, None),
        )

    def test_files_beside_it_that_it_does_not_name_are_left_out(self, zone: Zone) -> None:
        zone.write("date=1/a.csv", "date=1/stray.csv")
        assert [file.key for file in zone.says(package({"path": "a.csv"})).files] == [
            "date=1/a.csv"
        ]

    def test_a_list_of_paths_is_as_many_files(self, zone: Zone) -> None:
        found = zone.says(package({"path": ["b.csv", "a.csv"]}, {"path": ["c.csv"], "bytes": 1}))
        assert found.files == (
            Expected("date=1/a.csv", None, None),
            Expected("date=1/b.csv", None, None),
            Expected("date=1/c.csv", 1, None),
        )

    @pytest.mark.parametrize("prefix", ["sha256:", "SHA256:", "sha-256:", ""])
    def test_the_hash_may_be_written_in_several_ways(self, zone: Zone, prefix: str) -> None:
        found = zone.says(package({"path": "a", "hash": prefix + DIGEST.upper()}))
        assert found.files[0].sha256 == DIGEST

    def test_unknown_keys_and_a_byte_order_mark_do_no_harm(self, zone: Zone) -> None:
        content = {"name": "x", "$schema": "y", "resources": [{"path": "a", "schema": {}}]}
        found = zone.says(b"\xef\xbb\xbf" + json.dumps(content).encode())
        assert [file.key for file in found.files] == ["date=1/a"]

    def test_odd_but_honest_names_are_taken_as_they_are(self, zone: Zone) -> None:
        names = ["a b.csv", "ä.csv", "..hidden..csv", "a:b.csv", "100%.csv", "-rf", "'; --"]
        found = zone.says(package(*({"path": name} for name in names)))
        assert sorted(file.key for file in found.files) == sorted(f"date=1/{n}" for n in names)

    def test_paths_are_relative_to_the_marker_at_the_root_too(self, tmp_path: Path) -> None:
        zone = Zone(tmp_path, "datapackage.json")
        zone.write("datapackage.json", content=package({"path": "./sub//a.csv"}))
        assert zone.names("datapackage.json") == ["sub/a.csv"]


def of(**resource: Any) -> bytes:
    return package({"path": "a.csv", **resource})


INVALID, UNKNOWN, ESCAPES = "manifest-invalid", "marker-not-understood", "path-escapes"

HOSTILE: dict[str, tuple[bytes, str]] = {
    # not JSON
    "text": (b"done", UNKNOWN),
    "cut short": (b'{"resources": [{"path": "a', UNKNOWN),
    "not utf-8": (b'{"resources": [{"path": "\xff"}]}', UNKNOWN),
    "utf-16": ('{"resources": [{"path": "a"}]}'.encode("utf-16"), UNKNOWN),
    "zeros, as after a crash": (b"\0" * 512, UNKNOWN),
    "deeply nested lists": (b"[" * 100_000, UNKNOWN),
    "deeply nested objects": (b'{"a":' * 100_000, UNKNOWN),
    "an int of 5,000 digits": (b'{"resources": ' + b"9" * 5_000 + b"}", UNKNOWN),
    "a key twice": (b'{"resources": [{"path": "a"}], "resources": [{"path": "b"}]}', UNKNOWN),
    "a path twice in one resource": (b'{"resources": [{"path": "a", "path": "/b"}]}', UNKNOWN),
    # JSON, and something else
    "null": (b"null", UNKNOWN),
    "NaN": (b"NaN", UNKNOWN),
    "a number": (b"1", UNKNOWN),
    "a list": (b"[]", UNKNOWN),
    "an object": (b"{}", UNKNOWN),
    # resources of the wrong type
    "resources: null": (b'{"resources": null}', INVALID),
    "resources: NaN": (b'{"resources": NaN}', INVALID),
    "resources: object": (b'{"resources": {"path": "a"}}', INVALID),
    "resources: empty": (package(), INVALID),
    "resource: text": (package("a.csv"), INVALID),
    "resource: null": (package(None), INVALID),
    "path: missing": (package({"bytes": 1}), INVALID),
    "path: number": (of(path=1), INVALID),
    "path: bool": (of(path=True), INVALID),
    "path: null": (of(path=None), INVALID),
    "path: empty": (of(path=""), INVALID),
    "path: empty list": (of(path=[]), INVALID),
    "path: list with null": (of(path=["a", None]), INVALID),
    "path: list in list": (of(path=[["a"]]), INVALID),
    "path: object": (of(path={"a": 1}), INVALID),
    "bytes: text": (of(bytes="1"), INVALID),
    "bytes: negative": (of(bytes=-1), INVALID),
    "bytes: bool": (of(bytes=True), INVALID),
    "bytes: fraction": (of(bytes=1.5), INVALID),
    "bytes: NaN": (of(bytes=float("nan")), INVALID),
    "bytes: infinite": (b'{"resources": [{"path": "a", "bytes": 1e999}]}', INVALID),
    "bytes: list": (of(bytes=[1]), INVALID),
    "bytes of two paths": (of(path=["a", "b"], bytes=1), INVALID),
    "hash of two paths": (of(path=["a", "b"], hash=DIGEST), INVALID),
    "hash: md5": (of(hash="d41d8cd98f00b204e9800998ecf8427e"), INVALID),
    "hash: another": (of(hash="md5:" + DIGEST), INVALID),
    "hash: short": (of(hash="sha256:" + DIGEST[:-1]), INVALID),
    "hash: no hex": (of(hash="g" * 64), INVALID),
    "hash: newline": (of(hash=DIGEST + "\n"), INVALID),
    "hash: number": (of(hash=1), INVALID),
    "hash: very long": (of(hash="a" * 100_000), INVALID),
    # names that are no file below the folder
    "a file twice": (package({"path": "a"}, {"path": "a"}), INVALID),
    "a file twice in disguise": (package({"path": "a/b"}, {"path": "a/./b"}), INVALID),
    "the folder itself": (of(path="."), INVALID),
    "the folder in disguise": (of(path=".//./"), INVALID),
    "a lone surrogate": (b'{"resources": [{"path": "\\ud800.csv"}]}', INVALID),
    "an escaped byte": (b'{"resources": [{"path": "\\udcff.csv"}]}', INVALID),
    # out of the folder
    "..": (of(path=".."), ESCAPES),
    "../": (of(path="../other/a.csv"), ESCAPES),
    "a/../..": (of(path="a/../../b"), ESCAPES),
    "a/..": (of(path="a/.."), ESCAPES),
    "second of a list": (of(path=["a.csv", "../b.csv"]), ESCAPES),
    "absolute": (of(path="/etc/passwd"), ESCAPES),
    "two slashes": (of(path="//host/share"), ESCAPES),
    "http": (of(path="http://169.254.169.254/latest"), ESCAPES),
    "s3": (of(path="s3://other/key"), ESCAPES),
    "file": (of(path="file:///etc/passwd"), ESCAPES),
    "a backslash first": (of(path="\\\\host\\share"), ESCAPES),
    ".. with backslashes": (of(path="..\\..\\b"), ESCAPES),
    "mixed slashes": (of(path="a\\../..\\b"), ESCAPES),
    "NUL": (of(path="a\0.csv"), ESCAPES),
}


@pytest.mark.invariant(7)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_marker_is_refused_with_a_reason_that_can_be_counted(
    zone: Zone, name: str
) -> None:
    content, reason = HOSTILE[name]
    refused = zone.refused(content)
    assert refused.reason == reason
    assert len(str(refused)) < 1000, "a receipt keeps it, and a report shows it"


@pytest.mark.invariant(7)
@pytest.mark.parametrize(("extra", "allowed"), [(0, True), (1, False)])
def test_a_marker_is_read_up_to_its_bound_and_not_a_byte_more(
    zone: Zone, extra: int, allowed: bool
) -> None:
    content = package({"path": "a"})
    limits = Limits(marker_bytes=len(content))
    if allowed:
        assert len(zone.says(content, limits).files) == 1
        return
    refused = zone.refused(content + b" " * extra, limits)
    assert refused.reason == "marker-too-large"
    assert "limits.marker_bytes" in str(refused)


@pytest.mark.invariant(7)
@pytest.mark.parametrize(
    "resources",
    [[{"path": name} for name in "abcd"], [{"path": ["a", "b", "c", "d"]}]],
    ids=["resources", "paths"],
)
def test_a_manifest_may_name_files_up_to_the_limit(zone: Zone, resources: list[Any]) -> None:
    assert zone.refused(package(*resources), Limits(files=3)).reason == "too-many-files"


def test_as_many_files_as_are_allowed_are_taken(zone: Zone) -> None:
    found = zone.says(package({"path": ["a", "b", "c"]}), Limits(files=3))
    assert len(found.files) == 3


@pytest.mark.invariant(7)
def test_a_huge_size_is_only_a_size_that_differs(zone: Zone) -> None:
    zone.write("date=1/a.csv")
    assert zone.says(of(bytes=10**30)).files[0].bytes == 10**30
    assert "10" in (zone.missing("date=1/_SUCCESS") or "")


class TestMissing:
    def test_a_complete_batch_lacks_nothing(self, zone: Zone) -> None:
        zone.write("date=1/a.csv", content=b"123")
        zone.says(of(bytes=3))
        assert zone.missing("date=1/_SUCCESS") is None

    def test_an_empty_marker_without_data_is_not_complete(self, zone: Zone) -> None:
        zone.write("date=1/_SUCCESS")
        assert "no data files" in (zone.missing("date=1/_SUCCESS") or "")

    @pytest.mark.parametrize(("size", "complete"), [(2, False), (3, True), (4, False)])
    def test_a_file_of_another_size_is_told_with_both_sizes(
        self, zone: Zone, size: int, complete: bool
    ) -> None:
        zone.write("date=1/a.csv", content=b"x" * size)
        zone.says(of(bytes=3))
        expected = None if complete else f"date=1/a.csv: 3 bytes expected, {size} found"
        assert zone.missing("date=1/_SUCCESS") == expected

    @pytest.mark.invariant(7)
    @pytest.mark.parametrize(
        "path", ["absent.csv", "a.csv/below", "folder", "link.csv", "away/b.csv", "n" * 300]
    )
    def test_what_is_not_a_file_there_is_missing_and_stops_nothing(
        self, zone: Zone, tmp_path: Path, path: str
    ) -> None:
        zone.write("date=1/a.csv", "date=1/folder/x.csv", "date=2/b.csv")
        (tmp_path / "date=1/link.csv").symlink_to(tmp_path / "date=2/b.csv")
        (tmp_path / "date=1/away").symlink_to(tmp_path / "date=2")
        zone.says(of(path=path))
        assert (zone.missing("date=1/_SUCCESS") or "").endswith("it is not there")


@pytest.mark.invariant(5)
class TestPermissions:
    """A producer who forgets them gets a reason; the feed goes on."""

    def test_a_marker_that_cannot_be_read_is_a_reason(self, plain_user: Path) -> None:
        zone = Zone(plain_user)
        zone.write("date=1/_SUCCESS", "date=1/a.csv")
        (plain_user / "date=1/_SUCCESS").chmod(0)
        with pytest.raises(BatchInvalid, match="permission denied; let the user") as caught:
            zone.manifest("date=1/_SUCCESS")
        assert caught.value.reason == "not-readable"

    def test_a_batch_is_never_taken_without_the_folder_that_cannot_be_read(
        self, plain_user: Path
    ) -> None:
        zone = Zone(plain_user)
        zone.write("date=1/_SUCCESS", "date=1/a.csv", "date=1/shut/b.csv")
        (plain_user / "date=1/shut").chmod(0)
        with pytest.raises(BatchInvalid, match="permission denied; let the user") as caught:
            zone.manifest("date=1/_SUCCESS")
        assert caught.value.reason == "not-readable"

    def test_a_file_in_a_folder_that_cannot_be_read_is_missing_in_words(
        self, plain_user: Path
    ) -> None:
        zone = Zone(plain_user)
        zone.write("date=1/shut/b.csv")
        zone.says(of(path="shut/b.csv"))
        (plain_user / "date=1/shut").chmod(0)
        assert "permission denied" in (zone.missing("date=1/_SUCCESS") or "")


def test_a_marker_that_is_gone_is_told_apart_from_a_bad_one(zone: Zone, tmp_path: Path) -> None:
    zone.write("date=1/_SUCCESS")
    marker = zone.marker("date=1/_SUCCESS")
    (tmp_path / "date=1/_SUCCESS").unlink()
    with pytest.raises(FileNotFoundError):
        read_manifest(marker, zone.landing.pattern, zone.landing.store, Limits())


def test_the_content_alone_says_whether_the_files_beside_it_count(zone: Zone) -> None:
    zone.write("date=1/_SUCCESS")
    marker = zone.marker("date=1/_SUCCESS")
    assert parse_marker(marker, b" ", 10) is None
    assert parse_marker(marker, of(), 10) == [Expected("date=1/a.csv", None, None)]
