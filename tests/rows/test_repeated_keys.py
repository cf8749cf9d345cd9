"""The log of keys, where the disk is full."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flagfall.rows.repeated_keys import KeyLog


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_it_is_closed_also_where_the_disk_is_full() -> None:
    log = KeyLog(["id"], Path("/dev/full"))
    rows = pl.DataFrame({"id": [1, 2]})
    log.split(rows, log.hashed(rows))
    with pytest.raises(OSError, match="No space left"):
        log.close()
    assert log._log.closed
