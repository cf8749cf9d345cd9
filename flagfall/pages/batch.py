"""The page of one delivery: its receipt in words, files, rejected rows, scores and siblings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flagfall.lake.output import RECORD_LIMIT
from flagfall.lake.records import Evaluation, Predicted, Receipt, SourceFile, Staged
from flagfall.ledger.ledger import Ledger, Row, read_ledger
from flagfall.pages.feeds import FeedRef
from flagfall.pages.lakes import Lakes, Place
from flagfall.stores import Store
from flagfall.verdict.words import plural

SAMPLE = 20
"""Rejected rows that are shown."""
FIELDS = 40
"""Columns of a rejected row that are shown, and files of a batch."""
_BATCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*\.[0-9a-f]{16}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class RejectedRow:
    """A row that was turned away.

    Attributes:
        file: Name of its data file.
        line: Its line there; of Parquet its number.
        reasons: Which rules it breaks.
        fields: Its columns, as text; none of a line that is not made of columns.
        text: Such a line as it stands.
    """

    file: str
    line: int
    reasons: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
    text: str = ""


@dataclass(frozen=True)
class Found:
    """What the lake has of a delivery; ``None`` and nothing where it has none of it."""

    receipt: Receipt
    ledger: Ledger | None = None
    staged: Staged | None = None
    predicted: Predicted | None = None
    evaluation: Evaluation | None = None
    sample: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True)
class BatchPage:
    """The page of a delivery.

    Attributes:
        feed: Its feed.
        now: When the page was made (UTC).
        found: What the lake has; ``None`` where it has no such delivery, or does not answer.
        away: Why the lake does not answer; empty where it does.
        read_at: When it was read.
    """

    feed: FeedRef
    now: datetime
    found: Found | None
    away: str
    read_at: datetime | None

    @property
    def row(self) -> Row | None:
        """What the feed's ledger says of it."""
        return next((row for row in self._all if row.batch_id == self._id), None)

    @property
    def siblings(self) -> tuple[Row, ...]:
        """The other deliveries of its marker in the last 30 days, the newest first."""
        marker = self.found.receipt.marker.key_digest if self.found else ""
        return tuple(row for row in self._all if row.marker == marker and row.batch_id != self._id)

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Its data files; of a rejected one without their sizes."""
        if self.found is None:
            return ()
        if self.found.staged is not None:
            return self.found.staged.files
        content = self.found.receipt.content
        return tuple(SourceFile(path=path, bytes=0, sha256=content[path]) for path in content)

    @property
    def sentence(self) -> str:
        """Its receipt in words."""
        return in_words(self.found.receipt) if self.found else ""

    @property
    def _all(self) -> tuple[Row, ...]:
        return self.found.ledger.rows if self.found and self.found.ledger else ()

    @property
    def _id(self) -> str:
        return self.found.receipt.batch_id if self.found else ""


def is_batch(day: str, batch_id: str) -> bool:
    """Whether a receipt can be filed under these names: no other path is made of them."""
    return bool(_DAY.fullmatch(day) and _BATCH.fullmatch(batch_id))


def batch_page(lakes: Lakes, feed: FeedRef, day: str, batch_id: str, now: datetime) -> BatchPage:
    """Read what is known of a delivery.

    Args:
        lakes: Reads lakes.
        feed: Its feed.
        day: On which its marker landed (UTC): under it its receipt is filed.
        batch_id: Its name.
        now: The time (UTC).
    """
    known = lakes.read(
        Place(feed.lake, feed.name, f"{day}/{batch_id}", lambda store: _read(store, day, batch_id))
    )
    return BatchPage(feed, now, known.value, known.away, known.at)


def _read(store: Store, day: str, batch_id: str) -> Found | None:
    """All at once: on S3 each read takes tens of milliseconds."""
    reads: Sequence[Callable[[], Any]] = (
        lambda: _record(store, f"receipts/landed={day}/{batch_id}.json", Receipt),
        lambda: read_ledger(store),
        lambda: _record(store, f"staged/{batch_id}/record.json", Staged),
        lambda: _record(store, f"predictions/{batch_id}/record.json", Predicted),
        lambda: _record(store, f"evaluations/{batch_id}/record.json", Evaluation),
        lambda: tuple(rejected_rows(store, batch_id)),
    )
    with ThreadPoolExecutor(len(reads)) as pool:
        receipt, *rest = pool.map(lambda read: read(), reads)
    return None if receipt is None else Found(receipt, *rest)


def _record(store: Store, key: str, kind: Any) -> Any:
    try:
        return kind.model_validate_json(store.read(key, RECORD_LIMIT))
    except FileNotFoundError:
        return None


def _texts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((name, "" if value is None else str(value)) for name, value in row.items())


class _Enough(Exception):
    """The beginning of a file is all that is wanted of it."""


def rejected_rows(store: Store, batch_id: str) -> Iterator[RejectedRow]:
    """The first rows of a delivery that were turned away."""
    for line in _first_lines(store, f"rejected/{batch_id}/rows.jsonl"):
        plain = json.loads(line)
        yield RejectedRow(
            file=str(plain.get("file", "")),
            line=plain.get("line", plain.get("row_number", 0)),
            reasons=tuple(plain.get("reasons", ())),
            fields=tuple((k, "" if v is None else str(v)) for k, v in plain["row"].items())[
                :FIELDS
            ],
            text=str(plain.get("text", "")),
        )


def _first_lines(store: Store, key: str) -> list[bytes]:
    """The first lines of an object that may be large: the transfer ends with its first piece."""

    def enough(count: int) -> None:
        raise _Enough

    with TemporaryDirectory(prefix="flagfall-page-") as folder:
        target = Path(folder, "rows")
        try:
            store.fetch(key, target, enough)
        except FileNotFoundError:
            return []
        except _Enough:
            pass
        with target.open("rb") as file:
            lines = [file.readline(_LONGEST) for _ in range(SAMPLE)]
    return [line for line in lines if line.endswith(b"\n")]


_LONGEST = 256 << 10
"""Bytes of a line that is shown."""


def in_words(receipt: Receipt) -> str:
    """What became of a delivery, in a sentence or two."""
    if receipt.status == "rejected":
        return f"Rejected ({receipt.reason or 'without a reason'}): {receipt.message}"
    if receipt.status == "unchanged":
        return "Unchanged: its files are the same as those that were accepted. Nothing was done."
    taken = f"Accepted: {plural(receipt.rows, 'row', 'rows')} taken in"
    turned = f", {plural(receipt.rejected_rows, 'row', 'rows')} turned away"
    return f"{taken}{turned if receipt.rejected_rows else ''}."
