from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from blockbuster import BlockingError, blockbuster_ctx

from flagfall.errors import NotAFile, StoreRefused, StoreUnavailable
from flagfall.landing.marker import MarkerPattern
from flagfall.stores import EPOCH, Entry, Shape, open_store
from flagfall.stores.local import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(str(root))


def write(root: Path, *keys: str, content: bytes = b"x") -> None:
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def keys(store: LocalStore, prefix: str = "", **how: Any) -> list[str]:
    return sorted(entry.key for entry in store.list(prefix, **how))


def entry(store: LocalStore, key: str) -> Entry:
    found = store.stat(key)
    assert found is not None
    listed = next(one for one in store.list() if one.key == key)
    assert found == listed._replace(moved_at=EPOCH)  # only a listing tells
    return found


Reading = Callable[[LocalStore, str, Path], bytes]


def _fetched(store: LocalStore, key: str, tmp_path: Path) -> bytes:
    store.fetch(key, tmp_path / "fetched")
    return (tmp_path / "fetched").read_bytes()


READERS: dict[str, Reading] = {
    "read": lambda store, key, _: store.read(key, 1000),
    "read_async": lambda store, key, _: asyncio.run(store.read_async(key, 1000)),
    "fetch": _fetched,
}
every_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


class TestAddresses:
    @pytest.mark.parametrize("form", ["{}", "{}/", "file://{}"])
    def test_a_directory_may_be_written_in_several_ways(self, root: Path, form: str) -> None:
        assert open_store(form.format(root)).uri == str(root)

    @pytest.mark.parametrize(
        "uri",
        ["gs://b", "s3:/bucket", "http://x", "file://host/x", ""],
    )
    def test_what_no_store_knows_is_refused_and_never_becomes_a_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(StoreRefused, match=r"understood|write s3://bucket|write /x"):
            open_store(uri)

    @pytest.mark.parametrize(
        "name", ["a*{b}", "$HOME", "date=\x1b[2J\n", "10:00", "~", "a\\b", "%Y", " "]
    )
    def test_a_folder_may_have_any_name(self, tmp_path: Path, name: str) -> None:
        """It may be a producer's: ``publish`` writes there."""
        store = open_store(str(tmp_path / name))
        store.put("file", b"x")
        assert (tmp_path / name / "file").read_bytes() == b"x"


class TestCreate:
    def test_the_first_of_twenty_racing_writers_wins_and_its_content_is_whole(
        self, store: LocalStore, root: Path
    ) -> None:
        start = Barrier(20)

        def race(number: int) -> bool:
            start.wait()
            return store.create("day/receipt.json", bytes([number]) * 10_000)

        with ThreadPoolExecutor(20) as pool:
            won = list(pool.map(race, range(20)))
        assert won.count(True) == 1
        assert store.read("day/receipt.json", 10_000) == bytes([won.index(True)]) * 10_000
        assert os.listdir(root / "day") == ["receipt.json"]

    def test_what_is_there_is_left_alone(self, store: LocalStore) -> None:
        assert store.create("a", b"first") is True
        assert store.create("a", b"second") is False
        assert store.read("a", 10) == b"first"

    def test_an_empty_object_counts(self, store: LocalStore) -> None:
        assert store.create("a", b"") is True
        assert store.create("a", b"x") is False

    @pytest.mark.invariant(7)
    def test_a_dangling_link_takes_the_name_and_is_not_written_through(
        self, store: LocalStore, root: Path, tmp_path: Path
    ) -> None:
        root.mkdir()
        (root / "a").symlink_to(tmp_path / "target")
        assert store.create("a", b"x") is False
        assert not (tmp_path / "target").exists()


class TestPut:
    def test_a_reader_sees_the_old_or_the_new_object_and_nothing_between(
        self, store: LocalStore
    ) -> None:
        size = 200_000
        store.put("a", bytes(size))
        with ThreadPoolExecutor(1) as pool:

            def write_often() -> None:
                for number in range(40):
                    store.put("a", bytes([number]) * size)

            writing = pool.submit(write_often)
            while not writing.done():
                data = store.read("a", size)
                assert len(data) == size
                assert len(set(data)) == 1
            writing.result()

    def test_a_link_is_replaced_and_not_written_through(
        self, store: LocalStore, root: Path, tmp_path: Path
    ) -> None:
        write(tmp_path, "target", content=b"old")
        root.mkdir()
        (root / "a").symlink_to(tmp_path / "target")
        store.put("a", b"new")
        assert (tmp_path / "target").read_bytes() == b"old"
        assert store.read("a", 10) == b"new"

    def test_writing_again_is_a_new_version(self, store: LocalStore) -> None:
        store.put("a", b"x")
        first = entry(store, "a")
        store.put("a", b"x")
        assert entry(store, "a").version != first.version

    def test_deleting_is_done_once_and_may_be_done_again(self, store: LocalStore) -> None:
        store.put("a", b"x")
        store.delete("a")
        store.delete("a")
        assert store.stat("a") is None


class TestFiles:
    def test_upload_and_fetch_tell_size_and_sha256_of_what_they_copied(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        data = random.Random(1).randbytes(3_000_001)  # three blocks and a byte
        write(tmp_path, "source", content=data)
        uploaded = store.upload(tmp_path / "source", "sub/a")
        fetched = store.fetch("sub/a", tmp_path / "target")
        assert uploaded == fetched
        assert (fetched.size, fetched.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (tmp_path / "target").read_bytes() == data

    def test_a_file_is_moved_in_over_what_was_there(
        self, store: LocalStore, tmp_path: Path
    ) -> None:
        store.put("sub/a", b"old")
        write(tmp_path, "source", content=b"new")
        store.put_file(tmp_path / "source", "sub/a")
        assert store.read("sub/a", 10) == b"new"
        assert not (tmp_path / "source").exists()

    def test_scratch_files_can_be_moved_in_and_are_on_the_same_file_system(
        self, store: LocalStore, root: Path
    ) -> None:
        scratch = store.scratch_root()
        assert scratch is not None
        write(scratch, "part")
        assert os.stat(scratch).st_dev == os.stat(root).st_dev
        store.put_file(scratch / "part", "a")
        assert store.local("a", scratch).read_bytes() == b"x"

    @every_reader
    def test_reading_what_is_not_there_says_so(
        self, store: LocalStore, tmp_path: Path, reader: Reading
    ) -> None:
        for key in ("a", "sub/a"):
            with pytest.raises(FileNotFoundError):
                reader(store, key, tmp_path)

    @pytest.mark.invariant(7)
    @pytest.mark.parametrize(("size", "allowed"), [(999, True), (1000, True), (1001, False)])
    @pytest.mark.parametrize("reader", ["read", "read_async"])
    def test_an_object_is_read_up_to_the_limit_and_not_a_byte_more(
        self, store: LocalStore, tmp_path: Path, reader: str, size: int, allowed: bool
    ) -> None:
        store.put("a", bytes(size))
        if allowed:
            assert READERS[reader](store, "a", tmp_path) == bytes(size)
            return
        with pytest.raises(ValueError, match="larger than 1000 bytes"):
            READERS[reader](store, "a", tmp_path)


class TestListing:
    @pytest.mark.parametrize("prefix", ["", "sub", "sub/deep"])
    def test_a_store_or_folder_that_is_not_there_is_empty(
        self, store: LocalStore, prefix: str
    ) -> None:
        assert keys(store, prefix) == []

    def test_files_of_all_depths_are_listed_below_a_prefix_with_whole_keys(
        self, store: LocalStore, root: Path
    ) -> None:
        write(root, "a", "sub/b", "sub/deep/c", "subway/d")
        assert keys(store) == ["a", "sub/b", "sub/deep/c", "subway/d"]
        assert keys(store, "sub") == ["sub/b", "sub/deep/c"]
        assert keys(store, "sub/b") == []

    @pytest.mark.parametrize("seed", range(25))
    def test_start_after_gives_what_filtering_the_whole_listing_gives(
        self, store: LocalStore, root: Path, seed: int
    ) -> None:
        chance = random.Random(seed)
        names = ["a", "a0", "a-", "a.b", "b", "Z", "é", "~", "a b"]
        for _ in range(25):
            depth = chance.randint(1, 4)
            folders = [f"{chance.choice(names)}d" for _ in range(depth - 1)]
            write(root, "/".join([*folders, chance.choice(names)]))
        everything = keys(store)
        parts = [key[:end] for key in everything for end in range(1, len(key) + 1)]
        starts = {*chance.sample(parts, min(40, len(parts))), "", "zzzz", *everything[:5]}
        for start in starts:
            assert keys(store, start_after=start) == [key for key in everything if key > start]
        folder = everything[0].partition("/")[0]
        below = [key for key in everything if key.startswith(f"{folder}/")]
        for start in starts:
            expected = [key for key in below if key > start]
            assert keys(store, folder, start_after=start) == expected

    def test_folders_before_start_after_are_not_even_opened(
        self, store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that the cost of a listing follows what is new."""
        write(root, "day=1/a", "day=2/sub/a", "day=3/a")
        opened: list[str] = []
        really = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: opened.append(str(path)) or really(path))
        assert keys(store, start_after="day=2/sub/a") == ["day=3/a"]
        assert sorted(opened) == [str(root / name) for name in ("", "day=2", "day=2/sub", "day=3")]

    def test_where_chooses_by_key(self, store: LocalStore, root: Path) -> None:
        write(root, "a/1.csv", "a/2.txt", "b.csv")
        found = store.list(where=lambda key: key.endswith(".csv"))
        assert sorted(entry.key for entry in found) == ["a/1.csv", "b.csv"]

    def test_a_root_that_is_a_link_is_the_directory_that_it_leads_to(
        self, root: Path, tmp_path: Path
    ) -> None:
        write(root, "sub/a")
        (tmp_path / "link").symlink_to(root)
        store = LocalStore(str(tmp_path / "link"))
        assert keys(store) == ["sub/a"]
        assert store.read("sub/a", 10) == b"x"
        assert store.stat("sub/a") is not None


class TestShapes:
    """Where the keys that are wanted have a shape, a sweep costs what fits, not what is there."""

    @pytest.mark.parametrize(
        "pattern",
        [
            "date={date}/_SUCCESS",
            "{name}.ready",
            "{a}.{b}.ready",
            "{name}/{name}.ready",
            "in/*/{name}.ready",
            "done",
            "in/done",
            "{name}.absent/_SUCCESS",
        ],
    )
    def test_it_finds_what_looking_at_every_key_finds(
        self, store: LocalStore, root: Path, pattern: str
    ) -> None:
        folders = ("", "in/", "in/a/", "in/b.c/", "a/", "date=1/", "date=2/", "date=2/date=3/")
        names = ("_SUCCESS", "a.ready", "a.b.ready", ".ready", ".tmp-a.ready", "done", "x.csv")
        write(root, *(folder + name for folder in folders for name in names))
        (root / "date=4" / "_SUCCESS").mkdir(parents=True)
        (root / "date=5").symlink_to("date=1")
        (root / "date=6").mkdir()
        (root / "date=6" / "_SUCCESS").symlink_to("../date=1/_SUCCESS")
        (root / "link.ready").symlink_to("a.ready")
        wanted = MarkerPattern(pattern)
        found = sorted(
            store.list(
                where=lambda key: wanted.match(key) is not None,
                skip_unreadable=True,
                shapes=[wanted.shape],
            ),
            key=lambda one: one.key,
        )
        by_filter = store.list(
            where=lambda key: wanted.match(key) is not None, skip_unreadable=True
        )
        assert found == sorted(by_filter, key=lambda one: one.key)
        assert bool(found) == ("absent" not in pattern)

    def test_a_folder_whose_marker_has_one_name_is_not_listed(
        self, store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(root, "date=1/_SUCCESS", "date=1/part.csv", "date=2/part.csv", "other/deep/part.csv")
        opened: list[str] = []
        really = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: opened.append(str(path)) or really(path))
        shape = MarkerPattern("date={date}/_SUCCESS").shape
        assert keys(store, shapes=[shape]) == ["date=1/_SUCCESS"]
        assert opened == [str(root)]

    def test_several_shapes_are_all_found_after_a_key(self, store: LocalStore, root: Path) -> None:
        write(root, "a/done", "b/done", "c.ready", "d/c.ready")
        shapes = [MarkerPattern(text).shape for text in ("{name}/done", "{name}.ready")]
        assert keys(store, shapes=shapes) == ["a/done", "b/done", "c.ready"]
        assert keys(store, shapes=shapes, start_after="a/done") == ["b/done", "c.ready"]

    @pytest.mark.parametrize("shapes", [[], [("sub", "a")], [(str.isalpha, str.isalpha)]])
    def test_a_sweep_in_a_folder_counts_from_there(
        self, store: LocalStore, root: Path, shapes: list[Shape]
    ) -> None:
        write(root, "top/sub/a", "sub/a")
        assert keys(store, "top", shapes=shapes) == ["top/sub/a"]


class TestNames:
    def test_they_are_those_of_a_listing(self, store: LocalStore, root: Path) -> None:
        write(root, "a/b/c", "a/d", "a/.tmp-x", "e", "ab/f")
        assert sorted(store.names("a")) == ["a/b/c", "a/d"]
        assert sorted(store.names("a", "a/b/c")) == ["a/d"]
        assert list(store.names("nowhere")) == []


class TestTimes:
    def later_than(self, tmp_path: Path, nanoseconds: int) -> None:
        """Return when the file system's clock, which goes in steps, has passed a time."""
        probe = tmp_path / "probe"
        probe.touch()
        while probe.stat().st_ctime_ns <= nanoseconds + 2000:
            probe.touch()

    @pytest.mark.invariant(1)
    def test_landed_at_is_when_the_inode_changed_however_old_the_mtime_is(
        self, store: LocalStore, root: Path
    ) -> None:
        write(root, "a")
        os.utime(root / "a", (0, 0))
        landed = entry(store, "a").landed_at
        assert abs((datetime.now(UTC) - landed).total_seconds()) < 60
        assert landed.timestamp() == pytest.approx(os.stat(root / "a").st_ctime, abs=1e-3)

    @pytest.mark.invariant(1)
    def test_a_file_renamed_into_place_landed_at_the_rename(
        self, store: LocalStore, root: Path, tmp_path: Path
    ) -> None:
        write(root, "other")
        write(tmp_path, "outside")
        written = os.stat(tmp_path / "outside").st_ctime_ns
        self.later_than(tmp_path, written)
        (tmp_path / "outside").rename(root / "a")
        assert entry(store, "a").landed_at.timestamp() * 1e9 > written

    @pytest.mark.invariant(1)
    def test_a_folder_has_another_version_whenever_a_name_comes_or_goes(
        self, store: LocalStore, root: Path, tmp_path: Path
    ) -> None:
        write(root, "one/two/a")
        versions = [entry(store, "one/two/a").folder]
        for change in (
            lambda: write(root, "one/two/b"),
            lambda: (root / "one/two/b").rename(root / "one/two/c"),
            lambda: (root / "one/two/c").unlink(),
        ):
            self.later_than(tmp_path, os.stat(root / "one/two").st_ctime_ns)
            change()
            versions.append(entry(store, "one/two/a").folder)
        assert len(set(versions)) == 4

    def test_what_is_beside_its_folder_does_not_concern_it(
        self, store: LocalStore, root: Path
    ) -> None:
        write(root, "one/two/a")
        before = entry(store, "one/two/a")
        write(root, "one/b", "c")
        assert entry(store, "one/two/a") == before


@contextmanager
def a_socket(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        yield


@pytest.mark.invariant(7)
class TestWhatIsNoFile:
    """Whoever may write in a landing zone decides what stands there, not what is read elsewhere."""

    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        write(tmp_path / "outside", "secret", "folder/secret", content=b"secret")
        return tmp_path / "outside"

    def unseen(self, store: LocalStore, key: str, reader: Reading, tmp_path: Path) -> None:
        assert store.stat(key) is None
        assert key not in keys(store)
        with pytest.raises((NotAFile, FileNotFoundError)):
            reader(store, key, tmp_path)

    def test_a_sweep_says_once_that_it_leaves_a_link_or_pipe_out(
        self, store: LocalStore, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(root, "a/real")
        (root / "a" / "link").symlink_to("real")
        os.mkfifo(root / "a" / "pipe")
        for _ in range(2):
            assert keys(store, skip_unreadable=True) == ["a/real"]
        left_out = "left out of the sweep: a link, or not a regular file"
        told = sorted(record.getMessage() for record in caplog.records)
        assert told == [f"{root}/a/{name}: {left_out}" for name in ("link", "pipe")]
        assert sorted(store.not_files("", lambda key: True)) == ["a/link", "a/pipe"]
        assert list(store.not_files("absent", lambda key: True)) == []

    @pytest.mark.parametrize("pattern", ["date={date}/_SUCCESS", "date=1/{name}.ready"])
    def test_and_a_linked_folder_in_which_a_marker_could_be(
        self, store: LocalStore, root: Path, caplog: pytest.LogCaptureFixture, pattern: str
    ) -> None:
        write(root, "real/_SUCCESS", "real/a.ready")
        for name in ("date=1", "other"):
            (root / name).symlink_to("real")
        (root / "date=2").symlink_to("absent")
        for _ in range(2):
            assert keys(store, skip_unreadable=True, shapes=[MarkerPattern(pattern).shape]) == []
        told = [record.getMessage() for record in caplog.records]
        assert told == [f"{root}/date=1: left out of the sweep: a link, or not a regular file"]

    @pytest.mark.invariant(5)
    def test_and_a_link_that_leads_in_a_circle_or_where_only_its_producer_may_look(
        self, plain_user: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        root = plain_user / "root"
        for folder in ("root/date=1", "closed/inside"):
            (plain_user / folder).mkdir(parents=True)
        (root / "date=1" / "_SUCCESS").touch()
        (root / "date=2").symlink_to("date=2")
        (root / "date=3").symlink_to(plain_user / "closed" / "inside")
        (plain_user / "closed").chmod(0)
        store = LocalStore(str(root))
        found = store.list(shapes=[MarkerPattern("{date}/_SUCCESS").shape], skip_unreadable=True)
        assert [entry.key for entry in found] == ["date=1/_SUCCESS"]
        assert len(caplog.messages) == 2
        (plain_user / "closed").chmod(0o700)

    @every_reader
    def test_a_link_to_a_file_is_never_followed(
        self, store: LocalStore, root: Path, outside: Path, tmp_path: Path, reader: Reading
    ) -> None:
        write(root, "real")
        (root / "out").symlink_to(outside / "secret")
        (root / "in").symlink_to("real")
        (root / "nowhere").symlink_to("absent")
        for key in ("out", "in", "nowhere"):
            self.unseen(store, key, reader, tmp_path)
        assert keys(store) == ["real"]

    @every_reader
    def test_a_link_to_a_directory_is_never_followed_not_even_within_the_store(
        self, store: LocalStore, root: Path, outside: Path, tmp_path: Path, reader: Reading
    ) -> None:
        write(root, "real/folder/secret")
        (root / "out").symlink_to(outside)
        (root / "in").symlink_to("real")
        for key in ("out/secret", "out/folder/secret", "in/folder/secret"):
            self.unseen(store, key, reader, tmp_path)
        assert keys(store) == ["real/folder/secret"]
        assert keys(store, "out") == keys(store, "in") == keys(store, "in/folder") == []

    @every_reader
    def test_a_pipe_or_socket_is_no_file_and_keeps_nobody_waiting(
        self, store: LocalStore, root: Path, tmp_path: Path, reader: Reading
    ) -> None:
        root.mkdir()
        os.mkfifo(root / "pipe")
        with a_socket(root / "socket"):
            for key in ("pipe", "socket"):
                self.unseen(store, key, reader, tmp_path)

    @every_reader
    def test_a_directory_named_like_a_marker_is_no_marker(
        self, store: LocalStore, root: Path, tmp_path: Path, reader: Reading
    ) -> None:
        (root / "_SUCCESS").mkdir(parents=True)
        self.unseen(store, "_SUCCESS", reader, tmp_path)

    @every_reader
    def test_a_path_through_a_file_leads_nowhere(
        self, store: LocalStore, root: Path, tmp_path: Path, reader: Reading
    ) -> None:
        write(root, "a.csv")
        self.unseen(store, "a.csv/below", reader, tmp_path)

    @every_reader
    @pytest.mark.parametrize("name", ["n" * 256, "é" * 128, "a/" * 2500 + "b"])
    def test_a_name_too_long_to_exist_does_not_exist(
        self, store: LocalStore, root: Path, tmp_path: Path, reader: Reading, name: str
    ) -> None:
        root.mkdir()
        self.unseen(store, name, reader, tmp_path)

    @pytest.mark.parametrize("key", ["../outside/secret", "sub/../../outside/secret", "/etc/hosts"])
    def test_a_key_never_leads_out_of_the_store(
        self, store: LocalStore, root: Path, outside: Path, tmp_path: Path, key: str
    ) -> None:
        write(root, "sub/a")
        tries: list[Callable[[], object]] = [
            lambda: store.stat(key),
            lambda: list(store.list(key)),
            lambda: store.create(key, b"x"),
            lambda: store.put(key, b"x"),
            lambda: store.delete(key),
            lambda: store.upload(root / "sub/a", key),
            lambda: store.put_file(root / "sub/a", key),
            *(lambda read=read: read(store, key, tmp_path) for read in READERS.values()),
        ]
        for attempt in tries:
            with pytest.raises(NotAFile, match="leads out of the store"):
                attempt()
        assert (outside / "secret").read_bytes() == b"secret"

    def test_a_failed_read_leaves_no_open_file_behind(
        self, store: LocalStore, root: Path, tmp_path: Path
    ) -> None:
        write(root, "folder/x")
        before = len(os.listdir("/proc/self/fd"))
        for key in ("folder", "absent", "folder/x/y") * 20:
            with pytest.raises((NotAFile, FileNotFoundError)):
                store.read(key, 10)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.invariant(5)
class TestOneBadPlaceDoesNotHideTheOthers:
    def test_a_directory_that_cannot_be_read_is_left_out_and_told_once(
        self, plain_user: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As ``lost+found`` at the top of a mounted disk."""
        store = LocalStore(str(plain_user))
        write(plain_user, "good/a", "lost+found/b", "listed/c")
        (plain_user / "lost+found").chmod(0)
        (plain_user / "listed").chmod(0o400)  # names can be read, what they stand for cannot
        for _ in range(2):
            assert keys(store, skip_unreadable=True) == ["good/a"]
        assert [caplog.text.count(name) for name in ("lost+found", "listed")] == [1, 1]

    def test_so_is_one_in_which_a_marker_of_one_name_is_looked_for(
        self, plain_user: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = LocalStore(str(plain_user))
        write(plain_user, "good/done", "shut/done")
        (plain_user / "shut").chmod(0)
        for _ in range(2):
            shape = (str.isalpha, "done")
            assert keys(store, shapes=[shape], skip_unreadable=True) == ["good/done"]
        assert caplog.text.count(f"{plain_user}/shut: left out of the sweep") == 1

    def test_who_needs_everything_is_told_of_a_directory_that_cannot_be_read(
        self, plain_user: Path
    ) -> None:
        """A batch must not be taken in without a part of it."""
        write(plain_user, "good/a", "shut/b")
        (plain_user / "shut").chmod(0)
        with pytest.raises(StoreRefused, match="permission denied"):
            keys(LocalStore(str(plain_user)))

    def test_a_thousand_nested_directories_are_only_deep(
        self, store: LocalStore, root: Path
    ) -> None:
        write(root, "good/a")
        here = os.open(root, os.O_RDONLY)
        for _ in range(1000):  # longer than a path may be
            os.mkdir("deep", dir_fd=here)
            below = os.open("deep", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        key = f"{'deep/' * 700}b"  # deeper than Python may recurse with two calls each
        write(root, key)
        assert keys(store, skip_unreadable=True) == [key, "good/a"]
        assert store.stat(key) is not None
        subprocess.run(["rm", "-rf", root / "deep"], check=True)  # shutil.rmtree recurses

    def test_names_that_are_no_text_are_listed_as_the_system_gives_them(
        self, store: LocalStore, root: Path
    ) -> None:
        odd = os.fsdecode(b"\xff\xfe")
        write(root, f"{odd}/a\nb", "ok")
        assert keys(store) == ["ok", f"{odd}/a\nb"]
        assert store.read(f"{odd}/a\nb", 10) == b"x"


class TestRefusals:
    def test_a_root_that_cannot_be_read_is_refused_with_what_to_do(self, plain_user: Path) -> None:
        write(plain_user, "zone/a")
        (plain_user / "zone").chmod(0)
        store = LocalStore(str(plain_user / "zone"))
        tries: list[Callable[[], object]] = [
            lambda: list(store.list()),
            lambda: keys(store, skip_unreadable=True),
            lambda: keys(store, skip_unreadable=True, shapes=[("a",)]),
            lambda: store.stat("a"),
            lambda: store.read("a", 10),
            lambda: asyncio.run(store.read_async("a", 10)),
            lambda: store.create("b", b""),
            lambda: store.put("b", b""),
        ]
        for attempt in tries:
            with pytest.raises(StoreRefused, match="permission denied; let the user that runs"):
                attempt()

    def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(self, plain_user: Path) -> None:
        write(plain_user, "a")
        (plain_user / "a").chmod(0)
        store = LocalStore(str(plain_user))
        assert keys(store) == ["a"]
        with pytest.raises(StoreRefused, match="permission denied; let the user that runs"):
            store.read("a", 10)

    @pytest.mark.parametrize("below", ["", "/sub"])
    def test_a_root_that_is_a_file_is_refused_with_what_to_do(
        self, tmp_path: Path, below: str
    ) -> None:
        (tmp_path / "file").touch()
        store = LocalStore(f"{tmp_path}/file{below}")
        tries: list[Callable[[], object]] = [
            lambda: list(store.list()),
            lambda: list(store.list("sub")),
            lambda: store.stat("a"),
            lambda: store.read("a", 10),
            lambda: asyncio.run(store.read_async("a", 10)),
            lambda: store.create("a", b""),
            lambda: store.put("a", b""),
        ]
        for attempt in tries:
            with pytest.raises(StoreRefused, match="check the URI in the dataset file"):
                attempt()

    def test_writing_where_a_directory_stands_is_refused(
        self, store: LocalStore, root: Path
    ) -> None:
        (root / "a").mkdir(parents=True)
        with pytest.raises(StoreRefused, match="a directory stands where a file"):
            store.put("a", b"x")
        assert os.listdir(root) == ["a"]

    def test_a_name_too_long_to_be_written_is_refused(self, store: LocalStore) -> None:
        with pytest.raises(StoreRefused, match="longer than the file system allows"):
            store.put("n" * 256, b"x")

    def test_a_source_that_cannot_be_read_is_refused(self, plain_user: Path) -> None:
        write(plain_user, "source")
        (plain_user / "source").chmod(0)
        with pytest.raises(StoreRefused, match="source: permission denied"):
            LocalStore(f"{plain_user}/store").upload(plain_user / "source", "a")


CRASHES = {
    "create": "os.link = crash; store.create('sub/a', b'half')",
    "put": "os.replace = crash; store.put('sub/a', b'half')",
    "upload": "os.replace = crash; store.upload(Path(sys.argv[0]), 'sub/a')",
}


class TestDurability:
    @pytest.mark.invariant(3)
    @pytest.mark.parametrize("write_it", CRASHES.values(), ids=CRASHES)
    def test_a_crash_before_the_name_is_given_leaves_nothing_that_a_listing_shows(
        self, store: LocalStore, root: Path, write_it: str, tmp_path: Path
    ) -> None:
        script = tmp_path / "crash.py"
        script.write_text(
            "import os, sys\n"
            "from pathlib import Path\n"
            "from flagfall.stores.local import LocalStore\n"
            "crash = lambda *_: os._exit(9)\n"
            f"store = LocalStore({str(root)!r})\n"
            f"{write_it}\n"
        )
        assert subprocess.run([sys.executable, script], check=False).returncode == 9
        assert len(os.listdir(root / "sub")) == 1, "the temporary file is left"
        assert keys(store) == []
        assert store.create("sub/a", b"whole") is True
        assert keys(store) == ["sub/a"]

    @pytest.mark.parametrize("how", ["create", "put", "upload", "put_file"])
    def test_the_file_and_every_new_directory_are_flushed_to_the_disk(
        self,
        store: LocalStore,
        root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        how: str,
    ) -> None:
        flushed: set[int] = set()
        really = os.fsync

        def fsync(descriptor: int) -> None:
            flushed.add(os.fstat(descriptor).st_ino)
            really(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        write(tmp_path, "source")
        given = tmp_path / "source" if how in ("upload", "put_file") else b"x"
        args = (given, "new/sub/a") if isinstance(given, Path) else ("new/sub/a", given)
        getattr(store, how)(*args)
        durable = [root / "new/sub/a", root / "new/sub", root / "new", root, tmp_path]
        assert {os.stat(path).st_ino for path in durable} <= flushed

    def test_a_write_that_fails_leaves_nothing_behind(
        self, store: LocalStore, root: Path, tmp_path: Path
    ) -> None:
        store.put("a", b"old")
        with pytest.raises(StoreRefused):
            store.upload(tmp_path, "a")  # a directory cannot be read as a file
        assert store.read("a", 10) == b"old"
        assert os.listdir(root) == ["a"]


@pytest.mark.invariant(6)
class TestTheEventLoop:
    async def test_reading_a_marker_never_blocks_it(self, store: LocalStore) -> None:
        await asyncio.to_thread(store.put, "sub/a", bytes(1_000_000))
        with blockbuster_ctx("flagfall"):
            assert await store.read_async("sub/a", 1_000_000) == bytes(1_000_000)
            with pytest.raises(FileNotFoundError):
                await store.read_async("sub/absent", 10)

    async def test_a_read_that_blocks_would_be_noticed(self, store: LocalStore) -> None:
        await asyncio.to_thread(store.put, "a", b"x")
        with blockbuster_ctx("flagfall"), pytest.raises(BlockingError):
            store.read("a", 10)


def test_a_copy_that_cannot_be_written_is_not_taken_for_a_source_that_is_not_there(
    tmp_path: Path,
) -> None:
    """Else a batch would be rejected because somebody cleaned up the scratch folder."""
    store = LocalStore(str(tmp_path / "landing"))
    store.put("rows.csv", b"id\n1\n")
    with pytest.raises(StoreUnavailable, match="cleaned-up"):
        store.fetch("rows.csv", tmp_path / "cleaned-up" / "copy")
    with pytest.raises(StoreUnavailable, match="/dev/full: no space left on the device; make room"):
        store.fetch("rows.csv", Path("/dev/full"))
