"""Three lists, compared: what landed, what has a receipt, what is staged.

They are read from the disk and not by Flagfall's own code, so that a mistake there does not hide
here.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

Identity = tuple[str, str]
"""Path of a marker below its landing zone, and size, mtime and inode."""


@dataclass(frozen=True)
class Ledger:
    """What came of everything that landed.

    Attributes:
        lost: Markers that are there and have no receipt, and receipts whose rows are not staged.
        twice: Deliveries with several receipts, and rows that count more than once.
        rows: The ids of all rows that count, by marker.
        receipts: Receipts by marker, in the order in which they were written.
    """

    lost: tuple[str, ...]
    twice: tuple[str, ...]
    rows: dict[str, list[int]]
    receipts: dict[str, list[dict[str, Any]]]

    def statuses(self, key: str) -> list[str]:
        """What became of each delivery of a marker."""
        return [receipt["status"] for receipt in self.receipts.get(key, [])]


def read_ledger(landing: Path, lake: Path, marker: str) -> Ledger:
    """Compare.

    Args:
        landing: The landing zone.
        lake: The dataset's folder in the lake.
        marker: File name of the markers.
    """
    landed = set(_landed(landing, marker))
    receipts = _receipts(lake)
    filed = Counter(_delivery(receipt) for receipt in receipts)
    counting = _current(receipts)
    rows = {key: _rows(lake, receipt) for key, receipt in counting.items()}
    short = [key for key, receipt in counting.items() if len(rows[key]) != receipt["rows"]]
    times = Counter(row for ids in rows.values() for row in ids)
    lost = landed - {(key, version) for key, version, _ in filed}
    by_marker: dict[str, list[dict[str, Any]]] = {}
    for receipt in receipts:
        by_marker.setdefault(receipt["marker"]["key"], []).append(receipt)
    return Ledger(
        lost=(*map(str, sorted(lost)), *(f"rows of {key}" for key in short)),
        twice=(
            *(str(delivery) for delivery, count in filed.items() if count > 1),
            *(f"row {row}" for row, count in times.items() if count > 1),
        ),
        rows=rows,
        receipts=by_marker,
    )


def _landed(landing: Path, marker: str) -> Iterator[Identity]:
    for folder, _, names in os.walk(landing):
        path = Path(folder, marker)
        with suppress(FileNotFoundError):  # its producer may just take it away
            if marker in names and stat.S_ISREG((status := path.lstat()).st_mode):
                own = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
                yield str(path.relative_to(landing)), f"{own}+{path.parent.lstat().st_ctime_ns}"


def _receipts(lake: Path) -> list[dict[str, Any]]:
    paths = lake.glob("receipts/landed=*/*.json")
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda r: r["received_at"])


def _delivery(receipt: dict[str, Any]) -> tuple[str, str, int]:
    marker = receipt["marker"]
    return marker["key"], marker["version"], marker["replay"]


def _current(receipts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The accepted delivery of each marker whose turn was the last."""
    accepted = [receipt for receipt in receipts if receipt["status"] == "accepted"]
    accepted.sort(key=lambda receipt: receipt["turn"])
    return {receipt["marker"]["key"]: receipt for receipt in accepted}


def _rows(lake: Path, receipt: dict[str, Any]) -> list[int]:
    folder = lake / "staged" / receipt["batch_id"]
    if not (folder / "record.json").exists():
        return []
    parts = json.loads((folder / "record.json").read_text())["parts"]
    return [row for part in parts for row in pl.read_parquet(folder / part["name"])["id"]]
