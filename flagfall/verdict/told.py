"""What people were told: each thing once, and once more when it is over.

For each notifier and each thing (``Reason.keys``) there is a small object in the lake::

    notices/<hash of the notifier>/<hash of the key>.json

It is created as ``sending`` before the message goes out and becomes ``sent`` after it. While it is
told that something is over, a second object stands beside it. So two processes do not tell the same
at the same time. If the process dies in between, nobody knows whether the message went out: after
``SENDING_FOR`` the next look sends it again. A message comes twice rather than not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ValidationError

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Notice
from flagfall.lake.output import RECORD_LIMIT
from flagfall.stores import Store
from flagfall.verdict.facts import WINDOW
from flagfall.verdict.reason import Reason
from flagfall.verdict.verdict import Verdict

FOLDER = "notices"
TOLD, OVER = ".json", ".over.json"
"""Ends of keys: that something was told, and that it is being told that it is over."""
SENDING_FOR = timedelta(minutes=5)
"""A message that is being sent for longer is taken to be lost with its process."""
_OF_SCORES = ("alert/", "missing/", "categories/")
"""Begin the keys of what evaluations say."""


class Told(BaseModel, frozen=True):
    """One thing of which people are told, or were.

    Attributes:
        key: Names it (``Reason.keys``).
        what: What is said of it when it is over.
        since: Since when it is so (UTC).
        state: Whether the message went out.
        at: When it was written (UTC).
    """

    key: str
    what: str
    since: AwareDatetime | None
    state: Literal["sending", "sent"]
    at: AwareDatetime


@dataclass(frozen=True)
class News:
    """What one notifier has not told yet.

    Attributes:
        new: Reasons with something new.
        over: What was told and is over.
    """

    new: tuple[Reason, ...] = ()
    over: tuple[Told, ...] = ()
    claimed: tuple[Told, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.over)


class Memory:
    """What one notifier of a feed has told.

    Args:
        store: The dataset's folder in the lake.
        notice: The notifier with its arguments; another address is another one.
        clock: Gives the time (UTC).
    """

    def __init__(self, store: Store, notice: Notice, clock: Callable[[], datetime]) -> None:
        name = json.dumps([notice.notifier, notice.arguments], sort_keys=True, default=str)
        self._store = store
        self._folder = f"{FOLDER}/{_digest(name)}"
        self._on = frozenset(notice.on)
        self._clock = clock

    def news(self, verdict: Verdict) -> News:
        """What has to be told now. It is this process's to tell until ``keep`` or ``drop``."""
        known = {told.key: told for told in self._all()}
        new: list[Reason] = []
        claimed: list[Told] = []
        for reason in verdict.reasons:
            if reason.event in self._on:
                fresh = list(filter(None, in_parallel(self._claim, self._untold(reason, known))))
                claimed += fresh
                new += [reason] if fresh else []
        over = filter(None, in_parallel(self._claim_over, self._over(verdict, known)))
        return News(tuple(new), tuple(over), tuple(claimed))

    def keep(self, news: News) -> None:
        """Note that a message went out."""
        for told in news.claimed:
            self._put(told.model_copy(update={"state": "sent", "at": self._clock()}))
        for told in news.over:
            self._store.delete(self._key(told.key))
            self._store.delete(self._key(told.key, OVER))

    def drop(self, news: News) -> None:
        """Note that it did not: it is news again."""
        for told in news.claimed:
            self._store.delete(self._key(told.key))
        for told in news.over:
            self._store.delete(self._key(told.key, OVER))

    def _untold(self, reason: Reason, known: dict[str, Told]) -> Iterator[Told]:
        now = self._clock()
        for key, what in zip_longest(reason.keys, reason.ends, fillvalue=reason.what):
            before = known.get(key)
            if before is None or _is_lost(before, now):
                yield Told(key=key, what=what, since=reason.since, state="sending", at=now)

    def _claim(self, told: Told, end: str = TOLD) -> Told | None:
        """Take it on; ``None`` where another process has done so a moment ago."""
        key = self._key(told.key, end)
        if self._store.create(key, told.model_dump_json().encode()):
            return told
        before = self._read(key)
        if before is not None and not _is_lost(before, told.at):
            return None
        self._put(told, end)
        return told

    def _claim_over(self, told: Told) -> Told | None:
        """Take it on that something is over; ``None`` where another process tells, or has told."""
        sending = told.model_copy(update={"state": "sending", "at": self._clock()})
        if self._claim(sending, OVER) is None:
            return None
        if self._store.stat(self._key(told.key)) is not None:
            return told
        self._store.delete(self._key(told.key, OVER))
        return None

    def _over(self, verdict: Verdict, known: dict[str, Told]) -> Iterator[Told]:
        """What is not open any more. Where the storage is away, nobody knows."""
        if any(reason.kind == "unreachable" for reason in verdict.reasons):
            return
        is_open = {key for reason in verdict.reasons for key in reason.keys}
        for told in known.values():
            if told.key in is_open or told.state != "sent":
                continue
            if verdict.unscored and told.key.startswith(_OF_SCORES):
                continue  # what is being scored may say the same again
            is_old = told.since is not None and told.since < verdict.at - WINDOW
            if "recovered" in self._on and not is_old:
                yield told
            else:
                self._store.delete(self._key(told.key))

    def _all(self) -> Iterable[Told]:
        names = self._store.names(self._folder)
        keys = [name for name in names if name.endswith(TOLD) and not name.endswith(OVER)]
        return filter(None, in_parallel(self._read, keys))

    def _read(self, key: str) -> Told | None:
        try:
            return Told.model_validate_json(self._store.read(key, RECORD_LIMIT))
        except (FileNotFoundError, ValidationError):
            return None

    def _put(self, told: Told, end: str = TOLD) -> None:
        self._store.put(self._key(told.key, end), told.model_dump_json().encode())

    def _key(self, key: str, end: str = TOLD) -> str:
        return f"{self._folder}/{_digest(key)}{end}"


def _is_lost(told: Told, now: datetime) -> bool:
    return told.state == "sending" and now - told.at >= SENDING_FOR


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
