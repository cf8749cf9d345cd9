"""The ledger of a feed: its verdict, the deliveries of 30 days, and what is open.

::

    <lake>/<dataset>/ledger.json

A page reads this one object, where there may be ten thousand receipts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from flagfall.lake.output import RECORD_LIMIT
from flagfall.lake.records import Receipt, Status
from flagfall.lake.rejections import rejected_and_open
from flagfall.stores import Store
from flagfall.verdict.facts import WINDOW, Facts, batch_date
from flagfall.verdict.reason import FAILED, Word
from flagfall.verdict.verdict import Verdict

KEY = "ledger.json"
"""Key in the dataset's folder of the lake."""
WAITING_SHOWN = 200
"""Pending and late markers that are written down one by one."""


class Noted(BaseModel):
    """Anything in a ledger. Fields that a reader does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Why(Noted):
    """A reason of a verdict (see ``Reason``); of a kind that a later release may have added."""

    kind: str
    what: str
    where: tuple[str, ...] = ()
    since: AwareDatetime | None = None
    remedy: str = ""
    details: tuple[str, ...] = ()

    @property
    def grade(self) -> Word:
        """``failed`` where the pipeline is the cause, else ``attention``."""
        return "failed" if self.kind in FAILED else "attention"


class Judged(Noted):
    """A verdict (see ``Verdict``)."""

    at: AwareDatetime
    word: Word
    sentence: str
    reasons: tuple[Why, ...] = ()

    @classmethod
    def of(cls, verdict: Verdict) -> Judged:
        """The verdict, with as many names and details as go into JSON."""
        plain = verdict.to_dict()
        return cls.model_validate({**plain, "word": plain["verdict"]})


class Row(Noted):
    """One delivery.

    Attributes:
        batch_id: Its name for ever.
        label: Its short name.
        marker: Hash of the marker's key: the same for every delivery of the marker.
        status: Of its receipt. So for the next four.
        day: The day that it is about.
        is_replaced: Whether a later delivery of its marker counts instead.
        is_open: Whether it was rejected, and nothing has corrected it since.
        is_dismissed: Whether somebody has decided that it stays rejected.
        run: The run that reported it; empty where none did. So for the next three.
        report: Key of the report.
        reported_at: When that was written.
        model_version: Of the model that scored it.
        known: Rows whose outcome another feed has brought; ``None`` where none does.
    """

    batch_id: str
    label: str
    marker: str
    status: Status
    reason: str = ""
    rows: int = 0
    rejected_rows: int = 0
    landed_at: AwareDatetime
    received_at: AwareDatetime
    day: date
    is_replaced: bool = False
    is_open: bool = False
    is_dismissed: bool = False
    run: str = ""
    report: str = ""
    reported_at: AwareDatetime | None = None
    model_version: str = ""
    known: int | None = None


class Day(Noted):
    """One day (UTC) of a feed: what landed, and the last verdict; ``None`` where there is none."""

    day: date
    word: Word | None = None
    accepted: int = 0
    rejected: int = 0
    rows: int = 0


class Waiting(Noted):
    """A marker that has landed and has no receipt."""

    batch_id: str
    label: str
    uri: str
    landed_at: AwareDatetime


class Late(Noted):
    """A marker that should be there by now."""

    uri: str
    deadline: AwareDatetime


class Ledger(Noted):
    """What is known of a feed.

    Attributes:
        form: Raised when a reader of today would misread what is written.
        verdict: The last one; its time is the ledger's.
        days: The last 30, the oldest first.
        rows: Deliveries of the last 30 days, the newest first.
        waiting: Markers that are pending, the oldest first, ``WAITING_SHOWN`` at most.
        pending: How many there are; ``None`` where the landing zone could not be reached.
        late: Markers that are late, the oldest first, ``WAITING_SHOWN`` at most.
        overdue: How many there are; ``None`` as for ``pending``.
        report: Key of the last report; empty where there is none.
    """

    form: int = 1
    verdict: Judged
    days: tuple[Day, ...] = ()
    rows: tuple[Row, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    pending: int | None = None
    late: tuple[Late, ...] = ()
    overdue: int | None = None
    report: str = ""

    @property
    def last(self) -> Row | None:
        """The delivery that came last."""
        return self.rows[0] if self.rows else None

    @property
    def open_rejections(self) -> int:
        """Rejected deliveries that nothing has corrected."""
        return sum(row.is_open for row in self.rows)


@dataclass(frozen=True)
class Reported:
    """A report that was just written.

    Attributes:
        run: Its run.
        key: Where it is, below the dataset's folder.
        batch_ids: The deliveries that it covers.
        is_latest: Whether it is the last one.
    """

    run: str = ""
    key: str = ""
    batch_ids: frozenset[str] = field(default_factory=frozenset)
    is_latest: bool = False


NO_REPORT = Reported()


def read_ledger(store: Store) -> Ledger | None:
    """The ledger in a dataset's folder of the lake; ``None`` where there is none, or a damaged one.

    Raises:
        StoreError: The lake cannot be reached.
    """
    try:
        return _parsed(store.read(KEY, RECORD_LIMIT))
    except (FileNotFoundError, ValidationError, ValueError):
        return None


@lru_cache(maxsize=4)
def _parsed(data: bytes) -> Ledger:
    """Ten thousand rows take a tenth of a second to parse; pages ask for the same ones again."""
    return Ledger.model_validate_json(data)


def write_ledger(store: Store, ledger: Ledger) -> None:
    """Write a ledger, in the place of the one before.

    Raises:
        StoreError: The lake cannot be reached.
    """
    store.put(KEY, ledger.model_dump_json(exclude_defaults=True).encode())


def next_ledger(
    before: Ledger | None,
    facts: Facts,
    verdict: Verdict,
    reported: Reported = NO_REPORT,
) -> Ledger:
    """The ledger after a feed was judged.

    Args:
        before: The last ledger: it knows of earlier verdicts and reports.
        facts: What is known now. Where the lake could not be reached, what was known stays.
        verdict: On them.
        reported: A report that was just written.
    """
    old = before or Ledger(verdict=Judged.of(verdict))
    known = {row.batch_id: row for row in old.rows}
    rows = tuple(_rows(facts, known, reported)) if facts.receipts or not facts.error else old.rows
    is_seen = facts.error is None
    return Ledger(
        verdict=Judged.of(verdict),
        days=_days(verdict, rows, old.days),
        rows=rows,
        waiting=tuple(_waiting(facts)) if is_seen else old.waiting,
        pending=len(facts.landed) if is_seen else None,
        late=tuple(Late(uri=one.uri, deadline=one.deadline) for one in facts.late[:WAITING_SHOWN]),
        overdue=len(facts.late) if is_seen else None,
        report=reported.key if reported.is_latest else old.report,
    )


def _rows(facts: Facts, known: Mapping[str, Row], reported: Reported) -> list[Row]:
    counts = {receipt.batch_id for receipt in facts.current}
    is_open = {one.batch_id for one in rejected_and_open(facts.receipts)} - facts.dismissed
    return [
        Row(
            **_of_receipt(receipt),
            is_replaced=receipt.status == "accepted" and receipt.batch_id not in counts,
            is_open=receipt.batch_id in is_open,
            is_dismissed=receipt.batch_id in facts.dismissed,
            **_of_run(receipt, facts, known.get(receipt.batch_id), reported),
        )
        for receipt in reversed(facts.receipts)
    ]


def _of_receipt(receipt: Receipt) -> dict[str, Any]:
    marker = receipt.marker
    same = ("batch_id", "status", "reason", "rows", "rejected_rows", "received_at")
    return {
        **{name: getattr(receipt, name) for name in same},
        "label": marker.label,
        "marker": marker.key_digest,
        "landed_at": marker.landed_at,
        "day": batch_date(receipt),
    }


def _of_run(
    receipt: Receipt, facts: Facts, before: Row | None, reported: Reported
) -> dict[str, Any]:
    found: dict[str, Any] = {"run": "", "report": "", "reported_at": None, "model_version": ""}
    found["known"] = None
    if before is not None:
        found = {name: getattr(before, name) for name in found}
    if receipt.batch_id in reported.batch_ids:
        found |= {"run": reported.run, "report": reported.key, "reported_at": facts.at}
    if evaluation := facts.evaluations.get(receipt.batch_id):
        is_late = evaluation.outcomes is not None
        found["model_version"] = evaluation.model_version
        found["known"] = evaluation.labelled if is_late else None
    return found


def _days(verdict: Verdict, rows: Sequence[Row], before: Iterable[Day]) -> tuple[Day, ...]:
    """The last 30 days; of each the last verdict that it had."""
    words = {day.day: day.word for day in before} | {verdict.day: verdict.word}
    landed: dict[date, list[Row]] = {}
    for row in rows:
        landed.setdefault(row.landed_at.date(), []).append(row)
    shown = (verdict.day - timedelta(days=back) for back in range(WINDOW.days - 1, -1, -1))
    return tuple(_day(day, words.get(day), landed.get(day, ())) for day in shown)


def _day(day: date, word: Word | None, rows: Sequence[Row]) -> Day:
    accepted = [row for row in rows if row.status == "accepted"]
    return Day(
        day=day,
        word=word,
        accepted=len(accepted),
        rejected=sum(row.status == "rejected" for row in rows),
        rows=sum(row.rows for row in accepted),
    )


def _waiting(facts: Facts) -> list[Waiting]:
    return [
        Waiting(
            batch_id=one.batch_id,
            label=one.label,
            uri=one.uri,
            landed_at=one.landed_at,
        )
        for one in facts.landed[:WAITING_SHOWN]
    ]
