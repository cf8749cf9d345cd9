"""What a hundred days of flights take, before and after a round of upkeep; and replaying them.

``python benchmarks/retention.py`` prints JSON. The store is moto's S3 over HTTP on loopback: its
objects can be given the age that they would have, which a disk's cannot.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.claim import claim
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.replays import Wish, hand_out_again, plan_replay
from flagfall.publish import publish
from flagfall.report.run import report_run
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from flagfall.stores import open_store
from flagfall.upkeep.run import do_upkeep, plan_upkeep
from sandbox.flights import write_day
from tests.feeds import Clock
from tests.s3 import S3Server, s3_server

ROOT = Path(__file__).resolve().parents[1]
DAYS = 100
FIRST = date(2013, 9, 1)
BUCKET = "hundred-days"
OLD, NEW = b"1.0.0", b"2.0.0"
"""Versions of the model: the same network, under another name."""
KEEP = "keep: {staged: 90d, features: 7d, rejected: 30d, reports: 30d}"
AFTER = "after_receipt: delete"


def dataset_in(root: Path) -> Dataset:
    """The flights, on S3, with upkeep; the model's folder is a copy."""
    for folder in ("datasets", "models"):
        shutil.copytree(ROOT / folder, root / folder, dirs_exist_ok=True)
    file = root / "datasets" / "examples" / "flights.yaml"
    text = file.read_text()
    text = text.replace("landing:\n", f"landing:\n  {AFTER}\n", 1)
    file.write_text(text.replace("lake:\n", f"lake:\n  {KEEP}\n", 1))
    return read_dataset(file)


def age(seen: set[str], clock: Clock) -> None:
    """Give what was written since the last call the time of the clock."""
    for key, stored in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys.items():
        if key not in seen:
            stored.last_modified = clock().replace(tzinfo=None, microsecond=0)
            seen.add(key)


def run(dataset: Dataset, clock: Clock, name: str) -> int:
    """A run, as Airflow does it; gives the number of its batches."""
    inbox = Inbox(Feed.of(dataset), clock)
    taken = claim(inbox, dataset, lambda s: clock.advance(timedelta(seconds=s)))
    markers = [marker for shard in taken.shards for marker in shard]
    for shard in taken.shards:
        deliveries = [Delivery(marker) for marker in shard]
        for stage in STAGES:
            deliveries = run_stage(stage, dataset, inbox, deliveries)
    if markers:
        report_run(dataset, inbox, name, markers)
    return len(markers)


def used(uri: str) -> dict[str, Any]:
    """Objects and bytes by folder."""
    objects: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for entry in open_store(uri).list():
        objects[entry.key.split("/")[0]] += 1
        sizes[entry.key.split("/")[0]] += entry.size
    return {kind: {"objects": objects[kind], "bytes": sizes[kind]} for kind in sorted(objects)}


def total(dataset: Dataset) -> dict[str, Any]:
    """What lies in the lake, by folder, and in the landing zone."""
    landing = Counter[str]()
    for entry in open_store(dataset.landing.uri).list():
        landing["objects"] += 1
        landing["bytes"] += entry.size
    return {**used(f"{dataset.lake.uri}/{dataset.name}"), "landing zone": dict(landing)}


def measure(server: S3Server, root: Path) -> dict[str, Any]:
    """Ingest, score and report day by day; replay all of it; do a round of upkeep."""
    dataset = dataset_in(root)
    clock, seen = Clock(), set[str]()
    clock.now = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS)
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        write_day(day, root / "producer" / str(day))
        publish(root / "producer" / str(day), f"{dataset.landing.uri}/date={day}")
        age(seen, clock)
        clock.advance(timedelta(minutes=5))
        assert run(dataset, clock, f"day-{number:03d}") == 1
        age(seen, clock)
        clock.advance(timedelta(days=1))
        if number % 20 == 0:
            print(number, file=sys.stderr, flush=True)
    found: dict[str, Any] = {"before": total(dataset)}
    server.requests.clear()
    began = time.perf_counter()
    inbox = Inbox(Feed.of(dataset), clock)
    plan = plan_upkeep(dataset, inbox)
    found["plan"] = {"seconds": time.perf_counter() - began, "requests": _requests(server)}
    server.requests.clear()
    began = time.perf_counter()
    done = do_upkeep(dataset, inbox, plan)
    done.check()
    found["gone"] = done.to_dict()
    found["upkeep"] = {"seconds": time.perf_counter() - began, "requests": _requests(server)}
    found["after"] = total(dataset)
    print(json.dumps(found), file=sys.stderr, flush=True)
    found["replay"] = replay(server, dataset, clock, root)
    found["after the replay"] = total(dataset)
    return found


def replay(server: S3Server, dataset: Dataset, clock: Clock, root: Path) -> dict[str, Any]:
    """Score what is staged with a new model."""
    assert dataset.model is not None
    for name in ("constants.json", "model.onnx"):
        file = Path(dataset.model.path) / name
        file.write_bytes(file.read_bytes().replace(OLD, NEW))
    dataset = read_dataset(root / "datasets" / "examples" / "flights.yaml")
    server.requests.clear()
    began = time.perf_counter()
    inbox = Inbox(Feed.of(dataset), clock)
    plan = plan_replay(dataset, inbox, Wish(source="staged", model_version=NEW.decode()))
    planned = time.perf_counter() - began
    hand_out_again(inbox, plan)
    handed_out = time.perf_counter() - began
    clock.advance(timedelta(minutes=5))
    runs = 0
    while run(dataset, clock, f"replay-{runs}"):
        runs += 1
    left = plan_replay(dataset, inbox, Wish(source="staged", model_version=NEW.decode()))
    return {
        "batches": len(plan.batches),
        "left out": dict(plan.why_left_out),
        "seconds of the plan": planned,
        "seconds until all are pending": handed_out,
        "runs": runs,
        "seconds until all are scored": time.perf_counter() - began,
        "requests": _requests(server),
        "left to do": len(left.batches),
    }


def _requests(server: S3Server) -> dict[str, int]:
    return dict(Counter(request.method for request in server.requests))


def main() -> None:
    """Print it as JSON."""
    with s3_server() as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(server.environment(), FLAGFALL_DATA=f"s3://{BUCKET}")
        server.make_bucket(BUCKET)
        print(json.dumps(measure(server, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
