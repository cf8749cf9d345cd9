"""Notes in the lake of tasks that failed for good, until a run succeeds.

Airflow knows that a task is red. ``flagfall status``, the report and a notice know it from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import AwareDatetime, BaseModel, ValidationError

from flagfall.lake.output import RECORD_LIMIT
from flagfall.stores import Store

FOLDER = "failures"
LONGEST_WHY = 500
"""Characters of an error that are kept."""


class Failure(BaseModel, frozen=True):
    """A task that failed for good.

    Attributes:
        run: Its run.
        task: Its name; with the number of its shard where it has one.
        why: The error, in one line.
        at: When (UTC).
    """

    run: str
    task: str
    why: str
    at: AwareDatetime

    @property
    def key(self) -> str:
        """Names it for ever; also its file."""
        name = hashlib.sha256(f"{self.run}\0{self.task}".encode("utf-8", "surrogatepass"))
        return f"{FOLDER}/{name.hexdigest()[:24]}.json"


def note_failure(store: Store, failure: Failure) -> None:
    """Note that a task failed.

    Args:
        store: The dataset's folder in the lake.
        failure: What is noted.

    Raises:
        StoreError: The lake cannot be reached.
    """
    short = failure.model_copy(update={"why": failure.why[:LONGEST_WHY]})
    store.put(failure.key, short.model_dump_json().encode())


def failures(store: Store) -> tuple[Failure, ...]:
    """Tasks that failed since a run succeeded, the oldest first.

    Raises:
        StoreError: The lake cannot be reached.
    """
    found = (_read(store, entry.key) for entry in store.list(FOLDER))
    return tuple(sorted(filter(None, found), key=lambda failure: failure.at))


def _read(store: Store, key: str) -> Failure | None:
    try:
        return Failure.model_validate_json(store.read(key, RECORD_LIMIT))
    except (FileNotFoundError, ValidationError):
        return None


def forget_failures(store: Store, forgotten: Iterable[Failure]) -> None:
    """Remove notes: what failed has succeeded since."""
    for failure in forgotten:
        store.delete(failure.key)
