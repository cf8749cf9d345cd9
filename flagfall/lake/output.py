"""Where each stage's output lives in the lake, and when it counts as done.

::

    <lake>/<dataset>/staged/<batch-id>/record.json  part-00000-<attempt>.parquet …
                     rejected/<batch-id>/rows.jsonl
                     features/<batch-id>/…  predictions/<batch-id>/…
                     evaluations/<batch-id>/record.json
                     challenger/<batch-id>/…
                     counted/<hash of a file's key>.json, and …/ (see file_owners.py)
                     receipts/landed=<day>/<batch-id>.json (see receipts.py)
                     rollups/<day>.jsonl.gz (see rollups.py)
                     outcomes/landed=<day>/<batch-id>/<number>.json  known/<batch-id>/…
                     matched/<batch-id>.json (see outcomes.py)
                     reports/<run>.html  reports/latest.html
                     reports/due/<run>.json until the run's report is written

Parts are written first, under names of their own for each attempt; ``record.json`` last and once.
It names the parts that count, so a worker that was given up and goes on changes none of them. A
stage that is run again for a delivery that it had finished finds the record and does nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from pydantic import ValidationError

from flagfall.concurrency import in_parallel
from flagfall.errors import Damaged, StoreRefused, printable
from flagfall.lake.records import (
    Challenged,
    Evaluation,
    Featured,
    LateEvaluation,
    Part,
    Predicted,
    Receipt,
    Staged,
)
from flagfall.lake.rollups import Rollups, day_of
from flagfall.logs import logger
from flagfall.stores import Store, open_store
from flagfall.stores.scratch import scratch_folder

log = logger(__name__)

RECORD_LIMIT = 64 << 20
"""Largest record that is read back, in bytes: the bounds of ``limits`` keep all within it."""

LATEST = "reports/latest.html"
"""Key of the last report."""

AnyRecord = TypeVar("AnyRecord", Staged, Featured, Predicted, Evaluation, Challenged)

_FOLDERS: dict[type, str] = {
    Staged: "staged",
    Featured: "features",
    Predicted: "predictions",
    Evaluation: "evaluations",
    Challenged: "challenger",
    LateEvaluation: "known",
}


class Lake:
    """The output of one dataset.

    Args:
        uri: The lake's URI.
        dataset: Name of the dataset.
        conn_id: Airflow connection; empty for what the environment gives.
    """

    def __init__(self, uri: str, dataset: str, conn_id: str = "") -> None:
        self.store: Store = open_store(f"{uri.rstrip('/')}/{dataset}", conn_id)
        self.rollups = Rollups(self.store)

    def uri(self, kind: type, batch_id: str) -> str:
        """Where the output of a stage for a batch is."""
        return f"{self.store.uri}/{_FOLDERS[kind]}/{batch_id}"

    def folder(self, kind: type, batch_id: str) -> str:
        """Key of the folder of a stage's output for a batch."""
        return f"{_FOLDERS[kind]}/{batch_id}"

    def find(self, kind: type[AnyRecord], batch_id: str) -> AnyRecord | None:
        """The record of a finished stage, or ``None``.

        Raises:
            Damaged: It is damaged.
        """
        key = f"{_FOLDERS[kind]}/{batch_id}/record.json"
        try:
            return kind.model_validate_json(self.store.read(key, RECORD_LIMIT))
        except FileNotFoundError:
            return None
        except ValidationError as damaged:
            why = (
                f"this record is damaged ({damaged.error_count()} mistakes); restore it, or remove"
            )
            why = f"{why} it and replay {batch_id}"
            raise Damaged(f"{self.store.uri}/{key}", why) from damaged

    def has(self, kind: type[AnyRecord], batch_id: str) -> bool:
        """Whether a stage is finished, without reading its record."""
        return self.store.stat(f"{_FOLDERS[kind]}/{batch_id}/record.json") is not None

    def find_all(
        self, kind: type[AnyRecord], batch_ids: Iterable[str]
    ) -> Iterator[AnyRecord | None]:
        """The records of a finished stage, in order, a few read at a time."""
        return in_parallel(lambda batch_id: self.find(kind, batch_id), batch_ids)

    def evaluations(
        self, receipts: Iterable[Receipt], skip_damaged: bool = False
    ) -> Iterator[Evaluation | None]:
        """The evaluations of deliveries, in order; from rollups where they are there.

        Raises:
            StoreRefused: One is damaged, and is not to be left out.
        """
        find = self.legible if skip_damaged else self.find
        wanted = list(receipts)
        self.rollups.load(map(day_of, wanted))
        for day, of_day in groupby(wanted, day_of):
            ids = [receipt.batch_id for receipt in of_day]
            rolled = {name: one.evaluation for name, one in self.rollups.of(day).items()}
            lacking = [name for name in ids if rolled.get(name) is None]
            read = in_parallel(partial(find, Evaluation), lacking)
            yield from (rolled.get(name) or next(read) for name in ids)

    def legible(self, kind: type[AnyRecord], batch_id: str) -> AnyRecord | None:
        """As ``find``, for history: one that is damaged is named in the log and left out."""
        try:
            return self.find(kind, batch_id)
        except StoreRefused as damaged:
            log.warning("%s", printable(str(damaged)))
            return None

    def finish(self, record: AnyRecord, files: Collection[Path] = ()) -> AnyRecord:
        """Move a stage's parts in, then write its record.

        Returns:
            The record that counts: an earlier one where the stage had been finished meanwhile.
        """
        kind = type(record)
        folder = f"{_FOLDERS[kind]}/{record.batch_id}"
        attempt = uuid4().hex[:12]
        moved = {file.name: f"{file.stem}-{attempt}{file.suffix}" for file in files}
        for file in files:
            self.store.put_file(file, f"{folder}/{moved[file.name]}")
        record = _with_parts(record, moved)
        if not self.store.create(f"{folder}/record.json", record.to_json()):
            found = self.find(kind, record.batch_id)
            assert found is not None, f"{folder}/record.json vanished"
            record = found  # perhaps this attempt's: an answer that is lost is asked for again
        if moved:
            self._remove_others(folder, record)
        return record

    def _remove_others(self, folder: str, record: AnyRecord) -> None:
        """Remove the parts of attempts that broke off, or were overtaken."""
        count = {f"{folder}/{part.name}" for part in _parts(record)}
        there = set(self.store.names(folder))
        for key in there - count - {f"{folder}/record.json"}:
            self.store.delete(key)

    def parts(
        self, record: Staged | Featured | Predicted | Challenged | LateEvaluation, scratch: Path
    ) -> Iterator[Path]:
        """Local paths of a stage's Parquet files, in order."""
        folder = f"{_FOLDERS[type(record)]}/{record.batch_id}"
        for part in record.parts:
            yield self.store.local(f"{folder}/{part.name}", scratch)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder from which ``finish`` can move files cheaply; gone afterwards.

        Raises:
            StoreUnavailable: It cannot be made or written to, as on a disk that is full.
        """
        with scratch_folder(self.store.scratch_root()) as folder:
            yield folder


def _with_parts(record: AnyRecord, moved: Mapping[str, str]) -> AnyRecord:
    """The record, with the names that its parts have got."""
    if not moved:
        return record
    parts = tuple(part.model_copy(update={"name": moved[part.name]}) for part in _parts(record))
    return record.model_copy(update={"parts": parts})


def _parts(record: AnyRecord) -> tuple[Part, ...]:
    return () if isinstance(record, Evaluation) else record.parts


def below(folder: Path) -> Path:
    """A folder in a scratch folder for local copies, which may have the names of what is made."""
    sources = folder / "sources"
    sources.mkdir()
    return sources


def part_name(index: int) -> str:
    """File name of the ``index``-th part, counted from 0."""
    return f"part-{index:05d}.parquet"


__all__ = ["Lake", "Part", "below", "part_name"]
