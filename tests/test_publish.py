from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flagfall.dataset import Limits
from flagfall.errors import BatchInvalid, MarkerPatternInvalid, NotAFile, NotThere, StoreRefused
from flagfall.landing import LandingZone
from flagfall.manifest import missing, read_manifest
from flagfall.publish import data_files, publish


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
        landing = LandingZone(str(target.parent), "date={date}/datapackage.json")
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
        assert told == [4, 3000]
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
        if count == 3000:  # the last file is being copied
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
