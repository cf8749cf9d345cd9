"""Evaluations of batches whose outcomes came later, by another feed.

::

    outcomes/landed=2026-11-22/<batch-id>/000001.json
    outcomes/learned.json
    known/<batch-id>/<number>-<attempt>-part-00000.parquet
    matched/<id of a delivery of outcomes>.json

An evaluation is never changed: when outcomes are added or corrected, the batch gets another one,
with the next number and create-if-absent. The last number counts. Of two workers one takes a number
and the other one looks again, so what was seen earlier never follows what was seen later. The
outcomes themselves are in ``known/``: an evaluation names the parts that it was made of.

``matched/`` and ``learned.json`` are caches: how many rows of each batch a delivery of outcomes has
an outcome for, and which batches were evaluated again on the last day that any was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Dataset
from flagfall.errors import Damaged, StoreRefused, StoreUnavailable, printable
from flagfall.lake.output import RECORD_LIMIT, Lake
from flagfall.lake.records import Evaluation, LateEvaluation, Look, Part, Receipt
from flagfall.lake.rollups import Rollups, day_of
from flagfall.logs import logger
from flagfall.stores import Store

log = logger(__name__)

FOLDER = "outcomes"
KNOWN = "known"
MATCHED = "matched"
_LEARNED = f"{FOLDER}/learned.json"
_NUMBERED = re.compile(r"(\d{6,})\.json", re.ASCII)


@dataclass(frozen=True)
class Looked:
    """What was known of batches.

    Attributes:
        numbers: Of their last evaluations, by batch id; a batch that has none is left out.
        last: The last evaluations that can be read.
    """

    numbers: dict[str, int]
    last: dict[str, LateEvaluation]


def last_late(
    store: Store, receipts: Iterable[Receipt], rollups: Rollups | None = None
) -> dict[str, LateEvaluation]:
    """The late evaluations that count, by batch id; a batch that has none is left out.

    One listing says which there are. One that is damaged is named in the log, and the one before it
    counts.

    Args:
        store: The dataset's folder in the lake.
        receipts: Of the batches.
        rollups: Where they may be; ``None`` to read each by itself.
    """
    return looked(store, receipts, rollups).last


def looked(
    store: Store,
    receipts: Iterable[Receipt],
    rollups: Rollups | None = None,
    skip_damaged: bool = True,
) -> Looked:
    """As ``last_late``, with the numbers of those that are there.

    Raises:
        Damaged: One is, and none before it is to take its place.
    """
    read_one = legible_late if skip_damaged else _read_late
    by_id = {receipt.batch_id: receipt for receipt in receipts}
    last = last_looks(store, by_id.values())
    rolled = rollups.late(day_of(by_id[name]) for name in last) if rollups else {}
    found = {name: one for name, one in rolled.items() if last.get(name) == one.number}
    lacking = [by_id[name] for name in last if name not in found]
    read = in_parallel(lambda one: read_one(store, one, last[one.batch_id]), lacking)
    return Looked(last, found | {one.batch_id: one for one in read if one is not None})


def last_looks(store: Store, receipts: Iterable[Receipt]) -> dict[str, int]:
    """The numbers of the late evaluations that count, by batch id, by a listing."""
    places = {_folder(receipt): receipt.batch_id for receipt in receipts}
    last: dict[str, int] = {}
    for key in store.names(FOLDER, min(places)) if places else ():
        number, batch_id = number_of(key), places.get(key.rpartition("/")[0])
        if number and batch_id is not None:
            last[batch_id] = max(number, last.get(batch_id, 0))
    return last


def number_of(key: str) -> int:
    """The number in the key of a late evaluation; 0 of what else lies there."""
    found = _NUMBERED.fullmatch(key.rpartition("/")[2])
    return int(found[1]) if found else 0


def legible_late(store: Store, receipt: Receipt, number: int) -> LateEvaluation | None:
    """A late evaluation; where it is damaged or gone, which is logged, the last one before it."""
    for earlier in range(number, 0, -1):
        try:
            return _read_late(store, receipt, earlier)
        except (FileNotFoundError, StoreRefused) as error:
            log.warning("%s", printable(str(error)))
    return None


def _read_late(store: Store, receipt: Receipt, number: int) -> LateEvaluation:
    """A late evaluation of a batch.

    Raises:
        Damaged: It is.
    """
    key = f"{_folder(receipt)}/{number:06d}.json"
    try:
        return LateEvaluation.model_validate_json(store.read(key, RECORD_LIMIT))
    except ValidationError as damaged:
        why = f"this record is damaged ({damaged.error_count()} mistakes); restore it, or remove it"
        raise Damaged(f"{store.uri}/{key}", why) from damaged


def add_late(
    store: Store, receipt: Receipt, record: LateEvaluation, files: Sequence[tuple[Path, int]] = ()
) -> None:
    """Write an evaluation after the last one that was known when outcomes were looked up.

    Args:
        store: The dataset's folder in the lake.
        receipt: Of the batch.
        record: The evaluation.
        files: Its outcomes, with their rows; they are moved in first.

    Raises:
        StoreUnavailable: The batch was evaluated meanwhile, perhaps of later outcomes.
    """
    key = f"{_folder(receipt)}/{record.number:06d}.json"
    if files:
        parts = tuple(_move_in(store, record, files))
        record = record.model_copy(update={"parts": parts})
    if store.create(key, record.to_json()):
        return
    there = _read_late(store, receipt, record.number)
    for name in {part.name for part in record.parts} - {part.name for part in there.parts}:
        store.delete(f"{KNOWN}/{record.batch_id}/{name}")
    if there.made_of != record.made_of:
        why = "its outcomes were evaluated by somebody else meanwhile; they are looked at anew"
        raise StoreUnavailable(f"{store.uri}/{key}", why)


def _move_in(
    store: Store, record: LateEvaluation, files: Sequence[tuple[Path, int]]
) -> Iterator[Part]:
    """Parts under names of their own for each attempt: the record says which ones count."""
    attempt = f"{record.number:06d}-{uuid4().hex[:12]}"
    for file, rows in files:
        part = Part(name=f"{attempt}-{file.name}", rows=rows)
        store.put_file(file, f"{KNOWN}/{record.batch_id}/{part.name}")
        yield part


def once_a_day(looks: Iterable[Look], delivered: datetime) -> tuple[Look, ...]:
    """The last look of each day since a batch was delivered: a report shows no others."""
    days = {(delivered - look.at) // timedelta(days=1): look for look in looks}
    return tuple(days.values())


def with_outcomes(
    dataset: Dataset,
    lake: Lake,
    receipts: Iterable[Receipt],
    evaluations: Mapping[str, Evaluation],
) -> dict[str, Evaluation]:
    """Evaluations by batch id, each with the outcomes that have come since.

    Args:
        dataset: Their dataset; nothing is read where its batches have their outcomes.
        lake: Its lake.
        receipts: Of the batches.
        evaluations: As they were scored.
    """
    found = dict(evaluations)
    if dataset.late_label is None:
        return found
    scored = [receipt for receipt in receipts if receipt.batch_id in found]
    late = last_late(lake.store, scored, lake.rollups)
    none = {"outcomes": 0}
    return {
        name: late[name].on(one) if name in late else one.model_copy(update=none)
        for name, one in found.items()
    }


def _folder(receipt: Receipt) -> str:
    return f"{FOLDER}/landed={day_of(receipt).isoformat()}/{receipt.batch_id}"


def read_matched(store: Store, delivery: str, key: Sequence[str]) -> dict[str, int]:
    """Rows of each batch that a delivery of outcomes has an outcome for; 0: looked at, none.

    Args:
        store: The dataset's folder in the lake.
        delivery: Id of the delivery.
        key: Columns by which they are matched; nothing is known of what others say.
    """
    found = _read_json(store, f"{MATCHED}/{delivery}.json")
    if not isinstance(found, dict) or found.get("key") != list(key):
        return {}
    return dict(found.get("rows", {}))


def write_matched(
    store: Store, delivery: str, key: Sequence[str], matched: Mapping[str, int]
) -> None:
    """Keep what was looked up."""
    text = json.dumps({"key": list(key), "rows": dict(matched)})
    store.put(f"{MATCHED}/{delivery}.json", text.encode())


def learned_on(store: Store, day: date) -> frozenset[str]:
    """Ids of the batches that were evaluated again on a day (UTC), if that was the last one."""
    found = _read_json(store, _LEARNED)
    if not isinstance(found, dict) or found.get("day") != day.isoformat():
        return frozenset()
    return frozenset(found.get("batch_ids", ()))


def note_learned(store: Store, at: datetime, batch_ids: Iterable[str]) -> None:
    """Note that batches were evaluated again."""
    day = at.astimezone(UTC).date()
    names = sorted(learned_on(store, day) | set(batch_ids))
    store.put(_LEARNED, json.dumps({"day": day.isoformat(), "batch_ids": names}).encode())


def _read_json(store: Store, key: str) -> object:
    """What a cache holds; nothing where it is lost or damaged."""
    try:
        return json.loads(store.read(key, RECORD_LIMIT))
    except (FileNotFoundError, ValueError):
        return None
