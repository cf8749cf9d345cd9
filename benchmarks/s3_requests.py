"""What a batch asks of S3: the requests of a run's six tasks, counted by the server.

The server is the tests' (moto, over HTTP). Each batch is a day of flights in one CSV file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

from table import Cell, Column, Table, found

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.inbox.claim import claim
from flagfall.inbox.inbox import Inbox
from flagfall.publish import publish
from flagfall.report.run import report_run
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from sandbox.flights import LABELLED, all_flights

sys.path.append(str(Path(__file__).parents[1]))
from tests.s3 import Request, S3Server, s3_server

FIRST = date(2013, 3, 1)
MORE = 50
"""Batches in the larger of two runs, beyond the one of the smaller."""
TASKS = ("ingest_data", "preprocess_data", "run_inference", "evaluate_results")
KINDS = ("PUT", "LIST", "GET and HEAD", "DELETE")


def kind(request: Request) -> str:
    """What it is charged as; deleting is free."""
    if request.method == "DELETE" or "delete" in request.query:
        return "DELETE"
    if "list-type" in request.query:
        return "LIST"
    return "GET and HEAD" if request.method in ("GET", "HEAD") else "PUT"


def count(s3: S3Server, batches: int) -> dict[str, Counter[str]]:
    """Requests of each task in a run of so many batches."""
    home = f"s3://{s3.make_bucket(f'batches-{batches}')}"
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, FLAGFALL_DATA=home):
        drop(batches, Path(folder), f"{home}/landing/flights")
        return dict(run(s3, batches))


def drop(batches: int, folder: Path, landing: str) -> None:
    """Publish days, each in one file."""
    for n in range(batches):
        day = FIRST + timedelta(days=n)
        (folder / str(day)).mkdir()
        all_flights().filter(date=day).write_csv(folder / str(day) / "day.csv", null_value="NA")
        publish(folder / str(day), f"{landing}/date={day}")


def run(s3: S3Server, batches: int) -> Iterator[tuple[str, Counter[str]]]:
    """Do what the tasks of a run do, each with an inbox of its own, and count.

    A batch that was dropped a moment ago has not settled, and would be left to the next run.
    """
    dataset = find_dataset("flights", LABELLED)

    def asked() -> Counter[str]:
        counted = Counter(map(kind, s3.requests))
        s3.requests.clear()
        return counted

    def inbox() -> Inbox:
        return Inbox(Feed.of(dataset))

    while claim(inbox(), dataset).batches < batches:
        pass
    asked()
    claimed = claim(inbox(), dataset)
    markers = [marker for shard in claimed.shards for marker in shard]
    yield "claim", asked()
    deliveries = [Delivery(marker) for marker in markers]
    for task, stage in zip(TASKS, STAGES, strict=True):
        deliveries = run_stage(stage, dataset, inbox(), deliveries)
        yield task, asked()
    report_run(dataset, inbox(), "run", markers)
    yield "generate_report", asked()


def main() -> None:
    """Count in a small run and in a larger one; what is between them is what batches ask for."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with s3_server() as s3, patch.dict(os.environ, s3.environment()):
        one, many = count(s3, 1), count(s3, 1 + MORE)
    slope = {task: {k: (many[task][k] - one[task][k]) / MORE for k in KINDS} for task in one}
    total = {k: sum(of_task[k] for of_task in slope.values()) for k in KINDS}
    besides = {k: sum(of_task[k] for of_task in one.values()) - total[k] for k in KINDS}
    named = {**slope, "one more batch": total, "a run, besides": besides}
    rows: list[tuple[Cell, ...]] = [(name, *(of[k] for k in KINDS)) for name, of in named.items()]
    columns = (Column("task"), *(Column(k, ".1f") for k in KINDS))
    found(Table("s3_requests", columns, tuple(rows)))


if __name__ == "__main__":
    main()
