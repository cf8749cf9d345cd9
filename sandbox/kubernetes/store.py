"""The objects of the stand-in, with every change of them: what a list and a watch are made of."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flagfall.errors import FlagfallError
from sandbox.kubernetes.selectors import Object, Selector

Key = tuple[str, str, str]
"""Kind, namespace and name."""
POLL = 0.2
"""Seconds after which a watch looks whether it is to end."""


class Refused(FlagfallError):
    """A request that the API answers with an error.

    Attributes:
        code: Of HTTP.
        reason: As Kubernetes has it, such as ``NotFound``.
        details: Of an object and its fields; ``None`` where there are none.
    """

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.details = code, reason, details

    def status(self) -> Object:
        """What goes over the wire."""
        said: Object = {"message": str(self), "reason": self.reason, "code": self.code}
        said |= {"details": self.details} if self.details else {}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", **said}


def gone() -> Refused:
    """The answer to a watch from a version that is no longer known."""
    return Refused(410, "Expired", "too old resource version")


@dataclass(frozen=True)
class Change:
    """What happened to an object; ``before`` and ``after`` are ``None`` where it was not there.

    ``at`` is by the monotonic clock.
    """

    version: int
    key: Key
    before: Object | None
    after: Object | None
    last: Object
    at: float


class Store:
    """Objects by kind, namespace and name; each change has the next version."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._objects: dict[Key, Object] = {}
        self._changes: list[Change] = []
        self._past: list[Change] = []
        self._version = 1
        self._forgotten = 0

    def now(self) -> str:
        """The version up to which everything is in a list."""
        with self._changed:
            return str(self._version)

    def find(self, key: Key) -> Object:
        """An object.

        Raises:
            Refused: There is none.
        """
        with self._changed:
            if key not in self._objects:
                raise Refused(404, "NotFound", f'{key[0]} "{key[2]}" not found')
            return copy.deepcopy(self._objects[key])

    def listed(
        self, kind: str, namespace: str | None, wanted: Selector
    ) -> tuple[str, list[Object]]:
        """The version, and the objects of a kind; ``None`` for every namespace."""
        with self._changed:
            found = [
                copy.deepcopy(one)
                for key, one in self._objects.items()
                if key[0] == kind and namespace in (None, key[1]) and wanted(one)
            ]
            return str(self._version), found

    def create(self, key: Key, given: Object, is_dry: bool = False) -> Object:
        """A new object; one that is dry is not kept.

        Raises:
            Refused: There is one of this name.
        """
        with self._changed:
            if key in self._objects:
                raise Refused(409, "AlreadyExists", f'{key[0]} "{key[2]}" already exists')
            created = copy.deepcopy(given)
            own = {"name": key[2], "uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
            created["metadata"] = {**created.get("metadata", {}), **own}
            if key[1]:
                created["metadata"]["namespace"] = key[1]
            return created if is_dry else self._put(key, created)

    def change(self, key: Key, how: Callable[[Object], object], is_dry: bool = False) -> Object:
        """Change an object in place; a change that is dry is not kept.

        Raises:
            Refused: There is none.
        """
        with self._changed:
            changed = self.find(key)
            how(changed)
            return changed if is_dry else self._put(key, changed)

    def remove(self, key: Key) -> Object:
        """Remove an object.

        Raises:
            Refused: There is none.
        """
        with self._changed:
            last = self.find(key)
            before = self._objects.pop(key)
            self._note(key, before, None, last)
            return last

    def _put(self, key: Key, given: Object) -> Object:
        before = self._objects.get(key)
        self._objects[key] = given
        self._note(key, before, given, given)
        return copy.deepcopy(given)

    def _note(self, key: Key, before: Object | None, after: Object | None, last: Object) -> None:
        self._version += 1
        last["metadata"]["resourceVersion"] = str(self._version)
        now = time.monotonic()
        change = Change(self._version, key, before, copy.deepcopy(after), copy.deepcopy(last), now)
        self._changes.append(change)
        self._past.append(change)
        self._changed.notify_all()

    def forget(self) -> None:
        """Drop the past: a watch from before answers 410."""
        with self._changed:
            self._changes.clear()
            self._version += 1
            self._forgotten = self._version

    def past(self, kind: str) -> dict[str, list[tuple[float, Object]]]:
        """Every change of each object of a kind, by name: when, and how it then was."""
        found: dict[str, list[tuple[float, Object]]] = {}
        with self._changed:
            for change in self._past:
                if change.key[0] == kind:
                    found.setdefault(change.key[2], []).append((change.at, change.last))
        return found

    def changes(self, since: int, until: float, goes_on: Callable[[], bool]) -> Iterator[Change]:
        """Every change after a version, as it happens.

        Args:
            since: The version.
            until: By the monotonic clock, when to end.
            goes_on: Whether to go on before that.

        Raises:
            Refused: That version is forgotten.
        """
        while goes_on() and time.monotonic() < until:
            with self._changed:
                if since < self._forgotten:
                    raise gone()
                found = [change for change in self._changes if change.version > since]
                if not found:
                    self._changed.wait(POLL)
            for change in found:
                since = change.version
                yield change


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merge(below: Object, patch: Object) -> None:
    """Merge a patch into an object; ``None`` removes a key."""
    for key, value in patch.items():
        if value is None:
            below.pop(key, None)
        elif isinstance(value, dict) and isinstance(below.get(key), dict):
            merge(below[key], value)
        else:
            below[key] = value


def event_of(change: Change, kind: str, namespace: str | None, wanted: Selector) -> Object | None:
    """A change as a watch shows it; an object that no longer fits the selector is ``DELETED``."""
    if change.key[0] != kind or namespace not in (None, change.key[1]):
        return None
    was = change.before is not None and wanted(change.before)
    is_now = change.after is not None and wanted(change.after)
    if not (was or is_now):
        return None
    what = "MODIFIED" if was and is_now else "ADDED" if is_now else "DELETED"
    return {"type": what, "object": change.last}


def first_events(found: Sequence[Object]) -> list[Object]:
    """What a watch without a version begins with."""
    return [{"type": "ADDED", "object": one} for one in found]
