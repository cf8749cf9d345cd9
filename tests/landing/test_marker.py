from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import pytest

from flagfall.errors import MarkerPatternInvalid
from flagfall.landing.marker import Marker, MarkerPattern, in_order, is_text
from tests.zone import zone_at

LANDED = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def marker(key: str = "date=2026-11-22/_SUCCESS", **fields: str) -> Marker:
    return Marker(f"/landing/{key}", key, "1-2-3", LANDED, 1, fields)


class TestMatching:
    @pytest.mark.parametrize(
        ("pattern", "key", "fields"),
        [
            ("_SUCCESS", "_SUCCESS", {}),
            ("_SUCCESS", "a/_SUCCESS", None),
            ("date={date}/_SUCCESS", "date=2026-11-22/_SUCCESS", {"date": "2026-11-22"}),
            ("date={date}/_SUCCESS", "date=/_SUCCESS", None),
            ("date={date}/_SUCCESS", "date=a/b/_SUCCESS", None),
            ("date={date}/_SUCCESS", "date=a/_SUCCESS/x", None),
            ("date={date}/_SUCCESS", "date=a/_SUCCESS.tmp", None),
            ("date={date}/_SUCCESS", "date=a/x_SUCCESS", None),
            ("{day}.ready", "2026-11-22.ready", {"day": "2026-11-22"}),
            ("{day}.ready", "2026-11-22xready", None),
            ("*/done", "a/done", {}),
            ("*/done", "a/b/done", None),
            ("*.ready", ".ready", {}),
            ("{r}/{day}-{hour}.ok", "eu/1-2-3.ok", {"r": "eu", "day": "1-2", "hour": "3"}),
            ("{day}/{day}.ready", "mon/mon.ready", {"day": "mon"}),
            ("{day}/{day}.ready", "mon/tue.ready", None),
            ("date={date}/_SUCCESS", "date=a\nb/_SUCCESS", {"date": "a\nb"}),
            ("(a.b+c)/{d}", "(a.b+c)/1", {"d": "1"}),
            ("(a.b+c)/{d}", "(aab+c)/1", None),
            ("hour=10%3A00/{d}", "hour=10%3A00/1", {"d": "1"}),
        ],
    )
    def test_a_key_is_a_marker_only_where_the_whole_pattern_fits(
        self, pattern: str, key: str, fields: dict[str, str] | None
    ) -> None:
        assert MarkerPattern(pattern).match(key) == fields

    @pytest.mark.parametrize(
        "pattern",
        [
            "",
            "/abs/_SUCCESS",
            "a//b",
            "a/",
            "../_SUCCESS",
            "a/../b",
            "./a",
            "{",
            "}",
            "{}",
            "{a",
            "a}",
            "{1a}",
            "{a-b}",
            "{a b}",
            "{{a}}",
        ],
    )
    def test_a_pattern_that_cannot_be_used_is_refused_and_shown(self, pattern: str) -> None:
        with pytest.raises(MarkerPatternInvalid, match=re.escape(repr(pattern))):
            MarkerPattern(pattern)

    @pytest.mark.parametrize("name", ["a-b", "a b", "1a", ""])
    def test_a_name_that_no_field_can_have_is_named(self, name: str) -> None:
        with pytest.raises(MarkerPatternInvalid, match=f"{{{name}}} is not a field name"):
            MarkerPattern(f"{{{name}}}.ready")

    def test_fields_are_named_once_and_in_their_order(self) -> None:
        assert MarkerPattern("{b}/{a}/{b}.ok").fields == ("b", "a")


class TestFilling:
    def test_filling_and_matching_are_inverse(self) -> None:
        pattern = MarkerPattern("region={region}/{day}/{day}.ready")
        fields = {"region": "eu", "day": "2026-11-22"}
        assert pattern.fill(fields) == "region=eu/2026-11-22/2026-11-22.ready"
        assert pattern.match(pattern.fill(fields)) == fields

    def test_fields_that_the_pattern_does_not_have_are_ignored(self) -> None:
        assert MarkerPattern("{a}.ok").fill({"a": "1", "b": "2"}) == "1.ok"

    @pytest.mark.parametrize("given", [{}, {"date": ""}, {"day": "2026-11-22"}])
    def test_a_missing_value_is_named(self, given: dict[str, str]) -> None:
        with pytest.raises(MarkerPatternInvalid, match="no value for date"):
            MarkerPattern("date={date}/_SUCCESS").fill(given)

    def test_a_pattern_with_a_star_names_no_single_marker(self) -> None:
        with pytest.raises(MarkerPatternInvalid, match="does not name one marker"):
            MarkerPattern("{date}/*.ready").fill({"date": "2026-11-22"})

    @pytest.mark.invariant(7)
    @pytest.mark.parametrize("value", ["../other", "/etc/passwd", "a/b", "..", ".", "a\0b"])
    def test_a_value_never_leads_out_of_the_landing_zone(self, value: str) -> None:
        with pytest.raises(MarkerPatternInvalid):
            MarkerPattern("{date}/_SUCCESS").fill({"date": value})

    def test_dots_within_a_segment_are_only_text(self) -> None:
        assert MarkerPattern("v{a}/ok").fill({"a": ".."}) == "v../ok"


class TestStem:
    """Which data files belong to a marker that shares its folder with others."""

    @pytest.mark.parametrize(
        ("pattern", "key", "stem"),
        [
            ("{day}.ready", "2026-11-22.ready", "2026-11-22"),
            ("in/{day}.ready.json", "in/2026-11-22.ready.json", "2026-11-22"),
            ("{day}_SUCCESS", "2026-11-22_SUCCESS", "2026-11-22"),
            ("done-{day}", "done-2026-11-22", "done-2026-11-22"),
            ("{day}/{day}.ready", "mon/mon.ready", "mon"),
            ("{table}.v{n}.ok", "a.v2.ok", "a.v2"),
            ("{day}/_SUCCESS", "mon/_SUCCESS", ""),
            ("_SUCCESS", "_SUCCESS", ""),
            ("*.ready", "a.ready", ""),
        ],
    )
    def test_it_is_the_name_up_to_the_last_field(self, pattern: str, key: str, stem: str) -> None:
        assert MarkerPattern(pattern).stem(key) == stem


class TestIdentity:
    def landed(self, root: Path) -> Marker:
        return zone_at(root, "_SUCCESS").markers()[0]

    def test_looking_twice_finds_the_same_delivery(self, tmp_path: Path) -> None:
        (tmp_path / "_SUCCESS").touch()
        assert self.landed(tmp_path).batch_id == self.landed(tmp_path).batch_id

    @pytest.mark.invariant(1)
    def test_the_same_bytes_written_again_are_a_new_delivery(self, tmp_path: Path) -> None:
        path = tmp_path / "_SUCCESS"
        path.write_bytes(b"same")
        os.utime(path, ns=(0, 1))
        first = self.landed(tmp_path)
        path.write_bytes(b"same")
        second = self.landed(tmp_path)
        assert second.batch_id != first.batch_id
        assert second.key_digest == first.key_digest

    @pytest.mark.invariant(1)
    def test_a_marker_replaced_by_one_with_the_same_size_and_mtime_is_a_new_delivery(
        self, tmp_path: Path
    ) -> None:
        for name in ("_SUCCESS", "next"):
            (tmp_path / name).write_bytes(b"same")
            os.utime(tmp_path / name, ns=(0, 0))
        first = self.landed(tmp_path)
        (tmp_path / "next").rename(tmp_path / "_SUCCESS")
        assert self.landed(tmp_path).batch_id != first.batch_id

    @pytest.mark.invariant(1)
    def test_a_file_that_comes_or_goes_beside_it_makes_a_new_delivery(self, tmp_path: Path) -> None:
        (tmp_path / "_SUCCESS").touch()
        ids = [self.landed(tmp_path).batch_id]
        (tmp_path / "late.csv").touch()
        ids.append(self.landed(tmp_path).batch_id)
        (tmp_path / "late.csv").unlink()
        ids.append(self.landed(tmp_path).batch_id)
        assert len(set(ids)) == 3

    def test_one_that_shares_its_folder_is_not_concerned(self, tmp_path: Path) -> None:
        (tmp_path / "mon.ready").touch()
        first = zone_at(tmp_path, "{day}.ready").markers()[0]
        (tmp_path / "tue.ready").touch()
        assert first in zone_at(tmp_path, "{day}.ready").markers()

    @pytest.mark.parametrize("harm", ["chmod", "link", "utime"])
    def test_a_changed_ctime_is_worth_a_look(self, tmp_path: Path, harm: str) -> None:
        path = tmp_path / "_SUCCESS"
        path.touch()
        first = self.landed(tmp_path)
        {
            "chmod": lambda: path.chmod(0o600),
            "link": lambda: os.link(path, tmp_path / "backup"),
            "utime": lambda: os.utime(path, (0, 0)),
        }[harm]()
        assert self.landed(tmp_path).batch_id != first.batch_id

    def test_where_the_landing_zone_is_does_not_matter(self) -> None:
        assert replace(marker(), uri="/elsewhere/_SUCCESS").batch_id == marker().batch_id

    def test_key_version_and_replay_each_make_another_batch_id(self) -> None:
        one = marker()
        others = [
            replace(one, key="elsewhere/_SUCCESS"),
            replace(one, version="9-9-9"),
            replace(one, replay=1),
            replace(one, replay=2),
        ]
        assert len({one.batch_id, *(other.batch_id for other in others)}) == 5

    def test_when_it_was_seen_to_land_is_not_part_of_the_identity(self) -> None:
        later = replace(marker(), landed_at=LANDED + timedelta(days=1))
        assert later.batch_id == marker().batch_id


HOSTILE = [
    "2026-11-22",
    "äöü ß 日本語",
    "a b\tc\nd\re",
    "%2e%2e%2f",
    "..",
    "...",
    "-rf",
    "~",
    "<script>alert(1)</script>",
    "a'\"`$(id)&|;",
    "x" * 255,
    "é" * 127,
    "😀" * 63,
    "\u202eexe.gpj",
    "a\0b",
    "\udcff\udcfe",
    "con:aux",
    "?query#fragment",
]


class TestBatchId:
    @pytest.mark.invariant(7)
    @pytest.mark.parametrize("name", HOSTILE)
    def test_it_is_safe_in_a_path_and_an_url_whatever_the_producer_calls_it(
        self, tmp_path: Path, name: str
    ) -> None:
        batch_id = marker(f"date={name}/_SUCCESS", date=name).batch_id
        assert re.fullmatch(r"[A-Za-z0-9._=-]+", batch_id)
        assert quote(batch_id, safe="=") == batch_id
        assert not batch_id.startswith((".", "-"))
        assert len(f"2026-11-22~{batch_id}.json.tmp") < 128
        (tmp_path / f"{batch_id}.json").touch()

    def test_names_that_look_alike_when_made_safe_are_told_apart(self) -> None:
        names = ["a b", "a-b", "a%b", "a  b"]
        ids = {marker(f"date={name}/_SUCCESS", date=name).batch_id for name in names}
        assert len(ids) == len(names)

    def test_a_person_recognises_the_batch_by_it(self) -> None:
        assert marker(date="2026-11-22").batch_id.startswith("2026-11-22.")
        assert marker("in/2026/_SUCCESS").label == "2026"
        assert marker("_SUCCESS").label == "_SUCCESS"
        assert marker("...", x="..").label == "batch"


class TestPlainForm:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_marker_survives_json_and_back(self, name: str) -> None:
        one = replace(marker(f"date={name}/_SUCCESS", date=name), replay=3)
        again = Marker.from_dict(json.loads(json.dumps(one.to_dict())))
        assert again == one
        assert again.batch_id == one.batch_id

    def test_a_time_with_another_offset_comes_back_as_utc(self) -> None:
        there = LANDED.astimezone(timezone(timedelta(hours=13)))
        again = Marker.from_dict({**marker().to_dict(), "landed_at": there.isoformat()})
        assert (again.landed_at, again.landed_at.tzinfo) == (LANDED, UTC)

    def test_what_a_later_release_added_is_ignored(self) -> None:
        assert Marker.from_dict({**marker().to_dict(), "surprise": 1}) == marker()


class TestSettling:
    @pytest.mark.parametrize(
        ("age", "young"),
        [
            (0.0, True),
            (9.999, True),
            (10.0, False),
            (3600.0, False),
            (-9.999, True),
            (-10.0, False),
        ],
    )
    def test_a_marker_is_young_for_settle_and_never_for_a_clock_that_is_far_off(
        self, age: float, young: bool
    ) -> None:
        now = LANDED + timedelta(seconds=age)
        assert marker().is_young(now, timedelta(seconds=10)) is young


@pytest.mark.parametrize(("name", "text"), [("ä", True), ("\udcff", False)])
def test_only_utf8_is_text(name: str, text: bool) -> None:
    assert is_text(name) is text


@pytest.mark.invariant(1)
def test_a_marker_whose_key_the_pattern_no_longer_matches_is_not_found(tmp_path: Path) -> None:
    """As after the dataset file was changed while a batch was under way."""
    (tmp_path / "done").touch()
    assert zone_at(tmp_path, "_SUCCESS").find("done") == []


@pytest.mark.parametrize("count", [0, 1, 12, 13])
def test_markers_are_ordered_by_time_and_key_however_many(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flagfall.landing.marker._PIECE", 4)
    times = [LANDED + timedelta(seconds=n * 7 % 5) for n in range(count)]
    markers = [replace(marker(f"{n * 5 % 13}/_SUCCESS"), landed_at=t) for n, t in enumerate(times)]
    assert in_order(markers) == sorted(markers, key=lambda one: (one.landed_at, one.key))
