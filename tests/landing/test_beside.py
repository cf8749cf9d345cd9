"""Which of the files beside a marker are its batch's: none twice, none left out without a word."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Literal

import pytest

from flagfall.errors import BatchInvalid
from flagfall.landing.beside import Folders
from flagfall.landing.limits import Limits
from flagfall.landing.manifest import Manifest, read_manifest, with_left_out
from flagfall.landing.zone import LandingAddress, LandingZone
from tests.zone import Zone


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path)


@pytest.fixture
def shared(tmp_path: Path) -> Zone:
    """A landing zone whose markers share one folder."""
    return Zone(tmp_path, "{name}.ready")


def dropped(zone: Zone, *names: str) -> Manifest:
    """What ``date=1/_SUCCESS`` vouches for, with these files beside it."""
    zone.write("date=1/_SUCCESS", *(f"date=1/{name}" for name in names))
    return zone.manifest("date=1/_SUCCESS")


def refused(zone: Zone, *names: str) -> BatchInvalid:
    with pytest.raises(BatchInvalid) as caught:
        dropped(zone, *names)
    return caught.value


def names(manifest: Manifest) -> list[str]:
    return [file.key.removeprefix("date=1/") for file in manifest.files]


class TestASharedFolder:
    @pytest.mark.parametrize(
        "name",
        [
            "data.csv",
            "data.csv.gz",
            "data.0.csv",
            "data_part2.csv",
            "data-part-00003.csv",
            "data_part2of3.csv",
            "data-4.csv",
            "data-00001-of-00010.parquet",
            "data (5).csv",
            "data_0_1_2.csv.gz",
            "data-000000000007.csv",
            "data000000000007.csv",
            "data.chunk_7.snappy.parquet",
            "data/a.csv",
            "data.parquet/part-0.parquet",
            "data_part2/a.csv",
            "data.dat",
        ],
    )
    def test_parts_belong_to_their_batch(self, shared: Zone, name: str) -> None:
        shared.write("data.ready", name)
        assert shared.names("data.ready") == [name]
        assert not shared.manifest("data.ready").left_out

    @pytest.mark.parametrize(
        "name",
        [
            "data.eu.csv",
            "data.eu/a.csv",
            "data_eu.csv",
            "data2.csv",
            "data_2013.csv",
            "data_2013-05-01.csv",
            "data-20130501.csv",
            "data201305010930.csv",
            "data_new/a.csv",
            "data_part.csv",
            "_data.csv",
            "DATA.csv",
            "Data_2.CSV",
        ],
    )
    def test_what_may_be_anything_else_is_left_out_with_a_word(
        self, shared: Zone, name: str
    ) -> None:
        shared.write("data.ready", "data.csv", name)
        found = shared.manifest("data.ready")
        assert [file.key for file in found.files] == ["data.csv"]
        assert list(found.left_out) == [name]

    @pytest.mark.parametrize("name", ["database.csv", "other.csv", "dat.csv", "x/data.csv"])
    def test_what_has_another_name_is_not_spoken_of(self, shared: Zone, name: str) -> None:
        shared.write("data.ready", "data.csv", name)
        assert not shared.manifest("data.ready").left_out

    @pytest.mark.parametrize(
        ("short", "long", "name"),
        [
            ("orders", "orders.eu", "orders.eu.csv"),
            ("orders", "orders.eu", "orders.eu/part-0.csv"),
            ("orders", "orders_eu", "orders_eu.csv"),
            ("orders", "orders_2", "orders_2.csv"),
            ("orders", "orders_part1", "orders_part1.csv"),
            ("orders", "orders.1", "orders.1.csv"),
            ("orders1", "orders10", "orders10.csv"),
            ("2013-05", "2013-05-01", "2013-05-01.csv"),
            ("2013", "2013.05", "2013.05.csv"),
        ],
    )
    def test_the_longest_marker_has_the_file_and_no_other(
        self, shared: Zone, short: str, long: str, name: str
    ) -> None:
        shared.write(f"{short}.ready", f"{long}.ready", f"{short}.csv", name)
        assert shared.names(f"{long}.ready") == [name]
        assert shared.names(f"{short}.ready") == [f"{short}.csv"]
        assert not shared.manifest(f"{short}.ready").left_out

    @pytest.mark.parametrize(
        "name", ["orders.eu.csv", "orders.eu/a.csv", "2013-05-01.csv", "orders10.csv"]
    )
    def test_a_file_does_not_belong_to_the_shorter_one_until_the_longer_one_comes(
        self, shared: Zone, name: str
    ) -> None:
        shared.write("orders.ready", "orders1.ready", "2013-05.ready", name)
        for marker in ("orders.ready", "orders1.ready", "2013-05.ready"):
            assert not shared.names(marker)

    @pytest.mark.parametrize(
        ("pattern", "left_out"),
        [("{name}.csv.done", ["orders.parquet", "orders_2.csv"]), ("{name}.done", [])],
    )
    def test_a_marker_for_a_single_file_has_that_file_only(
        self, tmp_path: Path, pattern: str, left_out: list[str]
    ) -> None:
        zone = Zone(tmp_path, pattern)
        zone.write("orders.csv.done", "orders.csv", "orders_2.csv", "orders.parquet")
        assert zone.names("orders.csv.done") == ["orders.csv"]
        assert sorted(zone.manifest("orders.csv.done").left_out) == left_out

    def test_all_of_its_files_may_be_claimed_by_another_marker(self, shared: Zone) -> None:
        shared.write("data.ready", "data.csv", "data_2.csv")
        assert shared.manifest("data.ready").disputable == {"data.csv", "data_2.csv"}

    def test_a_folder_of_thousands_of_markers_is_listed_a_few_times(self, tmp_path: Path) -> None:
        zone = Zone(tmp_path, "{name}.ready")
        for n in range(1_000):
            (tmp_path / f"d{n}.csv").touch()
            (tmp_path / f"d{n}.ready").touch()
        landing, listed = zone.landing, 0
        plain_list = landing.store.list

        def counted(*args: object, **kwargs: object) -> object:
            nonlocal listed
            listed += 1
            return plain_list(*args, **kwargs)  # type: ignore[arg-type]

        landing.store.list = counted  # type: ignore[method-assign,assignment]
        markers = [landing.marker(entry) for entry in landing.entries()]
        clock = time.thread_time
        folders = Folders(landing.store, landing.pattern, clock=clock)
        for marker in markers:
            found = read_manifest(marker, landing.pattern, landing.store, Limits(), folders)
            assert [file.key for file in found.files] == [marker.key.replace(".ready", ".csv")]
        assert listed < 100

    def test_a_listing_from_before_the_marker_is_not_used(self, shared: Zone) -> None:
        landing = shared.landing
        folders = Folders(landing.store, landing.pattern, clock=lambda: 0.0)
        shared.write("a.ready", "a.csv")
        for marker, files in (("a.ready", ["a.csv"]), ("b.ready", ["b.csv"])):
            shared.write(marker, *files)
            found = folders.beside(shared.marker(marker), 10)
            assert [item.key for item in found.data] == files
        shared.write("a_2.csv")
        shared.write("a.ready", content=b" ")
        assert len(folders.beside(shared.marker("a.ready"), 10).data) == 2


class TestTwoForms:
    @pytest.mark.parametrize(
        "pair",
        [
            ("a.csv", "a.csv.gz"),
            ("a.csv", "a.csv.zst"),
            ("a.csv", "a.parquet"),
            ("a.csv", "a.snappy.parquet"),
            ("a.json", "a.json.gz"),
            ("a.json", "a.jsonl"),
            ("A.CSV", "a.csv.gz"),
            ("sub/a.tsv", "sub/a.csv"),
            ("csv/a.csv", "parquet/a.parquet"),
            ("a.csv", "a.sync-conflict-20261129-101010-ABCDEF7.csv"),
            ("a.csv", "a (Kim's conflicted copy 2026-11-29).csv"),
            ("a.csv/part-0.csv", "a.parquet/part-0-x.parquet"),
            ("a.csv", "a.parquet/part-0-x.parquet"),
            ("a.csv.gz/part-0.csv.gz", "a.csv"),
        ],
    )
    def test_they_are_refused_with_both_names(self, zone: Zone, pair: tuple[str, str]) -> None:
        error = refused(zone, *pair, "other.csv")
        assert error.reason == "two-forms"
        assert all(name in str(error) for name in pair)

    def test_they_are_refused_where_the_marker_names_them(self, zone: Zone) -> None:
        resources = [{"path": "a.csv"}, {"path": "a.parquet"}]
        error = zone.refused(json.dumps({"resources": resources}).encode())
        assert error.reason == "two-forms"

    @pytest.mark.parametrize(
        "pair",
        [
            ("a.csv", "b.csv.gz"),
            ("x=1/a.csv", "x=2/a.csv"),
            ("a.1.csv", "a.2.csv"),
            ("a.csv", "a.br.csv"),
            ("a.csv", "a.crc/b.csv"),
            ("a/x.csv", "a.csv"),
            ("a.csv", "b.parquet/x.parquet"),
            ("a.csv", "sub/a.csv.gz"),
        ],
    )
    def test_other_files_are_two(self, zone: Zone, pair: tuple[str, str]) -> None:
        assert names(dropped(zone, *pair)) == sorted(pair)


class TestNotesThatSayWhatCounts:
    def test_files_of_a_job_that_failed_do_not_count(self, zone: Zone) -> None:
        zone.write("date=1/_committed_2", content=b'{"added": ["p-tid-2-c0.csv"], "removed": []}')
        found = dropped(zone, "_started_1", "_started_2", "p-tid-1-c0.csv", "p-tid-2-c0.csv")
        assert names(found) == ["p-tid-2-c0.csv"]
        assert "failed, or still runs" in found.left_out["date=1/p-tid-1-c0.csv"]

    def test_files_that_were_replaced_do_not_count(self, zone: Zone) -> None:
        zone.write("date=1/_committed_1", content=b'{"added": ["a.csv"], "removed": []}')
        zone.write("date=1/_committed_2", content=b'{"added": ["b.csv"], "removed": ["a.csv"]}')
        found = dropped(zone, "a.csv", "b.csv")
        assert names(found) == ["b.csv"]
        assert "replaced" in found.left_out["date=1/a.csv"]

    def test_a_note_is_about_its_own_folder(self, zone: Zone) -> None:
        zone.write("date=1/x=1/_committed_1", content=b'{"added": ["a.csv"], "removed": []}')
        found = dropped(zone, "x=1/a.csv", "x=1/b.csv", "x=2/b.csv")
        assert names(found) == ["x=1/a.csv", "x=2/b.csv"]

    def test_nothing_counts_where_nothing_was_committed(self, zone: Zone) -> None:
        found = dropped(zone, "_started_1", "a.csv")
        assert not found.files
        assert list(found.left_out) == ["date=1/a.csv"]

    @pytest.mark.invariant(7)
    @pytest.mark.parametrize(
        "content", [b"", b"x", b"[]", b'{"added": 1}', b'{"added": [1]}', b"[" * 100_000]
    )
    def test_a_note_that_cannot_be_read_is_a_reason(self, zone: Zone, content: bytes) -> None:
        zone.write("date=1/_committed_1", content=content)
        assert refused(zone, "a.csv").reason == "manifest-invalid"

    @pytest.mark.parametrize(
        ("log", "words"),
        [
            ("_delta_log/00000000000000000000.json", "Delta Lake"),
            ("table/_delta_log/_last_checkpoint", "Delta Lake"),
            ("metadata/v3.metadata.json", "Iceberg"),
            ("metadata/00000-5f3a.metadata.json", "Iceberg"),
            (".hoodie/hoodie.properties", "Hudi"),
            ("x=1/.hoodie_partition_metadata", "Hudi"),
            ("_spark_metadata/0", "Spark's streaming sink"),
        ],
    )
    def test_a_table_is_refused(self, zone: Zone, log: str, words: str) -> None:
        error = refused(zone, "a.parquet", log)
        assert error.reason == "table-log"
        assert words in str(error)

    def test_a_table_is_refused_in_a_shared_folder_too(self, shared: Zone) -> None:
        shared.write("a.ready", "a.csv", "_delta_log/0.json")
        with pytest.raises(BatchInvalid, match="Delta"):
            shared.manifest("a.ready")


LITTER = [
    "Thumbs.db",
    "desktop.ini",
    "Desktop.ini",
    "@eaDir/a.csv@SynoEAStream",
    ".DS_Store",
    "._a.csv",
    "__MACOSX/._a.csv",
    "a.csv.crc",
    ".a.csv.crc",
    ".~lock.a.csv#",
    "~$a.xlsx",
    ".nfs000000000123",
    "lost+found/x.csv",
    "$RECYCLE.BIN/x.csv",
    "sub_$folder$",
    "a.csv:Zone.Identifier",
    "#snapshot/hourly/a.csv",
    ".Trash-1000/files/a.csv",
    ".ipynb_checkpoints/a-checkpoint.csv",
]


@pytest.mark.parametrize("name", LITTER)
def test_what_tools_leave_behind_is_no_data_and_no_word_is_lost_on_it(
    zone: Zone, name: str
) -> None:
    found = dropped(zone, "a.csv", name)
    assert names(found) == ["a.csv"]
    assert not found.left_out


@pytest.mark.parametrize(
    "name",
    [
        "b.csv.filepart",
        "b.csv.partial",
        "b.csv.part",
        "b.csv.tmp",
        "b.csv.gz_.gstmp",
        "b.csv.crdownload",
        "b.csv._COPYING_",
        "b.csv.6eF7bA12",
        ".b.csv.a1B2c3",
        ".b.csv.tmp",
        "sub/.b.csv.gz.Xy3dEf",
    ],
)
def test_a_name_for_the_time_being_means_that_the_batch_is_not_complete(
    zone: Zone, name: str
) -> None:
    error = refused(zone, "a.csv", name)
    assert error.reason == "incomplete"
    assert name in str(error)


def test_a_day_behind_a_name_is_no_name_for_the_time_being(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "_SUCCESS")
    zone.write("_SUCCESS", "a.csv.20130501")
    assert zone.names("_SUCCESS") == ["a.csv.20130501"]


@pytest.mark.parametrize("name", ["_SUCCESS.tmp", "_SUCCESS.filepart", "._SUCCESS.a1B2c3"])
def test_a_marker_on_its_way_is_none(zone: Zone, name: str) -> None:
    assert names(dropped(zone, "a.csv", name)) == ["a.csv"]


def test_a_marker_on_its_way_in_a_shared_folder_is_none(shared: Zone) -> None:
    shared.write("a.ready", "a.csv", "a.ready.tmp")
    assert shared.names("a.ready") == ["a.csv"]


@pytest.mark.parametrize(
    "name", ["b_2.csv.filepart", "b.csv.kafi5ezo.partial", ".b_2.csv.a1B2c3", "b.csv.6eF7bA12"]
)
def test_a_file_on_its_way_holds_up_its_own_batch_only(shared: Zone, name: str) -> None:
    shared.write("a.ready", "b.ready", "a.csv", "b.csv", name)
    assert shared.names("a.ready") == ["a.csv"]
    with pytest.raises(BatchInvalid, match="written still"):
        shared.names("b.ready")


@pytest.mark.parametrize(
    "name", ["_temporary/0/part-0.csv", ".staging/x.parquet", "_b.csv", ".b.csv"]
)
def test_hidden_data_is_left_out_with_a_word(zone: Zone, name: str) -> None:
    found = dropped(zone, "a.csv", name)
    assert names(found) == ["a.csv"]
    assert "hidden" in found.left_out[f"date=1/{name}"]


class TestAMarkerThatNamesItsFiles:
    def left_out(self, zone: Zone, marker: str) -> list[str]:
        landing = zone.landing
        found = with_left_out(
            zone.manifest(marker),
            zone.marker(marker),
            Limits(),
            Folders(landing.store, landing.pattern),
        )
        return list(found.left_out)

    def test_the_data_beside_it_that_it_does_not_name_are_spoken_of(self, zone: Zone) -> None:
        zone.write("date=1/a.csv", "date=1/b.csv", "date=1/README.md", "date=1/_x.csv")
        zone.write("date=2/c.csv")
        zone.says(json.dumps({"resources": [{"path": "a.csv"}]}).encode())
        assert self.left_out(zone, "date=1/_SUCCESS") == ["date=1/b.csv", "date=1/_x.csv"]

    def test_in_a_shared_folder_only_those_of_its_name(self, shared: Zone) -> None:
        content = json.dumps({"resources": [{"path": "a.csv"}]}).encode()
        more = ["A.csv", "_a.csv", "a_eu.csv"]
        shared.write("a.csv", "a_2.csv", "b.csv", *more)
        shared.write("a.ready", content=content)
        assert sorted(self.left_out(shared, "a.ready")) == sorted(["a_2.csv", *more])

    def test_a_file_in_the_folder_of_another_marker_is_refused(self, zone: Zone) -> None:
        zone.write("date=2/_SUCCESS", "date=2/a.csv")
        url = f"file://{zone.root}/date=2/a.csv"
        error = zone.refused(json.dumps({"entries": [{"url": url}]}).encode())
        assert error.reason == "file-of-another-batch"
        assert "date=2/_SUCCESS" in str(error)

    def test_a_file_elsewhere_is_disputable(self, zone: Zone) -> None:
        zone.write("common/a.csv")
        url = f"file://{zone.root}/common/a.csv"
        found = zone.says(json.dumps({"entries": [{"url": url}]}).encode())
        assert found.disputable == {"common/a.csv"}


def test_dask_writes_parts_without_an_ending_that_the_feed_gives_a_format(tmp_path: Path) -> None:
    landing = LandingZone(LandingAddress(uri=str(tmp_path), marker="_SUCCESS", format="csv"))
    for name in ("_SUCCESS", "0.part", "1.part"):
        (tmp_path / name).touch()
    marker = landing.find("_SUCCESS")[0]
    (tmp_path / "_2").touch()
    found = read_manifest(marker, landing.pattern, landing.store, Limits(), landing.folders)
    assert [file.key for file in found.files] == ["0.part", "1.part"]
    assert list(found.left_out) == ["_2"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    "name", ["a.csv.part", "a.parquet.part", "a.csv.gz.PART", "a.csv.zst.part", "a.json.part"]
)
def test_where_parts_are_data_one_that_says_what_it_will_be_is_on_its_way(
    tmp_path: Path, form: Literal["csv", "parquet"], name: str
) -> None:
    landing = LandingZone(LandingAddress(uri=str(tmp_path), marker="_SUCCESS", format=form))
    for one in ("_SUCCESS", "0.part", name):
        (tmp_path / one).touch()
    marker = landing.find("_SUCCESS")[0]
    with pytest.raises(BatchInvalid, match="written still") as refused:
        read_manifest(marker, landing.pattern, landing.store, Limits(), landing.folders)
    assert refused.value.reason == "incomplete"
    assert name in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "marker", "data"),
    [
        ("_SUCCESS_{day}", "_SUCCESS_2020-01-01", "SUCCESS_2020-01-01.csv"),
        (".{name}.ready", ".orders.ready", "orders.csv"),
        ("_{name}.ready", "_orders.ready", "orders_2.csv"),
        ("in/_{name}.ready", "in/_orders.ready", "in/orders/part-0.csv"),
        (".{name}.done", ".orders.csv.done", "orders.csv"),
        ("__{name}", "__a_b", "a_b.csv"),
    ],
)
def test_files_of_a_hidden_marker_are_called_as_it_is_without_what_hides_it(
    tmp_path: Path, pattern: str, marker: str, data: str
) -> None:
    zone = Zone(tmp_path, pattern)
    zone.write(marker, data)
    assert zone.names(marker) == [data]


def test_a_hidden_name_of_a_marker_with_a_field_stays_its_own(tmp_path: Path) -> None:
    """Else ``_a.ready`` and ``a.ready`` had the same files."""
    zone = Zone(tmp_path, "{name}.ready")
    zone.write("a.ready", "_a.ready", "a.csv", "_a.csv")
    assert zone.names("a.ready") == ["a.csv"]
    assert zone.names("_a.ready") == []


def test_data_that_the_pattern_takes_for_a_marker_is_spoken_of(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "READY_{day}")
    zone.write("READY_1", content=b"")
    zone.write("READY_1.csv", content=b"id\n1\n")
    assert zone.names("READY_1") == []
    left_out = zone.manifest("READY_1").left_out
    assert list(left_out) == ["READY_1.csv"]
    assert "a marker itself" in left_out["READY_1.csv"]
    with pytest.raises(BatchInvalid, match=r"called like data.* as in READY_\{day\}\.ready"):
        zone.manifest("READY_1.csv")


def test_descriptors_are_no_data_of_each_other(tmp_path: Path) -> None:
    zone = Zone(tmp_path, "{name}.json")
    zone.write("a.json", "a_2.json", "a.csv", "a_2.csv")
    assert zone.names("a.json") == ["a.csv"]
    assert not zone.manifest("a.json").left_out
