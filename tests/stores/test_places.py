from __future__ import annotations

import errno
from pathlib import Path

import pytest

from flagfall.errors import AccessDenied, NameTooLong, StoreRefused, StoreUnavailable
from flagfall.stores.local import LocalStore
from flagfall.stores.places import is_file, is_folder, is_made, is_there, nearest
from flagfall.stores.promises import check_create_if_absent
from tests.broken_disk import break_below

HUGE = "x" * 300


def test_what_is_there_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert (is_there(file), is_file(file), is_folder(file)) == (True, True, False)
    assert (is_there(tmp_path), is_file(tmp_path), is_folder(tmp_path)) == (True, False, True)
    for gone in (tmp_path / "gone", file / "below"):
        assert (is_there(gone), is_file(gone), is_folder(gone)) == (False, False, False)


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EACCES, AccessDenied, "let the user that runs this read it"),
        (errno.ELOOP, StoreRefused, "its links lead in a circle"),
        (errno.EIO, StoreUnavailable, "check it and its mount"),
        (errno.ENOTCONN, StoreUnavailable, "mount it again"),
        (errno.ESTALE, StoreUnavailable, "mount it again"),
    ],
)
def test_an_error_is_never_taken_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type, says: str
) -> None:
    place = tmp_path / "mount" / "lake"
    break_below(monkeypatch, tmp_path / "mount", number)
    for look in (is_there, is_file, is_folder, is_made, nearest):
        with pytest.raises(kind, match=f"{place}: .*{says}"):
            look(place)
    with pytest.raises(kind, match=says):
        check_create_if_absent(str(place), "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [HUGE, f"not-there/{HUGE}", f"{HUGE}/below"])
def test_a_name_that_the_file_system_does_not_take_can_never_be_there(
    tmp_path: Path, name: str
) -> None:
    for look in (is_made, nearest):
        with pytest.raises(NameTooLong, match="shorten it"):
            look(tmp_path / name)
    with pytest.raises(NameTooLong, match="shorten it"):
        check_create_if_absent(str(tmp_path / name), "")


def test_nothing_can_be_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreRefused, match="a part of the path is not a directory"):
        is_made(tmp_path / "file" / "landing" / "x")


def test_a_place_where_nothing_can_be_made_is_an_error_of_the_store() -> None:
    for write in (LocalStore("/proc/x").create, LocalStore("/proc/x").put):
        with pytest.raises(StoreUnavailable, match="nothing can be made there"):
            write("key", b"")
