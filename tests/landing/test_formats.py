"""Markers as real producers write them; ``producers/README.md`` says where each comes from."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flagfall.errors import BatchInvalid
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import Expected, parse_marker
from flagfall.landing.marker import Marker
from tests.zone import Zone

PRODUCERS = Path(__file__).parents[1] / "producers"
DAY = "date=2013-12-14"
LANDING = "s3://bucket/landing/flights"
DIGEST = hashlib.sha256(b"x").hexdigest()
COMMITTER = "org.apache.hadoop.fs.s3a.commit.files.SuccessData/1"
INVALID, UNKNOWN, ESCAPES = "manifest-invalid", "marker-not-understood", "path-escapes"


def written_by(producer: str, landing: str = "/landing/flights") -> bytes:
    """The marker of a producer that writes to ``landing``."""
    text = (PRODUCERS / producer).read_text(encoding="utf-8")
    return text.replace("/landing/flights", landing).encode()


def at(landing: str, name: str = "_SUCCESS") -> Marker:
    key = f"{DAY}/{name}"
    return Marker(f"{landing}/{key}", key, "1", datetime(2013, 12, 15, tzinfo=UTC), 1, {})


def keys(marker: Marker, content: bytes) -> list[str]:
    return [file.key for file in parse_marker(marker, content, 200) or []]


def refused(content: bytes, landing: str = LANDING, max_files: int = 200) -> BatchInvalid:
    with pytest.raises(BatchInvalid) as caught:
        parse_marker(at(landing), content, max_files)
    str(caught.value).encode()  # it goes into a receipt
    assert len(str(caught.value)) < 1200, "a receipt keeps it, and a report shows it"
    return caught.value


def success(*names: Any, **more: Any) -> bytes:
    return json.dumps({"name": COMMITTER, "filenames": names, **more}).encode()


def unload(*entries: Any) -> bytes:
    return json.dumps({"entries": entries}).encode()


def url(key: str, **more: Any) -> dict[str, Any]:
    return {"url": f"{LANDING}/{key}", **more}


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path, "date={date}/_SUCCESS")


PARTS = [
    f"{DAY}/hour=2013-12-14 05%3A00/part-00001-fe9c22b3.c000.snappy.parquet",
    f"{DAY}/hour=2013-12-14 06%3A00/part-00000-fe9c22b3.c000.snappy.parquet",
]
"""Spark writes ``:`` in a partition's value as ``%3A``: that is how the folder is called."""


class TestHadoopSuccess:
    @pytest.mark.parametrize("folder", ["", "/landing", "/landing/flights"])
    def test_paths_of_an_s3a_committer_count_from_the_root_of_the_bucket(self, folder: str) -> None:
        content = written_by("s3a-magic._SUCCESS", folder)
        assert keys(at(f"s3://bucket{folder}"), content) == PARTS

    def test_paths_of_an_s3a_committer_are_absolute_on_a_disk(self, zone: Zone) -> None:
        zone.write(f"{DAY}/_SUCCESS", content=written_by("s3a-magic._SUCCESS", str(zone.root)))
        zone.write(*PARTS)
        assert zone.names(f"{DAY}/_SUCCESS") == PARTS
        assert zone.missing(f"{DAY}/_SUCCESS") is None

    def test_uris_of_the_manifest_committer_are_decoded_once(self, zone: Zone) -> None:
        content = written_by("manifest-committer._SUCCESS", str(zone.root))
        zone.write(f"{DAY}/_SUCCESS", content=content)
        zone.write(*PARTS)
        assert zone.names(f"{DAY}/_SUCCESS") == PARTS
        assert zone.missing(f"{DAY}/_SUCCESS") is None

    @pytest.mark.parametrize("scheme", ["s3", "s3a", "s3n"])
    def test_uris_of_every_s3_connector_name_the_same_file(self, scheme: str) -> None:
        content = success(f"{scheme}://bucket/landing/flights/{DAY}/a%20b.csv")
        assert keys(at(LANDING), content) == [f"{DAY}/a b.csv"]

    @pytest.mark.parametrize("start", ["file:", "file://"])
    def test_file_uris_may_have_one_slash_or_three(self, start: str) -> None:
        assert keys(at("/landing/flights"), success(f"{start}/landing/flights/a")) == ["a"]

    def test_the_name_of_the_other_class_is_understood(self) -> None:
        name = "org.apache.hadoop.mapreduce.lib.output.committer.manifest.files.ManifestSuccessData"
        assert keys(at(LANDING), success(f"{LANDING}/a", name=f"{name}/1")) == ["a"]

    def test_files_beside_it_that_it_does_not_name_are_left_out(self, zone: Zone) -> None:
        zone.write(f"{DAY}/of-an-earlier-run.csv")
        zone.write(f"{DAY}/_SUCCESS", content=success(*self._names(zone, 99)))
        assert len(zone.names(f"{DAY}/_SUCCESS")) == 99

    def test_with_a_hundred_names_the_files_beside_it_belong_to_the_batch(self, zone: Zone) -> None:
        zone.write(f"{DAY}/_SUCCESS", content=success(*self._names(zone, 100)))
        zone.write(*(f"{DAY}/part-{n:05}" for n in range(130)), f"{DAY}/.hidden", content=b"12")
        files = zone.manifest(f"{DAY}/_SUCCESS").files
        assert [file.key for file in files] == [f"{DAY}/part-{n:05}" for n in range(130)]
        assert {file.bytes for file in files} == {2}

    def test_with_a_hundred_names_each_of_them_must_be_there(self, zone: Zone) -> None:
        zone.write(f"{DAY}/_SUCCESS", content=success(*self._names(zone, 100)))
        zone.write(*(f"{DAY}/part-{n:05}" for n in range(130) if n != 7))
        missed = f"{DAY}/part-00007: the marker names this file, it is not there"
        assert zone.missing(f"{DAY}/_SUCCESS") == missed

    @pytest.mark.invariant(7)
    @pytest.mark.parametrize(("extra", "allowed"), [("part-00100", True), ("x", False)])
    def test_named_files_and_those_beside_count_together(
        self, zone: Zone, extra: str, allowed: bool
    ) -> None:
        zone.write(f"{DAY}/_SUCCESS", content=success(*self._names(zone, 101)))
        zone.write(*(f"{DAY}/part-{n:05}" for n in range(100)), f"{DAY}/{extra}")
        if allowed:
            assert len(zone.manifest(f"{DAY}/_SUCCESS", Limits(files=101)).files) == 101
            return
        with pytest.raises(BatchInvalid) as caught:
            zone.manifest(f"{DAY}/_SUCCESS", Limits(files=101))
        assert caught.value.reason == "too-many-files"

    @staticmethod
    def _names(zone: Zone, count: int) -> list[str]:
        return [f"{zone.root}/{DAY}/part-{n:05}" for n in range(count)]

    def test_a_job_that_failed_is_refused_with_its_own_words(self) -> None:
        why = refused(written_by("manifest-committer-failed._SUCCESS"))
        assert why.reason == INVALID
        assert "success is false" in str(why)
        assert "No space left on device" in str(why)

    def test_where_none_is_named_the_files_beside_it_are_the_batch(self, zone: Zone) -> None:
        zone.write(f"{DAY}/part-0.csv", content=b"12")
        zone.write(f"{DAY}/_SUCCESS", content=success())
        assert zone.names(f"{DAY}/_SUCCESS") == [f"{DAY}/part-0.csv"]

    def test_where_none_is_named_and_none_is_there_the_batch_lacks_all(self, zone: Zone) -> None:
        zone.write(f"{DAY}/_SUCCESS", content=success())
        assert "no data files" in (zone.missing(f"{DAY}/_SUCCESS") or "")


class TestRedshiftManifest:
    def test_it_vouches_for_its_entries(self) -> None:
        content = written_by("redshift.manifest")
        names = ["venue_0000_part_00", "venue_0001_part_00"]
        assert keys(at(LANDING, "venue_manifest"), content) == [f"{DAY}/{n}" for n in names]

    def test_the_verbose_form_gives_sizes(self) -> None:
        assert parse_marker(at(LANDING), written_by("redshift-verbose.manifest"), 2) == [
            Expected(f"{DAY}/venue_0000_part_00", 32295, None),
            Expected(f"{DAY}/venue_0001_part_00", 32771, None),
        ]

    def test_what_copy_may_leave_out_belongs_to_the_batch_all_the_same(self) -> None:
        names = [f"{DAY}/custdata.1", f"{DAY}/custdata.2"]
        assert keys(at(LANDING), written_by("copy.manifest")) == names

    def test_a_key_is_taken_as_it_stands(self) -> None:
        assert keys(at(LANDING), unload(url("a%20b c?d#e"))) == ["a%20b c?d#e"]

    def test_a_copy_on_a_disk_is_checked_for_its_sizes(self, zone: Zone) -> None:
        entry = {"url": f"file://{zone.root}/{DAY}/a", "meta": {"content_length": 3}}
        zone.write(f"{DAY}/_SUCCESS", content=unload(entry))
        zone.write(f"{DAY}/a", content=b"12")
        assert zone.missing(f"{DAY}/_SUCCESS") == f"{DAY}/a: 3 bytes expected, 2 found"

    def test_without_entries_there_is_no_data(self) -> None:
        assert refused(unload()).reason == "no-data"


SUMMED = {
    "a.csv": b"x",
    "back\\slash.csv": b"z",
    "new\nline.csv": b"y",
    "sub/two  spaces (1).csv": b"w",
}


class TestSha256sum:
    @pytest.mark.parametrize("producer", ["SHA256SUMS", "SHA256SUMS.tag"])
    @pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
    def test_it_vouches_for_its_files_with_hashes_and_leaves_itself_out(
        self, tmp_path: Path, producer: str, line_end: bytes
    ) -> None:
        zone = Zone(tmp_path, "{date}/SHA256SUMS")
        zone.write("1/SHA256SUMS", content=written_by(producer).replace(b"\n", line_end))
        for name, content in SUMMED.items():
            zone.write(f"1/{name}", content=content)
        assert zone.manifest("1/SHA256SUMS").files == tuple(
            Expected(f"1/{name}", None, hashlib.sha256(content).hexdigest())
            for name, content in SUMMED.items()
        )
        assert zone.missing("1/SHA256SUMS") is None

    @pytest.mark.parametrize(
        "line",
        [
            f"{DIGEST}  a.csv",
            f"{DIGEST} *a.csv\n",
            f"{DIGEST.upper()}  a.csv\n",
            f"{DIGEST}  ./a.csv\n",
            f"{DIGEST}  /landing/flights/{DAY}/a.csv\n",
            f"# made by hand\n\n{DIGEST}  a.csv\n\n",
            f"\ufeff{DIGEST}  a.csv\n",
        ],
    )
    def test_a_file_may_be_written_in_several_ways(self, line: str) -> None:
        found = parse_marker(at("/landing/flights"), line.encode(), 1)
        assert found == [Expected(f"{DAY}/a.csv", None, DIGEST)]

    @pytest.mark.parametrize(
        ("written", "name"),
        [
            (r"a\rb", "a\rb"),
            (r"a\\nb", "a\\nb"),
            (r"a\\\nb", "a\\\nb"),
        ],
    )
    def test_an_escaped_line_has_its_own_name_back(self, written: str, name: str) -> None:
        assert keys(at(LANDING), f"\\{DIGEST}  {written}\n".encode()) == [f"{DAY}/{name}"]

    @pytest.mark.parametrize("name", [r"a\nb", "a\u2028b", "a\x0bb", " a", "*a", "a "])
    def test_any_other_line_has_its_name_as_it_stands(self, name: str) -> None:
        assert keys(at(LANDING), f"{DIGEST}  {name}\n".encode()) == [f"{DAY}/{name}"]

    def test_alone_in_its_own_list_there_is_no_data(self) -> None:
        assert refused(f"{DIGEST}  _SUCCESS\n".encode()).reason == "no-data"


def line(path: str, before: str = "") -> bytes:
    return f"{before}{DIGEST}  {path}\n".encode()


HOSTILE: dict[str, tuple[bytes, str]] = {
    # Hadoop
    "hadoop: no filenames": (json.dumps({"name": COMMITTER}).encode(), INVALID),
    "hadoop: filenames are text": (success(filenames="a"), INVALID),
    "hadoop: filenames are an object": (success(filenames={"a": 1}), INVALID),
    "hadoop: a number": (success(1), INVALID),
    "hadoop: a list in the list": (success([f"{LANDING}/a"]), INVALID),
    "hadoop: an empty name": (success(""), INVALID),
    "hadoop: null": (success(None), INVALID),
    "hadoop: another version": (success(f"{LANDING}/a", name=COMMITTER[:-1] + "2"), UNKNOWN),
    "hadoop: a list for a name": (success(f"{LANDING}/a", name=[COMMITTER]), UNKNOWN),
    "hadoop: success is text": (success(f"{LANDING}/a", success="false"), INVALID),
    "hadoop: success is null": (success(f"{LANDING}/a", success=None), INVALID),
    "hadoop: failed, diagnostics are text": (success(success=False, diagnostics="x"), INVALID),
    "hadoop: failed, long and no text": (
        success(success=False, diagnostics={"exception": "\ud800" * 10_000}),
        INVALID,
    ),
    "hadoop: failed, exception is an object": (
        success(success=False, diagnostics={"exception": {"a": "b" * 10_000}}),
        INVALID,
    ),
    "hadoop: a file twice": (success(f"{LANDING}/a", "/landing/flights/a"), INVALID),
    "hadoop: a file twice, two schemes": (
        success("s3a://bucket/landing/flights/a", "s3n://bucket/landing/flights/a"),
        INVALID,
    ),
    "hadoop: a relative path": (success("part-00000"), ESCAPES),
    "hadoop: outside of the landing zone": (success("/landing/other/a"), ESCAPES),
    "hadoop: a neighbour with a longer name": (success("/landing/flights2/a"), ESCAPES),
    "hadoop: the landing zone itself": (success("/landing/flights"), ESCAPES),
    "hadoop: the landing zone as a folder": (success("/landing/flights/"), ESCAPES),
    "hadoop: ..": (success("/landing/flights/../other/a"), ESCAPES),
    "hadoop: .. encoded": (success(f"{LANDING}/%2e%2e/a"), ESCAPES),
    "hadoop: .. behind an encoded slash": (success(f"{LANDING}/a%2F..%2F..%2Fb"), ESCAPES),
    "hadoop: .. encoded with backslashes": (success(f"{LANDING}/a%5C..%5Cb"), ESCAPES),
    "hadoop: NUL encoded": (success(f"{LANDING}/a%00b"), ESCAPES),
    "hadoop: bytes that are no text": (success(f"{LANDING}/%FF"), INVALID),
    "hadoop: a lone surrogate": (success(f"{LANDING}/\ud800"), INVALID),
    "hadoop: two slashes first": (success("//landing/flights/a"), ESCAPES),
    "hadoop: Azure": (success("abfs://c@account.dfs.core.windows.net/landing/flights/a"), ESCAPES),
    "hadoop: Google": (success("gs://bucket/landing/flights/a"), ESCAPES),
    "hadoop: another bucket": (success("s3a://bucket2/landing/flights/a"), ESCAPES),
    "hadoop: a file on the disk": (success("file:/landing/flights/a"), ESCAPES),
    # Redshift
    "redshift: entries are null": (b'{"entries": null}', INVALID),
    "redshift: entries are an object": (b'{"entries": {"url": "a"}}', INVALID),
    "redshift: entries are text": (b'{"entries": "a"}', INVALID),
    "redshift: an entry is text": (unload(f"{LANDING}/a"), INVALID),
    "redshift: no url": (unload({"mandatory": True}), INVALID),
    "redshift: url is a number": (unload({"url": 1}), INVALID),
    "redshift: url is a list": (unload({"url": [f"{LANDING}/a"]}), INVALID),
    "redshift: url is empty": (unload({"url": ""}), INVALID),
    "redshift: meta is a list": (unload(url("a", meta=[1])), INVALID),
    "redshift: meta is text": (unload(url("a", meta="1")), INVALID),
    "redshift: size is text": (unload(url("a", meta={"content_length": "1"})), INVALID),
    "redshift: size is negative": (unload(url("a", meta={"content_length": -1})), INVALID),
    "redshift: size is a bool": (unload(url("a", meta={"content_length": True})), INVALID),
    "redshift: size is NaN": (unload(url("a", meta={"content_length": float("nan")})), INVALID),
    "redshift: size is a fraction": (unload(url("a", meta={"content_length": 1.5})), INVALID),
    "redshift: a file twice": (unload(url("a"), url("a")), INVALID),
    "redshift: a lone surrogate": (unload(url("\udcff")), INVALID),
    "redshift: another bucket": (unload({"url": "s3://other/landing/flights/a"}), ESCAPES),
    "redshift: another prefix": (unload({"url": "s3://bucket/unload/a"}), ESCAPES),
    "redshift: no bucket": (unload({"url": "s3:///landing/flights/a"}), ESCAPES),
    "redshift: capital letters": (unload({"url": "S3://bucket/landing/flights/a"}), ESCAPES),
    "redshift: a relative path": (unload({"url": "a"}), ESCAPES),
    "redshift: an absolute path": (unload({"url": "/landing/flights/a"}), ESCAPES),
    "redshift: http": (unload({"url": "http://169.254.169.254/latest"}), ESCAPES),
    "redshift: a very long url": (unload({"url": "s3://" + "a" * 100_000}), ESCAPES),
    "redshift: ..": (unload(url("a/../../b")), ESCAPES),
    "redshift: .. last": (unload(url("a/..")), ESCAPES),
    "redshift: .. with backslashes": (unload(url("a\\..\\b")), ESCAPES),
    "redshift: .": (unload(url("./a")), ESCAPES),
    "redshift: an empty segment": (unload(url("a//b")), ESCAPES),
    "redshift: a folder": (unload(url("a/")), ESCAPES),
    "redshift: NUL": (unload(url("a\0b")), ESCAPES),
    # sha256sum
    "sums: a line that is none": (line("a") + b"done\n", INVALID),
    "sums: cut short": (line("a") + DIGEST[:40].encode(), INVALID),
    "sums: without a path": (line("a") + f"{DIGEST}  \n".encode(), INVALID),
    "sums: one space": (line("a") + f"{DIGEST} b\n".encode(), INVALID),
    "sums: no hex": (line("a") + f"{'g' * 64}  b\n".encode(), INVALID),
    "sums: a long line": (line("a") + b"b" * 100_000, INVALID),
    "sums: SHA512 among them": (line("a") + b"SHA512 (b) = " + b"0" * 128, INVALID),
    "sums: an escape that there is not": (line(r"a\tb", "\\"), INVALID),
    "sums: an escape cut short": (line("a\\", "\\"), INVALID),
    "sums: a file twice": (line("a") + line("./a"), INVALID),
    "sums: the folder": (line("."), INVALID),
    "sums: only another kind of hash": (b"d41d8cd98f00b204e9800998ecf8427e  a\n", UNKNOWN),
    "sums: only a hash": (f"{DIGEST}\n".encode(), UNKNOWN),
    "sums: not UTF-8": (f"{DIGEST}  ".encode() + b"\xff\n", UNKNOWN),
    "sums: absolute": (line("/etc/passwd"), ESCAPES),
    "sums: absolute, as in the bucket": (line("/landing/flights/a"), ESCAPES),
    "sums: ..": (line("../b"), ESCAPES),
    "sums: .. escaped": (line(r"a\\..\\..\\b", "\\"), ESCAPES),
    "sums: a URL": (line(f"{LANDING}/a"), ESCAPES),
    "sums: NUL, as with -z": (f"{DIGEST}  a\0{DIGEST}  b\0".encode(), ESCAPES),
}


@pytest.mark.invariant(7)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_marker_is_refused_with_a_reason_that_can_be_counted(name: str) -> None:
    content, reason = HOSTILE[name]
    assert refused(content).reason == reason


@pytest.mark.invariant(7)
@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "file:///etc/passwd", "file:/etc/passwd", "//etc/passwd", "s3://bucket/a"],
)
def test_nothing_outside_of_a_directory_can_be_named(zone: Zone, path: str) -> None:
    assert zone.refused(success(path)).reason == ESCAPES
    assert zone.refused(unload({"url": path})).reason == ESCAPES


@pytest.mark.invariant(7)
@pytest.mark.parametrize("path", ["/etc/passwd", "//etc/passwd", "file:///etc/passwd", "../a"])
def test_a_list_of_hashes_names_nothing_outside_either(zone: Zone, path: str) -> None:
    assert zone.refused(line(path)).reason == ESCAPES


@pytest.mark.invariant(7)
@pytest.mark.parametrize(
    "content",
    [
        success(*(f"{LANDING}/{n}" for n in range(4))),
        unload(*(url(str(n)) for n in range(4))),
        b"".join(line(str(n)) for n in range(4)),
    ],
    ids=["Hadoop", "Redshift", "sha256sum"],
)
def test_a_marker_may_name_files_up_to_the_limit(content: bytes) -> None:
    assert len(parse_marker(at(LANDING), content, 4) or []) == 4
    why = refused(content, max_files=3)
    assert why.reason == "too-many-files"
    assert "limits.files" in str(why)


@pytest.mark.invariant(7)
def test_nothing_is_read_beyond_the_limit() -> None:
    names = [f"{LANDING}/{n}" for n in range(4)]
    assert refused(success(*names, None), max_files=3).reason == "too-many-files"


@pytest.mark.parametrize(
    "line",
    [
        f"{'a' * 32}  part-0.csv",
        f"{'A' * 40} *part-0.csv",
        f"MD5 (part-0.csv) = {'a' * 32}",
        f"SHA512(part-0.csv)= {'a' * 128}",
        "a" * 64,
    ],
)
def test_hashes_of_another_kind_are_said_to_be(line: str) -> None:
    why = str(refused(f"{line}\n".encode()))
    assert "the output of sha256sum (hashes, but not as sha256sum prints them)" in why


@pytest.mark.parametrize("content", [b"done", b"{}", b'{"files": []}', b"\xff\xfe{"])
def test_what_is_not_understood_is_told_what_would_be(content: bytes) -> None:
    why = str(refused(content))
    for known in ("empty", "'resources'", "'filenames'", "'entries'", "sha256sum"):
        assert known in why
