"""What a report costs after a long history: requests to S3, by kind, and seconds.

The server is the tests' (moto, over HTTP). One day of flights goes through all stages. Its receipt
and its evaluation, under other names, are the history. With ``--late`` another feed brings
outcomes, and each batch of the history was evaluated again by them, twice.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from s3_requests import drop, kind
from table import Cell, Column, Table, found

from flagfall.concurrency import in_parallel
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.claim import claim
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Evaluation, LateEvaluation, Receipt
from flagfall.landing.marker import Marker
from flagfall.report.run import report_run
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage

sys.path.append(str(Path(__file__).parents[1]))
from sandbox.flights import LABELLED
from tests.s3 import S3Server, s3_server

HISTORIES = (10, 300, 10_000)
DAYS = 29


def one_day(dataset: Dataset) -> Marker:
    """Take a day in, up to its evaluation."""
    inbox = Inbox(Feed.of(dataset))
    (shard,) = claim(inbox, dataset).shards
    deliveries = [Delivery(marker) for marker in shard]
    for stage in STAGES:
        deliveries = run_stage(stage, dataset, Inbox(Feed.of(dataset)), deliveries)
    return deliveries[0].marker


LOOKS = 2


def write_history(dataset: Dataset, marker: Marker, batches: int) -> None:
    """Batches of the days before, with the records of one that was really taken in."""
    inbox = Inbox(Feed.of(dataset))
    receipt, evaluation = inbox.receipts.find(marker), inbox.lake.find(Evaluation, marker.batch_id)
    assert receipt is not None
    assert evaluation is not None

    def write(number: int) -> None:
        day, nth = divmod(number, -(-batches // DAYS))
        landed_at = marker.landed_at - timedelta(days=DAYS - day, seconds=nth)
        name = str(landed_at.date()) if not nth else f"{landed_at.date()}-{nth:04d}"
        key = inbox.landing.pattern.fill({"date": name})
        its = replace(marker, key=key, fields={"date": name}, landed_at=landed_at, version=name)
        past = {"batch_id": its.batch_id, "marker": its, "received_at": landed_at}
        store = inbox.lake.store
        filed = f"receipts/landed={landed_at.date()}/{its.batch_id}.json"
        store.put(filed, Receipt(**{**dict(receipt), **past}).to_json())
        known = evaluation.model_copy(update={"batch_id": its.batch_id})
        store.put(f"evaluations/{its.batch_id}/record.json", known.to_json())
        for number in range(1, LOOKS + 1 if dataset.late_label is not None else 1):
            late = LateEvaluation(
                batch_id=its.batch_id,
                number=number,
                made_of=str(number),
                deliveries=number,
                at=landed_at + timedelta(days=number),
                evaluation=known.model_copy(update={"drift": ()}),
            )
            place = f"outcomes/landed={landed_at.date()}/{its.batch_id}"
            store.put(f"{place}/{number:06d}.json", late.to_json())

    for _ in in_parallel(write, range(batches)):
        pass


def reports(s3: S3Server, dataset: Dataset, marker: Marker, turns: int) -> Iterator[list[Cell]]:
    """Write the report of that day several times, each as a task of its own does."""
    for _ in range(turns):
        s3.requests.clear()
        began = time.perf_counter()
        report_run(dataset, Inbox(Feed.of(dataset)), "run", [marker])
        took = time.perf_counter() - began
        asked = Counter(map(kind, s3.requests))
        yield [asked["GET and HEAD"], asked["LIST"], asked["PUT"], took]


def with_late_outcomes(dataset: Dataset) -> Dataset:
    """The same, as if another feed brought its outcomes."""
    assert dataset.label is not None
    label = dataset.label.model_copy(update={"feed": "arrivals"})
    return dataset.model_copy(update={"label": label})


def rows(s3: S3Server, histories: Sequence[int], is_late: bool) -> Iterator[tuple[Cell, ...]]:
    """The rows of the table."""
    for batches in histories:
        home = f"s3://{s3.make_bucket(f'history-{batches}')}"
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, FLAGFALL_DATA=home):
            drop(1, Path(folder), f"{home}/landing/flights")
            dataset = find_dataset("flights", LABELLED)
            marker = one_day(dataset)
            if is_late:
                dataset = with_late_outcomes(dataset)
            write_history(dataset, marker, batches)
            done = list(reports(s3, dataset, marker, 2 + -(-batches // 2000)))
        for turn, cells in zip(("first", "last"), (done[0], done[-1]), strict=True):
            yield (batches, turn, *cells)


def main() -> None:
    """Measure each history."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="*", default=HISTORIES, help="of history")
    parser.add_argument("--late", action="store_true", help="outcomes come by another feed")
    given = parser.parse_args()
    with s3_server() as s3, patch.dict(os.environ, s3.environment()):
        measured = tuple(rows(s3, given.batches, given.late))
    columns = (
        Column("batches in 30 days", ",.0f"),
        Column("report"),
        Column("GET and HEAD", ",.0f"),
        Column("LIST", ",.0f"),
        Column("PUT", ",.0f"),
        Column("seconds", ".1f"),
    )
    found(Table("history", columns, measured))


if __name__ == "__main__":
    main()
