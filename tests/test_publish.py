from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flagfall.errors import (
    BatchInvalid,
    MarkerPatternInvalid,
    NotAFile,
    NotThere,
    StoreRefused,
    StoreUnavailable,
)
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import missing, read_manifest
from flagfall.publish import AT_ONCE, data_files, publish
from flagfall.stores import Fetched, open_store
from flagfall.stores.s3 import S3Store
from tests.patience import SOON
from tests.s3 import S3Server
from tests.zone import zone_at


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name, content in {"b.csv": b"1,2\n", "a.csv": b"", "sub/deep/c.csv": b"x" * 3000}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "landing" / "date=1"


def manifest(target: Path, marker: str = "datapackage.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((target / marker).read_bytes())
    return found


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class TestWhatIsPublished:
    def test_every_file_is_copied_and_the_manifest_tells_its_size_and_hash(
        self, source: Path, target: Path
    ) -> None:
        done = publish(source, str(target))
        files = tree(source)
        assert {**files, "datapackage.json": (target / "datapackage.json").read_bytes()} == tree(
            target
        )
        assert manifest(target)["resources"] == [
            {
                "path": name,
                "bytes": len(content),
                "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
            }
            for name, content in sorted(files.items())
        ]
        assert (done.marker, done.files, done.bytes) == (f"{target}/datapackage.json", 3, 3004)

    def test_a_feed_that_watches_the_folder_finds_the_batch_complete(
        self, source: Path, target: Path
    ) -> None:
        publish(source, str(target))
        landing = zone_at(target.parent, "date={date}/datapackage.json")
        (marker,) = landing.markers()
        found = read_manifest(marker, landing.pattern, landing.store, Limits())
        assert [file.key for file in found.files] == [
            "date=1/a.csv",
            "date=1/b.csv",
            "date=1/sub/deep/c.csv",
        ]
        assert missing(found, marker, landing.store) is None

    def test_hidden_files_underscore_files_and_an_old_marker_are_left_out(
        self, source: Path, target: Path
    ) -> None:
        for name in (".hidden", "_SUCCESS", "datapackage.json", ".git/config", "_tmp/x.csv"):
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text("old")
        publish(source, str(target))
        published = {resource["path"] for resource in manifest(target)["resources"]}
        assert published == {"a.csv", "b.csv", "sub/deep/c.csv"}
        assert set(tree(target)) == {*published, "datapackage.json"}

    def test_the_marker_may_have_another_name(self, source: Path, target: Path) -> None:
        done = publish(source, str(target), marker="_SUCCESS")
        assert done.marker == f"{target}/_SUCCESS"
        assert len(manifest(target, "_SUCCESS")["resources"]) == 3

    def test_a_file_url_is_a_destination_too(self, source: Path, target: Path) -> None:
        assert publish(source, f"file://{target}").marker == f"{target}/datapackage.json"

    def test_the_name_of_the_package_is_the_folders_even_for_a_dot(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(source)
        publish(Path(), str(target))
        assert manifest(target)["name"] == "source"

    def test_progress_is_told_in_bytes_and_adds_up(self, source: Path, target: Path) -> None:
        told: list[int] = []
        done = publish(source, str(target), on_bytes=told.append)
        assert sorted(told) == [4, 3000]
        assert sum(told) == done.bytes


class TestAgain:
    def test_publishing_again_leaves_the_same_files_and_a_new_marker(
        self, source: Path, target: Path
    ) -> None:
        publish(source, str(target))
        first, before = tree(target), os.stat(target / "datapackage.json")
        publish(source, str(target))
        assert tree(target) == first
        assert os.stat(target / "datapackage.json").st_ino != before.st_ino

    def test_a_correction_replaces_the_files_and_the_manifest(
        self, source: Path, target: Path
    ) -> None:
        publish(source, str(target))
        (source / "b.csv").write_bytes(b"corrected")
        publish(source, str(target))
        assert (target / "b.csv").read_bytes() == b"corrected"
        assert manifest(target)["resources"][1]["bytes"] == len(b"corrected")

    def test_a_folder_may_be_published_where_it_is(self, source: Path) -> None:
        before = tree(source)
        for _ in range(2):
            publish(source, str(source))
        after = tree(source)
        assert after.pop("datapackage.json")
        assert after == before


@pytest.mark.invariant(3)
def test_whoever_sees_the_marker_sees_all_data_in_full(source: Path, target: Path) -> None:
    """A watcher polls while a batch is published, and then its correction."""
    for number in range(20):
        (source / f"{number:02d}.csv").write_bytes(bytes(100_000))
    publish(source, str(target))
    old = os.stat(target / "datapackage.json").st_ino
    for number in range(20):
        (source / f"{number:02d}.csv").write_bytes(bytes(150_000))

    def complete() -> bool:
        return all(
            os.stat(target / resource["path"]).st_size == resource["bytes"]
            for resource in manifest(target)["resources"]
        )

    looks = 0
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish, source, str(target))
        while not publishing.done():
            if os.stat(target / "datapackage.json").st_ino != old:
                assert complete()
            looks += 1
        publishing.result()
    assert looks > 1
    assert complete()


@pytest.mark.invariant(3)
def test_a_publish_that_breaks_off_leaves_no_marker(source: Path, target: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(count: int) -> None:
        assert not (target / "datapackage.json").exists()
        if count == 3000:
            raise Interrupted

    with pytest.raises(Interrupted):
        publish(source, str(target), on_bytes=interrupt)
    assert set(tree(target)) == {"a.csv", "b.csv"}  # nothing of the file that broke off


class TestErrors:
    def test_a_source_that_is_not_there_is_named(self, tmp_path: Path, target: Path) -> None:
        with pytest.raises(NotThere, match=r"no directory '.*absent'"):
            publish(tmp_path / "absent", str(target))

    def test_a_file_is_no_source(self, source: Path, target: Path) -> None:
        with pytest.raises(NotThere, match="no directory"):
            publish(source / "b.csv", str(target))

    @pytest.mark.parametrize("name", [".hidden", "_SUCCESS", "datapackage.json"])
    def test_a_source_without_data_publishes_no_marker(
        self, tmp_path: Path, target: Path, name: str
    ) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / name).touch()
        with pytest.raises(NotThere, match="hidden files and _-files are left out"):
            publish(tmp_path / "empty", str(target))
        assert not target.exists()

    @pytest.mark.parametrize("marker", ["../evil", "/tmp/evil", "sub/_SUCCESS", "", ".", ".."])
    def test_the_marker_must_be_a_plain_file_name(
        self, source: Path, target: Path, marker: str
    ) -> None:
        with pytest.raises(MarkerPatternInvalid, match="the name of a file, without a folder"):
            publish(source, str(target), marker=marker)
        assert not target.parent.exists()

    @pytest.mark.parametrize("name", ["link.csv", "folder"])
    def test_a_link_is_told_and_not_left_out_in_silence(
        self, source: Path, target: Path, name: str
    ) -> None:
        (source / name).symlink_to(source / ("b.csv" if name == "link.csv" else "sub"))
        with pytest.raises(NotAFile, match=f"{name}: a link; publish the file itself"):
            publish(source, str(target))
        assert not target.exists()

    def test_a_pipe_is_told_and_not_left_out_in_silence(self, source: Path, target: Path) -> None:
        os.mkfifo(source / "more.csv")
        with pytest.raises(NotAFile, match=r"more\.csv: a pipe, socket or device; publish a file"):
            publish(source, str(target))
        assert not target.exists()

    def test_a_name_that_is_not_utf8_is_told_before_anything_is_copied(
        self, source: Path, target: Path
    ) -> None:
        (source / os.fsdecode(b"\xff.csv")).touch()
        with pytest.raises(BatchInvalid, match="its name is not UTF-8; rename it"):
            publish(source, str(target))
        assert not target.exists()

    @pytest.mark.parametrize("below", ["out", "sub/deep"])
    def test_a_destination_below_the_source_would_publish_itself_the_next_time(
        self, source: Path, below: str
    ) -> None:
        before = tree(source)
        with pytest.raises(BatchInvalid, match="publish to a folder outside of it"):
            publish(source, str(source / below))
        assert tree(source) == before

    def test_a_destination_that_no_store_knows_is_refused(self, source: Path) -> None:
        with pytest.raises(StoreRefused, match="no store for gs://"):
            publish(source, "gs://bucket/date=1")

    def test_a_destination_that_is_a_file_is_refused(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StoreRefused, match="a file stands where a directory is needed"):
            publish(source, str(tmp_path / "file"))

    def test_a_folder_that_may_not_be_read_is_told(self, plain_user: Path) -> None:
        (plain_user / "source" / "shut").mkdir(parents=True)
        (plain_user / "source" / "shut").chmod(0)
        with pytest.raises(NotThere, match=r"no readable directory .*Permission denied.*shut"):
            publish(plain_user / "source", str(plain_user / "target"))


def test_data_files_are_those_that_would_be_copied_sorted(source: Path) -> None:
    found = [path.relative_to(source).as_posix() for path in data_files(source)]
    assert found == ["a.csv", "b.csv", "sub/deep/c.csv"]


@dataclass(frozen=True)
class Place:
    """A folder of a landing zone, wherever it is."""

    uri: str
    files: Callable[[], dict[str, bytes]]

    @property
    def has_marker(self) -> bool:
        return "datapackage.json" in self.files()

    @property
    def hashes(self) -> dict[str, str]:
        """What the manifest says, in its order."""
        resources = json.loads(self.files()["datapackage.json"])["resources"]
        return {one["path"]: one["hash"].removeprefix("sha256:") for one in resources}

    @property
    def store_class(self) -> Any:
        return type(open_store(self.uri))


def in_bucket(s3: S3Server, bucket: str, prefix: str) -> Place:
    def files() -> dict[str, bytes]:
        objects = s3.client().list_objects_v2(Bucket=bucket).get("Contents", [])
        keys = [one["Key"] for one in objects]
        assert all(key.startswith(f"{prefix}/") for key in keys)
        got = {key: s3.client().get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
        return {key.removeprefix(f"{prefix}/"): data for key, data in got.items()}

    return Place(f"s3://{bucket}/{prefix}", files)


@pytest.fixture
def remote(s3: S3Server, bucket: str) -> Place:
    return in_bucket(s3, bucket, "landing zone/date=1")


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, target: Path) -> Place:
    if request.param == "s3":
        found: Place = request.getfixturevalue("remote")
        return found
    return Place(str(target), lambda: tree(target))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Thirty files of different content and the same size."""
    (tmp_path / "many").mkdir()
    for number in range(30):
        (tmp_path / "many" / f"{number:02d}.csv").write_bytes(b"%05d" % number * 2_000)
    return tmp_path / "many"


def sha256(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(tree(folder).items())}


def puts(s3: S3Server) -> list[str]:
    """File names of the objects that have been written, in order."""
    done = [one.path for one in s3.requests if one.method == "PUT" and one.status == 200]
    return [path.rpartition("/")[2] for path in done if "/date=1/" in path]


def before_upload(
    monkeypatch: pytest.MonkeyPatch, place: Place, do: Callable[[Path, str], None]
) -> None:
    """Have something done in a thread that is about to upload a file."""
    real = place.store_class.upload

    def upload(self: Any, source: Path, key: str, on_bytes: Callable[[int], None]) -> Any:
        do(source, key)
        return real(self, source, key, on_bytes)

    monkeypatch.setattr(place.store_class, "upload", upload)


def failing(name: str) -> Callable[[Path, str], None]:
    def fail(source: Path, key: str) -> None:
        if key == name:
            raise StoreUnavailable(key, "the network is down")

    return fail


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """As at a terminal; a suite that a script starts in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class TestWhereverItIsPublished:
    def test_the_manifest_has_the_hash_of_every_source_sorted_by_path(
        self, many: Path, place: Place
    ) -> None:
        done = publish(many, place.uri)
        assert list(place.hashes.items()) == list(sha256(many).items())
        assert (done.files, done.bytes, done.skipped) == (30, 300_000, 0)
        assert done.marker == f"{place.uri}/datapackage.json"

    def test_names_may_have_spaces_and_any_letter(self, source: Path, place: Place) -> None:
        for name in ("a b.csv", "Zürich ☃/1+1=2 %20&#?.csv", "日本/e\u0301.csv"):
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text(name)
        for skipped in (0, 6):
            assert publish(source, place.uri).skipped == skipped
        published = place.files()
        del published["datapackage.json"]
        assert published == tree(source)
        assert place.hashes == sha256(source)

    def test_what_is_there_is_skipped_and_progress_goes_over_it(
        self, many: Path, place: Place
    ) -> None:
        told: list[int] = []
        publish(many, place.uri)
        done = publish(many, place.uri, on_bytes=told.append)
        assert (done.files, done.bytes, done.skipped) == (30, 300_000, 30)
        assert sum(told) == 300_000
        assert place.hashes == sha256(many)

    @pytest.mark.parametrize("content", [b"other content", b"9" * 10_000])
    def test_a_file_that_changed_is_copied_again_even_if_its_size_is_the_same(
        self, many: Path, place: Place, content: bytes
    ) -> None:
        publish(many, place.uri)
        (many / "07.csv").write_bytes(content)
        assert publish(many, place.uri).skipped == 29
        assert place.files()["07.csv"] == content
        assert place.hashes == sha256(many)

    def test_progress_is_told_by_one_thread_at_a_time(self, many: Path, place: Place) -> None:
        busy = threading.Lock()

        def tell(count: int) -> None:
            assert busy.acquire(blocking=False)
            time.sleep(0.001)
            busy.release()

        assert publish(many, place.uri, on_bytes=tell).files == 30

    @pytest.mark.invariant(3)
    def test_a_file_that_changes_meanwhile_is_an_error_and_there_is_no_marker(
        self, many: Path, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def change(source: Path, key: str) -> None:
            if key == "07.csv":
                source.write_bytes(b"9" * 10_000)

        before_upload(monkeypatch, place, change)
        with pytest.raises(StoreUnavailable, match=r"07\.csv: changed while .* publish it again"):
            publish(many, place.uri)
        assert not place.has_marker
        publish(many, place.uri)
        assert place.hashes == sha256(many)

    @pytest.mark.invariant(3)
    @pytest.mark.parametrize("name", ["00.csv", "17.csv", "29.csv"])
    def test_a_file_that_fails_leaves_no_marker_and_the_rest_is_done_the_next_time(
        self, many: Path, place: Place, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        with monkeypatch.context() as broken:
            before_upload(broken, place, failing(name))
            with pytest.raises(StoreUnavailable, match="the network is down"):
                publish(many, place.uri)
        before = place.files()
        assert not {name, "datapackage.json"} & set(before)
        assert publish(many, place.uri).skipped == len(before)
        assert place.hashes == sha256(many)

    def test_when_a_file_fails_those_under_way_end_and_no_other_is_begun(
        self, many: Path, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun: list[str] = []
        all_begun = threading.Barrier(AT_ONCE)

        def fail_first(source: Path, key: str) -> None:
            begun.append(key)
            all_begun.wait(10)
            if key != "00.csv":
                time.sleep(0.3)
            failing("00.csv")(source, key)

        before_upload(monkeypatch, place, fail_first)
        with pytest.raises(StoreUnavailable, match="the network is down"):
            publish(many, place.uri)
        assert set(place.files()) == {"01.csv", "02.csv", "03.csv"}
        time.sleep(0.3)
        assert len(begun) == AT_ONCE

    def test_a_slow_file_does_not_hold_up_the_others(
        self, many: Path, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = threading.Semaphore(0)

        def wait_for_others(source: Path, key: str) -> None:
            if key == "00.csv":
                assert all(others.acquire(timeout=SOON) for _ in range(29))
            others.release()

        before_upload(monkeypatch, place, wait_for_others)
        assert publish(many, place.uri).files == 30

    def test_of_two_errors_the_first_is_raised(
        self, many: Path, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(source: Path, key: str) -> None:
            time.sleep(0.3 if key == "00.csv" else 0)
            raise StoreUnavailable(key, "late" if key == "00.csv" else "early")

        before_upload(monkeypatch, place, fail)
        with pytest.raises(StoreUnavailable, match="early"):
            publish(many, place.uri)

    def test_a_file_that_may_not_be_read_is_told(self, plain_user: Path) -> None:
        (plain_user / "source").mkdir()
        (plain_user / "source" / "shut.csv").touch(0)
        with pytest.raises(NotThere, match=r"no readable file .*shut\.csv.*Permission denied"):
            publish(plain_user / "source", str(plain_user / "target"))
        assert not (plain_user / "target").exists()

    @pytest.mark.invariant(3)
    def test_ctrl_c_ends_a_large_file_at_once(
        self, tmp_path: Path, target: Path, heeds_ctrl_c: None
    ) -> None:
        (tmp_path / "large").mkdir()
        with open(tmp_path / "large" / "file.bin", "wb") as file:
            file.truncate(200 << 20)
        told: list[int] = []

        def interrupt(count: int) -> None:
            if not told:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            told.append(count)
            time.sleep(0.02)

        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path / "large", str(target), on_bytes=interrupt)
        assert len(told) < 100
        assert tree(target) == {}


class TestOnS3:
    @pytest.mark.invariant(3)
    def test_the_marker_is_the_last_request(self, many: Path, remote: Place, s3: S3Server) -> None:
        for _ in range(2):
            s3.requests.clear()
            publish(many, remote.uri)
            last = s3.requests[-1]
            assert (last.method, last.path.rpartition("/")[2]) == ("PUT", "datapackage.json")
            assert puts(s3).count("datapackage.json") == 1

    def test_what_is_there_costs_one_look_and_is_not_sent_again(
        self, many: Path, remote: Place, s3: S3Server
    ) -> None:
        (many / "large.bin").write_bytes(os.urandom(9 << 20))  # goes in parts
        publish(many, remote.uri)
        s3.requests.clear()
        assert publish(many, remote.uri).skipped == 31
        assert [one.method for one in s3.requests] == ["HEAD"] * 31 + ["PUT"]
        assert remote.hashes == sha256(many)

    def test_after_a_failure_no_finished_file_is_sent_again(
        self, many: Path, remote: Place, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            before_upload(broken, remote, failing("17.csv"))
            with pytest.raises(StoreUnavailable):
                publish(many, remote.uri)
        assert len(puts(s3)) >= 17
        publish(many, remote.uri)
        assert sorted(puts(s3)) == sorted([*tree(many), "datapackage.json"])

    def test_an_object_that_another_put_there_without_a_hash_is_replaced(
        self, source: Path, remote: Place, s3: S3Server, bucket: str
    ) -> None:
        s3.client().put_object(Bucket=bucket, Key="landing zone/date=1/b.csv", Body=b"1,2\n")
        assert publish(source, remote.uri).skipped == 0

    def test_a_producer_that_may_write_but_not_look_can_publish(
        self, many: Path, remote: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: S3Store, key: str, content: Fetched) -> bool:
            raise StoreRefused(key, "access denied")

        monkeypatch.setattr(S3Store, "holds", refuse)
        assert publish(many, remote.uri).skipped == 0
        assert remote.hashes == sha256(many)


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    """So many files that no busy machine sends the others before it is seen that some are there."""
    (tmp_path / "heavy").mkdir()
    for number in range(200):
        (tmp_path / "heavy" / f"{number:03d}.bin").write_bytes(os.urandom(200_000))
    return tmp_path / "heavy"


@pytest.fixture
def publishing(heavy: Path, remote: Place, s3: S3Server) -> Iterator[subprocess.Popen[str]]:
    """A real process that has sent some files and not all."""
    command = [sys.executable, "-m", "flagfall", "publish", str(heavy), remote.uri]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while len(puts(s3)) < 5:
            assert process.poll() is None
            time.sleep(0.001)
        yield process
        process.kill()


def publish_in_a_process(source: Path, place: Place) -> str:
    command = [sys.executable, "-m", "flagfall", "publish", str(source), place.uri]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.invariant(3)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_ended_half_way_is_completed_by_the_next(
    heavy: Path,
    remote: Place,
    s3: S3Server,
    publishing: subprocess.Popen[str],
    number: signal.Signals,
) -> None:
    publishing.send_signal(number)
    out, err = publishing.communicate(timeout=SOON)
    finished = puts(s3)
    assert publishing.returncode != 0
    assert (out, "Traceback" in err) == ("", False)
    assert 5 <= len(finished) < 200
    assert not remote.has_marker
    said = publish_in_a_process(heavy, remote)
    assert said.startswith(f"200 files, 40,000,000 bytes, {remote.uri}/datapackage.json, ")
    assert int(said.split(", ")[3].removesuffix(" already there\n")) >= len(finished)
    assert [puts(s3).count(name) for name in finished] == [1] * len(finished)
    assert puts(s3)[-1] == "datapackage.json"
    assert remote.hashes == sha256(heavy)
