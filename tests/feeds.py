"""A small feed in a temporary folder, and a producer for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.publish import publish

TOY = """\
title: A toy feed
landing: {{uri: {root}/landing, marker: "date={{date}}/{marker}", settle: 1s}}
lake: {{uri: {root}/lake}}
schema:
  fields:
    - {{name: id, type: integer, constraints: {{required: true}}}}
    - {{name: value, type: number, constraints: {{minimum: 0}}}}
  primaryKey: [id]
thresholds: {{rejected_share: 0.5}}
{more}
"""


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, step: timedelta) -> None:
        self.now += step


@dataclass(frozen=True)
class ToyFeed:
    """A dataset ``toy`` whose landing zone and lake are below ``root``."""

    root: Path
    dataset: Dataset

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    def inbox(self, clock: Clock | None = None) -> Inbox:
        """An inbox as a process that has just started has it."""
        feed = Feed.of(self.dataset)
        return Inbox(feed, clock) if clock else Inbox(feed)

    def folder(self, day: str) -> Path:
        return self.landing / f"date={day}"

    def drop(
        self,
        day: str,
        text: str | bytes = "id,value\n1,0.5\n2,1.5\n",
        name: str = "rows.csv",
    ) -> Marker:
        """Publish a day as a good producer does."""
        source = self.root / "producer" / day
        source.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        publish(source, str(self.folder(day)))
        return self.marker(day)

    def marker(self, day: str) -> Marker:
        landing = self.inbox().landing
        return landing.find(landing.pattern.fill({"date": day}))[0]

    def snapshot(self) -> dict[str, tuple[bytes, int, int]]:
        """Content, mtime and ctime of everything in the landing zone."""
        files = (path for path in self.landing.rglob("*") if path.is_file())
        return {str(p): (p.read_bytes(), *_times(p)) for p in files}


def _times(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ctime_ns


def make_toy(
    root: Path, marker: str = "datapackage.json", more: str = "", keep: str = "", **landing: str
) -> ToyFeed:
    """A toy feed.

    Args:
        root: Folder of all that belongs to it.
        marker: File name of its markers.
        more: YAML for the end of its file.
        keep: YAML of ``lake.keep``, without braces.
        landing: Settings of that section.
    """
    folder = root / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    text = TOY.format(root=root, marker=marker, more=more)
    _write(folder / "toy.yaml", _with(text, landing, keep))
    return ToyFeed(root, read_dataset(folder / "toy.yaml"))


def _write(file: Path, text: str) -> None:
    """In one step: the kill test of tables has many processes make the same feed."""
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(file)


def _with(text: str, landing: dict[str, str], keep: str = "") -> str:
    """The text of a dataset file with more settings of ``landing``, and ``lake.keep``."""
    settings = "".join(f", {name}: {value}" for name, value in landing.items())
    text = text.replace("settle: 1s", f"settle: 1s{settings}")
    return text.replace("/lake}", f"/lake, keep: {{{keep}}}}}") if keep else text


@dataclass(frozen=True)
class S3Feed:
    """A dataset ``toy`` whose landing zone and lake are in a bucket."""

    root: Path
    bucket: str
    dataset: Dataset

    def inbox(self, clock: Clock | None = None) -> Inbox:
        """An inbox as a process that has just started has it."""
        feed = Feed.of(self.dataset)
        return Inbox(feed, clock) if clock else Inbox(feed)

    def drop(self, day: str, text: str = "id,value\n1,0.5\n2,1.5\n") -> Marker:
        """Publish a day as a good producer does."""
        source = self.root / "producer" / day
        source.mkdir(parents=True, exist_ok=True)
        (source / "rows.csv").write_text(text)
        place = self.dataset.landing
        publish(source, f"{place.uri}/date={day}", conn_id=place.conn_id)
        landing = self.inbox().landing
        return landing.find(landing.pattern.fill({"date": day}))[0]


BY_DAY = 'arrival: {partition: {date: "%Y-%m-%d"}}\n'
"""Tells that keys sort by day."""


def make_s3_toy(
    root: Path,
    bucket: str,
    more: str = BY_DAY,
    marker_name: str = "datapackage.json",
    keep: str = "",
    **landing: str,
) -> S3Feed:
    """A toy feed in a bucket; the arguments are those of ``make_toy``."""
    folder = root / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    text = TOY.format(root=f"s3://{bucket}", marker=marker_name, more=more)
    _write(folder / "toy.yaml", _with(text, landing, keep))
    return S3Feed(root, bucket, read_dataset(folder / "toy.yaml"))
