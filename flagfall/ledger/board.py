"""The board of a lake: how each of its feeds stands, in one object.

::

    <lake>/feeds.json

Fifty feeds are one read. Whoever judges a feed puts its standing there: it reads the board, puts
its own in, and writes it. Of two who do so at once one may be lost; the watchman's next look makes
up for it, and each standing says how old it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from pydantic import Field, ValidationError, field_validator

from flagfall.dataset.feed import LakeAddress
from flagfall.lake.output import RECORD_LIMIT
from flagfall.ledger.ledger import Day, Judged, Ledger, Noted, Row
from flagfall.logs import logger
from flagfall.stores import Store, open_store
from flagfall.watch.heartbeat import WatcherState

log = logger(__name__)

KEY = "feeds.json"
"""Key in the lake; no dataset's folder can be called so."""
REASONS = 3
"""Reasons of a verdict that stand on the board."""


class Standing(Noted):
    """How one feed stands.

    Attributes:
        verdict: The last one, with its first ``REASONS``.
        days: The last 30.
        last: The delivery that came last.
        pending: As in ``Ledger``. So for ``overdue``.
        oldest_pending: As the verdict's time, ISO 8601; empty for none.
        open_rejections: Rejected deliveries that nothing has corrected.
        watcher: Its last sign when the feed was judged.
    """

    verdict: Judged
    days: tuple[Day, ...] = ()
    last: Row | None = None
    pending: int | None = None
    overdue: int | None = None
    oldest_pending: str = ""
    open_rejections: int = 0
    watcher: WatcherState | None = None

    @classmethod
    def of(cls, ledger: Ledger, watcher: WatcherState | None) -> Standing:
        """What a ledger says in short."""
        short = {"reasons": ledger.verdict.reasons[:REASONS]}
        return cls(
            verdict=ledger.verdict.model_copy(update=short),
            days=ledger.days,
            last=ledger.last,
            pending=ledger.pending,
            overdue=ledger.overdue,
            oldest_pending=ledger.waiting[0].landed_at.isoformat() if ledger.waiting else "",
            open_rejections=ledger.open_rejections,
            watcher=watcher,
        )


class Board(Noted):
    """How the feeds of a lake stand.

    Attributes:
        form: Raised when a reader of today would misread what is written.
        feeds: Standings by the feed's name. One that cannot be read takes no other with it.
        unreadable: By the DAG of the watchman that found them, the dataset files that cannot be
            used: why, by the feed's name. They do not say which lake is theirs.
    """

    form: int = 1
    feeds: Mapping[str, Standing] = Field(default_factory=dict)
    unreadable: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)

    @field_validator("feeds", mode="before")
    @classmethod
    def _readable(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        found = {name: _standing(one) for name, one in raw.items()}
        return {name: one for name, one in found.items() if one is not None}


def _standing(raw: Any) -> Standing | None:
    try:
        return Standing.model_validate(raw)
    except ValidationError:
        return None


NOTHING = Board()


def read_board(store: Store) -> Board:
    """The board of a lake; an empty one where there is none, or a damaged one.

    Raises:
        StoreError: The lake cannot be reached.
    """
    try:
        return Board.model_validate_json(store.read(KEY, RECORD_LIMIT))
    except (FileNotFoundError, ValidationError, ValueError):
        return NOTHING


def put_on_board(lake: LakeAddress, standings: Mapping[str, Standing]) -> None:
    """Put standings on the board of a lake, in the place of older ones.

    Raises:
        StoreError: The lake cannot be reached.
    """
    _change(lake, lambda board: {"feeds": {**board.feeds, **standings}})


def note_unreadable(lake: LakeAddress, watchman: str, files: Mapping[str, str]) -> None:
    """Note which dataset files a watchman could not use, in the place of what it noted before.

    Args:
        lake: A lake of its other feeds.
        watchman: Id of its DAG: who may read that may see them.
        files: Why each cannot be used, by the feed's name.

    Raises:
        StoreError: The lake cannot be reached.
    """
    _change(lake, lambda board: {"unreadable": {**board.unreadable, watchman: files}})


_CHANGES: defaultdict[LakeAddress, Lock] = defaultdict(Lock)


def _change(lake: LakeAddress, change: Callable[[Board], dict[str, Any]]) -> None:
    """Read, change, write: threads of this process one after the other."""
    with _CHANGES[lake]:
        store = open_store(lake.uri, lake.conn_id)
        board = read_board(store)
        board = board.model_copy(update=change(board))
        store.put(KEY, board.model_dump_json(exclude_defaults=True).encode())
