"""Reasons: why a day is not normal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from flagfall.dataset.schema import Event

Word = Literal["normal", "attention", "failed", "unknown"]
Kind = Literal[
    "unreachable",
    "unwatched",
    "task",
    "unfinished",
    "pending",
    "damaged",
    "rejected",
    "late",
    "stale",
    "missing",
    "alert",
    "rows",
    "categories",
    "empty",
]
"""Kinds of reasons, the one with most weight first."""

FAILED = frozenset({"unreachable", "unwatched", "task", "unfinished", "pending", "damaged"})
"""Kinds of which the pipeline itself is the cause; the others are of the data."""

_EVENTS: dict[str, Event] = {
    "unreachable": "failed",
    "unwatched": "failed",
    "task": "failed",
    "unfinished": "unfinished",
    "pending": "unfinished",
    "damaged": "failed",
    "rejected": "rejected",
    "late": "late",
    "stale": "late",
}
_WEIGHTS = {kind: place for place, kind in enumerate(get_args(Kind))}
NAMED = 20
"""Most names and details of a reason that go into JSON."""


@dataclass(frozen=True)
class Reason:
    """Why a day is not normal.

    Attributes:
        kind: What sort of reason it is.
        what: What is wrong, in one short sentence without a full stop.
        where: Batches, markers or columns that it is about.
        since: Since when (UTC); ``None`` where that is not known.
        remedy: What to do about it.
        details: More on each, as what a receipt says.
        keys: Name the things behind it for ever, so that each is told once.
        ends: What is said of each of these when it is over; none: ``what``.
    """

    kind: Kind
    what: str
    where: tuple[str, ...]
    since: datetime | None
    remedy: str
    details: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    @property
    def grade(self) -> Word:
        """``failed`` where the pipeline is the cause, else ``attention``."""
        return "failed" if self.kind in FAILED else "attention"

    @property
    def event(self) -> Event:
        """Under which name people ask to be told of it."""
        return _EVENTS.get(self.kind, "attention")

    @property
    def weight(self) -> int:
        """Sort key: reasons with more weight come first."""
        return _WEIGHTS[self.kind]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Of many names the first ones."""
        return {
            "kind": self.kind,
            "what": self.what,
            "where": list(self.where[:NAMED]),
            "since": self.since.isoformat() if self.since else None,
            "remedy": self.remedy,
            "details": list(self.details[:NAMED]),
        }
