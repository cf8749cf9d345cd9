"""The page of one delivery: its receipt in words, files, rejected rows, scores and siblings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from pydantic import ValidationError

from flagfall.concurrency import aside
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
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchPage:
    """The page of a delivery.

    Attributes:
        feed: Its feed.
        now: When the page was made (UTC).
        found: What the lake has; ``None`` where it has no such delivery, or does not answer.
        damaged: Keys of records that cannot be read; of a receipt, nothing is found.
        away: Why the lake does not answer; empty where it does.
        read_at: When it was read.
    """

    feed: FeedRef
    now: datetime
    found: Found | None
    damaged: tuple[str, ...]
    away: str
    read_at: datetime | None

    @property
    def is_there(self) -> bool:
        """Whether there is such a delivery, or may be one."""
        return bool(self.found or self.damaged or self.away)

    @property
    def turned_away(self) -> str:
        """Why no row of it was kept: it was rejected for what it is, not for its rows."""
        receipt = self.found.receipt if self.found else None
        if receipt is None or receipt.status != "rejected" or receipt.rejected_rows:
            return ""
        why = f" ({receipt.reason})" if receipt.reason else ""
        return f"The batch was turned away whole{why}"

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
    value = known.value
    found = value if isinstance(value, Found) else None
    damaged = (value.key,) if isinstance(value, Damaged) else found.damaged if found else ()
    return BatchPage(feed, now, found, damaged, known.away, known.at)


def _read(store: Store, day: str, batch_id: str) -> Found | Damaged | None:
    """All at once: on S3 each read takes tens of milliseconds."""
    reads: Sequence[Callable[[], Any]] = (
        lambda: _record(store, f"receipts/landed={day}/{batch_id}.json", Receipt),
        lambda: read_ledger(store),
        lambda: _record(store, f"staged/{batch_id}/record.json", Staged),
        lambda: _record(store, f"predictions/{batch_id}/record.json", Predicted),
        lambda: _record(store, f"evaluations/{batch_id}/record.json", Evaluation),
        lambda: tuple(rejected_rows(store, batch_id)),
    )
    receipt, *rest = (begun.result() for begun in map(aside, reads))
    if not isinstance(receipt, Receipt):
        return receipt if isinstance(receipt, Damaged) else None
    whole: list[Any] = [None if isinstance(one, Damaged) else one for one in rest]
    damaged = tuple(one.key for one in rest if isinstance(one, Damaged))
    return replace(Found(receipt, *whole), damaged=damaged)


@dataclass(frozen=True)
class Damaged:
    """A record that is there and cannot be read."""

    key: str


def _record(store: Store, key: str, kind: Any) -> Any:
    try:
        return kind.model_validate_json(store.read(key, RECORD_LIMIT))
    except FileNotFoundError:
        return None
    except ValidationError:
        return Damaged(key)


class _Enough(Exception):
    """The beginning of a file is all that is wanted of it."""


def rejected_rows(store: Store, batch_id: str) -> Iterator[RejectedRow]:
    """The first rows of a delivery that were turned away; lines that are damaged are left out."""
    for line in _first_lines(store, f"rejected/{batch_id}/rows.jsonl"):
        try:
            yield _rejected_row(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _rejected_row(plain: Any) -> RejectedRow:
    fields = [(name, "" if text is None else str(text)) for name, text in plain["row"].items()]
    return RejectedRow(
        file=str(plain.get("file", "")),
        line=int(plain.get("line", plain.get("row_number", 0))),
        reasons=tuple(map(str, plain.get("reasons", ()))),
        fields=tuple(fields[:FIELDS]),
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
            return list(islice(_whole_lines(file), SAMPLE))


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines, without those that are too long to be shown, and one that was cut."""
    is_rest = False
    while piece := file.readline(_LONGEST):
        is_end = piece.endswith(b"\n")
        if is_end and not is_rest:
            yield piece
        is_rest = not is_end


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
