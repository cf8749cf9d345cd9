"""A Delta table: whole batches appear in one commit, and a correction replaces them in one.

The one place that knows delta-rs. It does not keep anybody from writing the same twice; these keep
the table right, whoever is late, killed or called again:

- A commit carries an application transaction for each of its markers: the marker's digest, and the
  delivery's turn (of outcomes with the number of their evaluation). A turn that the table has, or
  is past, is not written.
- It is made for the version of the table in which that was looked up. delta-rs refuses it if
  anybody has committed the same marker since. Commits of other markers do not stand in its way.
- Rows of an earlier delivery are removed in the commit that adds those of a later one.

So an answer that was lost is asked for again, and an earlier delivery that comes late is left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from random import uniform
from textwrap import shorten

import polars as pl
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import CARRIED, LOOK
from flagfall.errors import StoreRefused, StoreUnavailable
from flagfall.lake.records import Receipt
from flagfall.landing.marker import Marker
from flagfall.stores.object_options import object_options

ATTEMPTS = 20
"""How often a commit is made anew, when another of the same rows or files came first."""
BATCH, MARKER, *_, DAY = CARRIED
SETTINGS = {
    "delta.checkpointInterval": "10",
    "delta.setTransactionRetentionDuration": "interval 30 days",
}
"""Few log files to read for each commit, and turns of 30 days: none is under way for longer."""
LONGEST = 300
"""Characters of what delta-rs says."""
_REMEDY = (
    "if it stays so, remove the table's folder, and `flagfall table DATASET` makes it again of the"
    " lake"
)
_STORAGE = re.compile(r"Generic \w+ error|The operation lacked")
"""In what delta-rs says where the storage is full, away or refuses: the table may be sound. These
are words of Rust's ``object_store``, the last ones for missing rights or credentials."""
_ERRORS = (DeltaError, OSError, pl.exceptions.PolarsError)
LOOKS = 1_000_000
"""More evaluations of outcomes than a delivery has."""


@dataclass(frozen=True)
class Taken:
    """A delivery that counts.

    Attributes:
        receipt: Its receipt.
        days: Days on which deliveries of its marker landed, its own among them (UTC): of a replay
            that of what it repeats.
        look: Number of the evaluation that outcomes are of, 0 before the first one; ``None`` for
            rows and predictions.
    """

    receipt: Receipt
    days: frozenset[date]
    look: int | None = None

    @property
    def marker(self) -> Marker:
        """Its marker."""
        return self.receipt.marker

    @property
    def turn(self) -> int:
        """Which of two of the same marker is later."""
        turn = self.receipt.turn
        return turn if self.look is None else turn * LOOKS + self.look

    @property
    def replaces(self) -> bool:
        """Whether there may be earlier rows of its marker."""
        return self.receipt.turn != 1 or (self.look or 0) > 1


@dataclass(frozen=True)
class Committed:
    """A batch that a table has, with its marker; of outcomes also the evaluation's number."""

    batch_id: str
    marker: str
    look: int | None = None


Frames = Callable[[Sequence[Taken]], pl.LazyFrame]
"""Gives the rows of some deliveries."""


class Table:
    """A Delta table below a lake.

    Args:
        uri: Where it is.
        conn_id: Airflow connection; empty for what the environment gives.
    """

    def __init__(self, uri: str, conn_id: str = "") -> None:
        self.uri = uri
        self._conn_id = conn_id

    def commit(self, deliveries: Sequence[Taken], frames: Frames) -> int:
        """Add deliveries that the table does not have, each in place of any earlier one.

        Args:
            deliveries: One of each marker.
            frames: Gives their rows. It is asked anew at each attempt.

        Returns:
            How many were added; the others were there, or a later delivery was.

        Raises:
            StoreRefused: The table has a column of the same name and of another type.
            StoreUnavailable: The storage failed, or others came first each time.
        """
        first = [one for one in deliveries if not one.replaces]
        later = [one for one in deliveries if one.replaces]
        return self._commit(first, frames, False) + self._commit(later, frames, True)

    def _commit(self, deliveries: Sequence[Taken], frames: Frames, replaces: bool) -> int:
        why = ""
        for attempt in range(ATTEMPTS if deliveries else 0):
            with self._errors():
                table = self._opened() or self._made(frames(deliveries))
                new = list(_new(table, deliveries))
                if not new:
                    return 0
                try:
                    self._write(table, new, frames(new), replaces)
                except CommitFailedError as error:
                    why = _in_a_line(error)
                    time.sleep(uniform(0, min(2, 0.05 * 2**attempt)))
                else:
                    return len(new)
        if deliveries:
            raise StoreUnavailable(self.uri, f"refused {ATTEMPTS} times, the last time: {why}")
        return 0

    def _write(
        self, table: DeltaTable, new: Sequence[Taken], rows: pl.LazyFrame, replaces: bool
    ) -> None:
        self._check_types(table, rows.collect_schema())
        turns = [Transaction(one.marker.key_digest, one.turn, _now()) for one in new]
        properties = CommitProperties(app_transactions=turns)
        stream = rows.collect_batches()
        if not replaces:
            write_deltalake(
                table, stream, mode="append", schema_mode="merge", commit_properties=properties
            )
            return
        write_deltalake(
            table,
            stream,
            mode="overwrite",
            predicate=_rows_of(new),
            schema_mode="merge",
            commit_properties=properties,
        )

    def _check_types(self, table: DeltaTable, ours: pl.Schema) -> None:
        """Refuse what delta-rs would cast, whatever is lost by it, and names that it takes for one.

        A table has no two columns whose names differ only in case.
        """
        theirs = {name.lower(): (name, kind) for name, kind in _schema(table).items()}
        for name, kind in ours.items():
            was, type_then = theirs.get(name.lower(), (name, kind))
            if (was, type_then) != (name, kind):
                now = f"{type_then}, and now {kind}" if was == name else f"called {name!r} now"
                why = f"its column {was!r} is {now}; remove the table's"
                why = f"{why} folder, and `flagfall table DATASET` makes it again of the lake"
                raise StoreRefused(self.uri, why)

    def batches(
        self, since: date, earlier: Collection[date] = (), by_look: bool = False
    ) -> frozenset[Committed]:
        """The batches of which the table has rows that landed on ``since`` or later (UTC).

        Args:
            since: That day.
            earlier: Other days that count.
            by_look: Whether the table is of outcomes.
        """
        with self._errors():
            table = self._opened()
            if table is None:
                return frozenset()
            columns = ", ".join((BATCH, MARKER, LOOK) if by_look else (BATCH, MARKER))
            query = f"SELECT DISTINCT {columns} FROM found WHERE {DAY} >= '{since}'"
            if earlier:
                query = f"{query} OR {DAY} IN ({_days(earlier)})"
            found = pl.DataFrame(QueryBuilder().register("found", table).execute(query))
        return frozenset(Committed(*row) for row in found.iter_rows())

    def optimize(self) -> dict[str, int]:
        """Join the small files of each day, while others read and write; nothing is removed.

        Returns:
            ``joined`` files, and the files that they were made to.
        """
        with self._errors():
            table = self._opened()
            try:
                done = table.optimize.compact() if table else {}
            except CommitFailedError:  # a correction came first; tomorrow is another day
                done = {}
        return {
            "joined": int(done.get("numFilesRemoved", 0)),
            "into": int(done.get("numFilesAdded", 0)),
        }

    def vacuum(self) -> int:
        """Remove files that the table has not had for a week, and those of commits that broke off.

        Who reads an older version than that finds it gone.

        Returns:
            How many.
        """
        with self._errors():
            table = self._opened()
            if table is None:
                return 0
            gone = table.vacuum(dry_run=False, full=True)
            table.create_checkpoint()
            table.cleanup_metadata()
        return len(gone)

    def _opened(self) -> DeltaTable | None:
        options = object_options(self.uri, self._conn_id)
        try:
            return DeltaTable(self.uri, storage_options=options)
        except TableNotFoundError:
            return None

    def _made(self, rows: pl.LazyFrame) -> DeltaTable:
        """The table, made; by another process, if that came first."""
        empty = pl.DataFrame(schema=rows.collect_schema())
        options = object_options(self.uri, self._conn_id)
        try:
            write_deltalake(
                self.uri,
                empty,
                mode="ignore",
                partition_by=[DAY],
                configuration=SETTINGS,
                storage_options=options,
            )
        except DeltaError:
            if (table := self._opened()) is not None:
                return table
            raise
        return DeltaTable(self.uri, storage_options=options)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate delta-rs's errors.

        What Arrow refuses while rows are written, it raises as ``Exception`` and no subclass of it.
        """
        try:
            yield
        except Exception as error:
            if not isinstance(error, _ERRORS) and type(error) is not Exception:
                raise
            why = _in_a_line(error)
            why = why if _STORAGE.search(why) else f"{why}; {_REMEDY}"
            raise StoreUnavailable(self.uri, why) from error


def _in_a_line(error: Exception) -> str:
    """What delta-rs says in several lines, with colours and arrows, or with all that it knows."""
    line = " ".join(re.sub(r"\x1b\[\d+m|↳", " ", str(error)).split())
    return shorten(line, LONGEST, placeholder=" …") if " " in line[:LONGEST] else line[:LONGEST]


def _new(table: DeltaTable, deliveries: Sequence[Taken]) -> Iterator[Taken]:
    """Those that a table does not have, nor a later one of their marker.

    Each look-up reads the end of the table's log; on S3 that is half a dozen requests.
    """
    digests = [one.marker.key_digest for one in deliveries]
    turns = in_parallel(table.transaction_version, digests)
    for one, turn in zip(deliveries, turns, strict=True):
        if (turn or 0) < one.turn:
            yield one


def _schema(table: DeltaTable) -> pl.Schema:
    return pl.Schema(table.schema().to_arrow())


def _rows_of(deliveries: Collection[Taken]) -> str:
    """Of the markers of some deliveries, as SQL."""
    days = {day for one in deliveries for day in one.days}
    markers = [one.marker.key for one in deliveries]
    return f"{MARKER} IN ({_literals(markers)}) AND {DAY} IN ({_days(days)})"


def _days(days: Iterable[date]) -> str:
    return _literals(sorted(day.isoformat() for day in days))


def _literals(texts: Sequence[str]) -> str:
    """Texts as SQL has them; a producer names the markers."""
    return ", ".join("'{}'".format(text.replace("'", "''")) for text in texts)


def _now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
