"""Notes in the lake of reports that are still to be written.

A run writes its note when it claims, and removes it when its report is written. If the report's
task is killed, the note stays, and the next run writes the report.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flagfall.errors import printable
from flagfall.lake.output import RECORD_LIMIT, Lake
from flagfall.landing.marker import Marker
from flagfall.logs import logger

log = logger(__name__)

FOLDER = "reports/due"
_UNSAFE = re.compile(r"[^A-Za-z0-9_=-]+")


@dataclass(frozen=True)
class DueReport:
    """A report that is still to be written.

    Attributes:
        run: Name of the run.
        batch_ids: Batches that it claimed.
    """

    run: str
    batch_ids: tuple[str, ...]


def slug(run: str) -> str:
    """Return a file name for a run: safe on every storage, different for every run."""
    readable = _UNSAFE.sub("-", run).strip("-")[:80]
    digest = hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{readable or 'run'}.{digest}"


def expect_report(lake: Lake, run: str, markers: Sequence[Marker]) -> None:
    """Note that the report of a run is due."""
    note = {"run": run, "batches": [marker.batch_id for marker in markers]}
    lake.store.put(_key(run), json.dumps(note).encode())


def report_is_written(lake: Lake, run: str) -> None:
    """Remove the note of a run."""
    lake.store.delete(_key(run))


def due_reports(lake: Lake) -> Iterator[DueReport]:
    """Reports that are due, also of runs that are still under way.

    A note that is damaged is named in the log and left out.
    """
    for entry in lake.store.list(FOLDER):
        try:
            note = json.loads(lake.store.read(entry.key, RECORD_LIMIT))
            yield DueReport(note["run"], tuple(note["batches"]))
        except FileNotFoundError:  # its report was written meanwhile
            continue
        except (ValueError, KeyError, TypeError):
            why = "this note is damaged, so the report of its run is not written; remove the note"
            log.warning("%s", printable(f"{lake.store.uri}/{entry.key}: {why}"))


def _key(run: str) -> str:
    return f"{FOLDER}/{slug(run)}.json"
