from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flagfall.inbox.watermark import (
    NOTHING,
    Cover,
    Watermark,
    read_watermark,
    write_cover,
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
    write_cover(lake, Cover(key="date=2026-03", number=1))
    assert read_watermark(lake) == Watermark(start="date=2026-03", covers=1)
    write_watermark(lake, Watermark(start="date=2026-11", covers=1))
    assert read_watermark(lake).start == "date=2026-11"
