"""``flagfall rows``, ``predictions``, ``outcomes``, ``table``: what counts, for everybody else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flagfall.cli.console import DatasetName, end, err, nobody_reads, say
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.errors import NotThere, StoreRefused, StoreUnavailable, printable
from flagfall.inbox.inbox import Inbox
from flagfall.stores.os_errors import disk_errors

if TYPE_CHECKING:
    import polars as pl

    from flagfall.tables.frames import Kind

Since = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Of markers that landed on this day or later (UTC)."),
]
To = Annotated[
    Path | None, typer.Option(help="File to write: .parquet or .csv; printed as CSV if left out.")
]


def rows(dataset: DatasetName, since: Since = None, to: To = None) -> None:
    """Print or export the accepted rows that count: those of each marker's last delivery.

    Example: flagfall rows flights --since 2026-11-01 --to rows.parquet
    """
    _export(dataset, "rows", since, to)


def predictions(dataset: DatasetName, since: Since = None, to: To = None) -> None:
    """Print or export the predictions that count, with batch, marker, times and model version.

    Example: flagfall predictions flights --to predictions.csv
    """
    _export(dataset, "predictions", since, to)


def outcomes(dataset: DatasetName, since: Since = None, to: To = None) -> None:
    """Print or export what became of the predictions that count, as far as another feed has said.

    Example: flagfall outcomes loans --since 2026-11-01 --to outcomes.parquet
    """
    _export(dataset, "outcomes", since, to)


def table(
    dataset: DatasetName,
    since: Since = None,
    maintain: Annotated[
        bool, typer.Option("--maintain", help="Also join small files, and remove old ones.")
    ] = False,
) -> None:
    """Add what counts and a dataset's Delta tables lack, as after a crash (see lake.table).

    With --maintain as once a day: others may read and write meanwhile.

    Example: flagfall table flights --maintain
    """
    from flagfall.tables import upkeep  # polars: the other commands start without

    found = find_dataset(dataset)
    do = upkeep.maintain if maintain else upkeep.catch_up
    tables = do(found, Inbox(Feed.of(found)).lake, _day(since))
    for kept in tables:
        say(kept.sentence if maintain else kept.news)
    failures = {str(failure): failure for kept in tables for failure in kept.failures}
    end([*failures.values()])


def _day(since: datetime | None) -> date:
    return date(1970, 1, 1) if since is None else since.date()


def _export(dataset: str, kind: Kind, since: datetime | None, to: Path | None) -> None:
    from polars.exceptions import PolarsError  # as above

    from flagfall.tables.frames import check_kind, counting, damaged, records_of, what_counts

    if to is not None and to.suffix not in (".parquet", ".csv"):
        raise NotThere("format of file", str(to), "give it a name that ends in .parquet or .csv")
    if to is not None and (scheme := to.parts[0]).endswith(":"):  # a path has no "//"
        uri = f"{scheme}//{to.relative_to(scheme)}"
        raise NotThere("disk of this machine for", uri, "write it to a disk, and copy it")
    found = find_dataset(dataset)
    check_kind(found, kind)
    inbox = Inbox(Feed.of(found))
    receipts = what_counts(inbox.receipts, _day(since))
    records = records_of(inbox.lake, kind, receipts)
    batches = [(receipt, records.get(receipt.batch_id)) for receipt in receipts]
    with inbox.lake.scratch() as scratch:
        try:
            _give(counting(found, inbox.lake, kind, batches, scratch), to)
        except (PolarsError, OSError, StoreUnavailable):
            end([*damaged(found, inbox.lake, kind, records.values(), scratch).values()])
            raise
    gone = len(receipts) - len(records) if kind == "rows" else 0
    left = f"; those of {gone:,} are gone from the lake (lake.keep.staged)" if gone else ""
    done = f"{kind} of {len(records):,} batches{left}"
    if to is not None:
        say(f"{to}: {done}")
    elif gone:
        err.print(f"flagfall: {dataset}: {done}", soft_wrap=True)


def _give(found: pl.LazyFrame, to: Path | None) -> None:
    if to is None:
        _print(found)
    else:
        _write(found, to)


def _write(found: pl.LazyFrame, to: Path) -> None:
    """Write a file in one step.

    Raises:
        StoreRefused: There is no such folder, or it cannot be written to.
        StoreUnavailable: The disk is full, or cannot be written.
    """
    part = to.with_name(f".{to.name}.part")
    try:
        with _writable(to):
            part.open("wb").close()
        with disk_errors(to):
            found.sink_csv(part) if to.suffix == ".csv" else found.sink_parquet(part)
        with _writable(to):
            os.replace(part, to)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def _writable(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreRefused(str(to), f"cannot be written: {error.strerror or error}") from error


def _print(found: pl.LazyFrame) -> None:
    """Print CSV; on a terminal, names and values of a producer cannot steer it."""
    shown = _printable_lines if sys.stdout.isatty() else str
    try:
        sys.stdout.write(shown(found.head(0).collect().write_csv()))
        for rows in found.collect_batches(maintain_order=True):
            sys.stdout.write(shown(rows.write_csv(include_header=False)))
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
