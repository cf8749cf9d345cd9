"""Producers of the campaign, who remember what they dropped: the first of the three lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flagfall.dataset.schema import Dataset
from flagfall.publish import publish
from sandbox.flights import all_flights

ROWS = 20
"""Flights in a batch."""


@dataclass(frozen=True)
class Drop:
    """A batch that was dropped.

    Attributes:
        key: Of its marker, below the landing zone.
        rows: What names its rows, as text.
    """

    key: str
    rows: frozenset[str]


class Rows(Protocol):
    """Gives every batch rows that no other has."""

    def write(self, folder: Path) -> frozenset[str]:
        """Write the next batch's data files, and tell what names its rows."""


class ToyRows:
    """Two rows of two columns."""

    def __init__(self) -> None:
        self._next = 0

    def write(self, folder: Path) -> frozenset[str]:
        first, self._next = self._next, self._next + 2
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_text(f"id,value\n{first},0.5\n{first + 1},1.5\n")
        return frozenset({f"{first}", f"{first + 1}"})


class FlightRows:
    """Real flights, a few at a time.

    Args:
        after: How many flights are left for others.
    """

    def __init__(self, after: int = 0) -> None:
        complete = all_flights().drop_nulls(["tailnum", "sched_dep_time", "sched_arr_time"])
        whole = complete.unique(["date", "carrier", "flight", "origin"], maintain_order=True)
        self._slices = whole.slice(after).iter_slices(ROWS)

    def write(self, folder: Path) -> frozenset[str]:
        rows = next(self._slices)
        folder.mkdir(parents=True)
        rows.write_csv(folder / "flights.csv", null_value="NA")
        keys = rows.select("date", "carrier", "flight", "origin").iter_rows()
        return frozenset("|".join(map(str, key)) for key in keys)


@dataclass
class Producer:
    """A producer of one feed on a disk.

    Batches are published beside the landing zone and renamed into it, whole.

    Attributes:
        dropped: Everything that was dropped.
    """

    dataset: Dataset
    rows: Rows
    outbox: Path
    dropped: list[Drop] = field(default_factory=list)

    def prepare(self, count: int) -> list[tuple[Path, Drop]]:
        """Batches that are ready to be dropped."""
        return [self._prepare(len(self.dropped) + n) for n in range(count)]

    def _prepare(self, number: int) -> tuple[Path, Drop]:
        name = f"date={number:06d}"
        source, target = self.outbox / "made" / name, self.outbox / "ready" / name
        rows = self.rows.write(source)
        publish(source, str(target))
        return target, Drop(f"{name}/datapackage.json", rows)

    def drop(self, count: int = 1) -> list[Drop]:
        """Drop batches, as fast as that goes."""
        return self.let_go(self.prepare(count))

    def let_go(self, ready: list[tuple[Path, Drop]]) -> list[Drop]:
        """Put prepared batches into the landing zone."""
        for folder, _ in ready:
            self._land(folder)
        done = [drop for _, drop in ready]
        self.dropped += done
        return done

    def _land(self, folder: Path) -> None:
        landing = Path(self.dataset.landing.uri)
        landing.mkdir(parents=True, exist_ok=True)
        folder.rename(landing / folder.name)


@dataclass
class S3Producer(Producer):
    """A producer of one feed on S3, with a client of its own.

    Attributes:
        client: A boto3 client of S3.
    """

    client: Any = None

    def _land(self, folder: Path) -> None:
        bucket, _, prefix = self.dataset.landing.uri.removeprefix("s3://").partition("/")
        files = sorted(folder.iterdir(), key=lambda file: file.name == "datapackage.json")
        for file in files:
            key = f"{prefix}/{folder.name}/{file.name}"
            self.client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
