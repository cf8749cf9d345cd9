"""The comparison: what landed, what has a receipt, and what rows are in the lake.

It reads files and objects itself: nothing of what it judges has a part in it, but the layout.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import polars as pl

from tests.faults.producer import Drop


class Files(Protocol):
    """The lake of one dataset, as files."""

    def keys(self, prefix: str) -> list[str]:
        """Keys below a folder."""

    def read(self, key: str) -> bytes:
        """The content of one."""


@dataclass(frozen=True)
class DiskFiles:
    """A folder."""

    root: Path

    def keys(self, prefix: str) -> list[str]:
        found = (self.root / prefix).rglob("*")
        return [str(path.relative_to(self.root)) for path in found if path.is_file()]

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()


@dataclass(frozen=True)
class S3Files:
    """A prefix of a bucket."""

    client: Any
    bucket: str
    prefix: str

    def keys(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.prefix}/{prefix}/"
        )
        found = (item["Key"] for page in pages for item in page.get("Contents", ()))
        return [key.removeprefix(f"{self.prefix}/") for key in found]

    def read(self, key: str) -> bytes:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")
        except self.client.exceptions.NoSuchKey as absent:
            raise FileNotFoundError(key) from absent
        return bytes(answer["Body"].read())


@dataclass(frozen=True)
class Verdict:
    """What became of some drops.

    Attributes:
        lost: Markers without a receipt.
        twice: What was staged, scored or decided more than once, in words.
        undone: Markers that were accepted, and whose rows are not all staged, or not all scored.
        seconds: From landing to receipt, for every marker that has one.
    """

    lost: tuple[str, ...]
    twice: tuple[str, ...]
    undone: tuple[str, ...]
    seconds: tuple[float, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, left undone or done twice."""
        return not (self.lost or self.twice or self.undone)

    @property
    def median(self) -> float:
        """Median time until taken in, in seconds; 0 where nothing was."""
        return median(self.seconds) if self.seconds else 0.0

    @property
    def longest(self) -> float:
        """Longest time until taken in, in seconds; 0 where nothing was."""
        return max(self.seconds, default=0.0)


class Comparison:
    """The receipts and rows of a lake, read once.

    Args:
        files: The lake of one dataset.
        key: Columns that name a row.
        scored: Whether every row is to be scored, too.
        finished: Lines that stages left when they were done, see ``site/sitecustomize.py``.
    """

    def __init__(
        self, files: Files, key: Sequence[str], scored: bool = False, finished: str = ""
    ) -> None:
        self._files = files
        self._key = list(key)
        self._stages = ("staged", "predictions") if scored else ("staged",)
        self._finished: dict[str, Counter[str]] = {}
        for line in finished.splitlines():
            stage, batch_id, turn = line.split()
            self._finished.setdefault(batch_id, Counter())[f"{stage} {turn}"] += 1
        self.receipts: dict[str, list[dict[str, Any]]] = {}
        for name in files.keys("receipts"):
            if name.startswith("receipts/landed=") and name.endswith(".json"):
                receipt = json.loads(files.read(name))
                self.receipts.setdefault(receipt["marker"]["key"], []).append(receipt)

    def judge(self, drops: Iterable[Drop]) -> Verdict:
        """What became of these drops."""
        lost, twice, undone, seconds = [], [], [], []
        for drop in drops:
            receipts = self.receipts.get(drop.key, [])
            if not receipts:
                lost.append(drop.key)
            if len(receipts) > 1:
                twice.append(f"{drop.key}: {len(receipts)} receipts")
            for receipt in receipts:
                seconds.append(seconds_of(receipt))
                if receipt["status"] == "accepted":
                    batch_id = receipt["batch_id"]
                    rows = {stage: self._rows(stage, batch_id) for stage in self._stages}
                    twice += self._repeated(drop, batch_id, rows)
                    undone += [f"{drop.key}: {s}" for s in rows if set(rows[s]) != drop.rows]
        return Verdict(tuple(lost), tuple(twice), tuple(undone), tuple(seconds))

    def _repeated(self, drop: Drop, batch_id: str, rows: dict[str, Counter[str]]) -> list[str]:
        repeated = [
            f"{drop.key}: {count} times {row} in {stage}"
            for stage, counts in rows.items()
            for row, count in counts.items()
            if count > 1
        ]
        again = [
            f"{drop.key}: {stage} finished {count} times"
            for stage, count in self._finished.get(batch_id, {}).items()
            if count > 1 or stage.endswith(" again")
        ]
        return repeated + again

    def _rows(self, stage: str, batch_id: str) -> Counter[str]:
        """How often each row is in the parts of a stage that count."""
        folder = f"{stage}/{batch_id}"
        try:
            record = json.loads(self._files.read(f"{folder}/record.json"))
        except FileNotFoundError:
            return Counter()
        counts: Counter[str] = Counter()
        for part in record["parts"]:
            table = pl.read_parquet(io.BytesIO(self._files.read(f"{folder}/{part['name']}")))
            rows = table.select(self._key).iter_rows()
            counts.update("|".join(map(str, row)) for row in rows)
        return counts


def seconds_of(receipt: dict[str, Any]) -> float:
    """From a marker's landing to its receipt."""
    times = receipt["received_at"], receipt["marker"]["landed_at"]
    received, landed = (datetime.fromisoformat(time) for time in times)
    return (received - landed).total_seconds()
