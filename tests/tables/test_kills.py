"""Writers of a table are killed at any moment, while others read it."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Receipt
from flagfall.stages.ingest import ingest
from flagfall.stages.shard import Delivery, run_stage
from flagfall.tables.frames import EVER
from flagfall.tables.upkeep import maintain, missing
from tests.feeds import S3Feed, ToyFeed, make_s3_toy, make_toy
from tests.tables.feed import batches, read, uri_of, with_table
from tests.tables.others import reading

MARKERS, DELIVERIES, WRITERS = 12, 3, 4
PROJECT = Path(__file__).parents[2]
COLUMNS = ("batch", "id")

Read = Callable[[], Sequence[Sequence[Any]]]
"""Gives these columns of every row that is in the table."""


@dataclass
class Seen:
    """What readers saw.

    Attributes:
        reads: How often they read the table.
        batches: Whole batches, over all reads.
        faults: What should never be.
    """

    reads: int = 0
    batches: int = 0
    faults: list[str] = field(default_factory=list)


def received(feed: ToyFeed | S3Feed) -> list[Receipt]:
    """Batches of different sizes and their corrections, in the lake and not in the table."""
    dataset, inbox, receipts = with_table(feed), feed.inbox(), []
    for delivery in range(DELIVERIES):
        for number in range(MARKERS):
            rows = range(20 * delivery + number + 1)
            text = "".join(f"{row},{delivery}\n" for row in rows)
            marker = feed.drop(f"2026-10-{number + 1:02d}", f"id,value\n{text}")
            receipt = ingest(dataset, inbox, marker)
            assert receipt is not None
            assert receipt.status == "accepted"
            receipts.append(receipt)
    return receipts


def look(read: Read, receipts: dict[str, Receipt], turns: dict[str, int]) -> Iterator[str | None]:
    """What is wrong with each batch in the table; ``None`` where nothing is."""
    rows = Counter((batch, row) for batch, row in read())
    if rows.total() > len(rows):
        yield "a row is there twice"
    markers: Counter[str] = Counter()
    for batch, found in Counter(batch for batch, _ in rows).items():
        receipt = receipts[batch]
        key = receipt.marker.key
        markers[key] += 1
        if found != receipt.rows:
            yield f"{batch}: {found} of {receipt.rows} rows"
        elif markers[key] > 1:
            yield f"{key}: two deliveries"
        elif receipt.turn < turns.get(key, 0):
            yield f"{key}: turn {receipt.turn} after turn {turns[key]}"
        else:
            yield None
        turns[key] = receipt.turn
    if lost := set(turns) - set(markers):
        yield f"{sorted(lost)}: gone"


def read_on(read: Read, receipts: dict[str, Receipt], seen: Seen, over: threading.Event) -> None:
    turns: dict[str, int] = {}
    is_last = False
    while not is_last:
        is_last = over.is_set()
        for fault in look(read, receipts, turns):
            if fault is None:
                seen.batches += 1
            else:
                seen.faults.append(fault)
        seen.reads += 1


def kill_writers(root: Path, bucket: str, kills: int, dice: random.Random, longest: float) -> None:
    """Start a writer, let it work for a moment, ``longest`` at most, kill it; again and again."""
    for _ in range(kills):
        seed = dice.choice([0, *(dice.randint(1, 10**9) for _ in range(5))])
        command = [sys.executable, "-m", "tests.tables.writer", str(root), bucket, str(seed)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT, text=True)
        assert writer.stdout is not None
        with writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(dice.uniform(0, longest))
            writer.kill()


@contextmanager
def readers(receipts: list[Receipt], reads: Mapping[str, Read]) -> Iterator[dict[str, Seen]]:
    """What each of them sees meanwhile."""
    by_id = {receipt.batch_id: receipt for receipt in receipts}
    over, seen = threading.Event(), {name: Seen() for name in reads}
    with ThreadPoolExecutor(len(reads)) as pool:
        reading = [pool.submit(read_on, reads[name], by_id, seen[name], over) for name in reads]
        try:
            yield seen
        finally:
            over.set()
    for future in reading:
        future.result()


def campaign(
    feed: ToyFeed | S3Feed, root: Path, bucket: str, kills: int, others: Sequence[str] = ()
) -> dict[str, Seen]:
    """Have writers killed while readers read.

    Args:
        feed: What is in the table.
        root: Where it is.
        bucket: Of a feed on S3.
        kills: How many.
        others: Libraries that read beside polars.

    Returns:
        What each library saw.
    """
    dataset, inbox = with_table(feed), feed.inbox()
    first = feed.drop("2026-09-01", "id,value\n")
    run_stage("ingest", dataset, inbox, [Delivery(first)])  # makes the table
    receipts, longest = received(feed), 6.0 if bucket else 0.3
    with ExitStack() as stack:
        reads: dict[str, Read] = {"polars": lambda: read(inbox).select(COLUMNS).rows()}
        uri = uri_of(inbox)
        reads |= {name: stack.enter_context(reading(name, uri, *COLUMNS)) for name in others}
        seen = stack.enter_context(readers(receipts, reads))
        pool = stack.enter_context(ThreadPoolExecutor(WRITERS))
        killing = [
            pool.submit(
                kill_writers, root, bucket, kills // WRITERS, random.Random(number), longest
            )
            for number in range(WRITERS)
        ]
        for future in killing:
            future.result()
        while sum(batches(inbox).values()) == 0:  # a busy machine: all were killed too soon
            longest *= 2
            kill_writers(root, bucket, 1, random.Random(kills), longest)
    check_repaired(dataset, inbox, receipts)
    return seen


def check_repaired(dataset: Dataset, inbox: Inbox, receipts: list[Receipt]) -> None:
    """What was missed is added, and then the table has what counts."""
    maintain(dataset, inbox.lake, EVER)
    assert missing(dataset, inbox.lake, "rows", EVER) == []
    assert batches(inbox) == {one.batch_id: one.rows for one in current_view(receipts)}


def check(seen: dict[str, Seen]) -> None:
    print({name: (one.reads, one.batches, one.faults[:3]) for name, one in seen.items()})
    assert [one.faults for one in seen.values()] == [[]] * len(seen)
    assert all(one.batches for one in seen.values())


def test_a_reader_sees_whole_batches_only_and_each_once(tmp_path: Path) -> None:
    check(campaign(make_toy(tmp_path), tmp_path, "", 16))


@pytest.mark.slow
def test_so_do_other_libraries(tmp_path: Path) -> None:
    check(campaign(make_toy(tmp_path), tmp_path, "", 80, ["duckdb", "pandas", "spark"]))


@pytest.mark.slow
def test_so_do_they_on_s3(tmp_path: Path, bucket: str) -> None:
    check(campaign(make_s3_toy(tmp_path, bucket), tmp_path, bucket, 20, ["duckdb", "pandas"]))
