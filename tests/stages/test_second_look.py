from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.stages import shard
from flagfall.stages.shard import Delivery, try_stage
from flagfall.stores import Entry
from flagfall.stores.local import LocalStore
from tests.feeds import make_s3_toy, make_toy

DAY = "date=2026-11-01"


def taken_in(
    dataset: Dataset, inbox: Inbox, marker: Marker, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, list[float]]:
    """Rows that were taken in, and the pauses between looks, which take no time here."""
    pauses: list[float] = []
    patience = SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic)
    monkeypatch.setattr(shard, "time", patience)
    (done,), failures = try_stage("ingest", dataset, inbox, [Delivery(marker)])
    assert not failures
    return done.rows, pauses


@pytest.mark.invariant(1)
def test_a_second_look_does_not_believe_the_listing_of_the_first_one(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that took long is reused for a while. The marker came before its data."""
    toy = make_s3_toy(tmp_path, bucket, "", "{name}.ready")
    inbox = toy.inbox()
    store = inbox.landing.store
    store.put(f"{DAY}/a.ready", b"")
    time.sleep(1.1)  # S3 keeps times to the second
    store.put(f"{DAY}/a.csv", b"id,value\n1,1\n")
    (marker,) = inbox.landing.find(f"{DAY}/a.ready")
    readings = iter([0.0])
    monkeypatch.setattr(inbox.landing.folders, "_clock", lambda: next(readings, 1e6))
    fetch = store.fetch

    def meanwhile(key: str, target: Path, *rest: object) -> object:
        if store.stat(f"{DAY}/a.1.csv") is None:
            store.put(f"{DAY}/a.1.csv", b"id,value\n2,2\n")
        return fetch(key, target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "fetch", meanwhile)
    rows, _ = taken_in(toy.dataset, inbox, marker, monkeypatch)
    assert rows == 2


@pytest.mark.invariant(1)
def test_on_a_share_nothing_new_is_taken_in_at_the_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client shows the marker as it is, in a listing of names from before a file came."""
    toy = make_toy(tmp_path, "{name}.ready")
    folder = toy.landing / DAY
    folder.mkdir(parents=True)
    for number in (0, 1):
        (folder / f"a.{number}.csv").write_text(f"id,value\n{number},1\n")
    (folder / "a.ready").write_text("")
    inbox = toy.inbox()
    (marker,) = inbox.landing.find(f"{DAY}/a.ready")
    monkeypatch.setattr(LocalStore, "is_remote", True)
    names = [{f"{DAY}/a.0.csv", f"{DAY}/a.ready"}]
    listing = LocalStore.list

    def remembered(store: LocalStore, *args: Any, **kwargs: Any) -> Iterator[Entry]:
        shown = names.pop() if names else None
        return (e for e in listing(store, *args, **kwargs) if not shown or e.key in shown)

    monkeypatch.setattr(inbox.landing.store, "list", partial(remembered, inbox.landing.store))
    rows, _ = taken_in(toy.dataset, inbox, marker, monkeypatch)
    assert rows == 2


@pytest.mark.invariant(1)
@pytest.mark.parametrize("microsecond", [0, 4000])
def test_whole_seconds_of_a_share_are_looked_at_twice_also_where_the_marker_has_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, microsecond: int
) -> None:
    """A second delivery within the second of the first one has its size and its times."""
    toy = make_toy(tmp_path, "SHA256SUMS")
    folder = toy.landing / DAY
    folder.mkdir(parents=True)
    data = b"id,value\n1,1\n"
    (folder / "a.csv").write_bytes(data)
    (folder / "SHA256SUMS").write_text(f"{sha256(data).hexdigest()}  a.csv\n")
    inbox = toy.inbox()
    (marker,) = inbox.landing.find(f"{DAY}/SHA256SUMS")
    marker = replace(marker, landed_at=marker.landed_at.replace(microsecond=microsecond))
    monkeypatch.setattr(LocalStore, "is_remote", True)
    rows, pauses = taken_in(toy.dataset, inbox, marker, monkeypatch)
    assert rows == 1
    assert bool(pauses) == (microsecond == 0)
