"""Thirty days of a feed that has been running for a while: receipts as its runs would have written.

For pages and benchmarks. The batches themselves are not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt, Status
from flagfall.landing.marker import Marker
from flagfall.ledger.ledger import Row, read_ledger, write_ledger
from flagfall.ledger.note import note_standing
from flagfall.report.due import slug
from flagfall.verdict.facts import Facts
from flagfall.verdict.verdict import judge

DAYS = 29
"""Days before today that have batches."""


def past_receipts(
    dataset: Dataset, now: datetime, batches: int, rows: int = 950, seed: int = 1
) -> Iterator[Receipt]:
    """Receipts of so many batches, spread evenly over the days before today, the oldest first.

    Two in a hundred are rejected, and corrected within the hour but for the last.

    Args:
        dataset: The feed; its marker has the one field ``date``.
        now: The time (UTC).
        batches: How many.
        rows: About so many in each.
        seed: Of chance.
    """
    random = Random(seed)
    per_day = max(1, -(-batches // DAYS))
    start = now.replace(hour=5, minute=50, second=0, microsecond=0) - timedelta(days=DAYS)
    for number in range(batches):
        day, nth = divmod(number, per_day)
        landed = start + timedelta(days=day, minutes=nth * 1000 / per_day)
        landed += timedelta(seconds=random.uniform(0, 40))
        name = f"{landed:%Y-%m-%d}" if per_day == 1 else f"{landed:%Y-%m-%d}-{nth:04d}"
        marker = _marker(dataset, name, landed)
        is_bad = random.random() < 0.02
        if is_bad:
            yield _receipt(marker, "rejected", random, 0)
            if number + 1 == batches:
                return
            marker = replace(marker, version="2", landed_at=landed + timedelta(minutes=40))
        yield _receipt(marker, "accepted", random, rows)


def _marker(dataset: Dataset, name: str, landed: datetime) -> Marker:
    key = dataset.landing.marker.replace("{date}", name)
    uri = f"{dataset.landing.uri}/{key}"
    return Marker(uri, key, "1", landed, 420, {"date": name})


def _receipt(marker: Marker, status: Status, random: Random, rows: int) -> Receipt:
    count = round(rows * random.uniform(0.9, 1.1))
    broken = random.choice((0, 0, 0, 2, 3, 7)) if count else 0
    is_bad = status == "rejected"
    return Receipt(
        batch_id=marker.batch_id,
        marker=marker,
        status=status,
        reason="size-differs" if is_bad else "",
        message="part-0001.csv has 8,192 bytes, its manifest says 41,377" if is_bad else "",
        rows=count,
        rejected_rows=broken,
        reasons={"tailnum: required": broken} if broken else {},
        bytes=90 * count,
        content={f"date={marker.label}/part-0001.csv": f"{random.getrandbits(256):064x}"},
        turn=0 if is_bad else 1,
        received_at=marker.landed_at + timedelta(seconds=random.uniform(1.8, 4.5)),
    )


def write_past(dataset: Dataset, batches: int, seed: int = 1, rows: int = 950) -> list[Receipt]:
    """Write the past of a feed whose lake is on a disk: receipts, ledger, and its board's standing.

    Each day has the verdict of its last batch; each batch was reported by a run of its own.
    """
    from flagfall.dataset.feed import Feed

    inbox = Inbox(Feed.of(dataset))
    receipts = list(past_receipts(dataset, inbox.clock(), batches, rows, seed))
    for receipt in receipts:
        _write(inbox, receipt)
    last_of_days = {one.received_at.date(): n for n, one in enumerate(receipts, start=1)}
    for until in last_of_days.values():
        at = receipts[until - 1].received_at + timedelta(seconds=5)
        facts = Facts(at=at, receipts=tuple(receipts[:until]))
        note_standing(dataset, inbox, facts, judge(dataset, facts))
    ledger = read_ledger(inbox.lake.store)
    assert ledger is not None, "just written"
    reported = tuple(map(_reported, ledger.rows))
    write_ledger(inbox.lake.store, ledger.model_copy(update={"rows": reported}))
    return receipts


def _reported(row: Row) -> Row:
    """By a run of its own, which nobody can look at any more."""
    at = row.received_at + timedelta(seconds=5)
    run = f"asset_triggered__{at - timedelta(seconds=4):%Y-%m-%dT%H:%M:%S}+00:00_k3TqZ8bW"
    found = {"run": run, "report": f"reports/{slug(run)}.html", "reported_at": at}
    return row.model_copy(update=found)


def _write(inbox: Inbox, receipt: Receipt) -> None:
    """Without waiting for the disk, as thousands of durable writes would."""
    day = receipt.marker.landed_at.date().isoformat()
    folder = Path(inbox.lake.store.uri, "receipts", f"landed={day}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{receipt.batch_id}.json").write_bytes(receipt.to_json())
