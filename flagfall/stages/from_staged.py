"""A replay from staged rows: the landing zone is not looked at, for its files may be gone.

The rows become a delivery of their own, which supersedes the one that they were staged for. It may
do so only while that one counts: a correction that came meanwhile is newer than these rows. The
turn decides, as for every delivery.
"""

from __future__ import annotations

from pathlib import Path

from flagfall.dataset.columns import staged_schema
from flagfall.dataset.schema import SOURCE, Dataset
from flagfall.errors import BatchInvalid, Damaged
from flagfall.inbox.inbox import Inbox
from flagfall.lake.output import Lake, part_name
from flagfall.lake.parquet import parquet_schema, scan_parquet
from flagfall.lake.receipts import Turns
from flagfall.lake.records import Receipt, Staged
from flagfall.landing.marker import Marker
from flagfall.rows.output import write_rows
from flagfall.stages.accepted import accept
from flagfall.tables.legible import legible, read_through
from flagfall.tables.todays_columns import in_form

FROM_LANDING = "`flagfall replay --from landing` takes it from the landing zone"
_NO_ROWS = "no-staged-rows"


def take_again(dataset: Dataset, inbox: Inbox, marker: Marker, turns: Turns) -> Receipt:
    """Accept or reject a replay from staged rows.

    Args:
        dataset: Its dataset.
        inbox: The dataset's inbox.
        marker: The replay, which names whose rows they are.
        turns: What is known of the deliveries of its marker.

    Raises:
        StoreUnavailable: Another delivery of this marker was taken in meanwhile.
    """
    try:
        _check_counts(marker, turns)
        staged = inbox.lake.find(Staged, marker.batch_id) or _copied(dataset, inbox.lake, marker)
    except BatchInvalid as invalid:
        return inbox.reject(marker, invalid.reason, str(invalid), turn=turns.last)
    return accept(dataset, inbox, marker, staged, turns)


def _check_counts(marker: Marker, turns: Turns) -> None:
    """See that the rows are of what counts, and that nobody is about to replace it."""
    if turns.taken_by == marker.batch_id:  # this very delivery, whose worker died
        return
    counts = turns.current.batch_id if turns.current else "none"
    if turns.is_open or counts != marker.staged_from:
        why = "another delivery is being taken in" if turns.is_open else f"{counts} counts now"
        why = f"{marker.uri}: {why}, so the rows of {marker.staged_from} are not taken again"
        raise BatchInvalid("superseded", f"{why}; replay the batch anew if it is still wanted")


def _copied(dataset: Dataset, lake: Lake, marker: Marker) -> Staged:
    """The rows as output of this delivery."""
    source = _source(lake, marker)
    names = [part_name(index) for index in range(len(source.parts))]
    with lake.scratch() as folder:
        files = [folder / name for name in names]
        try:
            for part, file in zip(source.parts, files, strict=True):
                _fetch(lake, f"{lake.folder(Staged, source.batch_id)}/{part.name}", file)
        except Damaged as damaged:
            raise BatchInvalid(_NO_ROWS, f"{marker.uri}: {damaged}") from damaged
        for file in files:
            _as_today(dataset, marker, file)
        parts = [p.model_copy(update={"name": n}) for p, n in zip(source.parts, names, strict=True)]
        news = {"batch_id": marker.batch_id, "parts": tuple(parts)}
        return lake.finish(source.model_copy(update=news), files)


def _source(lake: Lake, marker: Marker) -> Staged:
    """The record of the rows."""
    try:
        found = lake.find(Staged, marker.staged_from)
    except Damaged as damaged:
        raise BatchInvalid(_NO_ROWS, f"{marker.uri}: {damaged}; or {FROM_LANDING}") from damaged
    if found is None:
        why = f"{marker.uri}: the staged rows of {marker.staged_from} are gone; {FROM_LANDING}"
        raise BatchInvalid(_NO_ROWS, why)
    return found


def _fetch(lake: Lake, key: str, file: Path) -> None:
    """Copy a part that can be read.

    Raises:
        Damaged: It is damaged or gone.
    """
    with legible(f"{lake.store.uri}/{key}", FROM_LANDING):
        lake.store.fetch(key, file)
        read_through(scan_parquet(file))


def _as_today(dataset: Dataset, marker: Marker, file: Path) -> None:
    """Give rows the columns of today's dataset file: what a file may lack is empty where it is new.

    Raises:
        BatchInvalid: A column has another type, or is new and not optional.
    """
    found, wanted = parquet_schema(file), staged_schema(dataset)
    new = wanted.keys() - found.keys()
    optional = {column.name for column in dataset.table.fields if column.optional}
    differ = {name for name in wanted.keys() & found.keys() if found[name] != wanted[name]}
    if refused := sorted(differ | new - optional):
        why = f"{marker.uri}: the staged rows of {marker.staged_from} have other columns than"
        why = f"{why} the dataset file has now ({', '.join(refused[:5])}); {FROM_LANDING}"
        raise BatchInvalid("columns", why)
    if new or found.keys() - wanted.keys() - {*SOURCE}:
        write_rows(in_form(dataset, scan_parquet(file)).collect(), file)
