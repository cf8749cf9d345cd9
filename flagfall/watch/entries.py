"""What a look at the storage found, however much that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flagfall.stores import Entry


@dataclass(frozen=True)
class Entries:
    """Entries by key, which are made when they are asked for.

    Python's collector stops every thread while it looks at all objects that may be part of a cycle.
    100,000 entries are such objects. Plain tuples of texts, numbers and times are none.

    Attributes:
        rows: The fields of each entry.
    """

    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """These entries. Of two with the same key the later one counts."""
        return cls({entry.key: tuple(entry) for entry in entries})

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry._make, self.rows.values())

    def __len__(self) -> int:
        return len(self.rows)

    def __or__(self, others: Entries) -> Entries:
        return Entries(self.rows | others.rows)

    def __getitem__(self, key: str) -> Entry:
        return Entry._make(self.rows[key])

    def where(self, wanted: Callable[[str], bool]) -> Entries:
        """The entries whose keys are wanted."""
        return Entries({key: row for key, row in self.rows.items() if wanted(key)})
