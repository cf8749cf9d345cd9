"""The oracle: it knows what landed, and says what is wrong once all is at rest."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import polars as pl

from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH
from tests.simulation.pipeline import Pipeline
from tests.simulation.producers import Batch, csv
from tests.simulation.schedule import Step
from tests.simulation.seams import scratch_of_oracle

_rows: dict[bytes, tuple[int, ...]] = {}


def wrong(inbox: Inbox, batches: list[Batch], trace: list[Step]) -> Iterator[str]:
    """What is not as it must be; nothing where all is right."""
    receipts = inbox.receipts.since(EPOCH.date())
    by_key: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_key.setdefault(receipt.marker.key, []).append(receipt)
    yield from _twice(receipts)
    for found in by_key.values():
        yield from _accepted_again(found, _received_at(trace), _first_claims(trace))
    for receipt in receipts:
        if receipt.status == "accepted":
            yield from _not_its_content(inbox, receipt)
    current = {receipt.marker.key: receipt for receipt in current_view(receipts)}
    for batch in batches:
        yield from _misjudged(batch, by_key.get(batch.key, []), current.get(batch.key))
    yield from (
        f"still pending: {m.batch_id}" for m in _pending(inbox) if not _may_wait(m, batches)
    )
    yield from (f"not a batch: {key}" for key in set(current) - {b.key for b in batches})


def _may_wait(marker: Marker, batches: list[Batch]) -> bool:
    """It cannot be read; or it is a replay, and the landing zone is as empty as a lost mount."""
    batch = next(batch for batch in batches if batch.key == marker.key)
    return batch.is_broken or bool(marker.replay and not batch.volume.files)


def _pending(inbox: Inbox) -> list[Marker]:
    return list(inbox.pending(inbox.shortcuts.full_scope()))


def _twice(receipts: list[Receipt]) -> Iterator[str]:
    counts = Counter(receipt.batch_id for receipt in receipts)
    yield from (f"{batch_id} has {n} receipts" for batch_id, n in counts.items() if n > 1)


def _received_at(trace: list[Step]) -> dict[str, float]:
    """When receipts were written, by batch id: a zombie may write one of an early turn last."""
    steps = receipts_written(trace)
    return {step.what.rpartition("/")[2].removesuffix(".json"): step.at for step in steps}


def _accepted_again(
    found: list[Receipt], received: dict[str, float], claimed: dict[str, float]
) -> Iterator[str]:
    """Unless the turn before had no receipt yet: then nobody knew what would count."""
    decided = {r.turn: received[r.batch_id] for r in found if r.status != "rejected"}
    accepted = sorted((r for r in found if r.status == "accepted"), key=lambda r: r.turn)
    for before, after in pairwise(accepted):
        was_open = decided.get(after.turn - 1, float("inf")) > claimed[after.batch_id]
        is_known = received[before.batch_id] < received[after.batch_id] and not was_open
        if is_known and before.content == after.content and not after.marker.replay:
            yield f"{after.batch_id}: accepted, and brings nothing but what {before.batch_id} did"


def _content(batch: Batch, index: int) -> dict[str, str]:
    return {key: hashlib.sha256(d).hexdigest() for key, d in batch.snapshots[index].items()}


def _misjudged(batch: Batch, found: list[Receipt], current: Receipt | None) -> Iterator[str]:
    whole = [_content(batch, index) for index in range(len(batch.snapshots))]
    if batch.is_clean:
        for receipt in found:
            if receipt.status == "accepted" and receipt.content not in whole:
                yield f"{receipt.batch_id} is a mixture"
    if batch.standing is None or batch.is_broken:
        return
    wanted = {key: hashlib.sha256(data).hexdigest() for key, data in batch.standing.items()}
    if current is None:
        yield f"{batch.key}: lost; nothing was accepted"
    elif current.content != wanted:
        index = whole.index(current.content) if current.content in whole else None
        what = "a mixture" if index is None else f"delivery {index + 1} of {len(whole)}"
        yield f"{batch.key}: {what} is current ({current.batch_id})"


def _not_its_content(inbox: Inbox, receipt: Receipt) -> Iterator[str]:
    """The rows that whoever reads the lake gets are those of the files that the receipt names."""
    staged = inbox.lake.find(Staged, receipt.batch_id)
    if staged is None:
        yield f"{receipt.batch_id}: accepted, and no staged output"
        return
    try:
        found = _staged_rows(inbox, staged)
    except FileNotFoundError as gone:
        yield f"{receipt.batch_id}: accepted, and a part is not there: {gone}"
        return
    if len(set(found)) < len(found):
        yield f"{receipt.batch_id}: rows that count twice"
    if _hashes_of(found) != set(staged.content.values()) or staged.content != receipt.content:
        yield f"{receipt.batch_id}: its parts hold other rows than its receipt says"


def _staged_rows(inbox: Inbox, staged: Staged) -> list[int]:
    with scratch_of_oracle() as folder:
        parts = [path.read_bytes() for path in inbox.lake.parts(staged, folder)]
    return [row for part in parts for row in _read(part)]


def _read(part: bytes) -> tuple[int, ...]:
    if part not in _rows:
        _rows[part] = tuple(pl.read_parquet(io.BytesIO(part))["id"].to_list())
    return _rows[part]


def _hashes_of(rows: list[int]) -> set[str]:
    """Hashes of the files that have these rows: rows of one file differ in the last digit."""
    files: dict[int, list[int]] = {}
    for row in sorted(rows):
        files.setdefault(row // 10, []).append(row)
    return {hashlib.sha256(csv(ids)).hexdigest() for ids in files.values()}


PROMPT = 1000.0
"""Seconds after a hint at which its marker is claimed, where nothing but looks fails."""


def receipts_written(trace: list[Step]) -> Iterator[Step]:
    """Where receipts were written, not what else is noted beside them."""
    for step in trace:
        is_receipt = step.what.startswith("receipts/") and step.what.endswith(".json")
        if step.did == "create" and is_receipt and "new" in step.outcome:
            yield step


def late(pipeline: Pipeline, batches: list[Batch], trace: list[Step]) -> Iterator[str]:
    """Markers whose hint came, and that were claimed much later: not by it, but by a sweep."""
    claimed = _first_claims(trace)
    for batch in batches:
        hinted = pipeline.hinted.get(batch.key, 0.0)
        is_last = batch.done[-1:] in (["deliver"], ["correct"], ["restore"])
        is_cached = batch.volume.flavour.caches  # then the look may see what was there before
        if not (batch.standing and is_last) or is_cached or hinted < batch.completed_at:
            continue
        received = (step for step in receipts_written(trace) if step.at >= batch.completed_at)
        names = (step.what.rpartition("/")[2].removesuffix(".json") for step in received)
        its = (claimed[name] for name in names if name.startswith(batch.day))
        took = min(its, default=float("inf")) - hinted
        if took > PROMPT:
            yield f"{batch.key}: claimed {took:.0f} s after its hint"


def _first_claims(trace: list[Step]) -> dict[str, float]:
    """When each batch was claimed for the first time, by its id."""
    claims = (step for step in reversed(trace) if step.did == "claims")
    return {batch_id: step.at for step in claims for batch_id in step.what.split()}
