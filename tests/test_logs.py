from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flagfall.errors import DatasetInvalid, Problem, StoreUnavailable
from flagfall.logs import MOST_WARNINGS, Warnings, logger, warnings_about
from flagfall.stores import open_store
from tests.zone import zone_at

EVIL = "a\x1b[2K\x1b]0;x\x07\n2026-11-28 ERROR\u202e\u2028é"
WRITTEN = r"a\x1b[2K\x1b]0;x\x07\n2026-11-28 ERROR\u202e\u2028é"


def test_what_a_message_quotes_is_written_out(caplog: pytest.LogCaptureFixture) -> None:
    log = logger("flagfall.tests")
    log.warning("%s, %s, %s and %d", EVIL, Path(EVIL), OSError(EVIL), 5)
    assert caplog.messages == [f"{WRITTEN}, {WRITTEN}, {WRITTEN} and 5"]


def test_an_error_of_ours_is_written_out_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    assert str(StoreUnavailable(EVIL, "is gone")) == f"{WRITTEN}: is gone"
    invalid = DatasetInvalid("toy.yaml", [Problem("a", 1, EVIL), Problem("b", 2, "x")])
    logger("flagfall.tests").error("%s", invalid)
    assert caplog.messages == [f"toy.yaml: line 1: a: {WRITTEN}\ntoy.yaml: line 2: b: x"]


def test_a_warning_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    warnings = Warnings(logging.getLogger("flagfall.tests"))
    for _ in range(3):
        warnings.warn("a", "%s is odd", "a")
    assert caplog.messages == ["a is odd"]


def test_10_000_warnings_are_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    warnings = Warnings(logging.getLogger("flagfall.tests"))
    for number in range(10_000):
        warnings.warn(str(number), "%d is odd", number)
    assert len(caplog.messages) == MOST_WARNINGS + 1
    assert caplog.messages[-1].endswith("this process logs no more of them")


def test_a_place_that_is_opened_again_goes_on_with_its_warnings() -> None:
    assert warnings_about("/a", "x") is warnings_about("/a", "x")
    assert warnings_about("/a", "x") is not warnings_about("/b", "x")


def test_names_that_are_not_utf8_are_a_few_lines_however_often_they_are_swept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        folder = tmp_path / f"date=\udcff{number}"
        folder.mkdir()
        (folder / "_SUCCESS").touch()
    for _ in range(3):
        assert zone_at(tmp_path, "date={date}/_SUCCESS").entries() == []
    assert len(caplog.messages) == MOST_WARNINGS + 1


def test_what_cannot_be_read_is_a_few_lines_however_often_it_is_swept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        folder = tmp_path / f"date={EVIL.replace('/', '')}{number}"
        folder.mkdir()
        (folder / "_SUCCESS").symlink_to("/etc/hostname")
    for _ in range(3):
        assert zone_at(tmp_path, "date={date}/_SUCCESS").entries() == []
    assert len(caplog.messages) <= MOST_WARNINGS + 1
    assert all(message.isprintable() for message in caplog.messages)
    assert open_store(str(tmp_path)).uri == str(tmp_path)
