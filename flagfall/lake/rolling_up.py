"""Rolling up: after a report, rollups get what they lack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from itertools import groupby

from flagfall.concurrency import in_parallel
from flagfall.lake.outcomes import last_looks, legible_late
from flagfall.lake.output import Lake
from flagfall.lake.records import Evaluation, Receipt
from flagfall.lake.rollups import Held, Rolled, day_of

WORTH_IT = 8
"""New deliveries from which on the rollup of a day that is not over is written again."""
MOST = 2000
"""Deliveries that are added at a time: history is rolled up little by little, oldest first."""


def roll_up(
    lake: Lake,
    receipts: Sequence[Receipt],
    versions: Mapping[str, str],
    today: date,
    with_evaluations: bool,
    with_outcomes: bool = False,
) -> None:
    """Write the rollups of days that lack deliveries, or evaluations that have come since.

    Args:
        lake: The lake.
        receipts: In the order of landing, as ``Receipts.since`` gives them.
        versions: Of their objects, by batch id.
        today: A day that is not over yet (UTC).
        with_evaluations: Whether accepted deliveries are evaluated.
        with_outcomes: Whether they are evaluated again, by outcomes that another feed brings.

    Raises:
        StoreError: The lake cannot be reached.
    """
    left = MOST
    looks = last_looks(lake.store, receipts) if with_outcomes else {}
    for day, of_day in groupby(receipts, day_of):
        held = lake.rollups.held(day)
        lacking = [
            one
            for one in of_day
            if _lacks(held, one, versions, with_evaluations)
            or held[one.batch_id].look != looks.get(one.batch_id, 0)
        ]
        if len(lacking) < (WORTH_IT if day >= today else 1):
            continue
        before = lake.rollups.of(day)
        now = {**before, **dict(_rolled(lake, lacking[:left], versions, before, looks))}
        left -= min(left, len(lacking))
        if now != before:
            lake.rollups.write(day, now.values())
        if not left:
            break


def _lacks(
    held: Mapping[str, Held],
    receipt: Receipt,
    versions: Mapping[str, str],
    with_evaluations: bool,
) -> bool:
    its = held.get(receipt.batch_id)
    if its is None or its.version != versions[receipt.batch_id]:
        return True
    return with_evaluations and receipt.status == "accepted" and not its.is_evaluated


def _rolled(
    lake: Lake,
    receipts: Sequence[Receipt],
    versions: Mapping[str, str],
    before: Mapping[str, Rolled],
    looks: Mapping[str, int],
) -> Iterator[tuple[str, Rolled]]:
    known = {name: one.evaluation for name, one in before.items()}
    accepted = [one.batch_id for one in receipts if one.status == "accepted"]
    lacking = [name for name in accepted if known.get(name) is None]
    known |= zip(lacking, in_parallel(partial(lake.legible, Evaluation), lacking), strict=True)
    looked = [one for one in receipts if one.batch_id in looks]
    read = in_parallel(lambda one: legible_late(lake.store, one, looks[one.batch_id]), looked)
    late = {record.batch_id: record for record in read if record is not None}
    for one in receipts:
        name = one.batch_id
        yield (
            name,
            Rolled(
                version=versions[name],
                receipt=one,
                evaluation=known.get(name),
                late=late.get(name),
            ),
        )
