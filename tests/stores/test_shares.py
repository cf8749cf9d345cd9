from __future__ import annotations

import os
from pathlib import Path

import pytest

from flagfall.stores import open_store, shares


@pytest.mark.parametrize(
    ("kind", "is_remote"),
    [
        ("nfs4", True),
        ("fuse.sshfs", True),
        ("cifs", True),
        ("ext4", False),
        ("overlay", False),
        ("tmpfs", False),
    ],
)
def test_a_share_is_known_by_the_type_of_its_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_remote: bool
) -> None:
    landing, mounts = tmp_path / "landing", tmp_path / "mountinfo"
    landing.mkdir()
    device = os.stat(landing).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    other = "1 0 9999:1 / /srv rw shared:1 - nfs4 elsewhere:/x rw\n"
    mounts.write_text(f"{other}2 0 {number} / /landing rw - {kind} server:/x rw\n")
    monkeypatch.setattr(shares, "MOUNTS", mounts)
    assert open_store(str(landing)).is_remote is is_remote


def test_where_nothing_tells_it_is_a_disk_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "MOUNTS", tmp_path / "none")
    assert not open_store(str(tmp_path)).is_remote
    assert not open_store(str(tmp_path / "not-there")).is_remote
