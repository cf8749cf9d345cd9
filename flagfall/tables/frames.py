"""A dataset's rows, predictions or outcomes, batch by batch, with what says where they are from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date
from itertools import groupby
from pathlib import Path
from typing import Literal

import polars as pl

from flagfall.dataset.columns import OUTCOME_TYPES, key_columns, staged_schema
from flagfall.dataset.model import Task
from flagfall.dataset.schema import CARRIED, KNOWN_AT, LOOK, OUTCOME, Dataset
from flagfall.errors import Damaged, NotThere
from flagfall.lake.outcomes import looked
from flagfall.lake.output import Lake
from flagfall.lake.parquet import parquet_schema, scan_parquet
from flagfall.lake.receipts import Receipts, current_view
from flagfall.lake.records import LateEvaluation, Predicted, Receipt, Staged
from flagfall.tables.legible import check_parts
from flagfall.tables.todays_columns import in_form, of_types

Kind = Literal["rows", "predictions", "outcomes"]
"""What a table is of: accepted rows, what the model said of them, or what became of them."""
Done = Staged | Predicted | LateEvaluation
"""The record of a batch that names its rows, predictions or outcomes."""
Form = dict[str, pl.DataType]
"""Types of columns."""
EVER = date(1970, 1, 1)
"""Before any batch."""
_TIME = pl.Datetime("us", "UTC")
_TYPES = (pl.String(), pl.String(), _TIME, _TIME, pl.Date())
_CARRIED = dict(zip(CARRIED, _TYPES, strict=True))
_FILE = "\0file"
"""Column with the path of a row's file; none of a dataset is called so."""
_LOOKED = {KNOWN_AT: _TIME, LOOK: pl.Int32()}


def kinds_of(dataset: Dataset) -> tuple[Kind, ...]:
    """What a dataset has: predictions only with a model, outcomes if another feed brings them."""
    if dataset.model is None:
        return ("rows",)
    if dataset.late_label is None:
        return ("rows", "predictions")
    return ("rows", "predictions", "outcomes")


def check_kind(dataset: Dataset, kind: Kind) -> None:
    """See to it that a dataset has what is asked for.

    Raises:
        NotThere: It has no predictions, or no outcomes.
    """
    if kind not in kinds_of(dataset):
        late = "no other feed brings them (label.from)"
        why = late if kind == "outcomes" else "it has no model"
        raise NotThere(f"{kind} of dataset", dataset.name, why)


def what_counts(receipts: Receipts, since: date) -> list[Receipt]:
    """What counts and was delivered on ``since`` or later (UTC), however often it was replayed.

    Raises:
        StoreRefused: A receipt cannot be read, so nobody knows.
    """
    found = current_view(receipts.since(since))
    receipts.in_doubt().check()
    return [one for one in found if delivered_on(one) >= since]


def delivered_on(receipt: Receipt) -> date:
    """The ``landed_day`` of a batch's rows (UTC): a replay does not move it."""
    return receipt.marker.delivered_at.astimezone(UTC).date()


def records_of(lake: Lake, kind: Kind, receipts: Sequence[Receipt]) -> dict[str, Done]:
    """The records of batches by batch id; one that is not scored, or not looked at, has none.

    Raises:
        Damaged: One is.
    """
    names = [receipt.batch_id for receipt in receipts]
    if kind == "outcomes":
        return {**looked(lake.store, receipts, lake.rollups, skip_damaged=False).last}
    read = lake.find_all(Staged, names) if kind == "rows" else lake.find_all(Predicted, names)
    return {record.batch_id: record for record in read if record is not None}


def counting(
    dataset: Dataset,
    lake: Lake,
    kind: Kind,
    batches: Iterable[tuple[Receipt, Done | None]],
    scratch: Path,
    form: Form | None = None,
) -> pl.LazyFrame:
    """What counts of some batches: what they carry, then the dataset's columns, also of no rows.

    Args:
        dataset: Their dataset.
        lake: Its lake.
        kind: Rows, predictions or outcomes.
        batches: Their receipts and records (see ``records_of``); one without has no rows.
        scratch: Folder for local copies; they are read as long as the frame is.
        form: Types of columns beside those of the dataset; ``None`` for those of the newest batch.

    Raises:
        NotThere: Columns of theirs have names of what they carry.
    """
    _check_names(dataset, lake, kind)
    batches = list(batches)
    frames = list(_frames(dataset, lake, kind, batches, scratch))
    known = _known(dataset, kind)
    if kind == "outcomes":
        known |= form or _outcome_columns(dataset, lake, batches)
    if kind != "rows":
        types = {**_types(frames), **(form or {}), **known, **_key_types(dataset, kind)}
        frames = [of_types(rows, types) for rows in frames]
    return pl.concat([pl.LazyFrame(schema={**_CARRIED, **known}), *frames], how="diagonal")


def todays_form(
    dataset: Dataset, lake: Lake, kind: Kind, batches: Sequence[tuple[Receipt, Done | None]]
) -> Form:
    """The types of what a dataset's model says and of outcomes, as the newest of its batches has.

    The arguments are those of ``counting``.
    """
    if kind == "outcomes":
        return _outcome_columns(dataset, lake, batches)
    newest = [one for one in batches[::-1] if isinstance(one[1], Predicted) and one[1].parts][:1]
    with lake.scratch() as scratch, suppress(pl.exceptions.PolarsError, OSError):
        return _types(list(_frames(dataset, lake, kind, newest, scratch)))
    return {}


def _types(frames: Sequence[pl.LazyFrame]) -> Form:
    """Of the columns of some batches; where they differ, the last one's."""
    return {name: kind for one in frames for name, kind in one.collect_schema().items()}


def _key_types(dataset: Dataset, kind: Kind) -> Form:
    columns = staged_schema(dataset)
    keys = dataset.outcome_key if kind == "outcomes" else key_columns(dataset)
    return {name: columns[name] for name in keys if name in columns}


def damaged(
    dataset: Dataset, lake: Lake, kind: Kind, records: Iterable[Done], scratch: Path
) -> dict[str, Damaged]:
    """Read all rows of some batches, after an error, and say which ones are damaged or gone.

    Returns:
        An error for each such batch, with a remedy, by batch id.
    """
    found: dict[str, Damaged] = {}
    for record in records:
        try:
            check_parts(lake, record, scratch, _remedy(dataset, kind, record.batch_id))
        except Damaged as error:
            found[record.batch_id] = error
    return found


def _remedy(dataset: Dataset, kind: Kind, batch_id: str) -> str:
    command = f"flagfall replay {dataset.name} {batch_id}"
    if kind == "rows":
        return f"`{command}` takes the batch in again"
    return f"`{command} --from staged` has the batch scored again, and its outcomes joined"


def _check_names(dataset: Dataset, lake: Lake, kind: Kind) -> None:
    """Refuse to put what rows carry in place of the producer's values."""
    keys = {"predictions": dataset.table.primary_key, "outcomes": dataset.outcome_key}
    own = keys.get(kind, [column.name for column in dataset.table.fields])
    if taken := {*CARRIED} & {*own}:
        why = "an export has columns of its own of this name. Name them otherwise, in the data and"
        why = f"{why} the dataset file, or read the Parquet files in {lake.store.uri}/staged"
        raise NotThere("export of columns named", ", ".join(sorted(taken)), why)


def _known(dataset: Dataset, kind: Kind) -> dict[str, pl.DataType]:
    """Columns that are there without any row. What depends on the model comes with the rows."""
    if kind == "predictions":
        return {}
    columns = dict(staged_schema(dataset))
    return columns if kind == "rows" else {name: columns[name] for name in dataset.outcome_key}


def _outcome_columns(
    dataset: Dataset, lake: Lake, batches: Sequence[tuple[Receipt, Done | None]]
) -> dict[str, pl.DataType]:
    """Those beside the key's, of the types that they will have also while no outcome is known."""
    return {OUTCOME: OUTCOME_TYPES[_task(dataset, lake, batches)], **_LOOKED}


LOOKED_AT = 20
"""Batches of which one is asked for the task of its model."""


def _task(dataset: Dataset, lake: Lake, batches: Sequence[tuple[Receipt, Done | None]]) -> Task:
    """The task of the model that scored the last of some batches."""
    last = batches[: -LOOKED_AT - 1 : -1]
    asked = (_task_of(lake, receipt, record) for receipt, record in last)
    said = dataset.model.task if dataset.model else None
    return next((task for task in asked if task is not None), said or "binary")


def _task_of(lake: Lake, receipt: Receipt, record: Done | None) -> Task | None:
    if isinstance(record, LateEvaluation):
        return record.evaluation.task
    predicted = lake.legible(Predicted, receipt.batch_id)
    return predicted.task if predicted else None


@dataclass(frozen=True)
class _Part:
    """A local file of rows, and what they carry."""

    file: Path
    receipt: Receipt
    record: Done

    @property
    def carried(self) -> tuple[object, ...]:
        """The file's path, then the values of ``_CARRIED``; of outcomes, also that of ``LOOK``."""
        receipt, marker = self.receipt, self.receipt.marker
        times = marker.delivered_at, receipt.received_at, delivered_on(receipt)
        look = (self.record.number,) if isinstance(self.record, LateEvaluation) else ()
        return (str(self.file), receipt.batch_id, marker.key, *times, *look)


def _frames(
    dataset: Dataset,
    lake: Lake,
    kind: Kind,
    batches: Iterable[tuple[Receipt, Done | None]],
    scratch: Path,
) -> Iterator[pl.LazyFrame]:
    """The parts of the batches that are done; a frame for those in a row that are alike.

    With a frame for each part, polars' time grows with the square of their number.
    """
    parts = _parts(lake, batches, scratch)
    for _, alike in groupby(parts, lambda part: parquet_schema(part.file)):
        yield _carrying(dataset, kind, list(alike))


def _parts(
    lake: Lake, batches: Iterable[tuple[Receipt, Done | None]], scratch: Path
) -> Iterator[_Part]:
    for receipt, record in batches:
        if record is None:
            continue
        folder = scratch / receipt.batch_id
        folder.mkdir(exist_ok=True)
        for file in lake.parts(record, folder):
            yield _Part(file, receipt, record)


def _carrying(dataset: Dataset, kind: Kind, parts: Sequence[_Part]) -> pl.LazyFrame:
    rows = scan_parquet([part.file for part in parts], path=_FILE)
    if kind == "rows":
        rows = in_form(dataset, rows, beside=[_FILE])
    types = {**_CARRIED, LOOK: pl.Int32()} if kind == "outcomes" else _CARRIED
    carried = pl.LazyFrame(
        [part.carried for part in parts], {_FILE: pl.String(), **types}, orient="row"
    )
    own = rows.drop(types, strict=False)
    return own.join(carried, on=_FILE, how="left", maintain_order="left").drop(_FILE)
