from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from flagfall.errors import NotAFile, StoreRefused, StoreUnavailable, printable
from flagfall.stores import Entry, Fetched, open_store, s3_transfer
from flagfall.stores.s3 import S3Store
from tests.canned import LAST_MODIFIED_HTTP, Answer, Asked, Canned, canned_listing
from tests.s3 import S3Server

BIG = 20_000_000
"""Bytes: three ranges; moto becomes slow beyond."""
NEXT_SECOND = 1.1


@pytest.fixture
def store(bucket: str) -> S3Store:
    return S3Store(f"s3://{bucket}/in")


def put(s3: S3Server, bucket: str, *keys: str, content: bytes = b"x") -> None:
    for key in keys:
        s3.client().put_object(Bucket=bucket, Key=key, Body=content)


def keys(store: S3Store, prefix: str = "", **how: Any) -> list[str]:
    """What a sweep sees."""
    return [entry.key for entry in store.list(prefix, skip_unreadable=True, **how)]


def entry(store: S3Store, key: str) -> Entry:
    """What every way of asking tells of an object."""
    found = store.stat(key)
    assert found is not None
    assert [one for one in store.list(skip_unreadable=True) if one.key == key] == [found]
    assert list(store.find([key])) == [found]
    crowd = [key, *(f"zzz/{n}" for n in range(20))]
    assert list(store.find(crowd)) == [found]
    return found


def some_bytes(size: int) -> bytes:
    return random.Random(1).randbytes(size)


def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "source"
    path.write_bytes(content)
    return path


class TestAddresses:
    @pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/a/b c/"])
    def test_a_bucket_and_a_prefix_are_understood(self, uri: str) -> None:
        assert open_store(uri).uri == uri.rstrip("/")

    @pytest.mark.parametrize(
        "uri",
        [
            "s3://",
            "s3:///x",
            "s3://UPPER/x",
            "s3://b/x",
            "s3://bucket//x",
            "s3://bucket/a/../b",
            "s3://bucket/a\nb",
            "s3://bucket/\ud800",
            "s3://user:secret@bucket/x",
        ],
    )
    def test_what_cannot_be_an_address_is_refused_at_once(self, uri: str) -> None:
        with pytest.raises(StoreRefused):
            open_store(uri)

    def test_opening_asks_nobody_and_takes_no_time(
        self, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flagfall.stores.aws.account", lambda conn_id: pytest.fail("asked"))
        open_store("s3://bucket-that-is-nowhere/x", "conn", "http://nowhere/queue")
        assert s3.requests == []

    def test_all_who_use_a_place_share_one_store(self) -> None:
        assert open_store("s3://bucket/x") is open_store("s3://bucket/x")


class TestWriting:
    def test_of_many_who_create_at_once_one_wins(self, store: S3Store) -> None:
        with ThreadPoolExecutor(20) as pool:
            barrier = threading.Barrier(20)

            def create(n: int) -> bool:
                barrier.wait()
                return store.create("claim", b"%d" % n)

            won = list(pool.map(create, range(20)))
        assert won.count(True) == 1
        assert store.read("claim", 10) == b"%d" % won.index(True)
        assert not store.create("claim", b"late")

    def test_what_was_put_is_read_and_replaced_and_deleted(self, store: S3Store) -> None:
        store.put("a/b", b"one")
        store.put("a/b", b"two")
        assert store.read("a/b", 3) == b"two"
        store.delete("a/b")
        store.delete("a/b")
        assert store.stat("a/b") is None
        with pytest.raises(FileNotFoundError, match="/in/a/b"):
            store.read("a/b", 3)

    def test_put_file_moves_a_file_in(self, store: S3Store, tmp_path: Path) -> None:
        content = some_bytes(6_000_000)
        source = file(tmp_path, content)
        store.put_file(source, "moved")
        assert store.read("moved", len(content)) == content
        assert not source.exists()

    @pytest.mark.parametrize(
        ("key", "kind"),
        [
            ("report.html", "text/html; charset=utf-8"),
            ("record.json", "application/json; charset=utf-8"),
            ("data.csv", "text/csv"),
        ],
    )
    def test_a_browser_is_told_what_an_object_is(
        self, store: S3Store, tmp_path: Path, key: str, kind: str
    ) -> None:
        def told() -> str | None:
            with urllib.request.urlopen(store.link(key, timedelta(minutes=1))) as answer:
                assert answer.status == 200
                return answer.headers["Content-Type"]  # type: ignore[no-any-return]

        store.put(key, b"x")
        assert told() == kind
        store.put_file(file(tmp_path, b"x"), key)
        assert told() == kind
        store.upload(file(tmp_path, b"x"), key)
        assert told() == kind
        store.delete(key)
        store.create(key, b"x")
        assert told() == kind

    def test_a_link_is_signed_for_as_long_as_s3_allows(self, store: S3Store) -> None:
        assert "X-Amz-Expires=60&" in store.link("k", timedelta(minutes=1))
        assert "X-Amz-Expires=604800&" in store.link("k", timedelta(days=30))


class TestReading:
    def test_what_is_too_large_is_an_error(self, store: S3Store) -> None:
        store.put("k", b"12345")
        assert store.read("k", 5) == b"12345"
        with pytest.raises(ValueError, match="k is larger than 4 bytes"):
            store.read("k", 4)

    def test_what_is_too_large_is_not_transferred(self, canned: Canned) -> None:
        sent = 0

        def pieces() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(200):
                sent += 1
                yield bytes(1 << 20)

        headers = {"Content-Length": str(200 << 20), "Last-Modified": LAST_MODIFIED_HTTP}
        canned.answers = lambda asked: Answer(200, pieces(), {**headers, "ETag": '"e"'})
        with pytest.raises(ValueError, match="larger than 1000 bytes"):
            S3Store("s3://bucket/in").read("k", 1000)
        assert sent < 50, "MiB; sockets hold a few"

    async def test_reading_does_not_hold_the_event_loop(self, store: S3Store) -> None:
        await asyncio.to_thread(store.put, "k", b"x")
        cold = S3Store(store.uri)
        with blockbuster_ctx("flagfall"):
            assert await cold.read_async("k", 1) == b"x"

    async def test_an_absent_object_is_absent_without_holding_the_event_loop(
        self, store: S3Store
    ) -> None:
        with blockbuster_ctx("flagfall"), pytest.raises(FileNotFoundError):
            await store.read_async("k", 1)


class TestCopying:
    def test_a_large_file_goes_up_and_down_in_parts_and_is_hashed_on_the_way(
        self, s3: S3Server, store: S3Store, tmp_path: Path
    ) -> None:
        content = some_bytes(BIG)
        expected = Fetched(BIG, hashlib.sha256(content).hexdigest())
        told: list[int] = []
        assert store.upload(file(tmp_path, content), "big", told.append) == expected
        assert sum(told) == BIG
        assert len(told) == 3
        assert store.holds("big", expected)
        s3.requests.clear()
        assert store.fetch("big", tmp_path / "target") == expected
        assert (tmp_path / "target").read_bytes() == content
        assert [r.status for r in s3.requests] == [206] * 3

    @pytest.mark.parametrize("content", [b"", b"x"])
    def test_a_small_file_too_with_one_request(
        self, s3: S3Server, store: S3Store, tmp_path: Path, content: bytes
    ) -> None:
        expected = Fetched(len(content), hashlib.sha256(content).hexdigest())
        assert store.upload(file(tmp_path, content), "small") == expected
        s3.requests.clear()
        assert store.fetch("small", tmp_path / "target") == expected
        assert [r.method for r in s3.requests] == (["GET"] if content else ["GET", "HEAD"])
        assert (tmp_path / "target").read_bytes() == content

    @pytest.mark.parametrize("size", [1000, 9_000_000])
    @pytest.mark.parametrize("by", [-1, 0, 1])
    def test_a_file_that_changes_while_it_is_uploaded_is_not_there(
        self,
        s3: S3Server,
        bucket: str,
        store: S3Store,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        size: int,
        by: int,
    ) -> None:
        source = file(tmp_path, bytes(size))
        digest_of = s3_transfer.digest_of

        def then_change(path: Path) -> Fetched:
            promised = digest_of(path)
            path.write_bytes(b"y" * (size + by))
            return promised

        monkeypatch.setattr(s3_transfer, "digest_of", then_change)
        with pytest.raises(StoreUnavailable, match=r"source: changed while it was uploaded"):
            store.upload(source, "k")
        assert store.stat("k") is None
        assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=bucket)

    def test_a_file_that_never_ends_is_given_up(self, store: S3Store, tmp_path: Path) -> None:
        source = file(tmp_path, bytes(1000))

        def grow(size: int) -> None:
            with source.open("ab") as growing:
                growing.write(bytes(1000))

        with pytest.raises(StoreUnavailable, match="changed while it was uploaded"):
            store.upload(source, "k", grow)
        assert store.stat("k") is None

    def test_holds_is_by_content(self, s3: S3Server, store: S3Store, tmp_path: Path) -> None:
        there = store.upload(file(tmp_path, b"abc"), "k")
        assert store.holds("k", there)
        assert not store.holds("k", Fetched(3, hashlib.sha256(b"abd").hexdigest()))
        assert not store.holds("k", Fetched(4, there.sha256))
        assert not store.holds("absent", there)
        store.put("k", b"abc")
        assert not store.holds("k", there), "nobody said what it holds"

    def test_an_absent_object_leaves_no_file(self, store: S3Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="/in/absent"):
            store.fetch("absent", tmp_path / "target")
        assert not (tmp_path / "target").exists()

    def test_an_object_that_is_replaced_meanwhile_is_not_mixed(
        self, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.put("k", bytes(1000))
        monkeypatch.setattr(s3_transfer, "_RANGE", 100)
        monkeypatch.setattr(s3_transfer, "_RANGES_AHEAD", 1)
        meta, first = store._transfers._first_range("k")
        with closing(store._transfers._ranges("k", meta, first)) as ranges:
            next(ranges)
            store.put("k", b"y" * 1000)
            with pytest.raises(StoreUnavailable, match="written again while it was read"):
                list(ranges)

    def test_a_local_copy_is_told_apart_and_keeps_its_suffix(
        self, store: S3Store, tmp_path: Path
    ) -> None:
        long = "é" * 200 + ".csv"
        for key in ("a/part.csv", "b/part.csv", long):
            store.put(key, key.encode())
            path = store.local(key, tmp_path)
            assert path.read_bytes() == key.encode()
            assert path.suffix == ".csv"
        assert store.local("a/part.csv", tmp_path) != store.local("b/part.csv", tmp_path)
        assert store.scratch_root() is None


class TestVersions:
    def test_the_same_bytes_written_again_are_another_version(self, store: S3Store) -> None:
        store.put("m", b"")
        first = entry(store, "m")
        time.sleep(NEXT_SECOND)
        store.put("m", b"")
        second = entry(store, "m")
        assert second.version != first.version
        assert second.landed_at > first.landed_at

    def test_other_bytes_within_a_second_are_another_version(self, store: S3Store) -> None:
        store.put("m", b"1")
        first = entry(store, "m")
        store.put("m", b"2")
        assert entry(store, "m").version != first.version

    def test_a_listing_that_tells_fractions_of_a_second_tells_the_same_version(
        self, canned: Canned
    ) -> None:
        canned.answers = canned_listing(lambda n: f"in/{n}", 1)
        assert entry(S3Store("s3://bucket/in"), "0").landed_at.microsecond == 0

    def test_a_delete_marker_hides_an_object_until_it_is_written_again(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        s3.client().put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        store.put("m", b"x")
        first = entry(store, "m")
        store.delete("m")
        assert store.stat("m") is None
        assert keys(store) == []
        with pytest.raises(FileNotFoundError):
            store.read("m", 1)
        time.sleep(NEXT_SECOND)
        store.put("m", b"x")
        assert entry(store, "m").version != first.version


STRANGE = [
    "a key with spaces",
    "a+b",
    "100%",
    "a%20b",
    "a%2Fb",
    "naïve/日本/😀",
    "e\u0301",
    "?#&=;",
    "~[]{}^|\\\"<>`*'!()@:,$",
    ".hidden",
    "..two",
    "trailing.",
    " lead",
    "trail ",
]


class TestKeys:
    @pytest.mark.parametrize("key", STRANGE)
    def test_a_key_is_the_same_for_all_ways_to_it(
        self, s3: S3Server, bucket: str, store: S3Store, tmp_path: Path, key: str
    ) -> None:
        put(s3, bucket, f"in/{key}", content=key.encode())
        assert keys(store) == [key]
        assert entry(store, key).key == key
        assert store.read(key, 100) == key.encode()
        assert store.local(key, tmp_path).read_bytes() == key.encode()
        with urllib.request.urlopen(store.link(key, timedelta(minutes=1))) as answer:
            assert answer.read() == key.encode()
        assert keys(store, start_after=key) == []
        store.delete(key)
        assert keys(store) == []
        store.put(key, b"y")
        (told,) = s3.client().list_objects_v2(Bucket=bucket)["Contents"]
        assert told["Key"] == f"in/{key}"

    def test_a_strange_prefix_is_a_folder_as_any_other(self, s3: S3Server, bucket: str) -> None:
        for prefix in ("a b+c%20d", "é?#&"):
            put(s3, bucket, f"{prefix}/{prefix}/x", f"{prefix}z")
            assert keys(S3Store(f"s3://{bucket}/{prefix}")) == [f"{prefix}/x"]
            assert keys(S3Store(f"s3://{bucket}/{prefix}"), prefix) == [f"{prefix}/x"]

    def test_the_longest_key_is_found_and_a_longer_one_is_absent(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        longest = "é" * 510 + "x"
        assert len(f"in/{longest}".encode()) == 1024
        s3.fill(bucket, f"in/{longest}")
        s3.requests.clear()
        assert keys(store) == [longest]
        assert store.stat(longest) is not None
        assert store.stat(longest + "x") is None
        too_long = [longest + "x" * n for n in range(1, 20)]
        assert [one.key for one in store.find([longest, *too_long])] == [longest]
        assert {r.status for r in s3.requests} == {200}

    def test_a_folder_does_not_see_its_neighbours(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        put(s3, bucket, "in2/x", "inner", "in", "in-a", "i", "in/x", "in/ab/y", "in/a/y")
        assert keys(store) == ["a/y", "ab/y", "x"]
        assert keys(store, "a") == ["a/y"]
        assert keys(store, "nothing") == []
        assert keys(S3Store(f"s3://{bucket}"), "in/a") == ["in/a/y"]

    @pytest.mark.parametrize("content", [b"", b"x"])
    def test_a_prefix_may_be_a_key_too(
        self, s3: S3Server, bucket: str, store: S3Store, content: bytes
    ) -> None:
        put(s3, bucket, "in", "in/a", "in/a/b", content=content)
        assert keys(store) == ["a", "a/b"]
        assert keys(store, "a") == ["a/b"]
        entry(store, "a")
        entry(store, "a/b")

    def test_the_placeholder_of_a_folder_is_no_object(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        put(s3, bucket, "in/", "in/a/", "in/a-b", "in/b/", "in/c", "in/c/", content=b"")
        put(s3, bucket, "in/a/x", "in/b/x", "in/c/x")
        assert keys(store) == ["a-b", "a/x", "b/x", "c", "c/x"]
        assert keys(store, "a") == ["a/x"]
        assert store.stat("a") is None
        crowd = ["a", "b", "c", "b/x", *(f"d/{n}" for n in range(10))]
        assert [one.key for one in store.find(crowd)] == ["b/x", "c"]

    def test_markers_without_content_cost_no_request_each(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        put(s3, bucket, "in/d=1/_SUCCESS", "in/d=1/part", "in/d=2/_SUCCESS", content=b"")
        s3.requests.clear()
        assert len(keys(store)) == 3
        assert len(s3.requests) == 1

    @pytest.mark.parametrize(
        "key", ["a//b", "/a", "a/", "./a", "a/../b", "a\nb", "a\x7f", "\ud800"]
    )
    def test_a_key_that_can_be_no_file_is_refused_by_every_method(
        self, store: S3Store, tmp_path: Path, key: str
    ) -> None:
        calls = [
            lambda: store.stat(key),
            lambda: list(store.find([key])),
            lambda: list(store.find([key, *map(str, range(20))])),
            lambda: list(store.list(key)),
            lambda: store.read(key, 1),
            lambda: store.create(key, b""),
            lambda: store.put(key, b""),
            lambda: store.delete(key),
            lambda: store.fetch(key, tmp_path / "x"),
            lambda: store.upload(file(tmp_path, b""), key),
            lambda: store.holds(key, Fetched(0, "")),
            lambda: store.link(key, timedelta(minutes=1)),
        ]
        for call in calls:
            with pytest.raises(NotAFile):
                call()


FOREIGN = ["a//b", "./c", "x/../y", "/lead", "tab\tx", "new\nline", "cr\rx", "del\x7fx", "\x01"]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


class TestForeignKeys:
    """Keys that can be no file are left out; the sweep goes on."""

    @pytest.mark.parametrize("key", FOREIGN)
    def test_the_rest_of_the_listing_goes_on_with_one_warning(
        self,
        s3: S3Server,
        bucket: str,
        store: S3Store,
        caplog: pytest.LogCaptureFixture,
        key: str,
    ) -> None:
        s3.fill(bucket, "in/!first", f"in/{key}", "in/zlast")
        for _ in range(2):
            assert keys(store) == ["!first", "zlast"]
        (message,) = warned(caplog)
        assert printable(key) in message
        assert "rename it" in message
        assert keys(store, start_after="!first") == ["zlast"]
        crowd = [f"{n}" for n in range(20)]
        assert [one.key for one in store.find(["!first", "zlast", *crowd])] == ["!first", "zlast"]

    @pytest.mark.parametrize("key", FOREIGN)
    def test_who_asks_for_all_files_is_not_given_fewer(
        self, s3: S3Server, bucket: str, store: S3Store, key: str
    ) -> None:
        s3.fill(bucket, "in/!first", f"in/{key}", "in/zlast")
        with pytest.raises(NotAFile, match="rename it"):
            list(store.list())
        found = store.list(where=lambda one: one in ("!first", "zlast"))
        assert [one.key for one in found] == ["!first", "zlast"]

    def test_one_that_begins_with_a_slash_hides_nothing_of_a_whole_bucket(
        self, s3: S3Server, bucket: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        s3.fill(bucket, "!first", "/b.ready", "/c/x", "a.ready", "c/x")
        s3.fill(bucket, "c/", content=b"")
        store = S3Store(f"s3://{bucket}")
        assert keys(store) == ["!first", "a.ready", "c/x"]
        assert keys(store, start_after="!first") == ["a.ready", "c/x"]
        assert len(warned(caplog)) == 2
        crowd = [f"{n}" for n in range(20)]
        assert [one.key for one in store.find(["a.ready", "c/x", *crowd])] == ["a.ready", "c/x"]

    @pytest.mark.parametrize("at", [0, 998, 999, 1000, 1001, 1999, 2000, 2499])
    def test_on_whatever_page_it_lies(
        self, canned: Canned, caplog: pytest.LogCaptureFixture, at: int
    ) -> None:
        def key(n: int) -> str:
            return f"in/{n:05d}/" + ("/x" if n == at else "x")

        canned.answers = canned_listing(key, 2500)
        found = keys(S3Store("s3://bucket/in"))
        assert found == [f"{n:05d}/x" for n in range(2500) if n != at]
        assert len(warned(caplog)) == 1

    def test_a_page_full_of_them_too(
        self, canned: Canned, caplog: pytest.LogCaptureFixture
    ) -> None:
        canned.answers = canned_listing(lambda n: f"in/{n:05d}{'//' * (n < 2100)}", 2200)
        assert keys(S3Store("s3://bucket/in")) == [f"{n:05d}" for n in range(2100, 2200)]

    def test_versions_are_those_that_are_told_elsewhere(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        put(s3, bucket, "in/é +%20", "in/x")
        before = {key: entry(store, key) for key in ("é +%20", "x")}
        s3.fill(bucket, "in/a//b")
        assert {key: entry(store, key) for key in before} == before


def day(n: int) -> str:
    """A million keys in a thousand partitions of a day each."""
    return f"in/d={n // 1000:04d}/{n % 1000:04d}"


class TestPages:
    def test_a_thousand_objects_are_one_request(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        s3.fill(bucket, *(f"in/d={n // 1250}/{n % 1250:04d}" for n in range(2500)))
        s3.requests.clear()
        assert keys(store) == [f"d={n // 1250}/{n % 1250:04d}" for n in range(2500)]
        assert len(s3.requests) == 3
        s3.requests.clear()
        assert len(keys(store, "d=1")) == 1250
        assert len(s3.requests) == 2

    @pytest.mark.parametrize("last", ["0999", "0998", "1000"])
    def test_a_folder_that_begins_where_a_page_ends_is_no_object(
        self, canned: Canned, last: str
    ) -> None:
        sequence = sorted([*(f"in/{n:04d}" for n in range(2000)), f"in/{last}-/", f"in/{last}-/x"])
        canned.answers = canned_listing(sequence.__getitem__, len(sequence))
        found = keys(S3Store("s3://bucket/in"))
        assert sorted(found) == sorted(
            key.removeprefix("in/") for key in sequence if not key.endswith("/")
        )

    def test_exactly_a_page_is_told_to_its_end(self, canned: Canned) -> None:
        for count in (999, 1000, 1001, 2000):
            canned.answers = canned_listing(day, count)
            assert len(keys(S3Store("s3://bucket/in"))) == count

    def test_short_pages_are_no_end(self, canned: Canned) -> None:
        canned.answers = canned_listing(day, 2500, page=300)
        assert len(keys(S3Store("s3://bucket/in"))) == 2500

    def test_a_sweep_of_the_last_day_does_not_see_the_days_before(self, canned: Canned) -> None:
        canned.answers = canned_listing(day, 1_000_000)
        store = S3Store("s3://bucket/in")
        assert keys(store, start_after="d=0999/0996") == [f"d=0999/099{n}" for n in (7, 8, 9)]
        assert keys(store, start_after="d=0998/0999", where=lambda key: key.endswith("7"))
        assert keys(store, start_after="e") == []
        assert len(canned.asked) <= 4

    @pytest.mark.parametrize("after", ["d=1/", "d=1/0", "d=1", "d=1-x"])
    def test_a_listing_starts_after_any_string(self, canned: Canned, after: str) -> None:
        told = [*(f"in/d=1-{n:04d}" for n in range(3000)), "in/d=1/00", "in/d=1/x", "in/d=2/x"]
        canned.answers = canned_listing(told.__getitem__, len(told))
        expected = [one.removeprefix("in/") for one in told if one > f"in/{after}"]
        assert keys(S3Store("s3://bucket/in"), start_after=after) == expected

    def test_what_is_added_while_pages_come_harms_nothing(
        self, s3: S3Server, bucket: str, store: S3Store
    ) -> None:
        before = [f"in/{n:05d}" for n in range(0, 5000, 2)]
        s3.fill(bucket, *before)
        listing = store.list()
        found = [next(listing).key]
        s3.fill(bucket, *(f"in/{n:05d}" for n in range(1, 5000, 2)))
        found += [one.key for one in listing]
        assert len(set(found)) == len(found)
        assert {key.removeprefix("in/") for key in before} <= set(found)
        assert "04999" in found


class TestFind:
    @pytest.mark.parametrize("count", [0, 1, 10, 11, 500])
    def test_those_that_are_there_in_few_requests(
        self, s3: S3Server, bucket: str, store: S3Store, count: int
    ) -> None:
        s3.fill(bucket, *(f"in/d={n % 3}/{n:04d}" for n in range(3000)))
        there = [f"d={n % 3}/{n:04d}" for n in range(0, count * 5, 5)]
        absent = [f"d={n % 3}/{n:04d}-" for n in range(0, count * 5, 5)]
        s3.requests.clear()
        found = sorted(one.key for one in store.find([*there, *absent][: max(count, 1) * 2]))
        assert found == sorted(there)
        singly = count * 2 <= 10
        assert len(s3.requests) <= (count * 2 if singly else 3)

    @pytest.mark.parametrize(("apart", "most"), [(1, 1500), (7, 500), (1999, 50), (90_001, 12)])
    def test_pages_without_a_wanted_key_are_skipped(
        self, canned: Canned, apart: int, most: int
    ) -> None:
        canned.answers = canned_listing(day, 1_000_000)
        wanted = [day(n).removeprefix("in/") for n in range(0, 1_000_000, apart)][:most]
        found = [one.key for one in S3Store("s3://bucket/in").find(wanted)]
        assert found == wanted
        assert len(canned.asked) <= min(len(wanted), len(wanted) * apart // 1000 + 1)

    @pytest.mark.parametrize(("apart", "lists"), [(1, 2), (50, 50), (500, 10), (5000, 10)])
    def test_keys_that_are_far_apart_are_looked_at_singly(
        self, canned: Canned, apart: int, lists: int
    ) -> None:
        """A LIST costs twelve times a HEAD."""
        canned.answers = canned_listing(day, 1000 * apart + 1)
        wanted = [day(n * apart).removeprefix("in/") for n in range(1000)]
        found = [one.key for one in S3Store("s3://bucket/in").find(wanted)]
        assert found == wanted
        assert sum(asked.method == "GET" for asked in canned.asked) <= lists

    def test_many_keys_before_the_wanted_one_end_it_never(self, canned: Canned) -> None:
        """Between ``a`` and ``ab`` there may be any number of keys, such as ``aa0000``."""
        sequence = [*(f"in/aa{n:04d}" for n in range(5000)), *(f"in/ab!{n:02d}" for n in range(20))]
        strange = S3Store("s3://bucket/in")
        for start, end in (("aè\u00e9", "aé"), ("a/!", "a/0"), ("a-", "a/0"), ("a.~", "a/0")):
            told = [*(f"in/{start}{n:04d}" for n in range(5000)), f"in/{end}"]
            canned.answers = canned_listing(told.__getitem__, len(told))
            found = [one.key for one in strange.find([end, *(f"{end}{n}" for n in range(20))])]
            assert found == [end]
        canned.asked.clear()
        canned.answers = canned_listing(sequence.__getitem__, len(sequence))
        for last in ("!", " "):
            wanted = [f"ab{last}{n:02d}" for n in range(20)] + ["ab", f"ab{last}"]
            found = [one.key for one in S3Store("s3://bucket/in").find(wanted)]
            assert found == (wanted[:20] if last == "!" else [])
        assert len(canned.asked) <= 12


def test_a_store_needs_no_list_right_to_look_at_a_few(canned: Canned) -> None:
    def answers(asked: Asked) -> Answer:
        assert asked.method == "HEAD"
        return canned_listing(day, 10)(asked)

    canned.answers = answers
    assert len(list(S3Store("s3://bucket/in").find(["d=0000/0001", "d=0000/0011"]))) == 1
