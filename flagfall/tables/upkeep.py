"""What a dataset's tables lack is added, and they are kept in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Dataset
from flagfall.errors import Damaged, NotThere, StoreError, StoreRefused
from flagfall.extras import require
from flagfall.lake.output import Lake
from flagfall.lake.receipts import InDoubt, Receipts, current_view
from flagfall.lake.records import LateEvaluation, Predicted, Receipt
from flagfall.lake.rollups import day_of
from flagfall.logs import logger
from flagfall.tables.frames import (
    LOOKED_AT,
    Done,
    Form,
    Kind,
    counting,
    damaged,
    delivered_on,
    kinds_of,
    records_of,
    todays_form,
)

if TYPE_CHECKING:
    import polars as pl

    from flagfall.tables.delta import Table, Taken

log = logger(__name__)

AT_ONCE = 500
"""Batches in a commit, at most."""
ROWS_AT_ONCE = 2_000_000
"""Rows in a commit, at most; a batch that has more is a commit of its own."""
TURNS_KEPT = timedelta(days=29)
"""A little less than a table keeps turns (``delta.SETTINGS``)."""


@dataclass(frozen=True)
class Kept:
    """What was done to a table.

    Attributes:
        kind: What it is of.
        added: Batches that it lacked.
        joined: Files that were joined.
        into: Files that they were made to.
        removed: Files that nobody needs any more.
        gone: Batches that it lacks, and whose rows are not in the lake any more.
        failures: Of batches that it lacks because they, or their receipts, are damaged.
    """

    kind: Kind
    added: int
    joined: int = 0
    into: int = 0
    removed: int = 0
    gone: int = 0
    failures: tuple[StoreRefused, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The numbers, by name."""
        names = ("added", "joined", "into", "removed")
        return {name: getattr(self, name) for name in names}

    @property
    def sentence(self) -> str:
        """In words."""
        files = f"{self.joined:,} files joined into {self.into:,}, {self.removed:,} removed"
        return f"{self.news}, {files}"

    @property
    def news(self) -> str:
        """What was added, and what could not be."""
        added = f"{self.kind}: {self.added:,} batches added"
        return f"{added}; the rows of {self.gone:,} are gone from the lake" if self.gone else added

    def check(self) -> None:
        """See that no batch was left out.

        Raises:
            StoreRefused: One was; others that were are in the log.
        """
        for failure in self.failures[1:]:
            log.error("the table of %s lacks another batch: %s", self.kind, failure)
        if self.failures:
            raise self.failures[0]


def has_tables(dataset: Dataset) -> bool:
    """Whether its dataset file asks for them."""
    return dataset.lake.table is not None


def open_table(dataset: Dataset, lake: Lake, kind: Kind) -> Table:
    """A table of a dataset, which need not be there yet.

    Raises:
        ExtraMissing: delta-rs is not installed.
    """
    require("delta")
    from flagfall.tables.delta import Table

    return Table(f"{lake.store.uri}/tables/{kind}", dataset.lake.conn_id)


def commit(dataset: Dataset, lake: Lake, kind: Kind, receipts: Sequence[Receipt]) -> int:
    """Add batches to a table, a few in each commit; those that it has are left.

    A table forgets turns after ``TURNS_KEPT``. So of batches that are older, as where somebody
    clears the tasks of last quarter, it is looked up in its rows which ones it lacks.

    Args:
        dataset: Their dataset.
        lake: Its lake.
        kind: What the table is of. A batch that is not scored has neither predictions nor outcomes.
        receipts: Of the batches. Only the last delivery of a marker is added.

    Returns:
        How many were added.

    Raises:
        Damaged: A batch is; the others were added.
        StoreError: The lake or the table cannot be read or written to.
    """
    last = known = current_view(receipts)
    old = [one for one in last if one.received_at < datetime.now(UTC) - TURNS_KEPT]
    if old:
        known, _ = _counts(lake, min(map(day_of, old)))
        lacks = _missing(dataset, lake, kind, min(map(day_of, old)), known)
        names = {one.batch_id for one in old} - {one.batch_id for one in lacks}
        last = [one for one in last if one.batch_id not in names]
    return _added(_commit(dataset, lake, kind, last, known))


def _added(kept: Kept) -> int:
    kept.check()
    return kept.added


def _commit(
    dataset: Dataset,
    lake: Lake,
    kind: Kind,
    last: Sequence[Receipt],
    known: Sequence[Receipt],
) -> Kept:
    """The same of batches that the table lacks, as far as is known; in the form of those known."""
    of_markers, failures = Receipts(lake.store), list[Damaged]()
    records = _records(lake, kind, last, failures)
    gone = len(last) - len(records) - len(failures) if kind == "rows" else 0
    added = 0
    form = _form(dataset, lake, kind, known) if last and known is not last else None
    for some in _groups(list(_ready(lake, kind, last, records))):
        taken = list(in_parallel(partial(_taken, of_markers, kind, records), some))
        added += _commit_sound(dataset, lake, kind, records, taken, failures, form)
    return Kept(kind, added, gone=gone, failures=tuple(failures))


def _form(dataset: Dataset, lake: Lake, kind: Kind, known: Sequence[Receipt]) -> Form:
    """Today's form: batches of an earlier one may be all that a table lacks."""
    newest = known[-LOOKED_AT:]
    records = _records(lake, kind, newest, []) if kind != "rows" else {}
    return todays_form(dataset, lake, kind, [(one, records.get(one.batch_id)) for one in newest])


def _records(
    lake: Lake, kind: Kind, receipts: Sequence[Receipt], failures: list[Damaged]
) -> dict[str, Done]:
    """As ``records_of``; one that is damaged is noted."""
    try:
        return records_of(lake, kind, receipts)
    except Damaged as error:
        if len(receipts) == 1:
            failures.append(error)
            return {}
    found: dict[str, Done] = {}
    for receipt in receipts:
        found |= _records(lake, kind, [receipt], failures)
    return found


def _commit_sound(
    dataset: Dataset,
    lake: Lake,
    kind: Kind,
    records: Mapping[str, Done],
    taken: Sequence[Taken],
    failures: list[Damaged],
    form: Form | None,
) -> int:
    """Commit batches; if that fails because some are damaged, note these and commit the others."""
    table = open_table(dataset, lake, kind)
    with lake.scratch() as scratch:
        rows_of = partial(_rows_of, dataset, lake, kind, records, scratch, form)
        try:
            return table.commit(taken, rows_of)
        except StoreError:
            there = [one.receipt.batch_id for one in taken if one.receipt.batch_id in records]
            bad = damaged(dataset, lake, kind, map(records.__getitem__, there), scratch)
            if not bad:
                raise
        failures += bad.values()
        return table.commit([one for one in taken if one.receipt.batch_id not in bad], rows_of)


def _ready(
    lake: Lake, kind: Kind, receipts: Sequence[Receipt], records: Mapping[str, Done]
) -> Iterator[Receipt]:
    """Those that have a record. A correction without outcomes removes those of what it replaced."""
    for receipt in receipts:
        removes = kind == "outcomes" and receipt.turn != 1
        name = receipt.batch_id
        if name in records or (removes and lake.has(Predicted, name)):
            yield receipt


def _rows_of(
    dataset: Dataset,
    lake: Lake,
    kind: Kind,
    records: Mapping[str, Done],
    scratch: Path,
    form: Form | None,
    new: Sequence[Taken],
) -> pl.LazyFrame:
    batches = ((one.receipt, records.get(one.receipt.batch_id)) for one in new)
    return counting(dataset, lake, kind, batches, scratch, form)


def _taken(receipts: Receipts, kind: Kind, records: Mapping[str, Done], receipt: Receipt) -> Taken:
    from flagfall.tables.delta import Taken

    marker = receipt.marker
    days = {delivered_on(receipt)}
    if receipt.turn != 1:
        days |= receipts.days(marker)
    look = _look_of(records.get(receipt.batch_id)) if kind == "outcomes" else None
    return Taken(receipt, frozenset(days), look)


def _look_of(record: Done | None) -> int:
    return record.number if isinstance(record, LateEvaluation) else 0


def _groups(receipts: Sequence[Receipt]) -> Iterator[list[Receipt]]:
    """Batches for a commit each, in order."""
    group: list[Receipt] = []
    rows = 0
    for receipt in receipts:
        if group and (len(group) == AT_ONCE or rows + receipt.rows > ROWS_AT_ONCE):
            yield group
            group, rows = [], 0
        group.append(receipt)
        rows += receipt.rows
    if group:
        yield group


def _counts(lake: Lake, since: date) -> tuple[list[Receipt], InDoubt]:
    """What counts of what landed, or was taken in, on a day or later; and what is in doubt.

    Replays of older batches are among it.
    """
    receipts = Receipts(lake.store)
    found = current_view(receipts.since(since, received=since))
    doubt = receipts.in_doubt()
    return [one for one in found if not doubt.has(one)], doubt


def missing(dataset: Dataset, lake: Lake, kind: Kind, since: date) -> list[Receipt]:
    """What counts and is not in the table: receipts − committed.

    A batch without rows is missing only where rows of an earlier delivery are in its place. So is
    one without a known outcome, or earlier outcomes. Another evaluation is another batch.

    Args:
        dataset: The dataset.
        lake: Its lake.
        kind: What the table is of.
        since: Of deliveries that landed on this day or later (UTC), replays of older ones too.
    """
    return _missing(dataset, lake, kind, since, _counts(lake, since)[0])


def _missing(
    dataset: Dataset, lake: Lake, kind: Kind, since: date, counts: Sequence[Receipt]
) -> list[Receipt]:
    is_looked_at = kind == "outcomes"
    earlier = {day for day in _days_of(lake, counts) if day < since}
    there: defaultdict[str, set[tuple[str, int | None]]] = defaultdict(set)
    for one in open_table(dataset, lake, kind).batches(since, earlier, by_look=is_looked_at):
        there[one.marker].add((one.batch_id, one.look))
    records = records_of(lake, kind, counts) if is_looked_at else {}
    found = []
    for receipt in counts:
        record = records.get(receipt.batch_id)
        look = _look_of(record) if is_looked_at else None
        has_rows = _has_outcomes(record) if is_looked_at else bool(receipt.rows)
        wanted = {(receipt.batch_id, look)} if has_rows else set()
        if there[receipt.marker.key] != wanted:
            found.append(receipt)
    return found


def _days_of(lake: Lake, counts: Sequence[Receipt]) -> set[date]:
    """Days on which some batches, and the deliveries that they corrected, landed (UTC).

    A replay has the day of what it repeats; looking for more would cost a listing for each.
    """
    corrected = [one.marker for one in counts if one.turn != 1 and not one.marker.replay]
    before = in_parallel(Receipts(lake.store).days, corrected)
    return set(map(delivered_on, counts)).union(*before)


def _has_outcomes(record: Done | None) -> bool:
    return isinstance(record, LateEvaluation) and bool(record.parts)


def commit_missing(dataset: Dataset, lake: Lake, kind: Kind, since: date) -> int:
    """Add what counts and a table lacks.

    Returns:
        How many batches were added.

    Raises:
        Damaged: A batch is; the others were added.
        StoreError: The lake or the table cannot be read or written to.
    """
    return _added(_caught_up(dataset, lake, kind, since))


def catch_up(dataset: Dataset, lake: Lake, since: date) -> list[Kept]:
    """Add what the tables lack, as after a death between a receipt and its commit.

    Raises:
        NotThere: The dataset has no tables.
        StoreError: As of ``maintain``.
    """
    _check_tables(dataset)
    return _of_each(dataset, lambda kind: _caught_up(dataset, lake, kind, since))


def _check_tables(dataset: Dataset) -> None:
    if not has_tables(dataset):
        hint = "set lake.table: delta in its file"
        raise NotThere("table of dataset", dataset.name, hint)


def _caught_up(dataset: Dataset, lake: Lake, kind: Kind, since: date) -> Kept:
    counts, doubt = _counts(lake, since)
    kept = _commit(dataset, lake, kind, _missing(dataset, lake, kind, since, counts), counts)
    return replace(kept, failures=(*kept.failures, *doubt.failures.values()))


def maintain(dataset: Dataset, lake: Lake, since: date) -> list[Kept]:
    """Add what the tables lack, join small files, and remove what nobody needs any more.

    Others may read and write meanwhile. To be called once a day, off the path of a run.

    Raises:
        NotThere: The dataset has no tables.
        StoreError: A table cannot be read or written to, or refuses what it lacks; all else is
            done.
    """
    _check_tables(dataset)
    return _of_each(dataset, lambda kind: _maintained(dataset, lake, kind, since))


def _of_each(dataset: Dataset, do: Callable[[Kind], Kept]) -> list[Kept]:
    """Do something to each table, although others fail.

    Raises:
        StoreError: What the first one raised that failed; the others are in the log.
    """
    kept, failures = list[Kept](), list[StoreError]()
    for kind in kinds_of(dataset):
        try:
            kept.append(do(kind))
        except StoreError as error:
            log.error("%s: the table of %s: %s", dataset.name, kind, error)
            failures.append(error)
    if failures:
        raise failures[0]
    return kept


def _maintained(dataset: Dataset, lake: Lake, kind: Kind, since: date) -> Kept:
    try:
        kept = _caught_up(dataset, lake, kind, since)
    except StoreRefused:  # a column has another type: the files can be joined nevertheless
        _joined(dataset, lake, Kept(kind, 0))
        raise
    return _joined(dataset, lake, kept)


def _joined(dataset: Dataset, lake: Lake, kept: Kept) -> Kept:
    table = open_table(dataset, lake, kept.kind)
    files = table.optimize()
    return replace(kept, joined=files["joined"], into=files["into"], removed=table.vacuum())
