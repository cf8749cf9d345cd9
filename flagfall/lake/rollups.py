"""Rollups: the records of a day's deliveries in one object, so that a month is thirty reads.

::

    rollups/2026-11-22.jsonl.gz

A line holds what is known of one delivery: its receipt, with the version of the object that it was
read from, its evaluation, and the last one by outcomes that came later. A rollup is a cache of
these records and no more: which of them there are, a listing says, and what a rollup lacks, or has
of another version or number, is read by itself. One that is lost, damaged or overwritten by a
slower writer costs reads.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from flagfall.concurrency import in_parallel
from flagfall.errors import AccessDenied
from flagfall.lake.records import Evaluation, LateEvaluation, Receipt
from flagfall.stores import Entry, Store

FOLDER = "rollups"
LIMIT = 256 << 20
"""Largest rollup that is read, in bytes: some 200,000 deliveries of one day."""


def day_of(receipt: Receipt) -> date:
    """The day under which a receipt is filed (UTC)."""
    return receipt.marker.landed_at.astimezone(UTC).date()


class Rolled(BaseModel):
    """What a rollup holds of one delivery. Fields that a reader does not know are ignored.

    Attributes:
        version: Of the object that the receipt was read from.
        receipt: The receipt.
        evaluation: ``None`` where there was none yet. So for ``late``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str
    receipt: Receipt
    evaluation: Evaluation | None = None
    late: LateEvaluation | None = None


class _Late(BaseModel):
    """The same, read for one thing."""

    late: LateEvaluation | None = None


class Held(NamedTuple):
    """What a rollup holds of a delivery, in short.

    Attributes:
        version: As in ``Rolled``.
        is_evaluated: Whether it has the evaluation.
        look: Number of the late evaluation that it has; 0 for none.
    """

    version: str
    is_evaluated: bool
    look: int = 0

    @classmethod
    def of(cls, rolled: Rolled) -> Held:
        """That of a line."""
        look = rolled.late.number if rolled.late is not None else 0
        return cls(rolled.version, rolled.evaluation is not None, look)


class Rollups:
    """The rollups of one dataset. Those that were read are kept, packed.

    Args:
        store: The dataset's folder in the lake.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._packed: dict[date, bytes] = {}
        self._held: dict[date, dict[str, Held]] = {}

    def load(self, days: Iterable[date]) -> None:
        """Read the rollups of these days, those that there are; one listing says which."""
        wanted = sorted(set(days) - self._packed.keys())
        if not wanted:
            return
        there = set(self._store.names(FOLDER, f"{FOLDER}/{wanted[0]}"))
        found = [day for day in wanted if _key(day) in there]
        read = dict(zip(found, in_parallel(self._read, found), strict=True))
        self._packed |= {**dict.fromkeys(wanted, b""), **read}

    def _read(self, day: date) -> bytes:
        try:
            return self._store.read(_key(day), LIMIT)
        except (FileNotFoundError, ValueError):  # it went meanwhile; it is larger than any of ours
            return b""
        except AccessDenied:  # the records that it holds are read one by one
            return b""

    def of(self, day: date) -> dict[str, Rolled]:
        """What a rollup that was loaded holds, by batch id; nothing where it is damaged."""
        packed = self._packed.get(day, b"")
        try:
            lines = gzip.decompress(packed).splitlines()
            rolled = [Rolled.model_validate_json(line) for line in lines]
        except (OSError, EOFError, zlib.error, ValidationError):
            return {}
        found = {one.receipt.batch_id: one for one in rolled}
        self._held[day] = {name: Held.of(one) for name, one in found.items()}
        return found

    def late(self, days: Iterable[date]) -> dict[str, LateEvaluation]:
        """The late evaluations in the rollups of these days, by batch id."""
        wanted = set(days)
        self.load(wanted)
        found: dict[str, LateEvaluation] = {}
        for day in sorted(wanted):
            try:
                lines = gzip.decompress(self._packed.get(day, b"")).splitlines()
                rolled = [_Late.model_validate_json(line).late for line in lines]
            except (OSError, EOFError, zlib.error, ValidationError):
                continue
            found |= {one.batch_id: one for one in rolled if one is not None}
        return found

    def held(self, day: date) -> Mapping[str, Held]:
        """What it holds in short, by batch id."""
        if day not in self._held:
            self.of(day)
        return self._held.get(day, {})

    def receipts(self, listed: Iterable[Entry]) -> Iterator[Receipt]:
        """Those receipts of a listing that rollups have in the same version."""
        versions: defaultdict[date, dict[str, str]] = defaultdict(dict)
        for entry in listed:
            day, batch_id = _filed(entry.key)
            versions[day][batch_id] = entry.version
        self.load(versions)
        for day, of_day in versions.items():
            for batch_id, one in self.of(day).items():
                if of_day.get(batch_id) == one.version:
                    yield one.receipt

    def write(self, day: date, rolled: Iterable[Rolled]) -> None:
        """Write a day's rollup, in the place of the one before."""
        lines = b"\n".join(one.model_dump_json().encode() for one in rolled)
        self._store.put(_key(day), gzip.compress(lines, compresslevel=6, mtime=0))


def _key(day: date) -> str:
    return f"{FOLDER}/{day.isoformat()}.jsonl.gz"


def _filed(key: str) -> tuple[date, str]:
    """The day and the batch id in the key of a receipt."""
    _, day, name = key.split("/")
    return date.fromisoformat(day.removeprefix("landed=")), name.removesuffix(".json")
