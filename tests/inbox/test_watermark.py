from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flagfall.inbox.watermark import (
    COVERS_KEPT,
    NOTHING,
    Cover,
    Watermark,
    add_cover,
    drop_covers,
    read_watermark,
    write_watermark,
)
from flagfall.stores.local import LocalStore


@pytest.fixture
def lake(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def test_it_is_kept_for_the_next_process(lake: LocalStore) -> None:
    moved = Watermark(start="date=2026-11", swept_at=datetime(2026, 11, 22, tzinfo=UTC), covers=2)
    write_watermark(lake, moved)
    assert read_watermark(lake) == moved


@pytest.mark.invariant(1)
@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"start": 1}'])
def test_without_one_or_with_a_damaged_one_everything_is_looked_at(
    lake: LocalStore, content: bytes | None
) -> None:
    if content is not None:
        lake.put("watermark.json", content)
    assert read_watermark(lake) == NOTHING


def test_what_hints_named_is_swept_until_a_sweep_knows_of_it(lake: LocalStore) -> None:
    write_watermark(lake, Watermark(start="date=2026-11"))
    add_cover(lake, Cover(key="date=2026-03"), 0)
    assert read_watermark(lake) == Watermark(start="date=2026-03", covers=1)
    write_watermark(lake, Watermark(start="date=2026-11", covers=1))
    assert read_watermark(lake).start == "date=2026-11"


def test_two_triggerers_that_hear_of_late_markers_at_once_lose_neither(lake: LocalStore) -> None:
    write_watermark(lake, Watermark(start="date=2026-11", covers=4))
    add_cover(lake, Cover(key="date=2026-03"), 4)
    add_cover(lake, Cover(key="date=2026-10"), 4)
    assert read_watermark(lake) == Watermark(start="date=2026-03", covers=6)


def test_a_note_of_a_hint_is_read_once(lake: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write_watermark(lake, Watermark(start="date=2026-11"))
    covers: dict[int, Cover] = {}
    for number in range(3):
        add_cover(lake, Cover(key=f"date=2026-0{9 - number}"), number)
        read_watermark(lake, covers)
    read, asked = lake.read, list[str]()
    monkeypatch.setattr(lake, "read", lambda key, limit: asked.append(key) or read(key, limit))
    assert read_watermark(lake, covers) == Watermark(start="date=2026-07", covers=3)
    assert asked == ["watermark.json", "hinted/00000004/watermark.json"]
    write_watermark(lake, Watermark(start="date=2026-11", covers=2))
    assert read_watermark(lake, covers) == Watermark(start="date=2026-07", covers=3)
    assert list(covers) == [3]


def test_in_a_lake_that_was_emptied_they_are_read_anew(lake: LocalStore) -> None:
    covers = {1: Cover(key="date=2026-11")}
    add_cover(lake, Cover(key="date=2026-03"), 0)
    assert read_watermark(lake, covers) == Watermark(start="", covers=1)
    assert covers == {1: Cover(key="date=2026-03")}


def test_a_damaged_cover_costs_a_full_sweep_and_hides_no_later_one(lake: LocalStore) -> None:
    write_watermark(lake, Watermark(start="date=2026-11"))
    lake.put("hinted/00000001/watermark.json", b"{")
    add_cover(lake, Cover(key="date=2026-10"), 1)
    assert read_watermark(lake) == Watermark(start="", covers=2)


def test_covers_that_sweeps_have_known_for_long_are_dropped(lake: LocalStore) -> None:
    for number in range(COVERS_KEPT + 5):
        add_cover(lake, Cover(key=f"date={number:03d}"), number)
    write_watermark(lake, Watermark(start="date=2026-11", covers=COVERS_KEPT + 3))
    drop_covers(lake)
    left = sorted(lake.names("hinted"))
    assert left[0] == "hinted/00000004/watermark.json"
    assert len(left) == COVERS_KEPT + 2
    assert read_watermark(lake).covers == COVERS_KEPT + 5
